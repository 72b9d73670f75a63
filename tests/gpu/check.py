"""Check on a GPU what the tests check on a CPU, and measure how fast it is there.

    python tests/gpu/check.py --out FOLDER                in under six minutes on one NVIDIA GPU
    python tests/gpu/check.py --out FOLDER --only speed   one check, or several with commas
    python tests/gpu/check.py --out FOLDER --device cpu   at tiny sizes, what needs no GPU

Run from the root of the project, with it on `PYTHONPATH`. All data are made or come with
scikit-learn; nothing is downloaded. An image with PyTorch, torchvision, scikit-learn and pandas may
still lack these packages that the project needs: pydantic (with pydantic-core, annotated-types,
typing-inspection and typing-extensions of at least 4.16), platformdirs and torch-fidelity.

Every check yields rows as it goes, so that one that fails or takes too long costs its own remaining
rows alone. The exit code is 1 where a row is not as it should be. FOLDER gets `gpu.json`, `gpu.md`.
"""

import argparse
import gc
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from scipy.stats import ttest_ind
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.config.paths import Paths
from benchmarks.config.registry import load_model
from benchmarks.config.suite import build_suite, find_suite, read_toml
from benchmarks.core.devices import choose_device
from benchmarks.core.errors import BadInput, describe_error
from benchmarks.core.tensors import as_tensor, quantize, to_float
from benchmarks.core.threads import fixed_threads
from benchmarks.data import load_dataset
from benchmarks.evaluation.evaluator import Evaluator
from benchmarks.execution.engine import Engine
from benchmarks.execution.events import Event, Finished, Started
from benchmarks.execution.suite_run import SuiteRun, plan_suite
from benchmarks.records.store import read_suite
from benchmarks.training.checkpoint import load_checkpoint, save_checkpoint
from benchmarks.training.flops import count_training_flops
from benchmarks.training.graphs import WARM, StepGraph
from benchmarks.training.loop import Trained, TrainingConfig, TrainingState, train
from metrics import Extractor, InceptionExtractor, RandomExtractor, frechet_distance
from models.base import GenerativeModel

BATCH = 64
MIB = 2**20

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "gan": ("gan", {"latent": 16, "lr": 1e-3, "r1": 0.1}),
    "gan spectral": (
        "gan",
        {
            "backbone": "conv",
            "width": 16,
            "loss": "hinge",
            "lr": 2e-3,
            "discriminator_norm": "spectral",
        },
    ),
    "wgan-gp": ("gan", {"backbone": "conv", "width": 16, "loss": "wasserstein", "lr": 1e-3}),
    "autoencoder": ("autoencoder", {"backbone": "conv", "width": 16}),
    "vae": ("vae", {"backbone": "conv", "width": 16}),
    "cyclegan": ("cyclegan", {"width": 16, "critic_width": 16, "blocks": 2, "lr": 1e-3}),
    "cyclegan mlp": ("cyclegan", {"backbone": "mlp", "latent": 16, "lr": 1e-3}),
}
"""A model and its settings for 8×8 digits, of every family and every kind of network."""

FAMILIES = ("gan", "autoencoder", "vae", "cyclegan mlp")


class Stopped(Exception):
    """A training has gone as far as it is meant to."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what of, what was found, and whether it is as it should be."""

    check: str
    subject: str
    values: dict[str, float | str]
    ok: bool = True

    def __str__(self) -> str:
        values = "; ".join(f"{name} {show(value)}" for name, value in self.values.items())
        return f"| {self.check} | {self.subject} | {values} | {'yes' if self.ok else 'NO'} |"


def show(value: float | str) -> str:
    """Return a value with three digits."""
    if isinstance(value, str):
        return " ".join(value.split()).replace("|", "/")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass
