"""One run computed by several processes that `torchrun` has started, on one machine or more.

A batch is computed in equal shards, by whichever process each falls to, and the players move by
the means of their gradients. Those come from `torch.autograd.grad` of losses that call several
networks, for which the hooks of DistributedDataParallel do not fire, so that the collectives of
`torch.distributed` are used directly.

The first process leads: it alone reads the options, decides, writes and scores, and calls the
others to train or to draw with it. These keep nothing that would be lost with them.
"""

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, distributed, nn

from benchmarks.core.errors import FAILURES, describe_error, one_line
from benchmarks.core.seeds import derive_seed
from metrics import Moments

COLLECTIVE = timedelta(minutes=10)
"""How long a process waits for the others in the midst of their work."""

READY = 1800.0
"""Seconds in which a process must have loaded the data and the extractor of a run."""

PATIENCE, FAREWELL = 20.0, 2.0
"""Seconds in which all must have left what one of them has failed in, and have heard the end."""

PAUSE, WATCH = 0.05, 0.25
"""Seconds between two looks for a call or an answer, and for the end of the other processes."""


@dataclass(frozen=True)
class Shards:
    """The equal parts that a batch is computed in, and which of them are this process's.

    With one shard nothing here changes anything. As with DistributedDataParallel, each part has
    batch statistics of its own, and the model's buffers are those that the first part has left.

    Attributes:
        count: of all parts.
        rank: the number of this process; the first is 0 and leads.
        ranks: how many processes there are; `count` is a multiple of it.
    """

    count: int = 1
    rank: int = 0
    ranks: int = 1

    @property
    def own(self) -> range:
        """The numbers of this process's shards."""
        share = self.count // self.ranks
        return range(self.rank * share, (self.rank + 1) * share)

    @property
    def leads(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def rows(self, total: int, shard: int) -> slice:
        """Tell which of `total` images are a shard's."""
        return slice(total * shard // self.count, total * (shard + 1) // self.count)

    def seed(self, shard: int, *purpose: object) -> int:
        """Derive the seed of a purpose: each shard has its own, and a whole the usual one."""
        return derive_seed(*purpose, *([shard] if self.count > 1 else []))

    def mean(self, compute: Callable[[int], list[Tensor]], model: nn.Module) -> list[Tensor]:
        """Give the means over all shards of the tensors that are computed of each.

        Args:
            compute: gives the tensors of a shard, of the same shapes for all.
            model: whose buffers every shard finds as they are now, and the first leaves as they
                will be.
        """
        if self.count == 1:
            return compute(0)
        # Through `data`, so that a graph which has seen a buffer does not mind its change.
        buffers = [buffer.data for buffer in model.buffers()]
        before = [buffer.clone() for buffer in buffers]

        def compute_one(shard: int) -> list[Tensor]:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            return compute(shard)

        total = add_tree(self.own, compute_one)
        if self.ranks > 1:
            total = add_up(total)
            self.share(buffers)
        return list(torch._foreach_div(total, self.count))

    def share(self, tensors: list[Tensor]) -> None:
        """Give all processes the values that the first one has in these tensors."""
        if self.ranks == 1:
            return
        for kind in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == kind]
            values = torch.cat([tensor.reshape(-1) for tensor in alike])
            distributed.broadcast(values, 0)
            if not self.leads:
                put(values, alike)

    def share_model(self, model: nn.Module) -> None:
        """Give all processes the weights and buffers that the first one's model has."""
        self.share([tensor.data for tensor in (*model.parameters(), *model.buffers())])

    def share_content(self, content: bytes | None) -> bytes | None:
        """Give all processes the content, or the lack of any, that the first one has."""
        if self.ranks == 1:
            return content
        size = torch.tensor(-1 if content is None else len(content))
        distributed.broadcast(size, 0)
        if size < 0:
            return None
        data = torch.frombuffer(bytearray(content or b"\0" * int(size)), dtype=torch.uint8)
        distributed.broadcast(data, 0)
        return data.numpy().tobytes()

    def agree(self, yes: bool) -> bool:
        """Tell whether all processes say yes."""
        if self.ranks == 1:
            return yes
        votes = torch.tensor(int(yes))
        distributed.all_reduce(votes, distributed.ReduceOp.MIN)
        return bool(votes)

    def summarise(self, features: list[Tensor]) -> Tensor | Moments:
        """Give the moments of the features [n, d] of all shards, or the only shard's as they are.

        Args:
            features: of this process's shards in order, on the CPU.
        """
        if self.count == 1:
            return features[0]
        whole = Moments()
        for moments in self.exchange([Moments(part) for part in features]):
            whole.merge(moments)
        return whole

    def exchange(self, own: list[Moments]) -> list[Moments]:
        """Give all processes the moments of all shards, in the shards' order."""
        if self.ranks == 1:
            return own
        d = len(own[0].mean)
        mine = torch.stack(
            [torch.cat([m.mean.new_tensor([m.count]), m.mean, m.scatter.flatten()]) for m in own]
        )
        everyone = [torch.empty_like(mine) for _ in range(self.ranks)]
        distributed.all_gather(everyone, mine)
        rows = (row.split([1, d, d * d]) for row in torch.cat(everyone))
        return [
            Moments.from_state({"count": count, "mean": mean, "scatter": scatter.view(d, d)})
            for count, mean, scatter in rows
        ]

    def gather(self, blocks: list[Tensor]) -> Tensor:
        """Join the shards' rows, on the CPU, in the first process; any other gets its own alone."""
        own = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        if self.ranks == 1:
            return own
        if not self.leads:
            distributed.send(torch.tensor(len(own)), 0)
            distributed.send(own.contiguous(), 0)
            return own
        return torch.cat([own, *(receive(own, rank) for rank in range(1, self.ranks))])


WHOLE = Shards()
"""A batch in one piece."""


def add_tree(shards: range, compute: Callable[[int], list[Tensor]]) -> list[Tensor]:
    """Add up what is computed of shards, the first of them last.

    The sums of halves are added, as they are where two processes compute a half each: so the
    rounding is the same for both.
    """
    if len(shards) == 1:
        return compute(shards[0])
    middle = len(shards) // 2
    behind = add_tree(shards[middle:], compute)
    return list(torch._foreach_add(add_tree(shards[:middle], compute), behind))


def add_up(tensors: list[Tensor]) -> list[Tensor]:
    """Give the sums of all processes' tensors, which travel as one."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def put(values: Tensor, tensors: list[Tensor]) -> None:
    """Write values [n], one after another, into tensors of n elements in all."""
    parts = values.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def receive(like: Tensor, rank: int) -> Tensor:
    """Receive rows of the kind of `like` from another process."""
    count = torch.tensor(0)
    distributed.recv(count, rank)
    rows = torch.empty(int(count), *like.shape[1:], dtype=like.dtype)
    distributed.recv(rows, rank)
    return rows


class Team:
    """The processes that `torchrun` has started, as one of them sees it.

    Args:
        store: where they leave word for each other; its keys are used once.
        rank: of this process.
        ranks: how many there are.
    """

    def __init__(self, store: distributed.Store, rank: int, ranks: int) -> None:
        self.store, self.rank, self.ranks = store, rank, ranks
        self.calls = 0
        self.lost = False

    def heard(self, keys: list[str], seconds: float) -> bool:
        """Wait until somebody has set all of these keys, and tell whether it was in time."""
        end = time.monotonic() + seconds
        while not self.store.check(keys):
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE)
        return True

    def answers(self, about: str, seconds: float) -> dict[int, str] | None:
        """Collect what the other processes answer to this call; None if one does not in time."""
        keys = {rank: f"{about}/{self.calls}/{rank}" for rank in range(1, self.ranks)}
        if not self.heard(list(keys.values()), seconds):
            return None
        return {rank: self.store.get(key).decode() for rank, key in keys.items()}

    @contextmanager
    def call(self, duty: str, job: str) -> Iterator[None]:
        """Let the other processes take part in what is done within.

        Raises:
            RuntimeError: one of them cannot, or has failed.
        """
        self.assemble(duty, job)
        try:
            yield
        except FAILURES as error:
            self.part()
            troubles = self.answers("after", 0)
            # Where another process was the first to fail, this one knows but that it is gone.
            if (
                troubles
                and isinstance(error, RuntimeError)
                and one_line(error) not in str(troubles)
            ):
                self.check(troubles, error)
            raise
        except BaseException:
            self.stop()
            raise
        self.part()

    def assemble(self, duty: str, job: str) -> None:
        """Call the others, and begin as soon as all are ready, or not at all."""
        self.calls += 1
        self.store.set(f"call/{self.calls}", f"{duty} {job}")
        word = "do not"
        try:
            self.check(self.answers("ready", READY))
            word = "begin"
        finally:
            self.store.set(f"word/{self.calls}", word)

    def check(self, answers: dict[int, str] | None, cause: Exception | None = None) -> None:
        """Raise what one of the other processes says is wrong."""
        if answers is None:
            self.stop()
            raise RuntimeError("another process of torchrun does not answer")
        for rank, trouble in answers.items():
            if trouble:
                raise RuntimeError(f"process {rank} of torchrun: {trouble}") from cause

    def part(self) -> None:
        """Leave what was done together; who does not leave it as well is lost."""
        self.store.set(f"left/{self.calls}", "")
        gone = [f"gone/{rank}" for rank in range(1, self.ranks)]
        if self.answers("after", PATIENCE) is None or any(self.store.check([k]) for k in gone):
            self.stop()

    def stop(self) -> None:
        """Let all other processes end, whatever they are at."""
        self.lost = True
        self.store.set("stop", "")

    def dismiss(self) -> None:
        """Let the other processes end, where they wait to be called."""
        if self.lost:
            return
        self.calls += 1
        self.store.set(f"call/{self.calls}", "")
        self.answers("after", FAREWELL)

    def next_call(self) -> tuple[str, str] | None:
        """Wait to be called: to what, and the job; None at the end."""
        self.calls += 1
        self.heard([f"call/{self.calls}"], math.inf)
        duty, _, job = self.store.get(f"call/{self.calls}").decode().partition(" ")
        if duty:
            return duty, job
        self.answer("after", "")
        return None

    def answer(self, about: str, trouble: str) -> None:
        """Say that this process is ready or has come to its end, or what is wrong."""
        self.store.set(f"{about}/{self.calls}/{self.rank}", trouble)

    def take_part(self, prepare: Callable[[], Callable[[], Any]]) -> bool:
        """Do what the first process has called to; tell whether it needs not fear to be alone.

        Args:
            prepare: loads what the work needs, and gives the work to be done together.
        """
        try:
            work = prepare()
        except FAILURES as error:  # the first process hears of it
            self.answer("ready", describe_error(error))
            return True
        self.answer("ready", "")
        word = f"word/{self.calls}"
        if not self.heard([word], math.inf) or self.store.get(word) != b"begin":
            return True
        try:
            work()
        except FAILURES as error:  # likewise, and fails in the same way or is told
            return self.fail(error)
        self.answer("after", "")
        return True

    def fail(self, error: BaseException) -> bool:
        """Say what has failed; if the first process waits for this one in vain, it is to know."""
        self.answer("after", describe_error(error))
        if self.heard([f"left/{self.calls}"], PATIENCE):
            return True
        self.store.set(f"gone/{self.rank}", "")
        traceback.print_exception(error)
        sys.stderr.flush()
        if distributed.get_backend() == "gloo":
            # The first process notices it by the lost connection and writes it down, for which it
            # has no time where another exit code lets `torchrun` end all.
            os._exit(0)
        return False


_team: Team | None = None


@contextmanager
def lead() -> Iterator[None]:
    """Be the first of several processes: within, runs can be `called`."""
    global _team  # there is one, as there is one process group
    with join() as _team:
        try:
            yield
        finally:
            team, _team = _team, None
            team.dismiss()


@contextmanager
def join() -> Iterator[Team]:
    """Meet the other processes, and keep an eye on them until the end.

    Raises:
        ConnectionError: they do not meet.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        store, rank, ranks = meet()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=ranks, timeout=COLLECTIVE
        )
        eye = meet()[0]
    except RuntimeError as error:
        message = f"the processes of torchrun do not find each other: {one_line(error)}"
        raise ConnectionError(message) from error
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(eye, rank, os.getppid(), done), daemon=True)
    watcher.start()
    team = Team(store, rank, ranks)
    try:
        yield team
    finally:
        done.set()
        watcher.join()
    distributed.destroy_process_group()  # in good order; else it might wait for who is gone


