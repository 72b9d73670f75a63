"""Sanity checks of the metrics on the audit's own images: questions whose answers are known."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.analysis.audit_files import KnownAnswer
from benchmarks.analysis.audits import name_recipe
from benchmarks.auditing.contrasts import (
    Contrast,
    contrast_sets,
    merge_values,
    score_real,
    symbol,
)
from benchmarks.auditing.ladders import ROUNDING, widen
from benchmarks.auditing.likelihoods import DRAWN, SIDE, evaluate_vae
from benchmarks.auditing.measurements import Session, make_rng
from benchmarks.core.text import show_share
from benchmarks.training.loop import Diverged
from metrics import METRICS, Interval, mean_interval

ASKED = (
    *("fid", "kid", "precision", "recall", "density", "coverage"),
    *("inception_score", "classes_reached", "class_kl", "near_copies", "authenticity"),
)
"""The metrics whose values between sets of real images are looked at."""
WITHIN = 0.9
"""The least share of real sets that must be within a floor which should hold 95 % of them."""
REPEATED = 5
"""Sets that are compared with a floor, at most."""
NEIGHBOURS = 5
"""Those by which density and coverage judge."""
SUREST = 20
"""The part of the images that the sharpener keeps: one in so many."""
FEWEST_KEPT = 10
"""Images that a mode dropper makes at least."""
CODES = (10, 50)
"""The lengths of the codes of the two VAEs, as in Wu et al. (2017)."""


class Outcome(NamedTuple):
    """The outcome in words, whether it is as expected, and the numbers behind it."""

    found: str
    passed: bool | None
    values: dict[str, float]


class Unasked(Exception):
    """Why a question cannot be asked of these images or under these extractors."""


Ask = Callable[[Session], Outcome]


class Question(NamedTuple):
    """A question, its known answer, and the function that asks it."""

    question: str
    expected: str
    function: Ask


QUESTIONS: dict[str, Question] = {}
"""Every question by its name, in the order in which they are asked."""


def question(*, name: str, question: str, expected: str) -> Callable[[Ask], Ask]:
    """Register a function in `QUESTIONS`."""

    def enter(function: Ask) -> Ask:
        QUESTIONS[name] = Question(question, expected, function)
        return function

    return enter


def answer(session: Session, name: str) -> KnownAnswer:
    """Ask one question; the answer is a function of the session alone, its seed included."""
    question, expected, function = QUESTIONS[name]
    try:
        outcome = function(session)
    except Unasked as reason:
        outcome = Outcome(f"not asked: {reason}", None, {})
    fields = {"name": name, "question": question, "expected": expected, **outcome._asdict()}
    return KnownAnswer.model_validate(fields)


def find_judge(session: Session) -> str:
    """Return the first extractor that classifies."""
    for extractor, (_, logits) in session.bank.features.items():
        if logits is not None:
            return extractor
    raise Unasked("none of the extractors classifies")


@question(
    name="real_against_real",
    question="Held-out images are scored against other held-out images, split after split.",
    expected="nearly every split is within the floor that the others make; and KID is 0, density "
    "and coverage what they are on average for any two samples of one distribution",
)
def compare_real(session: Session) -> Outcome:
    """Score real images against real ones."""
    within, off, values = [], [], dict[str, float]()
    for extractor in session.extractors:
        floors = score_real(session, ASKED, extractor)
        within += [leave_out(floor) for floor in floors.values() if np.isfinite(floor).all()]
        for name, known in expect_scores(session.count("full")).items():
            compared = Contrast(name, extractor, [known], floors[name])
            values |= {f"{symbol(name)} ({name_recipe(extractor)}), real images": compared.usual}
            values |= {f"{symbol(name)}, on average": known}
            if compared.worse or compared.better:
                off.append(f"{symbol(name)} under {name_recipe(extractor)}")
    share = float(np.mean(within))
    values["share of splits within the floor"] = share
    found = f"{show_share(share)} of the splits are within the floor of the others"
    also = f"off their known values: {', '.join(off)}" if off else "KID, density and coverage agree"
    return Outcome(f"{found}; {also}", share >= WITHIN and not off, values)


def expect_scores(count: int) -> dict[str, float]:
    """Return the expected scores of two samples of one distribution, whichever it is.

    KID is unbiased. A generated image is within a real one's neighbourhood with probability k/N, as
    one of N whose ranks are all alike; it holds none of M with that of the k nearest of all N - 1 +
    M others being real (Naeem et al. 2020, section 3.4).
    """
    ranks = np.arange(NEIGHBOURS)
    missed = np.prod((count - 1 - ranks) / (2 * count - 1 - ranks))
    return {"kid": 0.0, "density": 1.0, "coverage": float(1 - missed)}


def leave_out(values: Sequence[float]) -> float:
    """Return the share of values that are within the floor of the others."""
    array = np.array(values)
    others = np.array([np.delete(array, place) for place in range(len(array))])
    half = widen(others.shape[1]) * others.std(axis=1, ddof=1)
    shift = np.abs(array - others.mean(axis=1))
    return float((shift <= half + ROUNDING * np.abs(array)).mean())


@question(
    name="memoriser",
    question="A model that gives back training images, each at most once, is scored by FID against "
    "these, beside as many fresh real images, and for copies.",
    expected="it beats fresh real images, and with them every honest model, on training FID; the "
    "near-copies and authenticity catch it",
)
def catch_memoriser(session: Session) -> Outcome:
    """Score copies of training images."""
    draws = [draw_copies(session, r) for r in session.repetitions("full")[:REPEATED]]
    beaten, caught, passing, values = [], [], [], dict[str, float]()
    for extractor in session.extractors:
        copied, fresh = score_by_training(session, extractor, draws)
        beaten.append(np.mean(copied) < min(fresh))
        what = f"training FID ({name_recipe(extractor)})"
        values |= {what: float(np.mean(copied)), f"{what}, real images": float(np.mean(fresh))}
        sets = [rows[: session.count("full")] for rows in draws]
        found = contrast_sets(session, ("fid", "near_copies", "authenticity"), extractor, sets)
        caught.append(found["near_copies"].worse and found["authenticity"].worse)
        passing.append(not found["fid"].worse)
        values |= merge_values(found.values())
    of = len(session.extractors)
    return Outcome(
        f"it beats fresh real images on training FID under {sum(beaten)} of {of} extractors, and "
        f"near-copies and authenticity catch it under {sum(caught)}; FID from held-out images "
        f"is no worse than that of real images under {sum(passing)}",
        all(beaten) and all(caught),
        values,
    )


def draw_copies(session: Session, repetition: int) -> Tensor:
    """Draw different training images, as many as there are fresh ones to set beside them.

    A model of n images has a training FID in proportion to 1/n + 1/T where it is honest, for T
    training images, and to 1/n - 1/T where it copies: the more images, the clearer the difference.
    """
    places = session.bank.places
    count = min(len(places["train"]), len(places["pool"]))
    rng = make_rng(session.design.seed, "memoriser", repetition)
    return places["train"].start + torch.randperm(len(places["train"]), generator=rng)[:count]


def score_by_training(
    session: Session, extractor: str, draws: Sequence[Tensor]
) -> tuple[list[float], list[float]]:
    """Compute FID from the training images: of sets of these, and of fresh images of each split."""

    def score(rows: Tensor) -> float:
        features = session.bank.see(extractor, rows).features
        return float(METRICS["fid"](session.training[extractor], features))

    fresh = [rows[: len(draws[0])] for rows in session.order]
    return list(map(score, draws)), list(map(score, fresh))


@question(
    name="mode_dropper",
    question="A model draws real images it has not learnt from, but of half of the classes.",
    expected="recall, coverage and the scores of classes catch it, and so does FID, while to "
    "precision it is as good as real",
)
def catch_dropper(session: Session) -> Outcome:
    """Score held-out images of half of the classes."""
    sets = [keep_half(session, r) for r in session.repetitions("full")[:REPEATED]]
    seeing = ("fid", "recall", "coverage", "classes_reached", "class_kl")
    if min(map(len, sets)) < FEWEST_KEPT:
        raise Unasked("half of the classes hold too few of the images")
    extractor = next(iter(session.extractors))
    found = contrast_sets(session, (*seeing, "precision"), extractor, sets)
    asked = [name for name in seeing if name in found]
    missed = [symbol(name) for name in asked if not found[name].worse]
    fooled = not found["precision"].worse
    caught = ", ".join(symbol(name) for name in asked if found[name].worse) or "none"
    return Outcome(
        f"caught by {caught}{'; missed by ' if missed else ''}{', '.join(missed)}; to precision "
        f"it is {'as good as real' if fooled else 'worse than real'}",
        not missed and fooled,
        merge_values(found.values()),
    )


def keep_half(session: Session, split: int) -> Tensor:
    """Keep the images of B that belong to half of its classes, chosen at random."""
    chosen = session.held_out(split, "full")
    classes = session.bank.classes[chosen]
    present = classes.unique()
    if len(present) < 2:
        raise Unasked("the images are all of one class")
    rng = make_rng(session.design.seed, "mode dropper", split)
    kept = present[torch.randperm(len(present), generator=rng)[: len(present) // 2]]
    return chosen[torch.isin(classes, kept)]


@question(
    name="sharpener",
    question="Class predictions are sharpened by choice: of each class the twentieth of the "
    "held-out images that the classifier is surest of, all classes alike, over and over.",
    expected="the Inception Score scores them as better than real images, FID as worse",
)
def catch_sharpener(session: Session) -> Outcome:
    """Score the images that a classifier is surest of."""
    judge = find_judge(session)
    sets = [keep_surest(session, judge, r) for r in session.repetitions("full")[:REPEATED]]
    found = contrast_sets(session, ("inception_score", "fid", "precision", "recall"), judge, sets)
    fooled, seen = found["inception_score"].better, found["fid"].worse
    return Outcome(
        f"{describe_contrast(found['inception_score'], fooled)}; "
        f"{describe_contrast(found['fid'], seen)}",
        fooled and seen,
        merge_values(found.values()),
    )


def keep_surest(session: Session, judge: str, split: int) -> Tensor:
    """Keep of each class the surest images outside A, as many as B has, classes in turns."""
    count = session.count("full")
    rows = session.order[split][:-count]
    logits = session.bank.see(judge, rows).logits
    if logits is None:
        raise Unasked(f"{name_recipe(judge)} does not classify")
    sureness, likeliest = logits.double().log_softmax(dim=1).max(dim=1)
    order = sureness.argsort(descending=True, stable=True)
    members = [order[likeliest[order] == k] for k in likeliest.unique()]
    surest = [rows[own[: -(-len(own) // SUREST)]] for own in members]
    turns = -(-count // len(surest))
    dealt = torch.stack([own.repeat(-(-turns // len(own)))[:turns] for own in surest], dim=1)
    return dealt.flatten()[:count]


def describe_contrast(one: Contrast, beyond: bool) -> str:
    """State a set's score, that of real images, and whether they differ beyond the floor."""
    how = "beyond" if beyond else "not beyond"
    return f"{symbol(one.metric)} is {one.value:.3g}, {how} the {one.usual:.3g} of real images"


