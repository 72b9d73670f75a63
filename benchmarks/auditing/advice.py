"""Recommendations from an audit: which score to trust for what, with how many images and seeds.

Nothing is stated that was not measured: where the number of images is computed by the rule that
spreads fall as 1/√n, the sentence says so, and so where the spread over seeds is not known.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from benchmarks.analysis.audits import Audit, name_recipe
from benchmarks.auditing.ladders import LEVEL
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import count, join_words, plain, round_count, show_number
from benchmarks.records.schema import EXTERNAL, SCORED
from benchmarks.reporting.audits import ASPECTS, describe_verdicts
from benchmarks.statistics.differences import ALPHA, FEWEST_SEEDS, MOST_SEEDS, POWER, seeds_for

OVERALL = ("fidelity", "classes", "variety")
"""The aspects of overall quality."""
WORTH = {"sees": 1.0, "sees late": 0.5, "undecided": 0.0, "blind": 0.0, "misled": -1.0}
USES = {
    "fidelity": "the fidelity of single images",
    "classes": "the shares of classes",
    "variety": "variety within classes",
    "copying": "copies of training images",
    "shape": "the shape of the features' distribution",
}
DIFFERENCES = (0.05, 0.1, 0.2, 0.5)
BEYOND = 10.0
"""Deviations of the floor from which on a level is well beyond it."""
ALIKE = 0.05
"""Of the faults that metrics claim to see, the part in which alike extractors differ."""
MOST_WARNINGS, MOST_FAULTS = 4, 4
TIE = 0.1
"""Scores whose worth differs by less than this an aspect are as good as each other."""
SCORE = ["metric", "extractor"]


def advise(audit: Audit, runs: pd.DataFrame | None = None) -> list[str]:
    """Write in plain sentences what the audit means for comparisons on its data set.

    These are: what to trust for overall quality and for each aspect, which extractor, what not to
    trust and for what, how many images and how many seeds tell two models apart.

    Args:
        audit: what was measured.
        runs: `frames.Frames.runs` of the suite, for the spread over seeds.
    """
    table = rate(audit)
    if table.empty:
        return ["No score of sets of images was audited, so there is none to recommend."]
    chosen = choose_score(table, OVERALL)
    lines = []
    if chosen is not None:
        lines.append(_recommend(audit, chosen, "overall quality", OVERALL))
    for aspect, use in USES.items():
        best = choose_score(table, (aspect,))
        if best is not None and not (best == chosen and aspect in OVERALL):
            lines.append(_recommend(audit, best, use, (aspect,)))
        elif best is None and (audit.verdicts["aspect"] == aspect).any():
            lines.append(f"No score that was audited sees {ASPECTS[aspect]}.")
    lines += [*_compare_extractors(audit), *_warn(audit)]
    return lines if chosen is None else [*lines, *_plan(audit, chosen, runs)]


def rate(audit: Audit) -> pd.DataFrame:
    """Rate each score of sets by its verdicts: a row a metric, extractor and aspect.

    Returns:
        metric, extractor, aspect, promised (whether the metric claims to see the aspect) and worth
        (the mean of `WORTH`).
    """
    sets = audit.verdicts[audit.verdicts["extractor"] != ""]
    marked = sets.assign(worth=sets["verdict"].map(WORTH), promised=sets["promise"] == "sees")
    columns = ["promised", "worth"]
    return marked.groupby([*SCORE, "aspect"], sort=False)[columns].mean().reset_index()


def choose_score(table: pd.DataFrame, aspects: Sequence[str]) -> tuple[str, str] | None:
    """Choose the score that sees the most of some aspects, and sees it early.

    Among those that claim to see as many of the aspects as any does; each aspect counts the same.
    Of those within `TIE` of the best, the first in the audit's order: small differences are luck.

    Returns:
        Metric and extractor, None where nothing is seen.
    """
    part = table[table["aspect"].isin(aspects)]
    if part.empty:
        return None
    sums = part.groupby(SCORE, sort=False)[["promised", "worth"]].sum()
    sums = sums[sums["promised"] == sums["promised"].max()].round(9)
    best = sums[sums["worth"] >= sums["worth"].max() - TIE * len(aspects)]
    if sums["worth"].max() <= 0 or sums["promised"].iloc[0] <= 0:
        return None
    metric, extractor = best.index[0]
    return str(metric), str(extractor)


def _recommend(audit: Audit, chosen: tuple[str, str], use: str, aspects: Sequence[str]) -> str:
    """Recommend a score for a use, with the faults that it sees and that it does not."""
    rows = _select(audit.verdicts, chosen)
    rows = rows[rows["aspect"].isin(aspects)]
    seen = rows["verdict"].isin(["sees", "sees late"])
    late = int((rows["verdict"] == "sees late").sum())
    text = f"For {use} trust {_name(audit, *chosen)}: it sees {_part(int(seen.sum()), len(rows))}"
    if late:
        text += ", but late" if late == seen.sum() else f", {late} of them late"
    failed = _list(audit, rows[~seen])
    return f"{text}{f', and is {failed}' if failed else ''}."


def _part(seen: int, total: int) -> str:
    """State how many of the faults that were tried are seen."""
    if total == 1:
        return "the one fault that was tried"
    if seen == total:
        return f"{'both' if total == 2 else f'all {total}'} faults that were tried"
    return f"{seen} of {total} faults that were tried"


def _select(table: pd.DataFrame, score: tuple[str, str]) -> pd.DataFrame:
    """Select the rows of a table of the audit that are about a score."""
    return table[(table["metric"] == score[0]) & (table["extractor"] == score[1])]


def _list(audit: Audit, rows: pd.DataFrame) -> str:
    """List verdicts in words, equal ones together: `blind to blur and shift, misled by noise`."""
    titles = {fault["name"]: plain(fault["title"]) for fault in audit.about["faults"]}
    found = zip(rows["verdict"], rows["fault"].map(titles), strict=True)
    return ", ".join(describe_verdicts(found, MOST_FAULTS))


def _name(audit: Audit, metric: str, *extractors: str) -> str:
    """Return a score under some extractors in words: `Density (random, pixels)`."""
    symbols = {known["name"]: plain(known["symbol"]) for known in audit.about["metrics"]}
    shown = ", ".join(plain(name_recipe(extractor)) for extractor in extractors if extractor)
    return f"{symbols[metric]} ({shown})" if shown else symbols[metric]


def _compare_extractors(audit: Audit) -> list[str]:
    """Compare the extractors by how many of the faults that metrics claim to see are seen."""
    sets = audit.verdicts.query("extractor != '' and promise == 'sees'")
    common = sets.groupby(["metric", "fault"])["extractor"].transform("nunique")
    sets = sets[common == sets["extractor"].nunique()]
    if sets["extractor"].nunique() < 2:
        return []
    kept = (sets["kept"] == True).groupby(sets["extractor"], sort=False).sum()  # noqa: E712
    total, names = len(sets) // len(kept), {e: plain(name_recipe(str(e))) for e in kept.index}
    shares = [f"{n} under {names[e]}" for e, n in kept.sort_values(ascending=False).items()]
    best = join_words([names[e] for e in kept.index[kept == kept.max()]], MOST_FAULTS)
    alike = kept.max() - kept.min() <= ALIKE * total
    found = "The extractors do about equally well" if alike else f"Of the extractors prefer {best}"
    return [f"{found}: of {total} faults that metrics claim to see, {join_words(shares)} are seen."]


def _warn(audit: Audit) -> list[str]:
    """List the scores that fail for faults they claim to see, the most failures first."""
    verdicts = audit.verdicts
    failed = verdicts[(verdicts["promise"] == "sees") & (verdicts["kept"] == False)]  # noqa: E712
    alike: dict[tuple[str, str, str, int], list[str]] = {}
    for (metric, extractor), rows in failed.groupby(SCORE, sort=False):
        uses = join_words([USES[aspect] for aspect in rows["aspect"].unique()], MOST_FAULTS)
        key = str(metric), uses, _list(audit, rows), len(rows)
        alike.setdefault(key, []).append(str(extractor))
    keys = sorted(alike, key=lambda key: -key[-1] * len(alike[key]))
    lines = [
        f"Do not trust {_name(audit, metric, *alike[key])} alone for {uses}: {found}."
        for key in keys[:MOST_WARNINGS]
        for metric, uses, found, _ in [key]
    ]
    left = sum(len(alike[key]) for key in keys[MOST_WARNINGS:])
    if left == 1:
        lines.append("1 further score fails for a fault that it claims to see.")
    elif left:
        lines.append(f"{left:,} further scores fail for faults that they claim to see.")
    return lines


def _plan(audit: Audit, chosen: tuple[str, str], runs: pd.DataFrame | None) -> list[str]:
    """State how many images and seeds it takes to distinguish two models by a score."""
    spread = relative_spread(audit, chosen, "full")
    name, samples = _name(audit, *chosen), audit.about["samples"]
    if not spread > 0:
        return [
            f"How many images {name} needs to distinguish two models is not known: no level was far"
            " enough beyond its floor."
        ]
    return [
        f"At {samples:,} images {name} of damaged sets varies by {_percent(spread)} from set to set"
        f"{_check_rule(audit, chosen, spread)}. {_needs(audit, spread)}",
        *_limit(audit, chosen),
        _state_seeds(audit, chosen, spread, runs),
    ]


def _needs(audit: Audit, spread: float) -> str:
    """State how many images it takes; fewer than were tried are not promised."""
    samples, quarter = audit.about["samples"], audit.about["quarter"]
    needed = {x: samples_for(x, spread, samples) for x in DIFFERENCES}
    few = [x for x, n in needed.items() if n <= quarter]
    texts = [f"{round_count(n):,} for {_percent(x)}" for x, n in needed.items() if n > quarter]
    parts = [f"about {join_words(texts)}"] if texts else []
    if few:
        more = " and more" if len(few) > 1 else ""
        parts.append(f"{quarter:,}, the fewest that were tried, do for {_percent(few[0])}{more}")
    return (
        "By the rule that this falls as 1/√n, this many images per model distinguish two models"
        f" by one run each (power {POWER:g}, level {_percent(ALPHA)}) whose scores differ by:"
        f" {'; '.join(parts)}."
    )


def relative_spread(audit: Audit, score: tuple[str, str], size: str) -> float:
    """Deviation of one set's score as a share of the score, over levels well beyond the floor.

    The median over all such levels of all faults whose sets keep their size. The reference varies
    along, so that it is rather too large for two models that are compared with one reference.
    NaN where there is no such level.
    """
    about = audit.about
    whole = about["repetitions"]
    repetitions = whole if size == "full" else about.get("quarter_repetitions") or whole
    if repetitions < FEWEST_SEEDS:
        return math.nan
    rows = _select(audit.curves, score)
    well_beyond = (rows["level"] > 0) & (rows["excess"] > BEYOND) & (rows["mean"] != 0)
    rows = rows[well_beyond & (rows["size"] == size)]
    rows = rows.loc[np.isfinite(rows[["mean", "low", "high"]].to_numpy(dtype=float)).all(axis=1)]
    if rows.empty:
        return math.nan
    half = (rows["high"] - rows["low"]) / 2 / stdtrit(repetitions - 1, (1 + LEVEL) / 2)
    return float((half * math.sqrt(repetitions) / rows["mean"].abs()).median())


def samples_for(difference: float, spread: float, samples: int) -> int:
    """Return the images at which scores v and (1 + difference) v differ significantly, a run each.

    With deviations of `spread` times the scores at so many `samples`, falling as 1/√n: by the
    normal test at 5 %, two-sided, with power 0.8.
    """
    quantiles = float(ndtri(1 - ALPHA / 2) + ndtri(POWER))
    variance = spread**2 * (1 + (1 + difference) ** 2)
    return math.ceil(samples * variance * quantiles**2 / difference**2)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _check_rule(audit: Audit, chosen: tuple[str, str], spread: float) -> str:
    """State how much more a score varies at a quarter of the images, and by the rule."""
    small = relative_spread(audit, chosen, "quarter")
    if not small > 0:
        return ""
    expected = math.sqrt(audit.about["samples"] / audit.about["quarter"])
    ratio = f"{small / spread:.2g}"
    times = "as much" if ratio in {"1", "1.0"} else f"{ratio} times as much"
    return f", {times} at {audit.about['quarter']:,} (by the rule {expected:.2g} times)"


def _limit(audit: Audit, chosen: tuple[str, str]) -> list[str]:
    """State below which scores no difference is significant, whatever the number of seeds."""
    rows, samples = _select(audit.floors, chosen), audit.about["samples"]
    rows = rows[(rows["size"] == "full") & (rows["n"] == samples)]
    if rows.empty:
        return []
    floor = rows.iloc[0]
    return [
        f"Real images score {show_number(floor['low'])} to {show_number(floor['high'])} against"
        f" real ones at {samples:,} images: a score in this range shows no difference from the"
        " data, and two such scores none between models."
    ]


def _state_seeds(
    audit: Audit, chosen: tuple[str, str], spread: float, runs: pd.DataFrame | None
) -> str:
    """State how many seeds it takes, by what is known of the spread over seeds."""
    deviation, contenders = seed_spread(chosen, runs)
    taken = deviation if deviation > 0 else spread
    needed = {x: seeds_for(math.log1p(x) / taken) for x in DIFFERENCES}
    numbers = join_words(
        [
            f"{f'over {MOST_SEEDS:,}' if n is None else f'{round_count(n):,}'} for {_percent(x)}"
            for x, n in needed.items()
        ]
    )
    name = _name(audit, *chosen)
    if deviation > 0:
        return (
            f"Over seeds of one model {name} varies by {_percent(math.expm1(deviation))} in this"
            f" suite ({count(contenders, 'contender')} with several seeds): two models that differ"
            f" by so much take about so many seeds each, {numbers}."
        )
    return (
        f"How much {name} varies over seeds is not known here. If only the images sampled differed,"
        f" {audit.about['samples']:,} a run, so many runs of each model would do: {numbers}; what"
        " seeds add takes more."
    )


def seed_spread(score: tuple[str, str], runs: pd.DataFrame | None) -> tuple[float, int]:
    """Deviation of a score's logarithm over seeds within contenders, pooled; and of how many.

    NaN where no contender has two runs with positive scores under that extractor.
    """
    metric, extractor = score
    if runs is None or runs.empty:
        return math.nan, 0
    runs = runs[~runs["family"].isin((CALIBRATION, EXTERNAL))]
    named = "extractor" in runs and (runs["extractor"] == extractor)
    column, own = metric, runs[named & runs["status"].isin(SCORED)]
    if own.empty and metric == "fid":
        column, own = f"fid@{extractor}", runs
    if column not in own:
        return math.nan, 0
    values = own[column].astype(float)
    kept = own[(values > 0) & np.isfinite(values)]
    logs = pd.Series(np.log(kept[column].to_numpy(dtype=float)))
    groups = logs.groupby(kept["contender"].to_numpy(dtype=object))
    freedom = (groups.size() - 1).clip(lower=0)
    if freedom.sum() == 0:
        return math.nan, 0
    variance = (groups.var().fillna(0.0) * freedom).sum() / freedom.sum()
    return math.sqrt(variance), int((freedom > 0).sum())
