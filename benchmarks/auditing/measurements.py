"""Values of every metric on real images and on damaged ones, each damaged and encoded once.

All images of an audit lie in one bank: held-out ones (the pool), training images, copies of these
that were moved a little, foreign images and noise. What a fault makes of a set is then rows of the
bank, whose features are known, or damaged images of the pool, whose features are taken once for
all extractors, sets and metrics.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import nan
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from benchmarks.auditing.faults import FAULTS, Fault, Rows
from benchmarks.auditing.store import MEASURED
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.seeds import derive_seed
from benchmarks.core.tensors import quantize, to_float
from metrics import METRICS, Extractor, Features, NotApplicable

SIZES = {"full": 1, "quarter": 4}
"""The two sizes of sets, and what part of all images each has."""
AGAIN = 4
"""Repetitions, at most, that are measured at a quarter of the size too."""
SHRUNKEN = 20
"""Splits, at most, of which the floor is made for sets that have lost images to a fault."""


Label = tuple[str, int, int, str]
"""A set of images: its fault, its level, the split and the size."""


class Measurement(NamedTuple):
    """One value of a metric, with the columns `MEASURED`; NaN where it is not defined."""

    metric: str
    extractor: str
    fault: str
    level: int
    repetition: int
    size: str
    n: int
    value: float


@dataclass(frozen=True)
class Design:
    """The design of an audit.

    Attributes:
        samples: images in a set.
        splits: pairs of held-out sets of which the floor is made.
        repetitions: how many of the splits are damaged.
    """

    samples: int
    splits: int
    repetitions: int
    seed: int
    faults: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Bank:
    """All images of an audit and what the extractors see in them.

    Attributes:
        images: uint8 [bank, C, S, S].
        classes: int64 [bank], -1 where an image has none.
        places: where in the bank the pool, train, jittered, foreign and static images are.
        features: by the name of the extractor.
    """

    images: Tensor
    classes: Tensor
    places: dict[str, range]
    features: dict[str, Features]

    def rows(self, chosen: Tensor) -> Rows:
        """Return some images of the pool with all that may replace them."""
        places = {name: place for name, place in self.places.items() if name != "pool"}
        return Rows(chosen, self.images, self.classes, **places)

    def see(self, extractor: str, rows: Tensor) -> Features:
        """Return an extractor's features of some images."""
        return select_rows(self.features[extractor], rows)


def select_rows(seen: Features, rows: Tensor) -> Features:
    """Return the features and logits of some rows."""
    return Features(seen.features[rows], None if seen.logits is None else seen.logits[rows])


@dataclass(frozen=True)
class Session:
    """An audit under way: its design, its bank and its extractors.

    References are kept for as long as the session lives, since metrics remember what they have
    computed from one.
    """

    design: Design
    bank: Bank
    extractors: dict[str, Extractor]
    references: dict[tuple[int, int, str], Features] = field(default_factory=dict)

    @cached_property
    def training(self) -> dict[str, Tensor]:
        """The features of the training images, by extractor."""
        place = self.bank.places["train"]
        return {e: f.features[place.start : place.stop] for e, f in self.bank.features.items()}

    @cached_property
    def order(self) -> list[Tensor]:
        """The pool's rows in the order in which each split deals them out."""
        pool, seed = len(self.bank.places["pool"]), self.design.seed
        return [torch.randperm(pool, generator=make_rng(seed, "split", s)) for s in self.splits]

    @property
    def splits(self) -> range:
        """The numbers of all splits."""
        return range(self.design.splits)

    def repetitions(self, size: str) -> range:
        """Return the numbers of the splits that are damaged."""
        most = self.design.repetitions
        return range(most if size == "full" else min(most, AGAIN))

    def count(self, size: str) -> int:
        """Return the number of images in a set of some size."""
        return self.design.samples // SIZES[size]

    def held_out(self, split: int, size: str) -> Tensor:
        """Return the rows of B, the held-out images of a split that are compared or damaged."""
        return self.order[split][: self.count(size)]

    def reference(self, split: int, size: str, extractor: str) -> Features:
        """Return an extractor's features of A, the reference images of a split."""
        key = split, self.count(size), extractor
        if key not in self.references:
            rows = self.order[split].flip(0)[: self.count(size)]
            self.references[key] = self.bank.see(extractor, rows)
        return self.references[key]

    def rng(self, fault: Fault, split: int) -> torch.Generator:
        """Return the generator of what is random about a fault, the same at every level."""
        return make_rng(self.design.seed, fault.name, split)


