"""What changed between two results, in words and tables: for a terminal, as Markdown and CSV."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    SAME,
    UNCHANGED,
    UNJUDGED,
    WORSE,
    Changes,
    is_comparable,
    is_worse,
)
from benchmarks.analysis.columns import BY_KEY, HEADLINES
from benchmarks.analysis.export import write_csv
from benchmarks.core.text import (
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

NAMED = 12
"""Things of one kind that are listed before the others are counted."""
NOT_SIGNIFICANT = "not significant"
"""The verdict `UNCHANGED` in tables."""
MARKS: dict[str, Mark] = {
    WORSE: "worse",
    FAILS_MORE: "worse",
    BETTER: "better",
    FAILS_LESS: "better",
}
HEADER = (
    Head("score", left=True),
    *map(Head, ("old", "new", "new against old", "p")),
    Head("verdict", left=True),
)
DIFFERING = ("kind", "contender", "name", "old", "new")
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
    sentences = [
        f"{verdict.capitalize()}: {_list_changes(rows)}."
        for verdict in (WORSE, FAILS_MORE, BETTER, FAILS_LESS)
        if len(rows := frame[frame["verdict"] == verdict])
    ]
    if not is_comparable(changes):
        sentences.insert(0, "Nothing can be compared.")
    elif not scores["verdict"].isin([WORSE, BETTER]).any():
        sentences.insert(0, "No score has changed significantly.")
    return " ".join([*sentences, _count_verdicts(scores["verdict"])])


def _count_verdicts(verdicts: pd.Series) -> str:
    """Count the scores of each verdict, in a sentence."""
    counts = verdicts.value_counts()
    words = {
        WORSE: "worse",
        BETTER: "better",
        SAME: "the same bit for bit",
        UNCHANGED: "without a significant change",
        UNJUDGED: "not to be judged",
        INCOMPARABLE: "not comparable",
    }
    parts = [f"{counts[verdict]:,} {word}" for verdict, word in words.items() if verdict in counts]
    total = len(verdicts)
    return f"Of {total:,} score{'s' * (total != 1)}: {', '.join(parts)}." if parts else "No score."


def _list_changes(rows: pd.DataFrame) -> str:
    """List changes of headline scores in words, and count the others."""
    main = (rows["kind"] == "runs") | (rows["name"].isin(HEADLINES) & (rows["view"] == ""))
    first = rows[main] if main.any() else rows
    words = list(map(_describe_change, first.head(NAMED).to_dict("records")))
    more = len(rows) - len(words)
    return ", ".join(words) + (f" and {more:,} more score{'s' * (more > 1)}" if more else "")


def _describe_change(row: dict[Any, Any]) -> str:
    """Describe a change in words: `gan FID ×1.31 [1.12, 1.54], p = 0.003`."""
    if row["kind"] == "runs":
        return f"{row['contender']} ({row['reason']})"
    name = name_score(row["name"], row["view"])
    return f"{row['contender']} {name} {show_change(row)} ({state_p(row['p_holm'])})"


def show_change(row: dict[Any, Any]) -> str:
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
    tests = [
        f"{name}, {_count_seeds(part)} a side, for {len(part):,} score{'s' * (len(part) > 1)}"
        for name, part in scores[scores["test"] != ""].groupby("test")
    ]
    return " ".join([CAPTION, f"Tests: {'; '.join(tests)}." if tests else "No test was made."])


def _count_seeds(rows: pd.DataFrame) -> str:
    counts = sorted({*rows["seeds_old"], *rows["seeds_new"]})
    return f"{' to '.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))} seeds"


def write_changes(changes: Changes) -> dict[str, bytes]:
    """Write the changes: `changes.csv` and `differences.csv`, both tidy, and `changes.md`."""
    return {
        "changes.csv": write_csv(changes.frame),
        "differences.csv": write_csv(changes.differences),
        "changes.md": _write_changes_markdown(changes),
    }


def _write_changes_markdown(changes: Changes) -> bytes:
    old, new = escape_markdown(changes.old), escape_markdown(changes.new)
    sections = [f"# Changes from {old} to {new}", escape_markdown(summarise_changes(changes))]
    for name, rows in _by_contender(changes.frame):
        table = Table(name, HEADER, [[_build_row(row) for row in rows]])
        sections += [f"## {escape_markdown(name)}", write_markdown_table(table)]
    sections.append(escape_markdown(explain_tests(changes)))
    if len(changes.differences):
        found = changes.differences[list(DIFFERING)].itertuples(index=False)
        table = _tabulate_differences("", DIFFERING, found)
        sections += ["## What else differs", write_markdown_table(table)]
    sections.append("\n".join(f"- {escape_markdown(note)}" for note in changes.notes))
    return ("\n\n".join(filter(None, sections)) + "\n").encode()


def _tabulate_differences(
    title: str, header: Iterable[str], rows: Iterable[Iterable[object]]
) -> Table:
    heads = [Head(name, left=True) for name in header]
    return Table(title, heads, [[[Cell(str(cell)) for cell in row] for row in rows]])


def _by_contender(frame: pd.DataFrame) -> Iterator[tuple[str, list[dict[Any, Any]]]]:
    for name, rows in frame.groupby("contender", sort=False):
        yield str(name), rows.to_dict("records")


def _build_row(row: dict[Any, Any], *, brief: bool = False) -> list[Cell]:
    """Build a row as a person reads it, with `HEADER`; a brief one without its reason."""
    verdict = NOT_SIGNIFICANT if row["verdict"] == UNCHANGED else row["verdict"]
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
    for name, rows in _by_contender(changes.frame):
        scored = any(row["kind"] == "score" for row in rows)
        if scored and all(row["verdict"] in {SAME, MACHINE} for row in rows):
            still.append(name)
        else:
            parts += [_show_contender(name, rows, width)]
    if still:
        names = ", ".join(still[:NAMED]) + (" …" if len(still) > NAMED else "")
        parts.append(Text(f"\nThe same in every score: {plain(names)}"))
    parts += _show_differences(changes.differences, width)
    parts += [Text(plain(note), style="dim") for note in (explain_tests(changes), *changes.notes)]
    style = "bold red" if is_worse(changes) or not is_comparable(changes) else "bold"
    return Group(*parts, Text(f"\n{plain(summarise_changes(changes))}", style=style))


def _show_contender(name: str, rows: Sequence[dict[Any, Any]], width: int) -> Group:
    """Lay out a contender's table; under it reasons, and how the rows that it leaves out fared."""
    shown = [_build_row(row, brief=True) for row in rows if _is_shown(row)]
    table = show_table(Table(shorten(plain(name), width), HEADER, [shown]))
    return Group(table, *(Text(plain(line), style="dim") for line in _footnotes(rows)), Text())


