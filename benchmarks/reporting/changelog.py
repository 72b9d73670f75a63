"""What changed between two results, in words and tables: for a terminal, as Markdown and CSV."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.analysis.changes import (
    BETTER,
    FAILS_LESS,
    FAILS_MORE,
    INCOMPARABLE,
    MACHINE,
    NAMED,
    SAME,
    UNCHANGED,
    UNJUDGED,
    WORSE,
    Changes,
    is_comparable,
    is_headline,
    is_worse,
)
from benchmarks.analysis.columns import BY_KEY
from benchmarks.analysis.export import write_csv
from benchmarks.core.text import (
    count,
    escape_markdown,
    plain,
    shorten,
    show_amount,
    show_number,
    show_p,
    state_p,
)
from benchmarks.reporting.latex import Mark
from benchmarks.reporting.table import Cell, Head, Table, show_table, write_markdown_table
from benchmarks.statistics.differences import ALPHA

MARKS: dict[str, Mark] = {
    WORSE: "worse",
    FAILS_MORE: "worse",
    BETTER: "better",
    FAILS_LESS: "better",
}
COUNTED = {
    WORSE: "worse",
    BETTER: "better",
    SAME: "the same bit for bit",
    UNCHANGED: "without a significant change",
    UNJUDGED: "not to be judged",
    INCOMPARABLE: "not comparable",
}
HEADER = (
    Head("score", left=True),
    *map(Head, ("old", "new", "new against old", "p")),
    Head("verdict", left=True),
)
PARTS = (5, 3, 5, 5)
"""Of which part of the terminal's width each column of differences is at most."""
Row = dict[Any, Any]
"""A row of `Changes.frame`."""
CAPTION = (
    "Ratios new / old of geometric means where a score is compared on the log scale, else"
    " differences new - old of means; 95 % intervals, not adjusted. p: Holm's, over all headline"
    " scores that were tested, and apart from these over all further scores; significant where it"
    f" is at most {ALPHA:g}."
)


def summarise_changes(changes: Changes) -> str:
    """Summarise in a few sentences what has changed."""
    frame = changes.frame
    scores = frame[frame["kind"] == "score"]
    sentences = []
    if not is_comparable(changes):
        sentences.append("Nothing can be compared.")
    elif not scores["verdict"].isin([WORSE, BETTER]).any():
        sentences.append("No score has changed significantly.")
    sentences += [
        f"{verdict.capitalize()}: {_list_changes(rows.to_dict('records'))}."
        for verdict in MARKS
        if len(rows := frame[frame["verdict"] == verdict])
    ]
    counts = scores["verdict"].value_counts()
    parts = [
        f"{counts[verdict]:,} {word}" for verdict, word in COUNTED.items() if verdict in counts
    ]
    counted = f"Of {count(len(scores), 'score')}: {', '.join(parts)}." if parts else "No score."
    return " ".join([*sentences, counted])


def _list_changes(rows: Sequence[Row]) -> str:
    """List changes of headline scores, `gan FID ×1.31 [1.12, 1.54] (p = 0.003)`; count others."""
    main = [row for row in rows if row["kind"] == "runs" or is_headline(row)]
    words = []
    for row in (main or rows)[:NAMED]:
        what = f"({row['reason']})"
        if row["kind"] != "runs":
            name = name_score(row["name"], row["view"])
            what = f"{name} {show_change(row)} ({state_p(row['p_holm'])})"
        words.append(f"{row['contender']} {what}")
    more = len(rows) - len(words)
    return ", ".join(words) + (f" and {count(more, 'more score')}" if more else "")


def show_change(row: Row) -> str:
    """Show a ratio or difference with its interval: `×1.31 [1.12, 1.54]`, `+0.21 [-0.1, 0.52]`."""
    estimate, low, high = (row[key] for key in ("estimate", "low", "high"))
    if row["verdict"] == SAME or math.isnan(estimate):
        return ""
    ratio = row["change"] == "ratio"
    sign = "×" if ratio else "+" if estimate > 0 else ""
    bounds = "" if math.isnan(low) else f" [{show_number(low)}, {show_number(high)}]"
    return f"{sign}{show_number(estimate)}{bounds}"


def name_score(metric: str, view: str = "") -> str:
    """Name a score or cost for a table, with its extractor where that is not the one shown."""
    column = BY_KEY.get(metric)
    short = column.long_name if column else metric
    return f"{short} ({view})" if view else short


def explain_tests(changes: Changes) -> str:
    """Explain what the numbers are, and by which tests."""
    scores = changes.frame[changes.frame["kind"] == "score"]
    tests = []
    for name, part in scores[scores["test"] != ""].groupby("test"):
        seeds = part[["seeds_old", "seeds_new"]].to_numpy(int)
        ends = " to ".join(map(str, dict.fromkeys((seeds.min(), seeds.max()))))
        tests.append(f"{name}, {ends} seeds a side, for {count(len(part), 'score')}")
    return " ".join([CAPTION, f"Tests: {'; '.join(tests)}." if tests else "No test was made."])