def make_rng(*parts: object) -> torch.Generator:
    """Return the generator of one purpose."""
    return torch.Generator().manual_seed(derive_seed("audit", *parts))


def measure_level(session: Session, name: str, level: int) -> list[Measurement]:
    """Measure one level of a fault by every metric, under every extractor, at both sizes."""
    kinds = {"images": spoil_images, "rows": spoil_rows, "features": spoil_features}
    return list(kinds[FAULTS[name].kind](session, FAULTS[name], level))


def spoil_rows(session: Session, fault: Fault, level: int) -> Iterator[Measurement]:
    """Replace some images by others of the bank, or drop some, and measure.

    Where a fault leaves fewer images, all splits are cut to as many as the fewest have, so that
    they are compared with one floor.
    """
    amount = fault.amounts[level - 1]
    for size in SIZES:
        splits = session.repetitions(size)
        chosen = [session.bank.rows(session.held_out(r, size)) for r in splits]
        rows = [fault.function(c, amount, session.rng(fault, r)) for r, c in enumerate(chosen)]
        count = min(map(len, rows))
        for r, e in product(splits, session.extractors):
            fake = session.bank.see(e, rows[r][:count])
            yield from measure_set(session, e, fake, (fault.name, level, r, size))


def spoil_features(session: Session, fault: Fault, level: int) -> Iterator[Measurement]:
    """Damage features themselves, without logits, and measure."""
    amount = fault.amounts[level - 1]
    sets = [(size, r) for size in SIZES for r in session.repetitions(size)]
    for (size, r), e in product(sets, session.extractors):
        features = session.bank.see(e, session.held_out(r, size)).features
        fake = Features(fault.function(features, amount, session.rng(fault, r)), None)
        yield from measure_set(session, e, fake, (fault.name, level, r, size))


def spoil_images(session: Session, fault: Fault, level: int) -> Iterator[Measurement]:
    """Damage every image that any split compares once, encode it by all extractors, and measure."""
    sets = {(r, s): session.held_out(r, s) for s in SIZES for r in session.repetitions(s)}
    rows = torch.cat(list(sets.values())).unique()
    images = session.bank.images[rows]
    amount, rng = fault.amounts[level - 1], session.rng(fault, 0)
    damaged = quantize(fault.function(to_float(images), amount, rng))
    places = torch.full((len(session.bank.images),), -1)
    places[rows] = torch.arange(len(rows))
    seen = {name: extractor(damaged) for name, extractor in session.extractors.items()}
    pairs = dict(compare_pairs(session.design.metrics, images, damaged))
    for (r, size), chosen in sets.items():
        label, own = (fault.name, level, r, size), places[chosen]
        for e, features in seen.items():
            yield from measure_set(session, e, select_rows(features, own), label)
        for metric, values in pairs.items():
            yield Measurement(metric, "", *label, len(own), values[own].double().mean().item())


def measure_floor(
    session: Session, split: int, counts: Mapping[str, Collection[int]]
) -> list[Measurement]:
    """Measure held-out images that nothing has been done to, at every count that is wanted."""
    found = list[Measurement]()
    for size, e in product(SIZES, session.extractors):
        chosen = session.held_out(split, size)
        wanted = sorted(counts[size]) if split < SHRUNKEN else [len(chosen)]
        for n in wanted:
            fake = session.bank.see(e, chosen[:n])
            found += measure_set(session, e, fake, ("", 0, split, size))
    for size in SIZES:
        images = session.bank.images[session.held_out(split, size)]
        for metric, values in compare_pairs(session.design.metrics, images, images):
            value = values.double().mean().item()
            found.append(Measurement(metric, "", "", 0, split, size, len(images), value))
    return found


