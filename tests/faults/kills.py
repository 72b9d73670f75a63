"""Kill a command and its workers at random moments: nothing may be lost, torn or done twice.

    python tests/faults/kills.py --kills 100

One suite is carried out undisturbed, and once more while SIGKILL ends now a worker, now the driver.
The driver is started again after each of its ends. After every one of its lives each file that it
left must be whole, no run may have repeated a step that was in its checkpoint, and in the end the
scores must be those of the undisturbed suite, byte for byte. Options that are not this script's
are the command's own, such as `--steps 200`. Needs Linux's /proc.
"""

import argparse
import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.records.schema import TrainedRecord
from benchmarks.records.store import read_history, read_index, read_record, read_sealed
from benchmarks.training.checkpoint import load_checkpoint

WITNESS = Path(__file__).with_name("witness.py")
GRACE = 600.0
"""Seconds within which workers must have noticed that their driver has died."""


@dataclass(frozen=True)
class Event:
    """A line of the witness: at `time`, process `pid` began `what`."""

    time: float
    pid: int
    what: str
    run: str
    step: int


@dataclass(frozen=True)
class Stand:
    """How far a run has come on disk: `nothing`, `training`, `trained` or `finished`."""

    stage: str = "nothing"
    step: int = 0


@dataclass
class Trial:
    """A suite that is carried out, in as many lives of its driver as it takes.

    Attributes:
        work: the folder of all that the trial leaves.
        options: of the command.
        every: seconds between two checkpoints.
    """

    work: Path
    options: list[str]
    every: float = 30.0
    lives: int = 0

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.work / "results"

    @property
    def log(self) -> Path:
        """The witness's lines of the present life."""
        return self.work / f"life-{self.lives}.tsv"

    @property
    def output(self) -> Path:
        """What the driver has said in the present life."""
        return self.log.with_suffix(".txt")

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the driver once more."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.lives += 1
        command = [sys.executable, str(WITNESS), str(self.log), *self.options]
        command += ["--out", str(self.folder), "--checkpoint-seconds", str(self.every)]
        with self.output.open("wb") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def read_log(self) -> list[Event]:
        """Read what was witnessed in the present life."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [
            Event(float(at), int(pid), what, run, int(step or 0))
            for at, pid, what, run, step in (line.split("\t") for line in lines)
        ]


@dataclass
class Tally:
    """What has been counted in all lives.

    Attributes:
        moments: what the victims were at when they were killed.
        torn: files that a kill caught in the middle of being written, beside the whole ones.
        played: steps of training, the repeated ones included.
        repeated: steps that were played, but in no checkpoint yet.
        rescored: scorings that were begun again.
        slowest: seconds until the last worker had noticed its driver's death.
    """

    workers: int = 0
    drivers: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    torn: int = 0
    played: int = 0
    repeated: int = 0
    rescored: int = 0
    slowest: float = 0.0


def members(session: int) -> Iterator[tuple[int, bytes]]:
    """Give the number and the command line of every living process of a session."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session and (line := (path / "cmdline").read_bytes()):
                yield int(path.name), line
        except OSError:
            continue  # it has just ended


def find_workers(driver: int) -> list[int]:
    """List the workers of a driver that leads a session."""
    return sorted(pid for pid, line in members(driver) if b"spawn_main" in line)


