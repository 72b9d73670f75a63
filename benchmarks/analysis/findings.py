"""What the scores say, in words: who leads, how sure that is, and what to choose.

No sentence is stronger than the tests of `statistics` behind it. What they find is called beyond
chance; what they do not find is called open, and never equal.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.analysis.marks import UNMARKED, Marks, state_audit
from benchmarks.analysis.traits import PAIRS, name_route, name_size
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import join_words, plain, show_number
from benchmarks.records.schema import EXTERNAL, SCORED
from benchmarks.statistics.differences import ALPHA, FEWEST_SEEDS, MOST_SEEDS, POWER, seeds_for
from benchmarks.statistics.rankings import compare_contenders, rank_intervals
from benchmarks.statistics.variance import split_variance, splits_logarithms

NAMED = 4
"""Contenders named in a row before the others are only counted."""
ADVICE = 3
"""Sentences at most on whom to choose; what is to be kept in mind is never cut off."""
VERBS = {"skipped": "had to be skipped"}
PLANNED = (
    f"The seeds that would be needed find the observed difference with probability {POWER:g}, given"
    " the observed spreads: from few seeds, a rough guide."
)
EXAMPLE = 3.0
"""The difference, in spreads over seeds, that the advice for suites of one seed goes by."""


class Headline(NamedTuple):
    """How a score is spoken of: its symbol, whether its best is lowest, what its leader does."""

    symbol: str
    end: str
    leads: str
    use: str


WORDS = {
    "fid": Headline("FID", "lowest", "generates closest to the data (FID {})", "generation"),
    "inception_score": Headline(
        "Inception Score", "highest", "has the highest Inception Score ({})", "generation"
    ),
    "reconstruction_mse": Headline(
        "MSE", "lowest", "reconstructs most closely (MSE {})", "reconstruction"
    ),
}


@dataclass(frozen=True)
class Finding:
    """What is known about the contenders by one score.

    Attributes:
        metric: the score, of `WORDS`.
        headline: the leader and how sure its lead is, in one sentence.
        details: further sentences, the most important first.
        ranking: `rank_intervals`, with the columns uses_source, runs (how many there were in all),
            unscored (how many of them have no score) and collapsed.
        pairs: `compare_contenders`.
        flips: the extractors by which contenders that differ beyond chance come in another order.
        failures: for what its audit failed, as `Marks.state` has it.
        refusal: why nobody is ranked by it, where an audit is required or no two reconstruct alike;
            ranking and pairs are empty then.
        route: of reconstructions, by which one those that are ranked reconstruct.
        code_size: likewise, from codes of how many numbers.
    """

    metric: str
    headline: str
    details: list[str]
    ranking: pd.DataFrame
    pairs: pd.DataFrame
    flips: list[str] = field(default_factory=list)
    failures: str = ""
    refusal: str = ""
    route: str = ""
    code_size: int | None = None

    @property
    def words(self) -> Headline:
        """How the score is spoken of."""
        return WORDS[self.metric]

    @property
    def leader(self) -> str:
        """The contender with the best mean."""
        return str(self.ranking["contender"].iloc[0])

    @property
    def certain(self) -> bool:
        """Whether the leader is better than everybody else beyond chance."""
        return len(self.ranking) > 1 and bool(self.ranking["rank_high"].iloc[0] == 1)

    @property
    def among(self) -> str:
        """What those that are ranked do in common: `encode and decode (codes of 16 numbers)`."""
        if self.code_size is None:
            return ""
        return f"{name_route(self.route)} ({name_size(self.code_size)})"

    @property
    def use(self) -> str:
        """What its leader is to be chosen for."""
        return f"{self.words.use}{self.among and f' among models that {self.among}'}"

    @property
    def scale(self) -> str:
        """The score, and among whom it ranks."""
        return f"{self.words.symbol}{self.among and f' among models that {self.among}'}"

    @property
    def led_by_translator(self) -> bool:
        """Whether the leader starts from real images."""
        return bool(self.ranking["uses_source"].iloc[0])

    @property
    def unbeaten(self) -> list[str]:
        """Those whom nobody is better than beyond chance, the leader among them."""
        return list(self.ranking.loc[self.ranking["rank_low"] == 1, "contender"])

    @property
    def tested(self) -> bool:
        """Whether any two contenders could be tested."""
        return bool(self.pairs["p_holm"].notna().any())


def find(runs: pd.DataFrame, scores: pd.DataFrame, marks: Marks = UNMARKED) -> list[Finding]:
    """Say in words what the headline scores say: a finding each, of those that any run has.

    Reconstructions are ranked only by one route from codes of one size: a finding for each of those
    that two contenders have, in which the rows of one training count once.

    Args:
        runs: `frames.Frames.runs`; calibration runs and images of other programs do not compete.
        scores: `tidy.scores_frame`, for what the variance of FID is made of.
        marks: what their audit found.
    """
    competing = runs[~runs["family"].isin((CALIBRATION, EXTERNAL))]
    found = [m for m in WORDS if m in runs and np.isfinite(competing[m].astype(float)).any()]
    findings = [each for metric in found for each in _find_each(runs, competing, metric, marks)]
    for place, finding in enumerate(findings):
        if place == 0:
            finding.details.extend(_failures(competing))
        if finding.metric == "fid":
            finding.details.extend(_variance(scores))
    guessed = [f for f in findings if f.tested and (f.pairs["p_holm"] > ALPHA).any()]
    for finding in guessed[:1]:
        finding.details.append(PLANNED)
    return findings


def settle(findings: Sequence[Finding]) -> list[str]:
    """Say in at most `ADVICE` sentences whom to choose, then all that is to be kept in mind."""
    refusals = [finding.refusal for finding in findings if finding.refusal]
    findings = [finding for finding in findings if len(finding.ranking)]
    names = {name for finding in findings for name in finding.ranking["contender"]}
    if not findings and refusals:
        return ["There is no score to choose by.", *refusals]
    if not findings:
        return ["No contender has a score, so there is nothing to choose by."]
    if len(names) == 1:
        return [f"Only {plain(names.pop())} has scores: there is nothing to choose it from."]
    audits = state_audit([finding.failures for finding in findings])
    if not any(finding.tested for finding in findings):
        return [*_untested(findings), *audits, *refusals, *_reservations(findings, {})]
    uses = dict.fromkeys(finding.use for finding in findings)
    parts = {use: [f for f in findings if f.use == use] for use in uses}
    chosen = {use: _choose(part) for use, part in parts.items()}
    if len(uses) > 1 and len(set(chosen.values())) == 1 and None not in chosen.values():
        sentences = [_advise(join_words([*uses]), findings)]
    else:
        sentences = [_advise(use, part) for use, part in parts.items()]
    return [*sentences[:ADVICE], *audits, *refusals, *_reservations(findings, chosen)]


def _find_each(
    runs: pd.DataFrame, competing: pd.DataFrame, metric: str, marks: Marks
) -> list[Finding]:
    """The finding of a score, or those of reconstructions by each route and code size."""
    if refusal := marks.refuse(metric, WORDS[metric].symbol):
        return [_refuse(competing, metric, refusal)]
    if metric not in PAIRS:
        return [_find(runs, competing, metric, marks)]
    once = _once_a_training(competing, metric)
    known = once[np.isfinite(once[metric].astype(float))]
    groups = _group_alike(known)
    findings = [
        _find(runs, once[once["contender"].isin(names)], metric, marks, route, size)
        for (route, size), names in groups.items()
    ]
    if not findings:
        why = "no two models reconstruct by one route from codes of one size"
        refusal = f"Nobody is ranked by {WORDS[metric].symbol}: {why}."
        findings = [_refuse(competing, metric, refusal)]
    ranked = [name for names in groups.values() for name in names]
    findings[0].details[:0] = _apart(known[~known["contender"].isin(ranked)], metric)
    return findings


def _group_alike(runs: pd.DataFrame) -> dict[tuple[str, int], list[str]]:
    """The contenders by route and code size, of those that two have, or the only one."""
    models = runs.drop_duplicates("contender").dropna(subset=["route", "code_size"])
    groups: dict[tuple[str, int], list[str]] = {}
    for name, route, size in models[["contender", "route", "code_size"]].to_numpy():
        groups.setdefault((route, int(size)), []).append(name)
    alone = len(set(runs["contender"])) == 1
    return {alike: names for alike, names in groups.items() if alone or len(names) > 1}


def _refuse(runs: pd.DataFrame, metric: str, refusal: str) -> Finding:
    nobody = runs[:0]
    pairs = compare_contenders(nobody, metric)
    ranking = rank_intervals(nobody, metric, pairs)
    return Finding(metric, refusal, [], ranking, pairs, refusal=refusal)


def _once_a_training(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs by the contender of their training, of rows by several samplers the first scored."""
    named = runs.assign(contender=runs["training"].astype(object))
    scored_first = named.sort_values(metric, key=pd.isna, kind="stable")
    return scored_first.drop_duplicates(["contender", "seed"]).sort_index()


