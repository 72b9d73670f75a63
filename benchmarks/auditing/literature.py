"""What papers found of metrics (`literature.toml`), compared with an audit's verdicts.

Where an audit differs, the table says so: the data, the extractor or the sample size may be others
than the paper's.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from benchmarks.core.text import count, escape_markdown, join_cells, join_words

SEEN, UNSEEN = {"sees", "sees late"}, {"blind", "misled"}
EXPECTED = {
    "seen": SEEN,
    "unseen": UNSEEN,  # the score does not get worse: it stays, or even gets better
    # Outliers are a minority: that a set of nothing else is seen does not contradict the paper.
    "unseen or late": UNSEEN | {"sees late"},
    "unbiased": {"unbiased"},
    "nearly unbiased": {"unbiased", "slightly biased"},
    "biased": {"biased", "slightly biased"},
}
"""Verdicts that agree with a claim, by what it expects."""
SIZE = "sample size"
"""Stands for a fault where a claim is about the floor's bias in the number of images."""
ERRORS = 3.0
"""Standard errors by which two floors differ significantly, given many comparisons."""

ANSWERS = {True: "agrees", False: "differs", None: "open"}


@dataclass(frozen=True)
class Check:
    """The verdicts for which a claim holds.

    Attributes:
        faults: faults by name, or `SIZE`.
        expected: a key of `EXPECTED`.
        extractors: whether all have to agree on every fault, or any one on any fault does, or
            only the first that the metric was audited with has to.
    """

    metric: str
    faults: Sequence[str]
    expected: str
    extractors: Literal["all", "any", "main"] = "all"


@dataclass(frozen=True)
class Claim:
    """A finding of the literature.

    Attributes:
        statement: the finding in one clause.
        source: the papers, and the places in them.
        looked_up: whether these places were read for this table (in the paper, its authors'
            documentation or a verbatim quotation); otherwise they are cited from knowledge of it.
        checks: what has to be found, all of it; none where no fault of the audit tests the claim.
    """

    statement: str
    source: str
    looked_up: bool
    checks: tuple[Check, ...]


_CONTENT = tomllib.loads(Path(__file__).with_name("literature.toml").read_text("utf-8"))
PAPERS: dict[str, str] = _CONTENT["papers"]
"""The papers with their numbers at arXiv."""
CLAIMS = TypeAdapter(tuple[Claim, ...]).validate_python(_CONTENT["claims"])


