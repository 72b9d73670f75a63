from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from drawn import overlaps, shown_ticks, texts
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from synthetic import FOUR, TWENTY, VIEWS, write_suite

from benchmarks.analysis.frames import Frames, gather
from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_suite
from benchmarks.reporting import plots
from benchmarks.reporting.plots import PLOTS, charts, render
from benchmarks.reporting.plots.drawing import (
    COLOURS,
    COLUMN,
    FEW,
    LABELS,
    PAGE,
    PANELS,
    best,
    looks,
    spread_out,
)
from benchmarks.reporting.plots.ranks import join_ranks
from benchmarks.reporting.plots.registry import style

MIXED = {(TWENTY[3][0], seed): "diverged" for seed in range(3)} | {
    (TWENTY[5][0], 0): "failed",
    (TWENTY[5][0], 1): "diverged",
    (TWENTY[6][0], 2): "collapsed",
}
COLLAPSED = {("vae", seed): "collapsed" for seed in range(21)}
CASES = {
    "normal": {"failures": {("gan", 1): "diverged"}, "views": VIEWS},
    "single": {"seeds": 1},
    "many": {"contenders": (FOUR[0], *FOUR[2:]), "seeds": 21, "failures": COLLAPSED},
    "failed": {"failures": {(name, seed): "failed" for name, _ in FOUR for seed in range(3)}},
    "twenty": {"contenders": TWENTY, "failures": MIXED, "channels": 3, "views": VIEWS},
}
UNSCORED = {"variety", "cost", "agreement"}
PICTURES = {"translations", "neighbours", "interpolations", "evolution"}
Draw = Callable[[str], Figure | None]


