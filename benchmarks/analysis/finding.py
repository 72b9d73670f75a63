"""A finding: what the runs of a suite show by one score, and the phrases that state it.

No sentence is stronger than the tests of `statistics` behind it. A difference is called significant
at a Holm-corrected p of at most 0.05; what is not significant is never called equal.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from benchmarks.analysis.columns import BY_KEY
from benchmarks.analysis.lookup import name_route, name_size
from benchmarks.core.text import join_words, plain, round_count, show_number
from benchmarks.statistics.differences import ALPHA, FEWEST_SEEDS, MOST_SEEDS
from benchmarks.statistics.rankings import compare_contenders

NAMED = 4
"""Models named in a list before the others are only counted."""


@dataclass(frozen=True)
class Finding:
    """Everything known about the contenders by one score.

    Attributes:
        metric: the score, of `columns.HEADLINES`.
        runs: the runs that compete.
        ranking: `rank_intervals`, with the columns uses_source, runs (their number), unscored
            (runs without a score) and collapsed.
        pairs: `compare_contenders`.
        failures: what the score's audit failed for, as `Marks.state` has it.
        refusal: why no model is ranked by it, where an audit is required or no two reconstruct
            alike; ranking and pairs are empty then.
        route: of reconstructions, the route by which all that are ranked reconstruct.
        code_size: likewise, the number of values in their codes.
        details: further sentences, the most important first.
    """

    metric: str
    runs: pd.DataFrame
    ranking: pd.DataFrame
    pairs: pd.DataFrame
    failures: str = ""
    refusal: str = ""
    route: str = ""
    code_size: int | None = None
    details: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The leader and how sure its lead is, in one sentence."""
        among = f"A{self.among[1:]}, " if len(self.ranking) > 1 and self.among else ""
        return self.refusal or f"{among}{_state_leader(self)}."

    @property
    def symbol(self) -> str:
        """What the score is called in a sentence."""
        return BY_KEY[self.metric].heading

    @property
    def best(self) -> str:
        """Which end of the score is the best."""
        return "lowest" if BY_KEY[self.metric].better == "lower" else "highest"

    @property
    def leader(self) -> str:
        """The contender with the best mean."""
        return str(self.ranking["contender"].iloc[0])

    @property
    def certain(self) -> bool:
        """Whether the leader is significantly better than every other contender."""
        return len(self.ranking) > 1 and bool(self.ranking["rank_high"].iloc[0] == 1)

    @property
    def among(self) -> str:
        """The models that are ranked, by route and code size; empty where it is no matter."""
        if self.code_size is None:
            return ""
        return f"among models that {name_route(self.route)} ({name_size(self.code_size)})"

    @property
    def use(self) -> str:
        """The use that its leader is chosen for."""
        return f"{BY_KEY[self.metric].panel.lower()}{self.among and f' {self.among}'}"

    @property
    def scale(self) -> str:
        """The score, and among which models it ranks."""
        return f"{self.symbol}{self.among and f' {self.among}'}"

    @property
    def unbeaten(self) -> list[str]:
        """The contenders that none is significantly better than, the leader among them."""
        return list(self.ranking.loc[self.ranking["rank_low"] == 1, "contender"])

    @property
    def tested(self) -> bool:
        """Whether any two contenders could be tested."""
        return bool(self.pairs["p_holm"].notna().any())

    @property
    def significant(self) -> pd.DataFrame:
        """The pairs that differ significantly."""
        return self.pairs[self.pairs["p_holm"] <= ALPHA]

    @property
    def rivals(self) -> pd.DataFrame:
        """The leader's pairs."""
        return self.pairs[self.pairs["first"] == self.leader]

    @cached_property
    def by_extractor(self) -> dict[str, pd.DataFrame]:
        """Of FID, `compare_contenders` of the FIDs in each further extractor's features."""
        further = [str(column) for column in self.runs if str(column).startswith("fid@")]
        columns = further if self.metric == "fid" else []
        return {column.split("@")[1]: compare_contenders(self.runs, column) for column in columns}