def compare_claims(verdicts: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Compare every claim with an audit.

    Args:
        verdicts: of `verdicts.judge`; its first rows are those of the main extractor.
        floors: of `verdicts.floors`.

    Returns:
        A row a claim with the columns statement, source (with * where its places were not looked
        up), agrees (True, False, or None where a verdict that matters is undecided or was not
        measured) and found, in words.
    """
    columns = ["metric", "extractor", "fault", "verdict"]
    found = pd.concat([verdicts[columns], judge_sizes(floors)[columns]], ignore_index=True)
    rows = []
    for claim in CLAIMS:
        # One check that differs decides, one that is open leaves the claim open.
        decisions = [decide(check, found) for check in claim.checks]
        agrees = True if decisions and None not in decisions else None
        agrees = False if False in decisions else agrees
        source = claim.source + ("" if claim.looked_up else " *")
        rows.append((claim.statement, source, agrees, describe_tallies(claim.checks, found)))
    frame = pd.DataFrame(rows, columns=["statement", "source", "agrees", "found"])
    return frame.astype({"agrees": object})


def judge_sizes(floors: pd.DataFrame) -> pd.DataFrame:
    """Judge for every metric whether its floor depends on the number of images.

    The floor of a quarter of the images is compared with that of all of them. It is unbiased where
    the two agree within `ERRORS` standard errors, slightly biased where they differ by less than
    one set's standard deviation, and biased otherwise.

    Returns:
        The columns metric, extractor, fault (`SIZE`) and verdict.
    """
    # Floors of fewer images are there for the sets that a fault shrinks.
    largest = floors.sort_values("n", kind="stable").drop_duplicates(
        ["metric", "extractor", "size"], keep="last"
    )
    pairs = largest[largest["size"] == "full"].merge(
        largest[largest["size"] == "quarter"], on=["metric", "extractor"], suffixes=("", "_quarter")
    )
    shift = (pairs["mean_quarter"] - pairs["mean"]).abs()
    error = np.sqrt(
        pairs["deviation"] ** 2 / pairs["splits"]
        + pairs["deviation_quarter"] ** 2 / pairs["splits_quarter"]
    )
    verdict = np.select(
        [~np.isfinite(shift + error), shift <= ERRORS * error, shift < pairs["deviation"]],
        ["undecided", "unbiased", "slightly biased"],
        "biased",
    )
    return pairs[["metric", "extractor"]].assign(fault=SIZE, verdict=verdict)


def decide(check: Check, found: pd.DataFrame) -> bool | None:
    """Return whether a check's verdicts agree with it; None where they leave it open."""
    cells = _select_verdicts(check, found)
    agree = cells["verdict"].isin(EXPECTED[check.expected])
    undecided = cells["verdict"] == "undecided"
    if check.extractors == "any":
        if agree.any():
            return True
    elif (~agree & ~undecided).any():
        return False
    if undecided.any() or set(check.faults) - set(cells["fault"]):
        return None
    return check.extractors != "any"


def describe_tallies(checks: Iterable[Check], found: pd.DataFrame) -> str:
    """Describe what was found, as in `blind (3 of 3 extractors)`."""
    parts: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        cells = _select_verdicts(check, found)
        for fault in check.faults:
            words = _tally_verdicts(cells.loc[cells["fault"] == fault, "verdict"], check.extractors)
            parts.setdefault((check.metric, words), []).append(fault)
    if not parts:
        return "no fault of the audit tests it"
    if len(parts) == 1:
        return next(iter(parts))[1]
    return "; ".join(
        f"{metric}, {join_words(faults)}: {words}" for (metric, words), faults in parts.items()
    )


def write_table(results: Mapping[str, pd.DataFrame]) -> str:
    """Write claims, their sources and what audits found as a table in Markdown.

    Below it stand the meaning of *, where it occurs, and links to the papers.

    Args:
        results: `compare_claims` of each audit, by the name of its data set.
    """
    frames = list(results.values())
    lines = [join_cells(["claim", "source", *map(escape_markdown, results)])]
    lines.append(join_cells(["---"] * (2 + len(frames))))
    for rows in zip(*(frame.to_dict("records") for frame in frames), strict=True):
        found = [f"{ANSWERS[row['agrees']]}: {row['found']}" for row in rows]
        cells = rows[0]["statement"], rows[0]["source"], *found
        lines.append(join_cells(map(escape_markdown, cells)))
    if any(" \\* |" in line for line in lines):
        lines += ["", r"\* The paper was not at hand: its place is cited from knowledge of it."]
    links = (f"[{escape_markdown(p)}](https://arxiv.org/abs/{n})" for p, n in PAPERS.items())
    return "\n".join([*lines, "", f"The papers: {', '.join(links)}."]) + "\n"


def _select_verdicts(check: Check, found: pd.DataFrame) -> pd.DataFrame:
    """Select the rows that a check asks about, one a fault and an extractor."""
    cells = found[(found["metric"] == check.metric) & found["fault"].isin(check.faults)]
    if check.extractors == "main" and len(cells):
        return cells[cells["extractor"] == cells["extractor"].iloc[0]]
    return cells


def _tally_verdicts(verdicts: pd.Series, extractors: str) -> str:
    if verdicts.empty:
        return "not measured"
    if extractors == "main":
        return f"{verdicts.iloc[0]} (main extractor)"
    whole = count(len(verdicts), "extractor")
    return ", ".join(f"{word} ({n} of {whole})" for word, n in Counter(verdicts).items())
