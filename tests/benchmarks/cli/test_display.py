import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.cli.display import Bars, Display, Lines, Scores, make_display
from benchmarks.cli.progress import Tally
from benchmarks.execution.events import Advanced, Finished, Noticed, Planned, Saved, Started
from benchmarks.records.schema import Costs, Record, Score


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def record(run: str, fid: float | None = 5.0, status: str = "ok", **costs: float) -> Record:
    scores = [
        Score(metric="fid", value=fid, extractor="classifier@1"),
        Score(metric="fid", value=999.0, extractor="pixels@2"),
        Score(metric="inception_score", value=7.0),
        Score(metric="reconstruction_mse", value=0.01),
    ]
    return Record(
        run=run,
        suite="suite",
        dataset="digits",
        contender=run.rsplit("-", 2)[0],
        family="gan",
        seed=0,
        status=status,  # type: ignore[arg-type]
        reason=None if status == "ok" else "loss is not\n finite \x1b[31m",
        scores=scores if status == "ok" and fid is not None else [],
        costs=Costs(**costs),  # type: ignore[arg-type]
    )


def work_of(runs: int) -> Planned:
    """So many runs that take equally long, of which `a-s0-abc` is one."""
    names = ["a-s0-abc", *(f"other-s{i}-abc" for i in range(1, runs))]
    return Planned(dict.fromkeys(names, 1.0))


def terminal(width: int = 80, height: int = 24) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True)


def drawn(shown: Bars) -> list[str]:
    """What a terminal shows at this moment."""
    console = Console(
        file=io.StringIO(), width=shown.console.width, height=shown.console.height, record=True
    )
    console.print(shown.render())
    return [line.rstrip() for line in console.export_text().splitlines() if line.strip()]


def printed(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_console_decides_how_runs_are_shown() -> None:
    pipe = Console(file=io.StringIO())
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    assert type(make_display(terminal())) is Bars
    assert type(make_display(pipe)) is Lines
    assert type(make_display(notebook)) is Lines
    assert type(make_display(terminal(), "plain")) is Lines
    assert type(make_display(terminal(), "quiet")) is Display


def test_a_terminal_without_a_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_display(terminal())) is Lines


def test_quiet_tells_of_problems_alone() -> None:
    console = terminal()
    with make_display(console, "quiet") as shown:
        shown.handle(work_of(3))
        for number, status in enumerate(("ok", "diverged")):
            shown.start(f"gan-s{number}-abc", 10, 0)
            shown.advance(f"gan-s{number}-abc", 5, 50, {})
            shown.finish(f"gan-s{number}-abc", record(f"gan-s{number}-abc", status=status))
        shown.notice("", "2 of 5 runs are finished already", routine=True)
        shown.notice("", "the disk is nearly full")
    first, second = printed(console).splitlines()
    assert first.startswith("gan-s1-abc  diverged: loss is not finite ")
    assert first.endswith("(2 of 3 runs, 1 failed)")
    assert second == "the disk is nearly full"


def test_lines_tell_how_far_all_runs_are(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=60)
    with make_display(console) as shown:
        shown.handle(work_of(3))
        shown.handle(Started("a-s0-abc", 100))
        clock[0] += 60
        shown.handle(Advanced("a-s0-abc", 50, 500, {"loss_vae": 0.25}))
        shown.handle(Saved("a-s0-abc", 50))
        shown.handle(Finished("a-s0-abc", record("a-s0-abc")))
        shown.handle(Noticed("b-s0-abc", "its machine was lost"))
    assert printed(console).splitlines() == [
        "a-s0-abc  started, 100 steps",
        "a-s0-abc  step 50 of 100  8 images/s  vae 0.25  60 s left",
        "a-s0-abc  FID 5  IS 7  MSE 0.01  (1 of 3 runs, 2 min left)",
        "b-s0-abc  its machine was lost",
    ]


def test_time_left_is_shared_by_the_runs_side_by_side(clock: list[float]) -> None:
    tally = Tally({"a-s0-x": 3.0, "a-s1-x": 3.0, "b-s0-x": 1.0, "b-s1-x": 1.0})
    assert str(tally.left()) == "nan"
    for run in ("a-s0-x", "a-s1-x"):
        tally.start(run, 300, 0)
    clock[0] += 100
    for run in ("a-s0-x", "a-s1-x"):
        tally.advance(run, 100)
    # 100 s for one unit of work: two more units in each of the two, and two that wait.
    assert tally.left() == pytest.approx(300)
    clock[0] += 200
    tally.finish("a-s0-x", record("a-s0-x", score_seconds=0.0))
    tally.finish("a-s1-x", record("a-s1-x", score_seconds=0.0))
    tally.start("b-s0-x", 100, 0)
    assert tally.left() == pytest.approx(200)
    assert tally.done() == 2