def _state_leader(finding: Finding) -> str:
    leader, value = plain(finding.leader), show_number(finding.ranking["value"].iloc[0])
    if len(finding.ranking) == 1:
        return f"{leader} has {finding.symbol} {value}; no other model has this score"
    best = f"{leader} has the {finding.best} {finding.symbol} ({value})"
    if not finding.tested:
        return f"{best}, but {explain_untested(finding)}"
    return f"{best}, {state_lead(finding.rivals, finding.ranking)}"


def state_lead(rivals: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """State what the tests between a leader and its rivals have shown, to follow its value."""
    beaten = rivals[rivals["p_holm"] <= ALPHA]
    left = rivals[~(rivals["p_holm"] <= ALPHA)]
    if left.empty:
        return _state_beaten(beaten, "all ")
    seeds = f"{state_seeds(ranking)}{state_seeds_needed(left)}"
    if beaten.empty:
        others = "any other model" if len(left) > 1 else name_models(left["second"])
        return f"but is not significantly different from {others} {seeds}"
    parts = []
    if len(tested := left[left["p_holm"].notna()]):
        names = name_models(tested["second"])
        parts.append(f"is not significantly different from {names} {seeds}")
    if len(untested := left[left["p_holm"].isna()]):
        parts.append(f"could not be tested against {name_models(untested['second'])}")
    return f"but {' and '.join(parts)}; it is {_state_beaten(beaten)}"


def _state_beaten(beaten: pd.DataFrame, every: str = "") -> str:
    """State that a leader is `significantly better than b and c (p ≤ 0.013, Holm-corrected)`."""
    few = len(beaten) <= NAMED
    names = name_models(beaten["second"]) if few else f"{every}{len(beaten)} others"
    return f"significantly better than {names} ({_state_largest_p(beaten['p_holm'])})"


def _state_largest_p(p: "pd.Series[float]") -> str:
    """State the largest of p-values, rounded upwards: `p ≤ 0.013, Holm-corrected`."""
    largest = float(p.max())
    if largest < 0.001:
        return "p < 0.001, Holm-corrected"
    digits = 1 - math.floor(math.log10(largest))
    shown = f"{math.ceil(largest * 10**digits) / 10**digits:g}"
    return f"p {'=' if len(p) == 1 else '≤'} {shown}, Holm-corrected"


def explain_untested(finding: Finding) -> str:
    """Explain why no difference could be tested."""
    if finding.ranking["seeds"].nlargest(2).min() < FEWEST_SEEDS:
        return f"differences cannot be tested with fewer than {FEWEST_SEEDS} seeds per model"
    return "differences cannot be tested, since scores do not vary over seeds"


def state_seeds(ranking: pd.DataFrame) -> str:
    """State the number of seeds: `with 3 seeds`, `with 1 to 3 seeds`."""
    fewest, most = ranking["seeds"].min(), ranking["seeds"].max()
    number = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"with {number} seed{'' if most == 1 else 's'}"


def state_seeds_needed(pairs: pd.DataFrame) -> str:
    """State the seeds that tested pairs would need, in parentheses; empty where none was tested."""
    seeds = pairs.loc[pairs["p_holm"].notna(), "seeds_needed"]
    if seeds.empty:
        return ""
    known = seeds.dropna()
    number = over = f"over {MOST_SEEDS:,}"
    if len(known):
        low = f"{round_count(int(known.min())):,}"
        high = f"{round_count(int(known.max())):,}" if len(known) == len(seeds) else over
        number = f"about {low}" if low == high else f"about {low} to {high}"
    return f" ({number} seeds per model would be needed)"


def name_models(names: Iterable[str], word: str = "and") -> str:
    """Join names, the first few of many: `a, b, c, d and 3 more`."""
    return join_words([plain(name) for name in names], NAMED + 1, word=word)


def join_few(texts: Sequence[str], comma: str = ", ") -> str:
    """Join texts, the first few of many."""
    return join_words(texts, NAMED + 1, comma)