class Session:
    """What the checks share: the device, a folder for files, and the made and shipped images."""

    device: torch.device
    folder: Path
    small: bool
    peaks: dict[str, float] = field(default_factory=dict)

    @cached_property
    def digits(self) -> Any:
        """The 8×8 digits, with their outlines as the source domain."""
        return load_dataset("digits", data_root=Path())

    @cached_property
    def pictures(self) -> Tensor:
        """Made grey images, uint8 [N, 1, 28, 28], where batches are drawn from."""
        rng = torch.Generator().manual_seed(0)
        count = 256 if self.small else 20_000
        return torch.randint(0, 256, (count, 1, 28, 28), generator=rng, dtype=torch.uint8).to(
            self.device
        )

    def models(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return the models to train, at tiny sizes two that take little time."""
        few = ("gan", "cyclegan mlp")
        return {name: SMALL[name] for name in few} if self.small else SMALL

    def evaluator(self, device: torch.device | None = None) -> Evaluator:
        """Build an evaluator of digits by the features of an untrained network."""
        extractor = RandomExtractor(1, device=device or self.device)
        return Evaluator(self.digits, extractor, 256, 64)

    def wait(self) -> None:
        """Wait until the device has done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


Check = Callable[[Session], Iterator[Row]]
CHECKS: dict[str, tuple[Check, int, bool]] = {}
"""Each check, the seconds that it may take, and whether it needs CUDA."""


def check(seconds: int, *, cuda: bool = False) -> Callable[[Check], Check]:
    """Register a check by its function's name."""

    def register(function: Check) -> Check:
        CHECKS[function.__name__] = (function, seconds, cuda)
        return function

    return register


# What checks are made of


def build(
    model: str, settings: dict[str, Any], device: torch.device, side: int = 8, seed: int = 0
) -> GenerativeModel:
    """Build a model of grey images with weights by a seed, which are the same on every device."""
    torch.manual_seed(seed)
    kind = load_model(model)
    return kind(kind.Config.model_validate(settings), (1, side, side)).to(device)


def train_digits(
    session: Session,
    model: GenerativeModel,
    steps: int,
    *,
    precision: str = "float32",
    seed: int = 0,
    losses: list[dict[str, float]] | None = None,
    evaluate: Callable[[GenerativeModel], float] = lambda _: 0.0,
    evaluations: int = 1,
    state: TrainingState | None = None,
    checkpointer: Any = None,
) -> Trained:
    """Train a model on digits that lie where it does; `losses` gets those of every log point."""
    data, kept = session.digits, [] if losses is None else losses
    images, source = (
        as_tensor(split.images).to(model.device) for split in (data.train, data.source_train)
    )
    config = TrainingConfig(steps, BATCH, seed, evaluations=evaluations, precision=precision)
    with fixed_threads(1):
        return train(
            model,
            images,
            source if model.uses_source else None,
            config,
            evaluate=evaluate,
            report=lambda _, found: kept.append(found),
            state=state,
            checkpointer=checkpointer,
        )


@dataclass
class After:
    """Is asked after every step, as a checkpointer is; never due, but calls a function."""

    call: Callable[[int], None]
    step: int = 0

    def due(self) -> bool:
        """Count the step and call the function with its number."""
        self.step += 1
        self.call(self.step)
        return False

    def save(self, state: TrainingState) -> None:
        """Do nothing; it is never due."""


# The checks


@check(60)
def trains(session: Session) -> Iterator[Row]:
    """Every model trains in either precision: its samples come closer to the test images."""
    evaluator, steps = session.evaluator(), 40 if session.small else 250
    for name, (kind, settings) in session.models().items():
        for precision in ("float32", "bfloat16"):
            model, losses = build(kind, settings, session.device), list[dict[str, float]]()
            before = evaluator.validate(model.eval(), 0)[0]
            trained = train_digits(session, model, steps, precision=precision, losses=losses)
            after = evaluator.validate(trained.model, 0)[0]
            first, last = (sum(row.values()) for row in (losses[0], losses[-1]))
            values = {"FID before": before, "after": after, "first loss": first, "last": last}
            fell = last < first or len(losses[0]) > 1  # losses of opponents need not fall
            fine = after < 0.8 * before and fell and math.isfinite(last)
            yield Row("trains", f"{name}, {precision}", {**values, "steps": float(steps)}, fine)


@check(60)
def resumes(session: Session) -> Iterator[Row]:
    """A training that was interrupted and resumed gives the weights of one that was not."""
    steps = 8 if session.small else 60
    for name, (kind, settings) in session.models().items():
        for precision in ("float32",) if session.small else ("float32", "bfloat16"):
            path = session.folder / "state.safetensors"
            whole = train_digits(
                session, build(kind, settings, session.device), steps, precision=precision
            )
            try:
                train_digits(
                    session,
                    build(kind, settings, session.device),
                    steps,
                    precision=precision,
                    checkpointer=Interruption(steps // 3, path),
                )
            except Stopped:
                tensors, about = load_checkpoint(path)
            resumed = train_digits(
                session,
                build(kind, settings, session.device, seed=1),
                steps,
                precision=precision,
                state=TrainingState(about.pop("step"), tensors, about),
            )
            gap = difference(whole, resumed)
            yield Row("resumes", f"{name}, {precision}", {"largest difference": gap}, gap == 0)


class Interruption:
    """Saves the state after some step, and ends the training there."""

    def __init__(self, step: int, path: Path) -> None:
        self.left, self.path = step, path

    def due(self) -> bool:
        """Return whether that step is done."""
        self.left -= 1
        return self.left == 0

    def save(self, state: TrainingState) -> None:
        """Save the state, and raise Stopped."""
        save_checkpoint(self.path, state.tensors, {**state.about, "step": state.step})
        raise Stopped


def difference(one: Trained, other: Trained) -> float:
    """Return the largest difference of the weights, averaged and not, of two trainings."""
    pairs = [(one.last, other.last), (one.model.state_dict(), other.model.state_dict())]
    parts = [(a[k].double(), b[k].double()) for a, b in pairs for k in a]
    return max((x - y).abs().max().item() for x, y in parts if x.numel())


@check(40)
def waits_for_nothing(session: Session) -> Iterator[Row]:
    """Between two log points, no step makes the host wait for the device."""
    last = 16 if session.small else 100  # of 1,000 steps every tenth is a log point
    cuda = session.device.type == "cuda"
    for name, (kind, settings) in SMALL.items():
        for precision in ("float32", "bfloat16") if cuda else ("float32",):
            for mode in ("eager", "replayed") if cuda else ("eager",):
                model = build(kind, settings, session.device)
                with one_by_one(model) if mode == "eager" else nullcontext():
                    found = find_wait(session, model, precision, last)
                subject = f"{name}, {precision}, {mode}"
                yield Row("waits for", subject, {"": found}, found == "nothing")


def find_wait(session: Session, model: GenerativeModel, precision: str, last: int) -> str:
    """Return where a training waits for the device between log points, or "nothing"."""
    with guarding(session.device) as guard:

        def after(step: int) -> None:
            if step == last:
                raise Stopped
            guard(step > WARM and (step + 1) % 10 != 0)

        try:
            train_digits(session, model, 1000, precision=precision, checkpointer=After(after))
        except Stopped:
            pass
        except RuntimeError as error:
            return f"{blame(error)}: {describe_error(error)[:120]}"
    return "nothing"


def one_by_one(model: GenerativeModel) -> Any:
    """Return a block in which no training step is recorded as a CUDA graph."""
    return patch.object(type(model), "capturable", False)


@check(90, cuda=True)
def replays(session: Session) -> Iterator[Row]:
    """Steps replayed by a CUDA graph give the weights, losses and scores of steps one by one.

    By a falling learning rate, with clipped gradients, and with evaluations in between.
    """
    evaluator = session.evaluator()
    for name, (kind, settings) in SMALL.items():
        model = kind, {**settings, "schedule": "linear", "clip": 1.0}
        for precision in ("float32", "bfloat16"):
            try:
                values, fine = compare_replays(session, *model, precision, evaluator)
            except RuntimeError as error:
                traceback.print_exc()
                values, fine = {"": f"{blame(error)}: {describe_error(error)[:300]}"}, False
            yield Row("replays", f"{name}, {precision}", values, fine)


def compare_replays(
    session: Session, kind: str, settings: dict[str, Any], precision: str, evaluator: Evaluator
) -> tuple[dict[str, float | str], bool]:
    """Train by steps one by one and by replays; return what differs, and whether nothing does."""
    found, counts, steps = list[Trained](), list[int](), 60
    for recorded in (False, True):
        model = build(kind, settings, session.device)
        with nullcontext() if recorded else one_by_one(model), counting() as count:
            trained = train_digits(
                session,
                model,
                steps,
                precision=precision,
                evaluate=lambda average: evaluator.validate(average, 0)[0],
                evaluations=3,
            )
        found.append(trained)
        counts.append(len(count))
    gap = difference(*found)
    histories = [[{**row, "seconds": 0.0} for row in trained.history] for trained in found]
    same = histories[0] == histories[1]
    values = {"largest difference": gap, "same history": str(same), "replays": float(counts[1])}
    return values, gap == 0 and same and counts == [0, steps - WARM]


@contextmanager
def counting() -> Iterator[list[int]]:
    """Yield a list that gets an item with every replay of a training step."""
    replay, count = StepGraph.replay, list[int]()

    def counted(self: StepGraph, show: Any) -> None:
        count.append(1)
        replay(self, show)

    with patch.object(StepGraph, "replay", counted):
        yield count


@contextmanager
def guarding(device: torch.device) -> Iterator[Callable[[bool], None]]:
    """Yield a function that forbids, or allows again, to wait for the device.

    Elsewhere than on CUDA, operations are forbidden that read values to the host.
    """
    if device.type == "cuda":

        def guard(active: bool) -> None:
            torch.cuda.set_sync_debug_mode("error" if active else "default")

        try:
            yield guard
        finally:
            guard(active=False)
        return
    with Reads() as mode:
        yield mode.forbid


class Reads(TorchDispatchMode):
    """Refuses operations that bring a tensor's values, or a shape that follows from them, here."""

    NAMES = frozenset(("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"))

    def __init__(self) -> None:
        super().__init__()
        self.active = False

    def forbid(self, active: bool) -> None:
        """Refuse from now on, or no more."""
        self.active = active

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation unless it is refused."""
        name = func.overloadpacket.__name__
        if self.active and name in self.NAMES:
            raise RuntimeError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def blame(error: BaseException) -> str:
    """Return the last place of the project's own packages in an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if {"benchmarks", "models"} & {*Path(f.filename).parts}]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"


@check(90)
def scores(session: Session) -> Iterator[Row]:
    """Scores are the CPU's: of the same weights, and of trainings by the same specs."""
    cpu = torch.device("cpu")
    own, theirs = session.evaluator(), session.evaluator(cpu)
    gap = apart(own.extractor(own.test).features, theirs.extractor(own.test).features)
    yield Row("scores", "features of the same images", {"relative difference": gap}, gap < 1e-5)
    steps, seeds = (15, 2) if session.small else (200, 4)
    for name in FAMILIES:
        kind, settings = SMALL[name]
        here = [
            train_digits(session, build(kind, settings, session.device, seed=s), steps, seed=s)
            for s in range(seeds)
        ]
        there = [
            train_digits(session, build(kind, settings, cpu, seed=s), steps, seed=s)
            for s in range(100, 100 + seeds)
        ]
        fids = [
            [evaluator.validate(trained.model, 0)[0] for trained in trainings]
            for evaluator, trainings in ((own, here), (theirs, there))
        ]
        p = float(ttest_ind(*([math.log(f) for f in row] for row in fids), equal_var=False).pvalue)
        means = {"FID here": sum(fids[0]) / seeds, "on the CPU": sum(fids[1]) / seeds}
        yield Row("scores", f"{name}, {seeds} trainings each", {**means, "p": p}, not p < 0.0025)
        yield from compare_devices(name, here[0].model, own, theirs)


def compare_devices(
    name: str, model: GenerativeModel, own: Evaluator, theirs: Evaluator
) -> Iterator[Row]:
    """Compare what the same weights make on the device and on the CPU."""
    found, copies = [], []
    for device, evaluator in ((model.device, own), (torch.device("cpu"), theirs)):
        model.to(device).eval()
        evaluator.finish(model, 0)
        samples = evaluator.draw_images(model, evaluator.samples, 0, evaluator.source_test)
        found.append(evaluator.reference.score(samples, "", {"fid", "kid"}))
        originals = to_float(evaluator.originals[:16].to(device))
        rng = torch.Generator(device).manual_seed(0)
        if type(model).reconstruction != "search":
            with torch.no_grad():
                copies.append(quantize(model.reconstruct(originals, rng)).cpu().float())
    for one, other in zip(*found, strict=True):
        if one.metric in {"fid", "kid"}:
            values = {
                key: f"{show(s.value)} [{show(s.low)}, {show(s.high)}]"
                for key, s in (("here", one), ("on the CPU", other))
            }
            # The samples are others; 95 % intervals of equal scores part by more in 1 of 10,000.
            near = abs(one.value - other.value) <= one.high - one.low + other.high - other.low
            yield Row("scores", f"{name}, same weights, {one.metric}", values, near)
    if copies:
        levels = (copies[0] - copies[1]).abs().max().item()
        yield Row("scores", f"{name}, reconstructions", {"levels of 255": levels}, levels <= 3)


def apart(found: Tensor, right: Tensor) -> float:
    """Return ‖found − right‖ / ‖right‖."""
    found, right = found.double().cpu(), right.double().cpu()
    return ((found - right).norm() / right.norm()).item()


@check(60, cuda=True)
def shares(session: Session) -> Iterator[Row]:
    """Two runs share the device: the second begins before the first has ended."""
    contenders = {"one": {"model": "vae"}, "two": {"model": "gan", "latent": 16}}
    engine = Engine("local", None, 0.5)
    planned = plan(session, contenders, engine, steps=3000)
    workers, _ = engine.count_workers(planned.jobs)
    events = list[Event]()
    records = planned.run(events.append)
    order = [type(event) for event in events if isinstance(event, Started | Finished)]
    together = order[:2] == [Started, Started]
    values: dict[str, float | str] = {"workers": workers, "overlap": str(together)}
    values |= {record.contender: f"{record.status} {record.reason or ''}" for record in records}
    fine = workers == 2 and [record.status for record in records] == ["ok", "ok"] and together
    yield Row("shares", "two runs on one device", values, fine)


def plan(
    session: Session, contenders: dict[str, dict[str, Any]], engine: Engine, *, steps: int
) -> SuiteRun:
    """Plan short runs on digits in a folder of their own."""
    table = {"images": steps * BATCH, "batch": BATCH, "seeds": 1, "evaluations": 1}
    table |= {"samples": 64, "reconstructions": 10, "extractor": "random"}
    suite = build_suite({**table, "contenders": contenders}, "check.py")
    folder = Path(tempfile.mkdtemp(dir=session.folder))
    paths = Paths(folder, folder, folder / "cache")
    device = str(session.device)
    machine = {"device": device, "precision": "auto"}
    return plan_suite(suite, "check", "check.py", paths, engine, {}, **machine)


@check(60, cuda=True)
def runs_out_of_memory(session: Session) -> Iterator[Row]:
    """Too large a model is a failed record with its reason, and the other run goes on."""
    contenders = {
        "large": {"model": "gan", "hidden": [8192, 8192], "inversion_steps": 1},
        "fitting": {"model": "vae"},
    }
    planned = plan(session, contenders, Engine("inline"), steps=20)
    total = torch.cuda.get_device_properties(session.device).total_memory
    room = torch.cuda.memory_reserved(session.device) + 400 * MIB
    index = session.device.index or 0  # no other than an explicit one will do
    torch.cuda.set_per_process_memory_fraction(room / total, index)
    try:
        records = {record.contender: record for record in planned.run(lambda _: None)}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)
    large, fitting = records["large"], records["fitting"]
    told = large.status == "failed" and (large.reason or "").startswith("out of memory")
    values = {"status": large.status, "reason": (large.reason or "")[:120]}
    yield Row("out of memory", "the large run", values, told)
    values = {"status": fitting.status, "reason": fitting.reason or ""}
    yield Row("out of memory", "the other run", values, fitting.status == "ok")


@check(100)
def speed(session: Session) -> Iterator[Row]:
    """Steps per second and share of the peak of the `mnist` suite's models on 28×28 images."""
    yield from measure_peaks(session)
    contenders = read_contenders("mnist")
    if session.small:
        contenders = {"gan_mlp": contenders["gan_mlp"]}
    steps = 2 if session.small else 100
    for name, (kind, settings) in contenders.items():
        flops = count_training_flops(build(kind, settings, session.device, 28), BATCH)
        rates = dict[str, float]()
        for precision in ("float32", "bfloat16"):
            rates[precision] = measure(session, kind, settings, steps, precision, recorded=False)
            yield speed_row(session, f"{name}, {precision}", rates[precision], flops, precision)
        if session.device.type == "cuda":
            yield from measure_replays(session, name, kind, settings, flops, rates)


def measure_replays(
    session: Session,
    name: str,
    kind: str,
    settings: dict[str, Any],
    flops: int,
    eager: dict[str, float],
) -> Iterator[Row]:
    """Measure training by replays of a CUDA graph, in either precision."""
    for precision, before in eager.items():
        rate = measure(session, kind, settings, 400, precision)
        row = speed_row(session, f"{name}, {precision}, replayed", rate, flops, precision)
        yield replace(row, values={**row.values, "gain": rate / before})
    rate = measure(session, kind, settings, 400, "float32", repeatable=False)
    yield Row("speed", f"{name}, float32, replayed, any algorithm of cuDNN", {"steps/s": rate})
    if name == "autoencoder":
        for precision in eager:
            rate = measure(session, kind, settings, 100, precision, batch=16 * BATCH)
            subject = f"{name}, {precision}, replayed, batch 1,024"
            yield speed_row(session, subject, rate, 16 * flops, precision)


def measure_peaks(session: Session) -> Iterator[Row]:
    """Measure what a large matrix product reaches in each arithmetic, in operations a second."""
    n, repeats = (256, 2) if session.small else (8192, 10)
    before = torch.get_float32_matmul_precision()
    for name, dtype, setting in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, before),
    ):
        a, b = (torch.randn(n, n, device=session.device, dtype=dtype) for _ in range(2))
        torch.set_float32_matmul_precision(setting)
        try:
            for _ in range(2):
                a @ b
            session.wait()
            started = time.perf_counter()
            for _ in range(repeats):
                a @ b
            session.wait()
            peak = repeats * 2 * n**3 / (time.perf_counter() - started)
        finally:
            torch.set_float32_matmul_precision(before)
        session.peaks[name] = peak
        yield Row("speed", f"matrix product, {name}", {"TFLOP/s": peak / 1e12, "n": float(n)})