def wait_for(condition: Callable[[], object], seconds: float) -> float:
    """Wait for a condition; give how long that took.

    Raises:
        AssertionError: it has not come true in time.
    """
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:.0f} s"
        time.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Killer:
    """Who kills, whom, and when.

    Moments are drawn by the clock while the driver starts, and by the steps that are played while
    its workers are at work, so that the kills and the work come to their end together on a machine
    of any speed. Once nothing but the report is left to do, the rest of the kills fall on that.

    Attributes:
        left: kills that are still to come.
        drivers: the share of kills that are meant for the driver.
        start_up: seconds from the driver's start until its workers have something to do.
        pause: seconds for which it waits at most once so many steps have been played.
        totals: the steps of every run.
    """

    rng: random.Random
    left: int
    drivers: float
    start_up: float
    pause: float
    totals: dict[str, int]

    def haunt(self, trial: Trial, driver: "subprocess.Popen[bytes]", tally: Tally) -> None:
        """Kill during one life of the driver, until it is dead or done or no kill is left."""
        early = self.rng.random() < self.drivers
        while self.left:
            todo = self.count_steps_to_do(trial.folder)
            if not todo and self.rng.random() < 0.5:
                await_event(trial, driver, "report")
                longest = 2.0
            elif not todo or early:
                longest = self.start_up
            else:
                await_event(trial, driver, "run")
                await_steps(
                    trial, driver, self.rng.uniform(0, 1.5 * todo / self.left), self.start_up
                )
                longest = self.pause
            if has_ended(driver, self.rng.uniform(0, longest)):
                return
            workers = find_workers(driver.pid)
            at_driver = early or not workers or self.rng.random() < self.drivers
            victim = driver.pid if at_driver else self.rng.choice(workers)
            tally.moments[describe_moment(trial, victim, driver.pid)] += 1
            os.kill(victim, signal.SIGKILL)
            self.left -= 1
            if at_driver:
                tally.drivers += 1
                return
            tally.workers += 1

    def count_steps_to_do(self, folder: Path) -> int:
        """Count the steps that are in no checkpoint yet."""
        stands = take_stock(folder)
        kept = sum(
            stand.step if stand.stage in {"nothing", "training"} else self.totals[run]
            for run, stand in stands.items()
        )
        return sum(self.totals.values()) - kept


def await_event(trial: Trial, driver: "subprocess.Popen[bytes]", what: str) -> None:
    """Wait until the driver or a worker does something, or the driver has ended."""
    while not count(trial, what) and not has_ended(driver, 0.05):
        pass


def await_steps(
    trial: Trial, driver: "subprocess.Popen[bytes]", steps: float, longest: float
) -> None:
    """Wait until so many more steps have been played, or so many seconds have passed."""
    enough, deadline = count(trial, "step") + steps, time.monotonic() + longest
    while count(trial, "step") < enough and time.monotonic() < deadline:
        if has_ended(driver, 0.02):
            return


def count(trial: Trial, what: str) -> int:
    """Count what was witnessed in the present life."""
    return trial.log.read_bytes().count(f"\t{what}\t".encode()) if trial.log.exists() else 0


def has_ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Tell whether a process ends within so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def describe_moment(trial: Trial, victim: int, driver: int) -> str:
    """Say what a process was at: what the witness has last seen of it."""
    seen = [event.what for event in trial.read_log() if event.pid == victim]
    who = "driver" if victim == driver else "worker"
    return f"{who}, {seen[-1] if seen else 'before start'}"


def carry_on(trial: Trial, killer: Killer, tally: Tally, totals: dict[str, int]) -> None:
    """Start the driver again and again until all is done and nobody is to be killed any more.

    Args:
        trial: the suite.
        killer: who disturbs it.
        tally: is added to.
        totals: the steps of every run.

    Raises:
        AssertionError: something was lost, torn or repeated.
    """
    before: dict[str, Stand] = {}
    torn: set[Path] = set()
    while True:
        driver, left = trial.start(), killer.left
        killer.haunt(trial, driver, tally)
        code = driver.wait()
        tally.slowest = max(tally.slowest, wait_for(partial(is_empty, driver.pid), GRACE))
        torn |= check_files(trial.folder)
        after = take_stock(trial.folder)
        check_life(trial, totals, before, after, tally)
        check_end(trial, code, after, killed=left - killer.left)
        before = after
        print(describe_life(trial, code, left - killer.left, after), flush=True)
        if code == 0 and not killer.left:
            tally.torn = len(torn)
            return


def is_empty(session: int) -> bool:
    """Tell whether no process of a session is left."""
    return not list(members(session))


def describe_life(trial: Trial, code: int, killed: int, after: dict[str, Stand]) -> str:
    """Say in a line how a life ended, and how far the runs have come."""
    stages = Counter(stand.stage for stand in after.values())
    runs = ", ".join(f"{count} {stage}" for stage, count in sorted(stages.items())) or "none"
    return f"life {trial.lives}: {killed} kills, exit code {code}; runs: {runs}"


