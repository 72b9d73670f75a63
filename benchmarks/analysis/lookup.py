"""Single facts of records: their scores, and the traits of their models, also of old records.

Reconstructions compare only by the same route, from codes of the same size.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pandas as pd

from benchmarks.analysis.columns import PAIRS
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.errors import BadInput
from benchmarks.core.text import count
from benchmarks.records.schema import EXTERNAL, SCORED, ModelTraits, Record, Score
from benchmarks.records.store import Results

T = TypeVar("T")
NO_ROUTE = "none"
"""The route of a model that does not reconstruct."""
VERBS = {
    "encoder": "encode and decode",
    "search": "are inverted by a search",
    "cycle": "translate to the source domain and back",
}
"""Verbs for models that reconstruct by a route."""
UPGRADES = {"encode, decode": "encoder", "posterior mean": "encoder", "inversion": "search"}
"""The routes of reconstructions by their protocols in old records."""
DENSITIES = {"normal": "from its prior", "mixture": "from a mixture fitted to codes"}
"""Protocols of autoencoders of version 1 by their `density`; `normal` was N(0, I)."""
OLD_DENSITY = "from a density of codes"
"""The protocol of their images."""
TRANSLATED = "from held-out source images"
"""The protocol of a translator's images in old records."""
VALUES = {
    "digits": 64,
    "usps": 256,
    "ring": 2,
    "grid": 2,
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), 784),
    **dict.fromkeys(("cifar10", "svhn"), 3072),
}
"""Numbers of values of an image by data set, for translators of old records."""


def read_traits(record: Record) -> ModelTraits:
    """Read the traits of a run's model; of an old record, from its scores and settings."""
    if record.model or record.family in {CALIBRATION, EXTERNAL}:
        return record.model or ModelTraits()
    route = find_route(record)
    return ModelTraits(
        uses_source=any(score.protocol == TRANSLATED for score in record.scores),
        code_size=_old_code_size(record.spec, route),
        reconstruction=route,
    )


def find_route(record: Record) -> str | None:
    """Find the route of a run's reconstructions: `none` of a model without, None if unknown."""
    protocols = (score.protocol for score in record.scores if score.metric in PAIRS)
    words = next(filter(None, protocols), None)
    if words is None and record.model:
        words = NO_ROUTE if record.status in SCORED else record.model.reconstruction or NO_ROUTE
    return UPGRADES.get(words, words) if words else None


def find_protocol(record: Record, score: Score) -> str | None:
    """Find how the images of a score were made, in the words of today."""
    settings = record.spec.get("settings")
    density = settings.get("density") if isinstance(settings, dict) else None
    if score.protocol == OLD_DENSITY and isinstance(density, str):
        return DENSITIES.get(density, score.protocol)
    return UPGRADES.get(score.protocol or "", score.protocol)


def name_route(route: str) -> str:
    """Return a verb for models that reconstruct by a route."""
    return VERBS.get(route, f"reconstruct by {route}")


def name_size(size: Any) -> str:
    """Return the size of a code in words: `codes of 16 numbers`."""
    return f"codes of {count(int(size), 'number')}"


def name_training(record: Record) -> str:
    """Return the contender whose training a run's row comes from: samplers share one."""
    sampler = record.spec.get("sampler")
    named = sampler.get("contender") if isinstance(sampler, dict) else None
    return named if isinstance(named, str) else record.contender


def _old_code_size(spec: dict[str, Any], route: str | None) -> int | None:
    """Find the size of a code by a run's spec: an image's where a cycle has no bottleneck."""
    settings, data = (t if isinstance(t := spec.get(k), dict) else {} for k in ("settings", "data"))
    found = settings.get("latent")
    latent = found if isinstance(found, int) and 0 < found < 2**53 else None
    if route != "cycle":
        return latent
    changed = data.get("image_size") or data.get("channels")
    values = None if changed else VALUES.get(str(data.get("name")))
    if values is None or latent is None or settings.get("backbone") == "resnet":
        return values
    return min(latent, values)


def runs_by_contender(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group runs by contender, in their order."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.contender, []).append(record)
    return runs


def shown_extractor(records: Iterable[Record]) -> str | None:
    """Find the extractor by which most runs have an FID, the first of equal ones.

    Numbers of different extractors never share a column.
    """
    counts = Counter(list_record_extractors(records))
    return max(counts, key=lambda name: counts[name], default=None)


def list_record_extractors(records: Iterable[Record]) -> list[str]:
    """List the extractor of each FID, in the order of the records."""
    return [s.extractor for r in records for s in r.scores if s.metric == "fid" and s.extractor]


def score_of(record: Record, metric: str, extractor: str | None) -> Score | None:
    """Find a run's score by a metric, leaving out those of other extractors than `extractor`."""
    found = (s for s in record.scores if s.metric == metric and s.extractor in {None, extractor})
    return next(found, None)


def scores_of(record: Record, extractor: str | None) -> dict[str, Score]:
    """Find all that `score_of` finds, by metric."""
    scores = reversed(record.scores)
    return {score.metric: score for score in scores if score.extractor in {None, extractor}}


def categorize(results: Results, names: Iterable[str]) -> "pd.Categorical[Any]":
    """Make categories of contenders in the suite's order, any others at the end."""
    entries = [entry.name for entry in results.index.contenders]
    further = [record.contender for record in results.records]
    return pd.Categorical(list(names), categories=list(dict.fromkeys(entries + further)))


def read_or_warn(read: Callable[..., T], *args: Any, warnings: list[str]) -> T | None:
    """Return `read(*args)`, or None where it cannot be read, and add a line on why."""
    try:
        return read(*args)
    except BadInput as error:
        warnings.append(str(error))
        return None