def _footnotes(rows: Sequence[dict[Any, Any]]) -> Iterator[str]:
    """Yield what a contender's table does not show."""
    reasons = {f"{r['verdict'].capitalize()}: {r['reason']}." for r in rows if r["reason"]}
    yield from sorted(reasons)
    left_out = Counter(r["verdict"] for r in rows if r["kind"] == "score" and not _is_shown(r))
    if left_out:
        words = (
            f"{n} {NOT_SIGNIFICANT if verdict == UNCHANGED else verdict}"
            for verdict, n in left_out.items()
        )
        yield f"Further scores: {', '.join(words)}."
    if machine := [row for row in rows if row["verdict"] == MACHINE]:
        words = (f"{name_score(row['name'])} {show_change(row)}" for row in machine)
        yield f"Not tested, since machines differ: {'; '.join(words)}."


def _is_shown(row: dict[Any, Any]) -> bool:
    """Return whether a terminal shows a row: a headline score, or another that has changed."""
    if row["kind"] == "score" and row["name"] in HEADLINES and not row["view"]:
        return True
    return row["verdict"] not in {SAME, UNCHANGED, UNJUDGED, INCOMPARABLE, MACHINE}


PARTS = (5, 3, 5, 5)
"""Of which part of the terminal's width each column of `DIFFERING` is at most."""


def _show_differences(differences: pd.DataFrame, width: int) -> Iterator[RichTable | Text]:
    """Lay out settings and environments that differ, a table of each."""
    titles = {"setting": "Settings that differ", "environment": "Versions and hardware that differ"}
    for kind, rows in differences.groupby("kind", sort=False):
        found = (
            [shorten(plain(str(cell)), width // n) for cell, n in zip(row, PARTS, strict=True)]
            for row in rows[list(DIFFERING[1:])].head(NAMED).itertuples(index=False)
        )
        yield show_table(_tabulate_differences(titles[str(kind)], DIFFERING[1:], found))
        if len(rows) > NAMED:
            yield Text(f"and {len(rows) - NAMED:,} more", style="dim")