def check_end(trial: Trial, code: int, after: dict[str, Stand], killed: int) -> None:
    """Check a driver's exit code, and that no run failed but by being killed."""
    expected = {-signal.SIGKILL, 0, 1} if killed else {0}
    said = trial.output.read_text(errors="replace")
    assert code in expected, f"exit code {code}: {said}"
    assert "Traceback" not in said, said
    assert code != 0 or all(stand.stage == "finished" for stand in after.values()), after
    for path in trial.folder.glob("runs/*/record.json"):
        record = read_record(path.parent)
        reason = record.reason or ""
        assert record.status == "ok" or "ended by signal 9" in reason, f"{path}: {reason}"


def take_stock(folder: Path) -> dict[str, Stand]:
    """Tell how far every run in a results folder has come; the calibration is no run."""
    return {
        path.name: judge_stand(path)
        for path in folder.glob("runs/*")
        if (path / "checkpoint").exists() or not path.name.startswith(("real-", "noise-"))
    }


def judge_stand(run: Path) -> Stand:
    """Tell how far a run has come from what is in its folder."""
    checkpoint = run / "checkpoint"
    try:
        if (run / "record.json").exists() and read_record(run).status == "ok":
            return Stand("finished")
        if (checkpoint / "training.json").exists():
            return Stand("trained")
        return Stand("training", load_checkpoint(checkpoint / "state.safetensors")[1]["step"])
    except FileNotFoundError:
        return Stand()


def check_life(
    trial: Trial,
    totals: dict[str, int],
    before: dict[str, Stand],
    after: dict[str, Stand],
    tally: Tally,
) -> None:
    """Check by the witness that every run went on from where it stood, and lost no checkpoint."""
    events = trial.read_log()
    for run in {event.run for event in events} - {""}:
        mine = [event for event in events if event.run == run]
        was, now = before.get(run, Stand()), after.get(run, Stand())
        said = f"{run} in life {trial.lives}, from {was} to {now}"
        assert was.stage != "finished", f"{said}: it was finished"
        assert sum(event.what == "run" for event in mine) == 1, f"{said}: carried out twice"
        ended = any(event.what == "after run" for event in mine)
        assert now.stage == "finished" or not ended, f"{said}: its record is lost"
        tally.rescored += was.stage == "trained"
        steps = [event.step for event in mine if event.what == "step"]
        if not steps:
            assert now.step == was.step or now.stage != "training", said
            continue
        assert was.stage != "trained", f"{said}: it was trained"
        span = f"steps {steps[0]} to {steps[-1]}"
        assert steps == list(range(was.step, steps[-1] + 1)), f"{said}: {span} were played"
        kept = totals[run] if now.stage in {"trained", "finished"} else now.step
        saved = max((event.step for event in mine if event.what == "saved"), default=was.step)
        assert saved <= kept <= steps[-1] + 1, f"{said}: {span} were played, {saved} saved"
        check_punctuality(mine, trial.every)
        tally.played += len(steps)
        tally.repeated += steps[-1] + 1 - kept


def check_punctuality(mine: list[Event], every: float) -> None:
    """Check that a step which began when a checkpoint was due has left one."""
    last, due = next(event.time for event in mine if event.what == "step"), False
    for event in mine:
        if event.what == "after keeping":
            last, due = event.time, False
        if event.what == "step":
            assert not due, f"no checkpoint before {event}"
            due = event.time > last + every


def check_files(folder: Path) -> set[Path]:
    """Check that every file in a results folder is whole; give those that were never to be one."""
    torn = set()
    for path in folder.rglob("*"):
        if path.name.startswith(".") and path.suffix == ".tmp":
            torn.add(path)
        elif path.is_file() and path.name not in {".lock", ".holder"}:
            check_file(path)
    return torn


