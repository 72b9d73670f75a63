import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from synthetic import FOUR, TWENTY, write_large_suite, write_suite

from benchmarks.plots import (
    ALL_CURVES,
    CURVES,
    FEW,
    PANELS,
    PLOTS,
    STYLE,
    Material,
    curves,
    gather,
    render,
    spread_out,
)
from benchmarks.records import read_suite

DIVERGED = {(TWENTY[3][0], seed): "diverged" for seed in range(3)}
CASES = {
    "normal": {"failures": {("gan", 1): "diverged"}},
    "single": {"seeds": 1},
    "many": {"seeds": 25, "failures": {("vae", seed): "collapsed" for seed in range(25)}},
    "failed": {"failures": {(name, seed): "failed" for name, _ in FOUR for seed in range(3)}},
    "twenty": {"contenders": TWENTY, "failures": DIVERGED, "channels": 3},
}


@pytest.fixture(scope="module", params=CASES)
def material(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("plots") / request.param
    return gather(read_suite(write_suite(folder, **CASES[request.param])))


def draw(material: Material, plot: str) -> Figure | None:
    with mpl.rc_context(STYLE):
        figure = PLOTS[plot](material)
        if figure:
            figure.draw_without_rendering()
    return figure


def texts(figure: Figure) -> list[Text]:
    found = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    ticks = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
    }
    return [text for text in found if text not in ticks]


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_is_drawn_with_no_text_cropped(material: Material, plot: str) -> None:
    figure = draw(material, plot)
    if figure is None:
        drawn = [run for run, kind in material.pictures if kind == plot]
        assert (plot in {"translations", "neighbours"}, drawn) == (True, [])
        return
    page = figure.bbox.padded(1)
    for text in texts(figure):
        box = text.get_window_extent()
        assert page.containsx(box.x0) and page.containsx(box.x1), text.get_text()  # noqa: PT018
        assert page.containsy(box.y0) and page.containsy(box.y1), text.get_text()  # noqa: PT018


@pytest.mark.parametrize("plot", ["training", "cost"])
def test_names_on_the_right_do_not_overlap(material: Material, plot: str) -> None:
    figure = draw(material, plot)
    assert figure is not None
    boxes = [Text.get_window_extent(text) for text in figure.findobj(Annotation)]
    assert not any(a.padded(-1).overlaps(b.padded(-1)) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("plot", ["samples", "reconstructions", "scores", "losses"])
def test_titles_of_panels_do_not_overlap(material: Material, plot: str) -> None:
    figure = draw(material, plot)
    assert figure is not None
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_failed_contenders_say_why(material: Material) -> None:
    figure = draw(material, "samples")
    assert figure is not None
    said = " ".join(" ".join(text.get_text() for text in texts(figure)).split())
    silent = [
        name for name in material.contenders if all(r.status != "ok" for r in material.runs(name))
    ]
    reasons = {record.reason for name in silent for record in material.runs(name)}
    said = re.sub(r"\W", "", said)
    assert all(re.sub(r"\W", "", str(reason)) in said for reason in reasons)


def test_a_run_that_failed_shows_how_far_it_came(tmp_path: Path) -> None:
    failures = {("gan", 0): "diverged", ("vae", 0): "failed"}
    material = gather(read_suite(write_suite(tmp_path / "suite", seeds=1, failures=failures)))
    figure = draw(material, "samples")
    assert figure is not None
    titles = {axes.get_title().partition("\n")[0]: axes for axes in figure.axes}
    assert titles["gan"].images
    assert "diverged (seed 0)" in titles["gan"].get_title()
    assert not titles["vae"].images
    assert "failed" in " ".join(text.get_text() for text in titles["vae"].texts)


def test_collapsed_runs_are_shown_as_such(tmp_path: Path) -> None:
    failures = {("gan", seed): "collapsed" for seed in range(2)} | {("vae", 0): "collapsed"}
    material = gather(read_suite(write_suite(tmp_path / "suite", seeds=2, failures=failures)))
    samples, scores = draw(material, "samples"), draw(material, "scores")
    assert samples is not None
    assert scores is not None
    titles = {axes.get_title().partition("\n")[0]: axes.get_title() for axes in samples.axes}
    assert "collapsed" in titles["gan"]
    assert "FID" in titles["gan"]
    assert "collapsed" not in titles["vae"]
    rows = [tick.get_text() for tick in scores.axes[0].get_yticklabels()]
    assert rows[0] == "gan\n2/2 collapsed"
    assert rows[2] == "vae\n1/2 collapsed"


def test_names_are_drawn_as_one_line_that_can_be_seen(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("a", "gan"), ("b", "vae")), seeds=2)
    suite = read_suite(folder)
    name = "$\\frac{1}$<b>\x1b[31m\n\x00]]>--" + "x" * 200
    for record in suite.records[:2]:
        record.contender = name
        record.scores[3].protocol = name
    suite.index.contenders[0].name = name
    files = render(gather(suite))
    assert {file.partition(".")[0] for file in files} > {"samples", "scores", "cost", "losses"}
    for file, content in files.items():
        if file.endswith(".svg"):
            ElementTree.fromstring(content)