def meet() -> tuple[distributed.Store, int, int]:
    """Connect to the store that the processes share; also this one's number, and how many."""
    store, rank, ranks = next(distributed.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"benchmarks/{attempt}", store), rank, ranks


def watch(store: distributed.Store, rank: int, parent: int, done: threading.Event) -> None:
    """End this process at once when `torchrun` has died, or when the first one says stop.

    What is in training then is waited for by nobody, and a collective would wait in vain.
    """
    while not done.wait(WATCH):
        try:
            stop = rank > 0 and store.check(["stop"])
        except RuntimeError:
            stop = rank > 0
        if stop or os.getppid() != parent:
            os._exit(0 if stop else 1)


@contextmanager
def called(duty: str, job: Any, count: int) -> Iterator[Shards]:
    """Do a job's work within together with the other processes, if there are any.

    Args:
        duty: what they are to do, see `benchmarks.execution.follower`.
        job: on what; a dataclass.
        count: the shards of its batch.

    Yields:
        The shards that are this process's.

    Raises:
        RuntimeError: another process cannot take part or has failed.
    """
    if _team is None:
        yield Shards(count)
        return
    with _team.call(duty, TypeAdapter(type(job)).dump_json(job).decode()):
        yield Shards(count, 0, _team.ranks)


def check_team() -> None:
    """Stop everything where another process is lost: the others would only find the same.

    Raises:
        ConnectionError: one is.
    """
    if _team is not None and _team.lost:
        raise ConnectionError(
            "a process of torchrun is lost; the same command goes on with the runs not finished"
        )