def _apart(runs: pd.DataFrame, metric: str) -> list[str]:
    """Whose reconstructions are compared with nobody's: route, code size and score of each."""
    means = rank_intervals(runs, metric)[["contender", "value"]]
    if means.empty:
        return []
    models = runs.drop_duplicates("contender").set_index("contender")
    texts = [
        f"{plain(name)} ({_way(models.loc[name])}; {WORDS[metric].symbol} {show_number(value)})"
        for name, value in means.to_numpy()
    ]
    return [
        "Reconstructions compare only by one route from codes of one size; apart from all others"
        f" {'stands' if len(texts) == 1 else 'stand'} {_shorten(texts)}."
    ]


def _way(run: "pd.Series[Any]") -> str:
    """How a run reconstructs: `search, codes of 100 numbers`."""
    route = "route unknown" if pd.isna(run["route"]) else plain(run["route"])
    size = "codes of unknown size" if pd.isna(run["code_size"]) else name_size(run["code_size"])
    return f"{route}, {size}"


def _find(
    runs: pd.DataFrame,
    competing: pd.DataFrame,
    metric: str,
    marks: Marks,
    route: str = "",
    code_size: int | None = None,
) -> Finding:
    pairs = compare_contenders(competing, metric)
    ranking = rank_intervals(competing, metric, pairs).merge(_tallies(competing), on="contender")
    failures = marks.state(metric, WORDS[metric].symbol)
    finding = Finding(metric, "", [], ranking, pairs, route=route, code_size=code_size)
    flips, agreement = _compare_extractors(competing, pairs) if metric == "fid" else ([], [])
    details = [
        *state_audit([failures]),
        *flips,
        *_order(finding),
        *_undecided(finding),
        *_chances(finding),
        *agreement,
        *_head_start(finding),
        *_floor(competing, finding),
        *_lonely(finding),
        *_outsiders(runs, finding),
    ]
    among = f"Of the models that {finding.among} " if len(ranking) > 1 and finding.among else ""
    headline = among + _headline(finding)
    return replace(finding, headline=headline, details=details, flips=flips, failures=failures)