def test_what_an_earlier_command_trained_makes_no_run_faster(clock: list[float]) -> None:
    tally = Tally({"a-s0-x": 1.0, "b-s0-x": 1.0})
    tally.start("a-s0-x", 100, 90)
    clock[0] += 10
    tally.advance("a-s0-x", 95)
    assert tally.left() == pytest.approx(10 + 200)


def test_scores_are_means_over_finished_seeds_as_in_the_report() -> None:
    scores = Scores()
    for run, fid in (("gan-s0-x", 2.0), ("gan-s1-x", 8.0), ("vae-s0-x", 9.0)):
        scores.add(record(run, fid))
    scores.add(record("gan-s2-x", status="diverged"))
    console = Console(file=io.StringIO(), width=80)
    console.print(scores.tabulate(80, 10))
    rows = [line.split() for line in printed(console).splitlines() if line.strip()]
    assert rows[0] == ["contender", "seeds", "failed", "FID", "IS", "MSE", "time"]
    assert rows[2][:4] == ["gan", "2", "1", "4.00*"]
    assert rows[3][:4] == ["vae", "1", "0", "9.00"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (40, 14)])
def test_what_is_shown_fits_the_console(width: int, height: int) -> None:
    shown = Bars(terminal(width, height))
    Display.plan(shown, work_of(60))
    for number in range(50):
        run = f"a_rather_long_name_of_a_contender_{number}-s0-abc"
        shown.start(run, 1000, 0)
        shown.advance(run, 100, 6400, {"loss_generator": 0.5, "loss_discriminator": 1.25})
        if number < 20:
            shown.finish(run, record(run, 1.0 + number, train_seconds=100.0))
    lines = drawn(shown)
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    assert "20 of 60 runs" in lines[0] or width < 60
    assert any("more in training" in line for line in lines)
    assert any("1.00*" in line for line in lines)
    assert sum(line.strip().startswith("and ") for line in lines) == 2


def test_a_run_has_one_line_however_often_it_starts() -> None:
    shown = Bars(terminal())
    for done in (0, 40):
        shown.start("gan-s0-abc", 100, done)
    lines = drawn(shown)
    assert [line.split()[0] for line in lines] == ["all", "gan-s0"]
    assert "40 %" in lines[1]


def test_the_table_gives_way_to_the_report_but_outlasts_an_interruption() -> None:
    for wish in (None, KeyboardInterrupt):
        console = terminal()
        with contextlib.suppress(KeyboardInterrupt), Bars(console) as shown:
            shown.start("gan-s0-abc", 10, 0)
            shown.finish("gan-s0-abc", record("gan-s0-abc"))
            if wish:
                raise wish
        assert ("contender" in "\n".join(drawn(shown))) == (wish is not None)
        assert "✓ gan-s0" in printed(console).replace("\x1b[32m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize("kind", [Bars, Lines, Display])
def test_names_and_reasons_do_nothing_to_a_terminal(kind: type[Bars | Lines | Display]) -> None:
    console = Console(file=io.StringIO(), width=200)
    run = "[bold]a\x1b[31m\x07\x9b\u202e[bold]-s0-abc"
    shown = kind(console)
    shown.start(run, 10, 0)
    if isinstance(shown, Bars):
        console.print(shown.render())
    shown.notice(run, "[red]x[/] \x1b]0;title\x07")
    shown.finish(run, record(run, status="failed"))
    if isinstance(shown, Bars):
        console.print(shown.render())
    text = printed(console)
    assert all(line.isprintable() for line in text.splitlines())
    assert "[bold]a" in text
    assert "[red]x[/]" in text


def test_showing_runs_needs_neither_pandas_nor_torch() -> None:
    code = (
        "import sys, benchmarks.cli.display; print({'pandas', 'torch', 'scipy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run(command, check=True, capture_output=True, cwd=root).stdout == b"set()\n"


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_what_is_shown_fits_a_narrow_terminal(kind: type[Bars] | type[Lines]) -> None:
    console = Console(file=io.StringIO(), width=80, record=True, force_terminal=kind is Bars)
    records = [record("average-s0-abc"), record("raising-s0-abc", status="failed")]
    display = kind(console)
    losses = {"loss_generators": 1234.5678, "loss_discriminators": 0.00012345}
    for each in records:
        display.start(each.run, 10_000, 4_000)
        display.advance(each.run, 4_321, 276_544, losses)
    if isinstance(display, Bars):
        console.print(display.progress)
    for each in records:
        display.finish(each.run, each)
    text = console.export_text()
    assert "average-s0" in text
    if kind is Bars:
        lines = text.splitlines()
        assert len([line for line in lines if "4,321" in line]) == 2
        assert all("images" not in line or len(line) <= 80 for line in lines)
        assert [line.split()[0] for line in lines[:3]] == ["all", "average-s0", "raising-s0"]