def test_the_best_are_shown_where_there_is_no_room_for_all(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", seeds=2, failures={("gan", 0): "failed"})
    material = gather(read_suite(folder))
    fids = {name: material.rows[name]["fid"] for name in material.contenders}
    best = sorted(fids, key=lambda name: fids[name])[:2]
    assert material.best(material.contenders, 2) == [n for n in material.contenders if n in best]
    assert material.best(material.contenders, 9) == material.contenders


def test_tiles_are_enlarged_by_one_whole_factor(material: Material) -> None:
    figure = draw(material, "samples")
    assert figure is not None
    (tiles,) = [t for (run, _), t in material.pictures.items() if run.startswith("real")]
    image = next(axes.images[0] for axes in figure.axes if axes.images)
    box = image.axes.get_window_extent()
    pixels = np.asarray(image.get_array())
    assert (box.height, box.width) == pytest.approx(pixels.shape[:2])
    scale = (pixels.shape[0] - 2 * 7) // (8 * 8)
    assert np.array_equal(pixels[: 8 * scale : scale, : 8 * scale : scale], tiles[0, 0])


def test_a_contender_keeps_its_colour(material: Material) -> None:
    figure = draw(material, "cost")
    assert figure is not None
    for text in figure.findobj(Annotation):
        if text.get_text() != "real":
            assert text.get_color() == material.looks[text.get_text()].colour
    looks = [(look.colour, look.marker, look.line) for look in material.looks.values()]
    assert len(set(looks)) == len(looks)


def test_missing_and_damaged_pictures_are_named(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", seeds=1)
    (folder / "runs/gan-s0-1a2b3c4d/samples.png").write_bytes(b"")
    (folder / "runs/vae-s0-1a2b3c4d/history.csv").write_text("step\n1\n")
    material = gather(read_suite(folder))
    assert sorted(warning.split(": ")[0].split()[0] for warning in material.warnings) == [
        str(folder / "runs/gan-s0-1a2b3c4d/samples.png"),
        str(folder / "runs/vae-s0-1a2b3c4d/history.csv"),
    ]
    figure = draw(material, "samples")
    assert figure is not None
    assert "no picture" in [text.get_text() for text in texts(figure)]


def test_a_dollar_sign_in_a_name_is_no_formula(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("a$_b$", "gan"),), seeds=1)
    figure = draw(gather(read_suite(folder)), "cost")
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


def test_large_suites_make_plots_of_bounded_size(tmp_path: Path) -> None:
    contenders = tuple((f"vae-{i:02d}", "vae") for i in range(PANELS + 2))
    material = gather(read_suite(write_large_suite(tmp_path / "suite", contenders, seeds=FEW + 1)))
    samples, losses = draw(material, "samples"), draw(material, "losses")
    assert samples is not None
    assert losses is not None
    assert "2 more contenders" in " ".join(text.get_text() for text in texts(samples))
    assert len(losses.axes) == PANELS
    assert {len(axes.lines) for axes in losses.axes} == {1}
    assert {len(axes.collections) for axes in losses.axes} == {1}


def test_the_histories_that_are_read_are_bounded() -> None:
    assert curves(4) == CURVES
    assert curves(100) * 100 <= ALL_CURVES
    assert curves(10 * ALL_CURVES) == 1