def speed_row(session: Session, subject: str, rate: float, flops: int, precision: str) -> Row:
    """Return a row with a speed; float32's share is of TF32, by which cuDNN convolves on CUDA."""
    against = "tf32" if precision == "float32" and session.device.type == "cuda" else precision
    share = rate * flops / session.peaks[against]
    values = {"steps/s": rate, "TFLOP/s": rate * flops / 1e12, f"share of {against} peak": share}
    return Row("speed", subject, values)


def read_contenders(suite: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the models of a shipped suite with their settings, one of each network."""
    contenders = build_suite(read_toml(find_suite(suite)[1]), suite).list_contenders()
    return {c.name: (c.model, dict(c.settings)) for c in contenders if c.name != "gan_mlp_r1"}


def measure(
    session: Session,
    kind: str,
    settings: dict[str, Any],
    steps: int,
    precision: str,
    *,
    batch: int = BATCH,
    repeatable: bool = True,
    recorded: bool = True,
    compiled: bool = False,
) -> float:
    """Return the steps per second of the training loop itself, warm, between log points.

    `recorded` is whether steps may be replayed by a CUDA graph.
    """
    model, warm, times = build(kind, settings, session.device, 28), 2 + steps // 5, list[float]()

    def after(step: int) -> None:
        if step in {warm, warm + steps}:
            session.wait()
            times.append(time.perf_counter())
            if len(times) == 2:
                raise Stopped

    # So long a training that its log points, a hundred, lie far apart.
    config = TrainingConfig(
        100 * (warm + steps), batch, 0, evaluations=1, precision=precision, compile=compiled
    )
    source = session.pictures if model.uses_source else None
    ignore: Any = lambda *_: 0.0  # noqa: E731
    graphs = nullcontext() if recorded else one_by_one(model)
    with fixed_threads(1), suppress(Stopped), graphs:
        torch.backends.cudnn.deterministic = repeatable
        train(
            model,
            session.pictures,
            source,
            config,
            evaluate=ignore,
            report=ignore,
            checkpointer=After(after),
        )
    return steps / (times[1] - times[0])


@check(40)
def inception(session: Session) -> Iterator[Row]:
    """Inception's features in half precision: their error and their speed, random weights."""
    path = session.folder / "inception.pth"
    save_random_inception(path)
    rng = torch.Generator().manual_seed(0)
    count = 4 if session.small else 512
    coarse = torch.rand(2 * count, 3, 6, 6, generator=rng)
    images = (255 * torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")).byte()
    extractor = InceptionExtractor(path, session.device)
    exact_features, rate = extract(session, extractor, images, torch.float32)
    fid = frechet_distance(*exact_features[:, :64].split(count))
    yield Row("inception", "float32", {"images/s": rate, "FID of 64 features": fid})
    dtypes = {"bfloat16": torch.bfloat16}
    if session.device.type == "cuda":
        dtypes["float16"] = torch.float16
    for name, dtype in dtypes.items():
        features, fast = extract(session, extractor, images, dtype)
        gap = apart(features, exact_features)
        halves = features[:, :64].split(count)[1], exact_features[:, :64].split(count)[0]
        shift = abs(frechet_distance(halves[1], halves[0]) / fid - 1)
        values = {"images/s": fast, "gain": fast / rate, "error of features": gap}
        yield Row("inception", f"{name} by autocast", {**values, "error of FID": shift}, gap < 0.05)


def save_random_inception(path: Path) -> None:
    """Write random weights of Inception's network in the form of the published file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    blank = path.with_name("blank.pth")
    torch.save({}, blank)
    torch.manual_seed(0)
    with patch.object(Network, "load_state_dict", lambda self, state: None):
        network = Network("random", ["2048"], str(blank))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    torch.save(network.state_dict(), path)


def extract(
    session: Session, extractor: Extractor, images: Tensor, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """Return an extractor's features with the network under autocast, and images per second."""
    half = dtype != torch.float32
    part = images[: 2 if session.small else 128]
    seconds = math.inf
    for number, rows in enumerate((part, images, images)):
        if session.small and number == 1:
            continue
        started = time.perf_counter()
        with torch.autocast(session.device.type, dtype, enabled=half) if half else nullcontext():
            features = extractor(rows).features
        if number:
            seconds = min(seconds, time.perf_counter() - started)
    return features, len(images) / seconds


@check(90, cuda=True)
def command(session: Session) -> Iterator[Row]:
    """The command itself, with its reports, two runs at a time."""
    folder = session.folder / "smoke"
    name = ("-m", "benchmarks.run", "smoke", "--device", str(session.device))
    options = ("--gpu-share", "0.5", "--plain", "--out", str(folder))
    environment = {**os.environ, "BENCHMARKS_CACHE": str(session.folder / "cache")}
    done = subprocess.run(
        [sys.executable, *name, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=85,
        env=environment,
    )
    # So few steps may well collapse a model, which is exit code 1.
    written, outcomes = (folder / "report.html").exists(), read_outcomes(folder)
    fine = written and done.returncode in {0, 1} and outcomes <= {"ok", "collapsed"}
    values: dict[str, float | str] = {"exit code": float(done.returncode)}
    values |= {"outcomes": ", ".join(sorted(outcomes))}
    if not fine:
        print(done.stdout, done.stderr)
    yield Row("command", "benchmarks.run smoke", values, fine)


def read_outcomes(folder: Path) -> set[str]:
    """Return the outcomes of the runs in a results folder."""
    try:
        return {record.status for record in read_suite(folder).records}
    except BadInput as error:
        return {str(error)}


@check(110, cuda=True)
def compiled(session: Session) -> Iterator[Row]:
    """Three families train compiled; how long that takes, and what it gains."""
    steps = 60
    contenders = read_contenders("mnist")
    for name in ("gan_mlp", "vae", "cyclegan"):
        kind, settings = contenders[name]
        eager = measure(session, kind, settings, steps, "bfloat16", recorded=False)
        started = time.perf_counter()
        rate = measure(session, kind, settings, steps, "bfloat16", compiled=True)
        first = time.perf_counter() - started - 1.2 * steps / rate
        values = {"steps/s": rate, "gain": rate / eager, "seconds to compile": first}
        yield Row("compiled", f"{name}, bfloat16", values, math.isfinite(rate))


# The script


class Late(Exception):
    """A check takes longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Late in the block after so many seconds, and every ten after that."""

    def expire(*_: object) -> None:
        raise Late(f"after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1), 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_check(name: str, session: Session, end: float) -> list[Row]:
    """Do one check and return its rows; a failure is a row of its own."""
    function, seconds, cuda = CHECKS[name]
    rows, started = list[Row](), time.perf_counter()
    if cuda and session.device.type != "cuda":
        return [Row(name, "skipped", {"": "needs CUDA"})]
    try:
        with time_limit(min(seconds, end - started)):
            for row in function(session):
                rows.append(row)
                print(row, flush=True)
    except Exception as error:  # noqa: BLE001 - the other checks go on
        traceback.print_exc()
        where = f"{blame(error)}: {describe_error(error)[:300]}"
        rows.append(Row(name, "failed", {"": where}, ok=False))
        print(rows[-1], flush=True)
    print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
    rows.append(Row(name, "seconds", {"": round(time.perf_counter() - started, 1)}))
    return rows


def is_lost(session: Session) -> bool:
    """Free what a check has left; return whether an error has made CUDA useless in this process."""
    gc.collect()
    if session.device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.ones(1, device=session.device).item()
    except RuntimeError:
        return True
    return False


def run_checks(names: list[str], session: Session, out: Path, end: float) -> list[Row]:
    """Do checks one after another; those after one that has broken CUDA in another process."""
    rows = list[Row]()
    for number, name in enumerate(names):
        rows += run_check(name, session, end)
        rest = names[number + 1 :]
        if rest and is_lost(session):
            print("CUDA is lost to this process; the other checks follow in another", flush=True)
            return rows + run_elsewhere(rest, session, out / "rest", end)
        write(rows, session, out)
    return rows


def run_elsewhere(names: list[str], session: Session, out: Path, end: float) -> list[Row]:
    """Do checks in a process of their own."""
    minutes = (end - time.perf_counter()) / 60
    options = ("--device", str(session.device), "--out", str(out), "--minutes", f"{minutes:.2f}")
    script = [sys.executable, __file__, "--only", ",".join(names), *options]
    subprocess.run(script, check=False)
    try:
        found = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
    except OSError:
        return [Row(name, "failed", {"": "no result"}, ok=False) for name in names]
    return [Row(**row) for row in found["rows"]]


def describe_machine(session: Session) -> dict[str, str]:
    """Return what the figures depend on."""
    cuda = session.device.type == "cuda"
    name = torch.cuda.get_device_name(session.device) if cuda else platform.processor() or "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none" if cuda else "none",
        "cuDNN": str(torch.backends.cudnn.version()) if cuda else "none",
        "Python": platform.python_version(),
    }


def write(rows: list[Row], session: Session, out: Path) -> str:
    """Write all rows as JSON and as a table in Markdown, and return the table."""
    machine = describe_machine(session)
    head = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [head, "", "| check | of | found | as it should be |", "| --- | --- | --- | --- |"]
    table = "\n".join([*lines, *map(str, rows)]) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "rows": [asdict(row) for row in rows]}
    (out / "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (out / "gpu.md").write_text(table, encoding="utf-8")
    return table


def main(argv: list[str] | None = None) -> int:
    """Run the checks, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the project on a GPU.")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--device", default="auto", metavar="D", help="as of benchmarks.run")
    parser.add_argument("--only", metavar="A,B", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--minutes", type=float, default=5.7, help="for all checks together")
    options = parser.parse_args(argv)
    names = options.only.split(",") if options.only else [*CHECKS]
    if unknown := set(names) - set(CHECKS):
        parser.error(
            f"no such check: {', '.join(sorted(unknown))}; choose from {', '.join(CHECKS)}"
        )
    try:
        device = torch.device(choose_device(options.device))
    except BadInput as error:
        parser.error(str(error))
    end = time.perf_counter() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(device, Path(folder), small=device.type == "cpu")
        rows = run_checks(names, session, options.out, end)
        print(write(rows, session, options.out))
    return int(not all(row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main())