def _tallies(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a contender: uses_source, and how many runs it has, unscored or collapsed ones."""
    return (
        runs.assign(
            contender=runs["contender"].astype(object),
            unscored=~runs["status"].isin(SCORED),
            collapsed=runs["status"] == "collapsed",
        )
        .groupby("contender", sort=False)
        .agg(
            uses_source=("uses_source", "any"),
            runs=("status", "size"),
            unscored=("unscored", "sum"),
            collapsed=("collapsed", "sum"),
        )
        .reset_index()
    )


def _headline(finding: Finding) -> str:
    """The leader, and over whom its lead is beyond chance."""
    words, leader = finding.words, plain(finding.leader)
    value = show_number(finding.ranking["value"].iloc[0])
    if len(finding.ranking) == 1:
        return f"{leader} has {words.symbol} {value}, and nobody else has one to compare it with."
    has = f"{leader} has the {words.end} {words.symbol} ({value})"
    if not finding.tested:
        return f"{has}, but {_why_untested(finding)}."
    beaten, left = _split_rivals(finding)
    if left.empty:
        return f"{leader} {words.leads.format(value)}; {_lead(beaten)}."
    seeds, needed = _with_seeds(finding.ranking), _needed(left)
    if beaten.empty:
        others = _list(left["second"]) if len(left) == 1 else "none of the others"
        can = "cannot" if len(left) == 1 else "can"
        return f"{has}, but {others} {can} be told apart from it {seeds}{needed}."
    tested = left["p_holm"].notna()
    told = [
        f"{_list(rows['second'])} {words}"
        for rows, words in (
            (left[tested], f"cannot be told apart from it {seeds}{needed}"),
            (left[~tested], "could not be tested against it"),
        )
        if len(rows)
    ]
    return f"{has}, but {' and '.join(told)}; {_lead(beaten)}."


def _split_rivals(finding: Finding) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The leader's pairs: those in which its lead is beyond chance, and the others."""
    own = finding.pairs[finding.pairs["first"] == finding.leader]
    beaten = own["p_holm"] <= ALPHA
    return own[beaten], own[~beaten]


def _lead(beaten: pd.DataFrame) -> str:
    """Over whom the leader's lead is beyond chance."""
    p = _largest(beaten["p_holm"])
    if len(beaten) <= NAMED:
        return f"its lead over {_list(beaten['second'])} is beyond chance ({p})"
    return f"its lead over {len(beaten)} others is beyond chance ({p})"


def _why_untested(finding: Finding) -> str:
    if finding.ranking["seeds"].nlargest(2).min() < FEWEST_SEEDS:
        return "one training each says nothing about other trainings"
    return "scores that do not vary over seeds give nothing to judge a difference by"


def _order(finding: Finding) -> list[str]:
    """Which ranks the tests leave open, or of many contenders who comes last."""
    ranking, k = finding.ranking, len(finding.ranking)
    if not finding.tested or k < 3:
        return []
    if k <= 2 * NAMED:
        ranks = (
            f"{plain(name)} {low}" if low == high else f"{plain(name)} {low} to {high}"
            for name, low, high in ranking[["contender", "rank_low", "rank_high"]].to_numpy()
        )
        start = "Ranks that the tests leave possible"
        if (ranking["rank_low"] == ranking["rank_high"]).all():
            start = "The tests leave one order"
        return [f"{start}: {', '.join(ranks)}."]
    last = ranking.iloc[-1]
    behind = int(last["rank_low"]) - 1 or "none"
    return [
        f"{plain(last['contender'])} comes last ({show_number(last['value'])}), behind {behind} of"
        f" the {k - 1} others beyond chance."
    ]


def _undecided(finding: Finding) -> list[str]:
    """The pairs without the leader that cannot be told apart, where there are few."""
    pairs = finding.pairs
    left = pairs[(pairs["p_holm"] > ALPHA) & (pairs["first"] != finding.leader)]
    if len(finding.ranking) > 2 * NAMED or left.empty:
        return []
    texts = [
        f"{plain(first)} and {plain(second)} ({_how_many(left.iloc[[place]])})"
        for place, (first, second) in enumerate(left[["first", "second"]].to_numpy())
    ]
    start = "Pairs" if finding.certain else "Further pairs"
    return [f"{start} not told apart, with the seeds a side that might: {_shorten(texts, '; ')}."]


def _chances(finding: Finding) -> list[str]:
    """How often a training of the leader comes out before one of the runner-up."""
    if finding.pairs.empty or pd.isna(finding.pairs["probability_low"].iloc[0]):
        return []
    pair = finding.pairs.iloc[0]
    share, low, high = (_percent(pair[f"probability{end}"]) for end in ("", "_low", "_high"))
    better, worse = plain(pair["first"]), plain(pair["second"])
    if pair["paired"]:
        where = f"In {share} of their trainings {better} is better than {worse}"
    else:
        where = f"Of one training each, {better}'s is better than {worse}'s in {share} of pairs"
    return [f"{where} (95 % interval {low} to {high})."]


def _head_start(finding: Finding) -> list[str]:
    """What a translator's place is worth, and who leads without it."""
    if finding.metric in PAIRS:
        return _own_ways(finding)
    ranking = finding.ranking
    translates = ranking["uses_source"].astype(bool)
    translators, rest = (ranking.loc[rows, "contender"] for rows in (translates, ~translates))
    if translators.empty or rest.empty:
        return []
    starts = "starts" if len(translators) == 1 else "start"
    easier = f"{_list(translators)} {starts} from real source images, which is an easier question"
    if not finding.led_by_translator:
        return [f"{easier}."]
    return [f"{easier}; of those that start from noise, {_best_of(finding, list(rest))}."]


def _own_ways(finding: Finding) -> list[str]:
    """That a translator which reconstructs best may have hidden the images."""
    if finding.route != "cycle":
        return []
    return [
        f"{plain(finding.leader)} reconstructs by way of the source domain, and may hide in its"
        " translations what it needs to find back."
    ]


def _best_of(finding: Finding, names: list[str]) -> str:
    """The leader among some contenders, and whether that is beyond chance."""
    leader, words = names[0], finding.words
    has = f"{plain(leader)} has the {words.end} {words.symbol}"
    pairs = finding.pairs
    own = pairs[(pairs["first"] == leader) & pairs["second"].isin(names)]
    left = own[~(own["p_holm"] <= ALPHA)]
    if own.empty:
        return f"there is only {plain(leader)}"
    if left.empty:
        return f"{has}, beyond chance ({_largest(own['p_holm'])})"
    return f"{has}, and {_list(left['second'])} cannot be told apart from it"


def _floor(runs: pd.DataFrame, finding: Finding) -> list[str]:
    """Whose FID is no larger than that of two samples of one distribution may be."""
    if finding.metric != "fid" or "fid_floor_high" not in runs:
        return []
    floors = runs.groupby(runs["contender"].astype(object))["fid_floor_high"].mean()
    ranking = finding.ranking
    within = ranking[ranking["value"] <= ranking["contender"].map(floors)]
    if within.empty:
        return []
    floor = show_number(float(floors.max()))
    return [
        f"{_list(within['contender'])}: FID is within its floor (up to {floor}), so that so many"
        " samples show no difference between model and data."
    ]


def _lonely(finding: Finding) -> list[str]:
    """Who has but one training that was scored, in a suite of several."""
    lonely = finding.ranking[finding.ranking["seeds"] < FEWEST_SEEDS]
    if lonely.empty or not finding.tested:
        return []
    has = "has" if len(lonely) == 1 else "have"
    return [
        f"{_list(lonely['contender'])} {has} only one training with this score, which says nothing"
        " about other trainings."
    ]


def _outsiders(runs: pd.DataFrame, finding: Finding) -> list[str]:
    """Images of other programs, which have a score but no seeds."""
    rows = runs[(runs["family"] == EXTERNAL) & runs[finding.metric].notna()]
    if rows.empty:
        return []
    scores = zip(rows["contender"], rows[finding.metric], strict=True)
    texts = [f"{plain(str(name))} ({show_number(value)})" for name, value in scores]
    return [
        f"Made by another program, and no training that could be repeated here: {_shorten(texts)}."
    ]


def _failures(runs: pd.DataFrame) -> list[str]:
    """Who failed in some seeds and is summed up by the others, and who collapsed."""
    tallies = _tallies(runs)
    failed = tallies.loc[tallies["unscored"] > 0, ["contender", "unscored", "runs"]].to_numpy()
    lines = [_failure(runs, *row) for row in failed[:NAMED]]
    if len(failed) > NAMED:
        lines.append(f"Of {len(failed) - NAMED} more contenders some runs failed.")
    collapsed = tallies.loc[tallies["collapsed"] > 0, ["contender", "collapsed", "runs"]]
    if len(collapsed):
        texts = [f"{plain(name)} ({n} of {total})" for name, n, total in collapsed.to_numpy()]
        lines.append(f"Collapsed, and scored as they are: {_shorten(texts)}.")
    return lines


def _failure(runs: pd.DataFrame, name: str, unscored: int, total: int) -> str:
    statuses = runs.loc[runs["contender"] == name, "status"]
    counts = statuses[~statuses.isin(SCORED)].value_counts()
    how = join_words(
        [f"{count} {VERBS.get(str(status), str(status))}" for status, count in counts.items()]
    )
    rest = "it has no score" if unscored == total else "its scores are those of the rest"
    return f"{plain(name)}: of {total} run{'s' * (total > 1)} {how}; {rest}."


def _compare_extractors(runs: pd.DataFrame, pairs: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Which other extractors' FIDs turn pairs round that differ beyond chance, and which do not."""
    found = pairs.loc[pairs["p_holm"] <= ALPHA, ["first", "second"]]
    agreeing, lines = [], []
    for column in [str(name) for name in runs if str(name).startswith("fid@")]:
        other = compare_contenders(runs, column)
        turned = found.merge(other, left_on=["first", "second"], right_on=["second", "first"])
        name = plain(column.split("@")[1])
        if not turned.empty:
            lines.append(f"By the extractor {name} the order flips: {_name_flips(turned)}.")
        elif len(found.merge(other, on=["first", "second"])):
            agreeing.append(name)
    if not agreeing:
        return lines, []
    others = f"extractor{'s' * (len(agreeing) > 1)} {join_words(agreeing)}"
    return lines, [f"Pairs that differ beyond chance are in the same order by the {others}."]


def _name_flips(turned: pd.DataFrame) -> str:
    columns = ["first_x", "second_x", "p_holm"]  # as found, and as by the other extractor
    texts = [
        f"{plain(worse)} comes before {plain(better)}{' beyond chance' if p <= ALPHA else ''}"
        for better, worse, p in turned[columns].to_numpy()
    ]
    return _shorten(texts)


def _variance(scores: pd.DataFrame) -> list[str]:
    """What the variance of FID is made of."""
    parts = split_variance(scores).dropna(subset="share")
    if len(parts) < 3:
        return []
    names = {
        "contender": "contenders",
        "seed": "seeds",
        "sampling": "the images sampled",
        "extractor": "extractors that disagree",
    }
    texts = [
        f"{_percent(share)} {names[component]}"
        for component, share in parts[["component", "share"]].to_numpy()
    ]
    subject = "FID's logarithm" if splits_logarithms(scores) else "FID"
    return [f"Of the variance of {subject}, due to: {', '.join(texts)}."]


def _choose(findings: Sequence[Finding]) -> str | None:
    """Who leads by some score beyond chance and is behind beyond chance by none, if just one."""
    leaders = {finding.leader for finding in findings if finding.certain}
    safe = [name for name in leaders if all(name in f.unbeaten for f in findings)]
    return safe[0] if len(leaders) == len(safe) == 1 else None


def _advise(use: str, findings: Sequence[Finding]) -> str:
    """Whom to choose for a use, by the findings that bear on it."""
    chosen = _choose(findings)
    certain = [finding for finding in findings if finding.certain]
    left = [finding for finding in findings if not finding.certain]
    if chosen:
        also = f", and by {_symbols(left)} nobody is better beyond chance" if left else ""
        return f"For {use} choose {plain(chosen)}: best by {_symbols(certain)} beyond chance{also}."
    if certain:
        leads = [f"{plain(f.leader)} is best by {f.words.symbol} beyond chance" for f in certain]
        rest = [f"by {f.words.symbol} {_open(f)}" for f in left]
        return f"For {use} it depends on the score: {'; '.join(leads + rest)}."
    common = reduce(lambda a, b: [name for name in a if name in b], [f.unbeaten for f in left])
    seeds = _with_seeds(left[0].ranking)
    if len(common) == 1:
        return (
            f"For {use} the safest choice is {plain(common[0])}, the only one whom nobody beats"
            f" beyond chance by {_symbols(left)}; a winner is not settled {seeds}."
        )
    texts = [f"by {f.words.symbol} {_open(f)}" for f in left]
    return f"For {use} nothing is settled {seeds}: {'; '.join(texts)}."


def _open(finding: Finding) -> str:
    """Who may be the best, and how many seeds might tell."""
    _, left = _split_rivals(finding)
    return f"{_list(finding.unbeaten)} may each be the best{_needed(left)}"


def _untested(findings: Sequence[Finding]) -> list[str]:
    """What to do where no difference could be tested."""
    leaders = dict.fromkeys(finding.leader for finding in findings)
    leads = [
        f"{plain(name)} is best by {join_words([f.scale for f in findings if f.leader == name])}"
        for name in leaders
    ]
    why, pairs = _why_untested(findings[0]), max(len(finding.pairs) for finding in findings)
    sentences = [f"Nothing is settled: {why}.", f"In these trainings {join_words(leads)}."]
    if min(finding.ranking["seeds"].nlargest(2).min() for finding in findings) < FEWEST_SEEDS:
        sentences.append(
            f"At least {FEWEST_SEEDS} seeds each are needed to show anything, and about"
            f" {seeds_for(EXAMPLE, pairs)} to find a difference of {EXAMPLE:g} times the spread."
        )
    return sentences


def _reservations(findings: Sequence[Finding], chosen: dict[str, str | None]) -> list[str]:
    """What to keep in mind about those that were chosen or lead."""
    picked, lines = set(chosen.values()), [line for f in findings for line in f.flips]
    columns = ["contender", "seeds", "runs"]
    for finding in findings:
        rows = finding.ranking[finding.ranking["unscored"] > 0]
        for name, seeds, total in rows.loc[rows["contender"].isin(picked), columns].to_numpy():
            lines.append(f"{plain(name)} is judged by the {seeds} of its {total} runs with scores.")
    for finding in findings:
        if finding.led_by_translator or finding.route == "cycle":
            lines += _head_start(finding)
    return list(dict.fromkeys(lines))


def _how_many(pairs: pd.DataFrame) -> str:
    """How many seeds a side would tell pairs apart: `about 12`, `about 4 to 25`, `over 10,000`."""
    known = pairs["seeds_needed"].dropna()
    over = f"over {MOST_SEEDS:,}"
    if known.empty:
        return over
    low = _about(int(known.min()))
    high = _about(int(known.max())) if len(known) == len(pairs) else over
    return f"about {low}" if low == high else f"about {low} to {high}"


def _needed(pairs: pd.DataFrame) -> str:
    """The same in brackets, of the pairs that were tested."""
    tested = pairs[pairs["p_holm"].notna()]
    return "" if tested.empty else f" ({_how_many(tested)} seeds a side would be needed)"


def _about(n: int) -> str:
    """Two significant digits: no more is known of the seeds that would be needed."""
    return f"{n if n < 100 else round(n, 2 - len(str(n))):,}"


def _with_seeds(ranking: pd.DataFrame) -> str:
    fewest, most = ranking["seeds"].min(), ranking["seeds"].max()
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"with {number} seed{'' if most == 1 else 's'}"


def _largest(p: "pd.Series[float]") -> str:
    """The largest of p-values, in two digits rounded upwards: `p ≤ 0.013`."""
    largest = float(p.max())
    if largest < 0.001:
        return "p < 0.001, Holm"
    digits = 1 - math.floor(math.log10(largest))
    return f"p {'=' if len(p) == 1 else '≤'} {math.ceil(largest * 10**digits) / 10**digits:g}, Holm"


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def _symbols(findings: Iterable[Finding]) -> str:
    return join_words([finding.words.symbol for finding in findings])


def _list(names: Iterable[str]) -> str:
    return _shorten([plain(name) for name in names])


def _shorten(texts: Sequence[str], comma: str = ", ") -> str:
    return join_words(texts, NAMED + 1, comma)