def write_changes(changes: Changes) -> dict[str, bytes]:
    """Write the changes: `changes.csv` and `differences.csv`, both tidy, and `changes.md`."""
    old, new = escape_markdown(changes.old), escape_markdown(changes.new)
    sections = [f"# Changes from {old} to {new}", escape_markdown(summarise_changes(changes))]
    for name, rows in _by_contender(changes.frame).items():
        table = Table(name, HEADER, [[_build_row(row) for row in rows]])
        sections += [f"## {escape_markdown(name)}", write_markdown_table(table)]
    sections.append(escape_markdown(explain_tests(changes)))
    if len(changes.differences):
        table = _tabulate_differences("", changes.differences)
        sections += ["## What else differs", write_markdown_table(table)]
    sections.append("\n".join(f"- {escape_markdown(note)}" for note in changes.notes))
    return {
        "changes.csv": write_csv(changes.frame),
        "differences.csv": write_csv(changes.differences),
        "changes.md": ("\n\n".join(filter(None, sections)) + "\n").encode(),
    }


def _tabulate_differences(title: str, rows: pd.DataFrame) -> Table:
    heads = [Head(str(name), left=True) for name in rows]
    cells = [[Cell(str(cell)) for cell in row] for row in rows.to_numpy()]
    return Table(title, heads, [cells])


def _by_contender(frame: pd.DataFrame) -> dict[str, list[Row]]:
    groups = frame.groupby("contender", sort=False)
    return {str(name): rows.to_dict("records") for name, rows in groups}


def _name_verdict(verdict: str) -> str:
    return "not significant" if verdict == UNCHANGED else verdict


def _build_row(row: Row, *, brief: bool = False) -> list[Cell]:
    """Build a row as a person reads it, with `HEADER`; a brief one without its reason."""
    verdict = _name_verdict(row["verdict"])
    if row["reason"] and not brief:
        verdict = f"{verdict}: {row['reason']}"
    last = Cell(verdict, mark=MARKS.get(row["verdict"], ""))
    if row["kind"] == "runs":
        values = [f"{row[side]:.0f} of {row[f'seeds_{side}']}" for side in ("old", "new")]
        return [*map(Cell, (row["name"], *values, "", show_p(row["p"]))), last]
    show = show_amount if row["kind"] == "cost" else show_number
    values = [show(row[side]) for side in ("old", "new")]
    if values[0] == values[1] and row["verdict"] in {"more", "less"}:
        values = [f"{row[side]:,.0f}" for side in ("old", "new")]
    name = name_score(row["name"], row["view"])
    return [*map(Cell, (name, *values, show_change(row), show_p(row["p_holm"]))), last]


def show_changes(changes: Changes, width: int) -> Group:
    """Lay out changes for a terminal of `width` characters, and all headline scores.

    Further scores and costs that have not changed are counted in a line; a contender of which
    nothing has changed is named in one.
    """
    parts: list[Any] = [Text(f"{plain(changes.old)} → {plain(changes.new)}", style="bold")]
    still = []
    for name, rows in _by_contender(changes.frame).items():
        scored = any(row["kind"] == "score" for row in rows)
        if scored and all(row["verdict"] in {SAME, MACHINE} for row in rows):
            still.append(name)
        else:
            shown = [_build_row(row, brief=True) for row in rows if _is_shown(row)]
            parts.append(show_table(Table(shorten(plain(name), width), HEADER, [shown])))
            parts += [*(Text(plain(line), style="dim") for line in _footnotes(rows)), Text()]
    if still:
        names = ", ".join(still[:NAMED]) + " …" * (len(still) > NAMED)
        parts.append(Text(f"\nThe same in every score: {plain(names)}"))
    parts += _show_differences(changes.differences, width)
    parts += [Text(plain(note), style="dim") for note in (explain_tests(changes), *changes.notes)]
    style = "bold red" if is_worse(changes) or not is_comparable(changes) else "bold"
    return Group(*parts, Text(f"\n{plain(summarise_changes(changes))}", style=style))


def _footnotes(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what a contender's table does not show."""
    reasons = {f"{r['verdict'].capitalize()}: {r['reason']}." for r in rows if r["reason"]}
    yield from sorted(reasons)
    verdicts = [r["verdict"] for r in rows if r["kind"] == "score" and not _is_shown(r)]
    if left_out := [f"{n} {_name_verdict(verdict)}" for verdict, n in Counter(verdicts).items()]:
        yield f"Further scores: {', '.join(left_out)}."
    machine = [f"{name_score(r['name'])} {show_change(r)}" for r in rows if r["verdict"] == MACHINE]
    if machine:
        yield f"Not tested, since machines differ: {'; '.join(machine)}."


def _is_shown(row: Row) -> bool:
    """Return whether a terminal shows a row: a headline score, or another that has changed."""
    unchanged = {SAME, UNCHANGED, UNJUDGED, INCOMPARABLE, MACHINE}
    return is_headline(row) or row["verdict"] not in unchanged


def _show_differences(differences: pd.DataFrame, width: int) -> Iterator[RichTable | Text]:
    """Lay out settings and environments that differ, a table of each."""
    titles = {"setting": "Settings that differ", "environment": "Versions and hardware that differ"}
    for kind, rows in differences.groupby("kind", sort=False):
        first = rows.drop(columns="kind").head(NAMED)
        short = {
            name: [shorten(plain(str(cell)), width // part) for cell in cells]
            for (name, cells), part in zip(first.items(), PARTS, strict=True)
        }
        yield show_table(_tabulate_differences(titles[str(kind)], pd.DataFrame(short)))
        if len(rows) > NAMED:
            yield Text(f"and {len(rows) - NAMED:,} more", style="dim")
