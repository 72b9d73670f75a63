"""Marks of an audit on the scores of a comparison, and the scores that rank no model.

A score is marked where its audit failed for a fault that it should see. Where an audit is required,
nobody is ranked by such a score, nor by one that was not audited.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.analysis.audits import Audit, name_recipe
from benchmarks.analysis.columns import MARK
from benchmarks.config.registry import Entry, list_metrics
from benchmarks.core.text import plain
from benchmarks.statistics.intervals import SAME_RANGE

OF_FEATURES = frozenset(("features", "logits", "both_logits", "training"))
"""Kinds of a metric's inputs that an extractor has made."""


@dataclass(frozen=True)
class Marks:
    """An audit beside the scores of a suite.

    Attributes:
        audit: None where there is none; then nothing is marked.
        extractor: that of the scores, `name@hash`.
        required: whether scores that have not passed an audit rank nobody.
    """

    audit: Audit | None = None
    extractor: str | None = None
    required: bool = False

    def failures(self, metric: str) -> list[str]:
        """Return for which faults a score's audit failed, in words; see `Audit.failures`."""
        return self.audit.failures(metric, self.extractor) if self.audit else []

    def covers(self, metric: str) -> bool:
        """Return whether a score was audited."""
        return self.audit is not None and self.audit.covers(metric, self.extractor)

    def ranks(self, metric: str) -> bool:
        """Return whether contenders may be ranked by a score; costs and counts need no audit."""
        if not self.required or find_metric(metric) is None:
            return True
        return self.covers(metric) and not self.failures(metric)

    def refuse(self, metric: str, symbol: str) -> str:
        """Return why no model is ranked by a score; empty where it may rank."""
        if self.ranks(metric):
            return ""
        named = f"{symbol}{self._under(metric)}"
        found = ", and ".join(self.failures(metric))
        why = f"the audit found it {found}" if found else "it was not audited"
        return f"Nobody is ranked by {named}: {why}."

    def state(self, metric: str, symbol: str) -> str:
        """Return what a score is blind to or misled by: `FID under classifier blind to shift`."""
        found = ", and ".join(self.failures(metric))
        return f"{symbol}{self._under(metric)} {found}" if found else ""

    def explain(self, scores: Iterable[tuple[str, str]]) -> list[str]:
        """Return lines below a table: the scores that are marked, and those that rank no model.

        Args:
            scores: metric and heading of each column.
        """
        columns = [(metric, heading) for metric, heading in scores if find_metric(metric)]
        lines = [
            f"{MARK} {heading}, audited{self._under(metric)}: {'; '.join(failures)}."
            for metric, heading in columns
            if (failures := self.failures(metric))
        ]
        if self.required and lines:
            lines.append(f"Nobody is ranked by a score with {MARK}.")
        unknown = [heading for metric, heading in columns if not self.covers(metric)]
        if self.required and unknown:
            lines.append(f"Not audited, so that nobody is ranked by it: {', '.join(unknown)}.")
        audited = self.audit.find_extractor(self.extractor) if self.audit else None
        if lines and audited not in {None, self.extractor}:
            trainings = f"The audit is of {audited}, the scores are by {self.extractor}"
            lines.append(plain(f"{trainings}: two trainings of one recipe."))
        return lines

    def _under(self, metric: str) -> str:
        """Return by whose features a score is, to follow its name."""
        entry = find_metric(metric)
        if not self.extractor or entry is None or entry.about["inputs"] not in OF_FEATURES:
            return ""
        return f" under {plain(name_recipe(self.extractor))}"


def state_audit(failures: Iterable[str]) -> list[str]:
    """Return a sentence of what `Marks.state` returns for some scores; none if that is nothing."""
    found = [failure for failure in failures if failure]
    return [f"The audit found {'; '.join(found)}."] if found else []


UNMARKED = Marks()
"""Marks of results that no audit covers."""


def find_metric(column: str) -> Entry | None:
    """Find the metric of a column of scores; None for costs and counts."""
    return list_metrics().get(SAME_RANGE.get(column, column))