@question(
    name="kernel_density",
    question=f"Two VAEs learn the same images, of at most {SIDE} pixels a side, and differ in "
    f"nothing but {CODES[0]} and {CODES[1]} dimensions of their codes. Under which are held-out "
    "images more probable, by annealed importance sampling and by a Parzen window over "
    f"{DRAWN:,} of its samples?",
    expected=f"annealing prefers the one of {CODES[1]} dimensions, the kernel density that of "
    f"{CODES[0]}: it reverses the ranking (Wu et al. 2017)",
)
def reverse_ranking(session: Session) -> Outcome:
    """Rank two VAEs by their likelihood and by a kernel density."""
    try:
        worse, better = (evaluate_vae(session, codes) for codes in CODES)
    except Diverged as error:
        raise Unasked(f"a VAE's training diverged: {error}") from error
    lead, deficit = (mean_interval(better[k] - worse[k]) for k in ("AIS", "kernel density"))
    # Annealing may understate the worse model by as much as its bounds are apart.
    doubt = float(worse["BDMC gap"].mean())
    values = {
        f"{what}, {codes} dimensions": float(found.mean())
        for codes, weighed in zip(CODES, (worse, better), strict=True)
        for what, found in weighed.items()
    }
    for what, gain in (("AIS", lead), ("kernel density", deficit)):
        values |= {f"{what}, difference": gain.value}
        values |= {f"{what}, low": gain.low, f"{what}, high": gain.high}
    return Outcome(
        f"by annealing the VAE of {CODES[1]} dimensions is ahead by "
        f"{format_difference(lead)} nats, by the kernel density by "
        f"{format_difference(deficit)}, over {len(better['AIS'])} images",
        lead.low > max(doubt, 0) and deficit.high < 0,
        values,
    )


def format_difference(gain: Interval) -> str:
    """Format a difference with its interval."""
    return f"{gain.value:.3g} [{gain.low:.3g}, {gain.high:.3g}]".replace("-", "−")
