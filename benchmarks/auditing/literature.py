"""What papers found of metrics, held against an audit's verdicts.

Every expectation comes from its paper and was written down before any audit was looked at. Where an
audit differs, the table says so: the data, the extractor or the sample size may be others than the
paper's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from benchmarks.core.text import count, escape_markdown, join_cells, join_words

SEEN = frozenset({"sees", "sees late"})
UNSEEN = frozenset({"blind", "misled"})
"""The score does not get worse: it stays, or even gets better."""
UNSEEN_OR_LATE = UNSEEN | {"sees late"}
"""Outliers are a minority: that a set of nothing else is seen does not speak against the paper."""

SIZE = "sample size"
"""Stands for a fault where a claim is about the floor's bias in the number of images."""
ERRORS = 3.0
"""Standard errors by which two floors differ beyond chance: few of many comparisons by luck."""

PAPERS = {
    "Alaa et al. 2022": "2102.08921",
    "Barratt & Sharma 2018": "1801.01973",
    "Bińkowski et al. 2018": "1801.01401",
    "Chong & Forsyth 2020": "1911.07023",
    "Heusel et al. 2017": "1706.08500",
    "Jiralerspong et al. 2023": "2302.04440",
    "Kurach et al. 2019": "1807.04720",
    "Kynkäänniemi et al. 2019": "1904.06991",
    "Lucic et al. 2018": "1711.10337",
    "Naeem et al. 2020": "2002.09797",
    "Sajjadi et al. 2018": "1806.00035",
    "Salimans et al. 2016": "1606.03498",
    "Stein et al. 2023": "2306.04675",
    "Xu et al. 2018": "1806.07755",
}
"""The papers' numbers at arXiv."""

ANSWERS = {True: "agrees", False: "differs", None: "open"}


@dataclass(frozen=True)
class Check:
    """What an audit has to find for a claim to hold.

    Args:
        metric: what the claim is about.
        faults: faults by name, or `SIZE`.
        verdicts: those that agree with the claim; for `SIZE` of unbiased, slightly biased, biased.
        extractors: whether all have to agree on every fault, or any one on any fault does, or
            only the first that the metric was audited with has to.
    """

    metric: str
    faults: tuple[str, ...]
    verdicts: frozenset[str]
    extractors: Literal["all", "any", "main"] = "all"


@dataclass(frozen=True)
class Claim:
    """A finding of the literature.

    Args:
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


CLAIMS = (
    Claim(
        "The Inception Score does not see variety lost within classes",
        "Chong & Forsyth 2020, section 1; Kurach et al. 2019, section 2.4",
        True,
        (Check("inception_score", ("shrink",), UNSEEN),),
    ),
    Claim(
        "The Inception Score does not see copies of training images",
        "Barratt & Sharma 2018, section 4.2.3",
        True,
        (Check("inception_score", ("memoriser",), UNSEEN),),
    ),
    Claim(
        "The Inception Score falls as classes are dropped one after another",
        "Salimans et al. 2016, section 4: the entropy of the average class distribution",
        True,
        (Check("inception_score", ("drop",), SEEN),),
    ),
    Claim(
        "FID rises with noise, with blur and with images of something else",
        "Heusel et al. 2017, figures 3 and A8, appendix A1",
        True,
        (Check("fid", ("noise", "blur", "foreign"), SEEN, "main"),),
    ),
    Claim(
        "FID sees dropped classes, and variety lost within classes",
        "Sajjadi et al. 2018, abstract; Kurach et al. 2019, section 2.4, after Lucic et al. 2018",
        True,
        (Check("fid", ("drop", "shrink"), SEEN),),
    ),
    Claim(
        "FID does not see copies of training images",
        "Jiralerspong et al. 2023, abstract and section 1; Stein et al. 2023, abstract",
        True,
        (Check("fid", ("memoriser",), UNSEEN),),
    ),
    Claim(
        "FID sees the features' mean and covariance alone; the kernel distance sees skewness too",
        "Heusel et al. 2017, text at figure 3; Bińkowski et al. 2018, section 4",
        True,
        (Check("fid", ("gaussian",), UNSEEN), Check("kid", ("gaussian",), SEEN, "any")),
    ),
    Claim(
        "The kernel distance sees what FID sees: noise, blur, images of something else, dropped "
        "classes",
        "Bińkowski et al. 2018, section 4 and appendix E; Xu et al. 2018, abstract",
        True,
        (
            Check("kid", ("noise", "blur", "foreign"), SEEN, "main"),
            Check("kid", ("drop",), SEEN),
        ),
    ),
    Claim(
        "FID is biased in the number of images",
        "Bińkowski et al. 2018, section 4, figure 1 and appendix D; Chong & Forsyth 2020, abstract",
        True,
        (Check("fid", (SIZE,), frozenset({"biased", "slightly biased"})),),
    ),
    Claim(
        "The kernel distance has no bias in the number of images",
        "Bińkowski et al. 2018, section 4 and figure 1",
        True,
        (Check("kid", (SIZE,), frozenset({"unbiased"})),),
    ),
    Claim(
        "FID extrapolated to infinitely many images is effectively unbiased",
        "Chong & Forsyth 2020, abstract",
        True,
        (Check("fid_infinity", (SIZE,), frozenset({"unbiased", "slightly biased"})),),
    ),
    Claim(
        "Precision does not see dropped classes",
        "Kynkäänniemi et al. 2019, eq. 2: a mean over generated images, each taken alone",
        False,
        (Check("precision", ("drop",), UNSEEN),),
    ),
    Claim(
        "Precision and density fall as noise and images of something else are mixed in",
        "Naeem et al. 2020, the definitions of precision and density (also in prdc's manual)",
        True,
        (
            Check("precision", ("static", "foreign"), SEEN),
            Check("density", ("static", "foreign"), SEEN),
        ),
    ),
    Claim(
        "Recall does not see outliers among generated images",
        "Naeem et al. 2020, the figure of recall against coverage (also in prdc's manual)",
        True,
        (Check("recall", ("static", "foreign"), UNSEEN_OR_LATE),),
    ),
    Claim(
        "Coverage sees outliers among generated images, as it trusts real neighbourhoods alone",
        "Naeem et al. 2020, the figure of recall against coverage (also in prdc's manual)",
        True,
        (Check("coverage", ("static", "foreign"), SEEN),),
    ),
    Claim(
        "Density is not raised by outliers among real images, as precision is",
        "Naeem et al. 2020, the figure of precision against density (also in prdc's manual)",
        True,
        (),
    ),
    Claim(
        "Recall and coverage fall as classes are dropped one after another",
        "Naeem et al. 2020, the mode dropping experiments",
        False,
        (Check("recall", ("drop",), SEEN), Check("coverage", ("drop",), SEEN)),
    ),
    Claim(
        "Authenticity sees copies of training images",
        "Alaa et al. 2022, the definition of authenticity",
        False,
        (Check("authenticity", ("memoriser",), SEEN),),
    ),
)


def compare(verdicts: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Hold every claim against an audit.

    Args:
        verdicts: of `verdicts.judge`; the order of its rows says which extractor is the main one.
        floors: of `verdicts.floors`.

    Returns:
        A row a claim with the columns statement, source (with * where its places were not looked
        up), agrees (True, False, or None where a verdict that matters is undecided or was not
        measured) and found, in words.
    """
    columns = ["metric", "extractor", "fault", "verdict"]
    found = pd.concat([verdicts[columns], judge_sizes(floors)[columns]], ignore_index=True)
    rows = [
        {
            "statement": claim.statement,
            "source": claim.source + ("" if claim.looked_up else " *"),
            "agrees": combine([decide(check, found) for check in claim.checks]),
            "found": describe(claim.checks, found),
        }
        for claim in CLAIMS
    ]
    return pd.DataFrame(rows).astype({"agrees": object})