def check_file(path: Path) -> None:
    """Check that a file is whole.

    Raises:
        AssertionError: it cannot be read, or nobody should have written it.
    """
    readers: dict[str, Callable[[Path], object]] = {
        "record.json": lambda path: read_record(path.parent),
        "training.json": lambda path: read_sealed(path, TrainedRecord),
        "suite.json": lambda path: read_index(path.parent),
        "history.csv": lambda path: read_history(path.parent),
        ".csv": pd.read_csv,
        ".safetensors": load_checkpoint,
        ".npz": lambda path: np.load(path)["images"],
        ".png": lambda path: Image.open(path).load(),
        ".svg": ET.parse,
        ".md": lambda path: path.read_text()[0],
        ".tex": lambda path: path.read_text()[0],
        ".txt": lambda path: path.read_text()[0],
        ".html": lambda path: path.read_text().rindex("</html>"),
    }
    reader = readers.get(path.name) or readers.get(path.suffix)
    assert reader is not None, f"what is {path}?"
    try:
        reader(path)
    except Exception as error:
        raise AssertionError(f"{path} is torn: {error}") from error


def check_same(whole: Path, torn: Path) -> None:
    """Check that a disturbed suite has left what the undisturbed one has."""
    names = ["scores.csv"]
    for pattern in ("runs/*/checkpoint/*", "runs/*/samples.*", "runs/*/reconstructions.png"):
        names += [str(path.relative_to(whole)) for path in whole.glob(pattern)]
    names = [name for name in names if not name.endswith("training.json")]  # it has times in it
    _, different, missing = filecmp.cmpfiles(whole, torn, names, shallow=False)
    assert not different + missing, f"not as in the undisturbed suite: {different + missing}"


def measure_undisturbed(trial: Trial) -> tuple[dict[str, int], float, float]:
    """Carry out the suite once in peace.

    Returns:
        The steps of every run, the seconds until its workers began, and those that they took.
    """
    started = time.monotonic()
    code = trial.start().wait()
    took = time.monotonic() - started
    assert code == 0, trial.output.read_text(errors="replace")
    events = trial.read_log()
    start_up = next(event.time for event in events if event.what == "run") - started
    steps = Counter(event.run for event in events if event.what == "step")
    return dict(steps), start_up, took - start_up


def put_to_the_test(
    work: Path,
    options: list[str],
    kills: int,
    *,
    seed: int = 0,
    every: float = 1.0,
    drivers: float = 0.3,
) -> str:
    """Carry out a suite undisturbed and with kills, and compare.

    Args:
        work: a folder for both, new or empty.
        options: of the command, its suite the first.
        kills: how many.
        seed: of the kills' moments.
        every: seconds between two checkpoints.
        drivers: the share of kills that are meant for the driver.

    Returns:
        A summary in a few lines.

    Raises:
        AssertionError: something was lost, torn or repeated.
    """
    whole, torn = Trial(work / "whole", options), Trial(work / "torn", options, every)
    totals, start_up, training = measure_undisturbed(whole)
    print(f"undisturbed: {start_up:.1f} s to start up, {training:.1f} s of work", flush=True)
    rng = random.Random(seed)
    killer = Killer(rng, kills, drivers, start_up, training / kills, totals)
    tally, started = Tally(), time.monotonic()
    carry_on(torn, killer, tally, totals)
    check_same(whole.folder, torn.folder)
    assert tally.played - tally.repeated == sum(totals.values()), (tally, totals)
    seconds = time.monotonic() - started
    moments = ", ".join(f"{count} × {moment}" for moment, count in tally.moments.most_common())
    return (
        f"moments: {moments}\n"
        f"files caught half-written: {tally.torn}; scorings begun again: {tally.rescored}; "
        f"workers outlived their driver by at most {tally.slowest:.1f} s\n"
        f"{tally.workers} kills of workers, {tally.drivers} of the driver, {torn.lives - 1} "
        f"restarts, {seconds:.0f} s; {tally.repeated:,} steps repeated against "
        f"{sum(totals.values()):,} in all; scores.csv is the same"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the trial and print what came of it."""
    parser = argparse.ArgumentParser(description="Kill a suite's processes at random moments.")
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--suite", default="digits", help="(default: digits)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between checkpoints")
    parser.add_argument("--drivers", type=float, default=0.3, help="share of kills of the driver")
    options, own = parser.parse_known_args(argv)
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        print(
            put_to_the_test(
                work,
                [options.suite, *own],
                options.kills,
                seed=options.seed,
                every=options.every,
                drivers=options.drivers,
            )
        )
    except AssertionError as error:
        print(f"FAILED: {error}\nall that it left: {work}", file=sys.stderr)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