@pytest.fixture(scope="module", params=CASES)
def frames(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("plots") / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # the disk's time is not what is tested
        return gather(read_suite(write_suite(folder, **CASES[request.param])))


@pytest.fixture(scope="module")
def draw(frames: Frames) -> Draw:
    """Draws each plot once."""
    return cache(lambda plot: render_once(frames, plot))


def render_once(frames: Frames, plot: str, *, paper: bool = False) -> Figure | None:
    with style(paper):
        if figure := PLOTS[plot](frames, paper=paper):
            figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("plot", PLOTS)
def test_no_text_is_cropped_and_none_overlaps(frames: Frames, draw: Draw, plot: str) -> None:
    figure = draw(plot)
    if figure:
        check_texts(figure)
    else:
        assert frames.runs["fid"].isna().iloc[:-2].all()
        assert plot in UNSCORED | PICTURES


@pytest.mark.parametrize("frames", ["normal", "twenty"], indirect=True)
@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_holds_within_a_papers_page(frames: Frames, plot: str) -> None:
    figure = render_once(frames, plot, paper=True)
    assert figure is not None
    check_texts(figure)
    assert figure.get_figwidth() < PAGE + 0.01


def check_texts(figure: Figure) -> None:
    page = figure.bbox.padded(1)
    for text in texts(figure) + shown_ticks(figure):
        box = text.get_window_extent()
        assert page.containsx(box.x0) and page.containsx(box.x1), text.get_text()  # noqa: PT018
        assert page.containsy(box.y0) and page.containsy(box.y1), text.get_text()  # noqa: PT018
    assert overlaps(figure) == []


def test_a_contender_keeps_its_look_in_every_plot(frames: Frames, draw: Draw) -> None:
    look = looks(frames.runs["contender"])
    assert len({(v.colour, v.marker, v.line) for v in look.values()}) == len(look)
    for plot in ("cost", "training"):
        if figure := draw(plot):
            for text in figure.findobj(Annotation):
                if text.get_text() != "real":
                    assert text.get_color() == look[text.get_text()].colour
    for plot in ("scores", "stability"):
        figure = draw(plot)
        assert figure is not None
        drawn = {line.get_color() for axes in figure.axes for line in axes.lines}
        assert drawn & set(COLOURS) <= {value.colour for value in look.values()}


def four(folder: Path, **case: object) -> Frames:
    return gather(read_suite(write_suite(folder / "suite", **case)))


def test_a_part_of_a_frame_is_drawn_in_the_same_colours(tmp_path: Path) -> None:
    runs = four(tmp_path).runs
    figure = plots.draw_cost(runs[runs["contender"].isin(["vae", "cyclegan"])])
    assert figure is not None
    colours = {text.get_text(): text.get_color() for text in figure.findobj(Annotation)}
    assert colours == {"vae": COLOURS[2], "cyclegan": COLOURS[3]}


def test_a_frame_from_a_file_is_drawn_as_well(tmp_path: Path) -> None:
    runs = four(tmp_path).runs
    runs.to_csv(tmp_path / "runs.csv", index=False)
    for plot in (plots.draw_scores, plots.draw_cost, plots.draw_stability, plots.draw_agreement):
        assert plot(pd.read_csv(tmp_path / "runs.csv")) is not None


def test_a_plot_does_not_change_its_frame_nor_the_users_style(tmp_path: Path) -> None:
    frames = four(tmp_path)
    runs, history = frames.runs.copy(), frames.history.copy()
    with mpl.rc_context({"font.size": 23, "savefig.dpi": 11}):
        first = render(frames, ["scores", "training"])
        assert mpl.rcParams["font.size"] == 23
    assert render(frames, ["scores", "training"]) == first
    pd.testing.assert_frame_equal(frames.runs, runs)
    pd.testing.assert_frame_equal(frames.history, history)


def test_single_plots_are_drawn_in_the_formats_asked_for(tmp_path: Path) -> None:
    frames = four(tmp_path, seeds=1)
    files = render(frames, ["cost", "samples"], paper=True, formats=("pdf", "svg"))
    assert list(files) == ["cost.pdf", "cost.svg", "samples.pdf", "samples.svg"]
    assert render(frames, ["cost", "samples"], paper=True, formats=("pdf", "svg")) == files
    assert b"CreationDate" not in files["cost.pdf"]
    assert b"/FontFile2" in files["cost.pdf"]  # TrueType
    width = float(ElementTree.fromstring(files["cost.svg"]).attrib["width"].removesuffix("pt"))
    assert width == pytest.approx(72 * PAGE)


def test_short_names_fit_into_a_papers_column(tmp_path: Path) -> None:
    frames = four(tmp_path)
    for plot in ("training", "stability"):
        figure = render_once(frames, plot, paper=True)
        assert figure is not None
        assert figure.get_figwidth() == pytest.approx(COLUMN)


def test_wrong_names_are_named(tmp_path: Path) -> None:
    frames = four(tmp_path, seeds=1)
    with pytest.raises(BadInput, match="unknown plot 'score': did you mean 'scores'"):
        render(frames, ["score"])
    with pytest.raises(BadInput, match="unknown format 'pgn': did you mean 'png'"):
        render(frames, formats=["pgn"])


def test_collapsed_runs_are_shown_as_such(tmp_path: Path) -> None:
    failures = {("gan", seed): "collapsed" for seed in range(2)} | {("vae", 0): "collapsed"}
    frames = four(tmp_path, seeds=2, failures=failures)
    scores, training = render_once(frames, "scores"), render_once(frames, "training")
    assert scores is not None
    assert training is not None
    rows = [tick.get_text() for tick in scores.axes[0].get_yticklabels()]
    assert rows[0] == "gan\n2/2 collapsed"
    assert rows[2] == "vae\n1/2 collapsed"
    rings = [line for line in training.axes[0].lines if line.get_markersize() == 8]
    assert [line.get_color() for line in rings] == [COLOURS[0], COLOURS[0], COLOURS[2]]


def test_stability_pairs_the_best_and_the_last_of_each_seed(tmp_path: Path) -> None:
    failures = {("gan", 0): "diverged", ("gan", 1): "failed"}
    failures |= {("vae", seed): "diverged" for seed in range(3)}
    frames = four(tmp_path, failures=failures)
    figure = render_once(frames, "stability")
    assert figure is not None
    (axes,) = figure.axes
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows == [
        "gan\n1/3 diverged\n1/3 failed",
        "autoencoder",
        "vae\n3/3 diverged",
        "cyclegan",
    ]
    lines = {tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
    scored = frames.runs[frames.runs["fid_best"].notna()]
    assert lines == set(zip(scored["fid_best"], scored["fid"], strict=True))
    said = [text.get_text() for text in axes.texts]
    assert said.count("1.08") == 3
    assert "diverged" in said


def test_the_pareto_front_is_what_no_other_beats() -> None:
    costs = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0, "e": 4.0})
    values = pd.Series({"a": 5.0, "b": 6.0, "c": 2.0, "d": 3.0, "e": 2.0})
    assert charts.find_front(costs, values) == ["a", "c"]


