"""What the further processes of `torchrun` do: they train and draw when the first calls them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from pydantic import TypeAdapter
from torch.distributed import DistError

from benchmarks.core.seeds import derive_seed
from benchmarks.core.signals import SIGNALS
from benchmarks.core.threads import fixed_threads
from benchmarks.evaluation.evaluator import Evaluator, load_evaluator
from benchmarks.execution.job import Job
from benchmarks.execution.run_one import build_model, make_training_config, resident
from benchmarks.training.distributed import Shards, join
from benchmarks.training.loop import train
from models.base import GenerativeModel

Duty = Callable[[Job, Evaluator, GenerativeModel, Shards], None]


def follow() -> int:
    """Do what the first process calls for until it has no more to do; the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with join() as team:
            while (call := team.next_call()) is not None:
                job = TypeAdapter(Job).validate_json(call[1])
                shards = Shards(job.spec.shards, team.rank, team.ranks)
                with steadfast(), fixed_threads(job.spec.threads):
                    if not team.take_part(partial(prepare, call[0], job, shards)):
                        return 1
    except (ConnectionError, DistError):
        return 1  # there is no first process any more, which says what there is to say
    return 0


@contextmanager
def steadfast() -> Iterator[None]:
    """Leave it to the first process to stop in good order when the user or the system wants it."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def prepare(call: str, job: Job, shards: Shards) -> Callable[[], None]:
    """Load what a job needs here, and return the work that is to be done with the others."""
    spec = job.spec.training if call == "train" else job.spec
    evaluator = load_evaluator(
        spec.data, spec.extractor, spec.samples, spec.reconstructions, job.place, spec.device
    )
    model = build_model(spec, evaluator.data.shape).to(spec.device)
    return partial(DUTIES[call], job, evaluator, model, shards)


def help_train(job: Job, evaluator: Evaluator, model: GenerativeModel, shards: Shards) -> None:
    """Compute this process's shards of a training; the first process keeps what comes of it."""
    device = torch.device(job.spec.device)
    seed = derive_seed(job.seed, "validation")
    train(
        model,
        resident(evaluator.train, device),
        resident(evaluator.source_train, device),
        make_training_config(job, model),
        evaluate=lambda average: evaluator.validate(average, seed, shards)[0],
        report=lambda *_: None,
        shards=shards,
    )


def help_draw(job: Job, evaluator: Evaluator, model: GenerativeModel, shards: Shards) -> None:
    """Draw this process's shards of the samples that are scored, by the first process's weights."""
    evaluator.make(model.eval(), derive_seed(job.seed, "evaluation"), shards)


DUTIES: dict[str, Duty] = {"train": help_train, "draw": help_draw}
"""What the first process can call for."""
