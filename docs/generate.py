"""Write the pages that follow from the code, `commands.md` and `columns.md`.

Usage: `python docs/generate.py`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.analysis.columns import COLUMNS
from benchmarks.cli.audit_options import make_audit_parser
from benchmarks.cli.options import make_run_parser
from benchmarks.report import make_report_parser
from benchmarks.score import make_score_parser

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "run": make_run_parser,
    "report": make_report_parser,
    "score": make_score_parser,
    "audit": make_audit_parser,
}


def write_commands() -> str:
    """Return the page of all commands and their options."""
    sections = [write_command(name, build()) for name, build in PARSERS.items()]
    intro = "# Commands\n\nGenerated from the parsers by `python docs/generate.py`.\n"
    return "\n".join([intro, *sections])


def write_command(name: str, parser: argparse.ArgumentParser) -> str:
    """Return the section of one command: what it does, its options, examples."""
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    rows = [f"| {show_option(action)} | {escape(action.help or '')} |" for action in actions]
    return "\n".join(
        [
            f"## benchmarks.{name}\n",
            f"{parser.description}\n",
            "| option | meaning |\n| --- | --- |",
            *rows,
            f"\n```\n{(parser.epilog or '').strip()}\n```\n",
        ]
    )


def show_option(action: argparse.Action) -> str:
    """Return an option with its value, e.g. `--seeds N`."""
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    value = value if isinstance(value, str) else " ".join(value)
    named = [", ".join(action.option_strings)] if action.option_strings else []
    return f"`{' '.join([*named, value] if action.nargs != 0 else named)}`".replace("|", "\\|")


def write_columns() -> str:
    """Return the page of the columns of comparison tables."""
    rows = [
        f"| `{column.key}` | {escape(column.heading)} | {escape(column.meaning)} "
        f"| {column.better or ''} | {column.unit} | {column.cost or ''} | {column.panel} |"
        for column in COLUMNS
    ]
    return "\n".join(
        [
            "# Columns\n",
            "Generated from `benchmarks/analysis/columns.py` by `python docs/generate.py`. A score",
            "has two further columns in `table.csv`, `KEY_low` and `KEY_high`: its 95 % interval.",
            "Costs are exact, the same on every machine, or measured.\n",
            "| column | heading | meaning | better | unit | cost | panel |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def escape(text: str) -> str:
    """Return a help text as the cell of a Markdown table."""
    return " ".join(text.replace("%%", "%").split()).replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "commands.md").write_text(write_commands(), encoding="utf-8")
    (here / "columns.md").write_text(write_columns(), encoding="utf-8")