def hand_made(**columns: list[float]) -> pd.DataFrame:
    names = pd.Categorical(["a", "b", "c"], categories=["a", "b", "c"])
    frame = {"contender": names, "family": "vae", "status": "ok"}
    return pd.DataFrame({**frame, **columns})


def test_agreement_calls_out_what_is_the_other_way_round() -> None:
    figure = plots.draw_agreement(
        hand_made(
            fid=[3.0, 1.0, 2.0],
            kid=[0.3, 0.1, 0.2],
            inception_score=[8.0, 7.0, 6.0],
            **{"fid@random@1a2b": [5.0, 6.0, np.nan]},
        )
    )
    assert figure is not None
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["FID", "FID, random", "KID", "IS"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["b", "c", "a"]
    cells = {t.get_position(): t.get_text() for t in axes.texts}
    ranks = [[cells.get((column, row)) for column in range(4)] for row in range(3)]
    assert ranks == [
        ["1", "2 ▼1", "1", "2 ▼1"],
        ["2", None, "2", "3 ▼1"],
        ["3", "1 ▲1", "3", "1 ▲2"],
    ]
    below = [text for (_, row), text in cells.items() if row == 2.6]
    assert below == [
        "-1.00\n1/1",
        "1.00\n0/3",
        "-0.33\n2/3",
        "Kendall’s τ with FID\nreversed pairs",
    ]
    assert len([p for p in axes.patches if isinstance(p, Rectangle)]) == 2 + 3


def test_agreement_needs_two_contenders_and_two_scores() -> None:
    assert plots.draw_agreement(hand_made(fid=[3.0, 1.0, 2.0])) is None
    assert plots.draw_agreement(hand_made(fid=[3.0, np.nan, np.nan], kid=[1.0, 2.0, 3.0])) is None


@pytest.mark.parametrize("count", [2, 5, 20])
def test_a_critical_difference_diagram_names_all(count: int) -> None:
    rng = np.random.default_rng(0)
    ranks = pd.DataFrame(
        {
            "contender": [name for name, _ in TWENTY[:count]],
            "rank": np.arange(1.0, count + 1) + rng.uniform(0, 0.2, count),
        }
    )
    figure = plots.draw_critical_difference(ranks, 2.5)
    with style(paper=False):
        figure.draw_without_rendering()
    check_texts(figure)
    assert len(texts(figure)) >= count + 1


def test_bars_join_the_largest_groups_within_the_critical_difference() -> None:
    assert join_ranks([1.0, 1.5, 2.0, 4.0], 1.01) == [(1.0, 2.0)]
    assert join_ranks([1.0, 2.0, 3.0, 4.0], 2.0) == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert join_ranks([1.0, 2.0, 3.0, 4.0], 2.01) == [(1.0, 3.0), (2.0, 4.0)]
    assert join_ranks([1.0, 3.0], 1.0) == []


def test_names_are_drawn_as_one_line_that_can_be_seen(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("a", "gan"), ("b", "vae")), seeds=2)
    suite = read_suite(folder)
    name = "$\\frac{1}$<b>\x1b[31m\n\x00]]>--" + "x" * 200
    for record in suite.records[:2]:
        record.contender = name
        record.scores[3].protocol = name
        record.scores.append(record.scores[0].model_copy(update={"extractor": name}))
    suite.index.contenders[0].name = name
    for paper in (False, True):
        files = render(gather(suite), paper=paper, formats=["svg"])
        assert set(files) > {"samples.svg", "scores.svg", "cost.svg", "losses.svg"}
        for content in files.values():
            ElementTree.fromstring(content)


def test_the_best_are_shown_where_there_is_no_room_for_all() -> None:
    fids = {"a": 3.0, "b": float("nan"), "c": 1.0, "d": 2.0}
    assert best("abcd", fids, 2) == ["c", "d"]
    assert best("abcde", fids, 3) == ["a", "c", "d"]
    assert best("abcde", fids, 9) == list("abcde")


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    figure = plots.draw_cost(four(tmp_path, contenders=(("a$_b$", "gan"),), seeds=1).runs)
    assert figure is not None
    assert not any(text.get_parse_math() for text in figure.findobj(Annotation))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).map(sorted))
def test_labels_are_spread_out_within_the_axes(places: list[float]) -> None:
    moved = spread_out(places, 0.05)
    assert min(np.diff(moved), default=1) > 0.05 - 1e-9
    assert moved[0] > -1e-9
    assert moved[-1] < 1 + 1e-9


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread_out([0.1, 0.5, 0.52], 0.1) == pytest.approx([0.1, 0.46, 0.56])
    assert spread_out([], 0.1) == []