def measure_set(
    session: Session, extractor: str, fake: Features, label: Label
) -> Iterator[Measurement]:
    """Compute every metric that applies to a set of images."""
    _, _, repetition, size = label
    real = session.reference(repetition, size, extractor)
    for name, value in ask_all(session.design.metrics, real, fake, session.training[extractor]):
        yield Measurement(name, extractor, *label, len(fake.features), value)


def ask_all(
    names: Iterable[str], real: Features, fake: Features, training: Tensor
) -> Iterator[tuple[str, float]]:
    """Compute those of some metrics that apply; see `ask`."""
    known = dict[Callable[..., Any], Any]()
    for name in names:
        arguments = choose_arguments(name, real, fake, training)
        if arguments is not None:
            yield name, ask(name, arguments, known)


def choose_arguments(
    name: str, real: Features, fake: Features, training: Tensor
) -> tuple[Tensor, ...] | None:
    """Return a metric's arguments, None where an extractor lacks them."""
    inputs = METRICS[name].metadata.inputs
    if inputs == "features":
        return real.features, fake.features
    if inputs == "training":
        return real.features, fake.features, training
    if real.logits is None or fake.logits is None:
        return None
    return {"logits": (fake.logits,), "both_logits": (real.logits, fake.logits)}.get(inputs)


def ask(name: str, arguments: tuple[Tensor, ...], known: dict[Callable[..., Any], Any]) -> float:
    """Compute a metric, NaN where it is not defined for such sets.

    Functions that several metrics share are called once; `known` has what they returned.

    Raises:
        BadInput: a metric of the user's fails, or gives no number.
    """
    metric = METRICS[name]
    if metric.function not in known:
        try:
            known[metric.function] = metric.function(*arguments)
        except ValueError:
            known[metric.function] = nan
        except Exception as error:
            raise blame(name, error) from error
    found = known[metric.function]
    try:
        return float(getattr(found, name) if isinstance(found, tuple) else found)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise blame(name, error) from error


def blame(name: str, error: Exception) -> Exception:
    """Return what to raise for a metric that fails: for a shipped one, its own error."""
    if METRICS[name].function.__module__.startswith("metrics."):
        return error
    return BadInput(f"--metric {name}: {type(error).__name__}: {one_line(error)}")


def smoke_step(session: Session) -> None:
    """Compute every metric once on a small set, so that one that fails does so at once.

    Raises:
        BadInput: a metric of the user's fails, or gives no number.
    """
    rows, first = session.held_out(0, "quarter"), ("", 0, 0, "quarter")
    for extractor in session.extractors:
        list(measure_set(session, extractor, session.bank.see(extractor, rows), first))
    list(compare_pairs(session.design.metrics, *2 * [session.bank.images[rows]]))


def compare_pairs(
    names: Iterable[str], originals: Tensor, copies: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Score damaged images beside what they were, one value an image, as far as that is defined."""
    pair = to_float(originals), to_float(copies)
    for name in names:
        if METRICS[name].metadata.inputs != "pairs":
            continue
        try:
            values = METRICS[name](*pair)
            if values.shape != (len(originals),):
                raise TypeError(f"returns {list(values.shape)} values for {len(originals)} images")
        except NotApplicable:
            continue
        except Exception as error:
            raise blame(name, error) from error
        yield name, values


def to_frame(found: Iterable[Measurement]) -> pd.DataFrame:
    """Return measurements as a data frame, sorted."""
    frame = pd.DataFrame(list(found), columns=list(MEASURED))
    return frame.sort_values(list(MEASURED[:-1]), ignore_index=True)
