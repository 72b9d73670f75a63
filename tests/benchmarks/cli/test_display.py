import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.cli import display
from benchmarks.cli.display import Bars, Lines, Quiet, Scores, Tally, make_display
from benchmarks.records.schema import Costs, Record, Score


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
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
    assert type(make_display(terminal(), 1)) is Bars
    assert type(make_display(pipe, 1)) is Lines
    assert type(make_display(notebook, 1)) is Lines
    assert type(make_display(terminal(), 1, "plain")) is Lines
    assert type(make_display(terminal(), 1, "quiet")) is Quiet


def test_a_terminal_without_a_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_display(terminal(), 1)) is Lines


def test_quiet_tells_of_problems_alone() -> None:
    console = terminal()
    with make_display(console, 3, "quiet") as shown:
        for number, status in enumerate(("ok", "diverged")):
            shown.start(f"gan-s{number}-abc", 10, 0)
            shown.advance(f"gan-s{number}-abc", 5, 50, {})
            shown.finish(f"gan-s{number}-abc", record(f"gan-s{number}-abc", status=status))
        shown.notice("", "the disk is nearly full")
    first, second = printed(console).splitlines()
    assert first.startswith("gan-s1-abc  diverged: loss is not finite ")
    assert first.endswith("(2 of 3 runs, 1 failed)")
    assert second == "the disk is nearly full"


def test_lines_tell_how_far_all_runs_are(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=60)
    with make_display(console, 3) as shown:
        shown.start("a-s0-abc", 100, 0)
        clock[0] += 60
        shown.advance("a-s0-abc", 50, 500, {"loss_vae": 0.25})
        shown.finish("a-s0-abc", record("a-s0-abc"))
    assert printed(console).splitlines() == [
        "a-s0-abc  started, 100 steps",
        "a-s0-abc  step 50 of 100  8 images/s  vae 0.25  60 s left",
        "a-s0-abc  FID 5  IS 7  MSE 0.01  (1 of 3 runs, 2 min left)",
    ]


def test_time_left_is_shared_by_the_runs_side_by_side(clock: list[float]) -> None:
    tally = Tally(4, {"a-s0-x": 3.0, "a-s1-x": 3.0, "b-s0-x": 1.0, "b-s1-x": 1.0})
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
    tally = Tally(2)
    tally.start("a-s0-x", 100, 90)
    clock[0] += 10
    tally.advance("a-s0-x", 95)
    assert tally.left() == pytest.approx(10 + 200)


def test_scores_are_means_over_finished_seeds_as_in_the_report() -> None:
    scores = Scores([record("gan-s0-x", 2.0), record("gan-s1-x", 8.0), record("vae-s0-x", 9.0)])
    scores.add(record("gan-s2-x", status="diverged"))
    console = Console(file=io.StringIO(), width=80)
    console.print(scores.tabulate(80, 10))
    rows = [line.split() for line in printed(console).splitlines() if line.strip()]
    assert rows[0] == ["contender", "seeds", "failed", "FID", "IS", "MSE", "time"]
    assert rows[2][:4] == ["gan", "2", "1", "4.00*"]
    assert rows[3][:4] == ["vae", "1", "0", "9.00"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (40, 14)])
def test_what_is_shown_fits_the_console(width: int, height: int) -> None:
    shown = Bars(terminal(width, height), 60)
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
    shown = Bars(terminal(), 2)
    for done in (0, 40):
        shown.start("gan-s0-abc", 100, done)
    lines = drawn(shown)
    assert [line.split()[0] for line in lines] == ["all", "gan-s0"]
    assert "40 %" in lines[1]


def test_the_table_gives_way_to_the_report_but_outlasts_an_interruption() -> None:
    for wish in (None, KeyboardInterrupt):
        console = terminal()
        with contextlib.suppress(KeyboardInterrupt), Bars(console, 1) as shown:
            shown.start("gan-s0-abc", 10, 0)
            shown.finish("gan-s0-abc", record("gan-s0-abc"))
            if wish:
                raise wish
        assert ("contender" in "\n".join(drawn(shown))) == (wish is not None)
        assert "✓ gan-s0" in printed(console).replace("\x1b[32m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize("kind", [Bars, Lines, Quiet])
def test_names_and_reasons_do_nothing_to_a_terminal(kind: type[Bars | Lines | Quiet]) -> None:
    console = Console(file=io.StringIO(), width=200)
    run = "[bold]a\x1b[31m\x07\x9b\u202e[bold]-s0-abc"
    shown = kind(console, 1)
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