def many_runs(contenders: int, seeds: int, steps: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and their histories, made up."""
    rng = np.random.default_rng(0)
    names = [f"vae-{i:02d}" for i in range(contenders)]
    runs = pd.DataFrame({"contender": np.repeat(names, seeds), "family": "vae", "status": "ok"})
    runs["extractor"] = "pixels@834c8505"
    runs["run"] = [f"run-{i}" for i in range(len(runs))]
    runs["fid"] = 1 + rng.random(len(runs))
    runs["fid_best"] = 0.9 * runs["fid"]
    history = runs.loc[runs.index.repeat(steps)].assign(runs=seeds)
    history["images"] = np.tile(np.arange(1.0, steps + 1), len(runs))
    history["validation_fid"] = history["loss_vae"] = rng.random(len(history))
    return runs, history


def test_large_suites_make_plots_of_bounded_size() -> None:
    runs, history = many_runs(PANELS + 2, FEW + 1)
    losses, stability = plots.draw_losses(history), plots.draw_stability(runs)
    assert losses is not None
    assert stability is not None
    assert "2 more models" in " ".join(text.get_text() for text in texts(losses))
    assert len(losses.axes) == PANELS
    assert {len(axes.lines) for axes in losses.axes} == {1}
    assert {len(axes.collections) for axes in losses.axes} == {1}
    assert len(stability.axes[0].lines) == 5 * (PANELS + 2)
    cost = plots.draw_training(many_runs(LABELS + 3, 2)[1])
    assert cost is not None
    assert len(cost.findobj(Annotation)) == LABELS


def test_validation_by_fewer_samples_is_noted_beside_its_curve() -> None:
    _, history = many_runs(3, 2)
    slow = history["contender"] == "vae-01"
    for note in ("", "; of fewer samples, so that it compares with itself alone: vae-01 (1,000)"):
        figure = plots.draw_training(history)
        assert figure is not None
        title = figure.axes[0].get_title("left").replace("\n", " ")
        assert title.endswith(f"○: a run that collapsed{note}")
        history["validation_samples"] = np.where(slow, 1_000.0, np.nan)


@pytest.mark.parametrize("paper", [False, True], ids=["screen", "paper"])
def test_a_floor_and_a_ceiling_close_together_are_named_together(paper: bool) -> None:
    runs, _ = many_runs(3, 2)
    ends = pd.DataFrame({"contender": ["real", "noise"], "family": "calibration", "status": "ok"})
    runs = pd.concat([runs, ends], ignore_index=True)
    runs["precision"] = runs["recall"] = [*np.linspace(0, 1, 6), 0.999, 1.0]
    runs["density"] = runs["coverage"] = [*np.linspace(0, 1, 6), 0.001, 0.0]
    figure = plots.draw_variety(runs, paper=paper)
    assert figure is not None
    with style(paper):
        figure.draw_without_rendering()
    check_texts(figure)
    named = ["real, noise"] * 2 + ["noise, real"] * 2
    assert [axes.texts[-1].get_text() for axes in figure.axes] == named


@pytest.mark.parametrize("paper", [False, True], ids=["screen", "paper"])
@pytest.mark.parametrize("size", [1e-9, 3e-4, 1.0, 1234.5, 3e9])
def test_numbers_of_every_size_have_room_beside_an_axis(size: float, paper: bool) -> None:
    runs, history = many_runs(5, 3)
    runs[["fid", "fid_best"]] *= size
    history["validation_fid"] *= size
    history["loss_vae"] *= -size
    runs = runs.assign(parameters=34_250, train_seconds=size, training_flops=size)
    for figure in (
        plots.draw_cost(runs, paper=paper),
        plots.draw_training(history, paper=paper),
        plots.draw_losses(history, paper=paper),
    ):
        assert figure is not None
        with style(paper):
            figure.draw_without_rendering()
        check_texts(figure)


def test_rows_of_uneven_names_do_not_overlap() -> None:
    runs, _ = many_runs(30, 2)
    runs["contender"] = [n if i % 6 else n * 10 for i, n in enumerate(runs["contender"])]
    figure = plots.draw_scores(runs)
    assert figure is not None
    figure.draw_without_rendering()
    check_texts(figure)