def judge_sizes(floors: pd.DataFrame) -> pd.DataFrame:
    """Say of every metric whether its floor depends on how many images there are.

    The floor of the quarter of the images is held against that of all of them. It is unbiased where
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
    """Say whether a check's verdicts agree with it; None where they leave it open."""
    cells = _select(check, found)
    agree = cells["verdict"].isin(check.verdicts)
    undecided = cells["verdict"] == "undecided"
    if check.extractors == "any":
        if agree.any():
            return True
    elif (~agree & ~undecided).any():
        return False
    if undecided.any() or set(check.faults) - set(cells["fault"]):
        return None
    return check.extractors != "any"


def combine(decisions: Sequence[bool | None]) -> bool | None:
    """Take several checks together: one that differs decides, one that is open leaves it open."""
    if False in decisions:
        return False
    return True if decisions and None not in decisions else None


def describe(checks: Iterable[Check], found: pd.DataFrame) -> str:
    """Say in words what was found, as in `blind (3 of 3 extractors)`."""
    parts: dict[tuple[str, str], list[str]] = {}
    for check in checks:
        cells = _select(check, found)
        for fault in check.faults:
            words = _tally(cells.loc[cells["fault"] == fault, "verdict"], check.extractors)
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

    Args:
        results: `compare` of each audit, by the name of its data set.

    Returns:
        The table; below it what * stands for, where it occurs, and links to the papers.
    """
    frames = list(results.values())
    lines = [join_cells(["claim", "source", *map(escape_markdown, results)])]
    lines.append(join_cells(["---"] * (2 + len(frames))))
    for place, claim in enumerate(frames[0].itertuples() if frames else ()):
        cells = [_answer(frame.iloc[place]) for frame in frames]
        lines.append(
            join_cells(escape_markdown(str(c)) for c in (claim.statement, claim.source, *cells))
        )
    if any(" \\* |" in line for line in lines):
        lines += ["", r"\* The paper was not at hand: its place is cited from knowledge of it."]
    links = (f"[{escape_markdown(p)}](https://arxiv.org/abs/{n})" for p, n in PAPERS.items())
    return "\n".join([*lines, "", f"The papers: {', '.join(links)}."]) + "\n"


def _answer(row: pd.Series) -> str:
    return f"{ANSWERS[row['agrees']]}: {row['found']}"


def _select(check: Check, found: pd.DataFrame) -> pd.DataFrame:
    # The rows that a check asks about, one a fault and an extractor.
    cells = found[(found["metric"] == check.metric) & found["fault"].isin(check.faults)]
    if check.extractors == "main" and len(cells):
        return cells[cells["extractor"] == cells["extractor"].iloc[0]]
    return cells


def _tally(verdicts: pd.Series, extractors: str) -> str:
    if verdicts.empty:
        return "not measured"
    if extractors == "main":
        return f"{verdicts.iloc[0]} (main extractor)"
    whole = count(len(verdicts), "extractor")
    return ", ".join(f"{word} ({n} of {whole})" for word, n in Counter(verdicts).items())
