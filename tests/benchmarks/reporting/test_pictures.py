import re
from pathlib import Path

import numpy as np
import pytest
from drawn import texts
from matplotlib.figure import Figure
from synthetic import FOUR, write_suite

from benchmarks.analysis.frames import Frames, gather
from benchmarks.records.store import read_suite
from benchmarks.reporting.plots import pictures
from benchmarks.reporting.plots.drawing import PANELS
from benchmarks.reporting.plots.registry import style

FAILURES = {("gan", 0): "diverged", ("vae", 0): "failed"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("pictures") / "suite"
    return gather(read_suite(write_suite(folder, seeds=1, failures=FAILURES)))


def words(figure: Figure) -> str:
    return re.sub(r"\s+", " ", " ".join(text.get_text() for text in texts(figure)))


def by_title(figure: Figure) -> dict[str, str]:
    """What stands below the name in each panel's title."""
    parts = (axes.get_title().partition("\n") for axes in figure.axes)
    return {name: " ".join(rest.split()) for name, _, rest in parts}


def test_samples_stand_beside_real_images(frames: Frames) -> None:
    figure = pictures.draw_samples(frames.pictures)
    assert figure is not None
    titles = by_title(figure)
    assert list(titles) == ["real images", *(name for name, _ in FOUR)]
    fid = frames.runs.set_index("contender")["fid"]["autoencoder"]
    assert titles["autoencoder"] == f"FID {fid:#.3g} (seed 0)"


def test_a_run_that_failed_shows_how_far_it_came(frames: Frames) -> None:
    figure = pictures.draw_samples(frames.pictures)
    assert figure is not None
    axes = {a.get_title().partition("\n")[0]: a for a in figure.axes}
    assert axes["gan"].images
    assert by_title(figure)["gan"] == "diverged (seed 0): loss_generator is not finite at step 812"
    assert not axes["vae"].images
    assert [text.get_text() for text in axes["vae"].texts] == ["failed\nout of memory"]


def test_contenders_without_a_record_are_shown_as_such(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite", seeds=1))
    del suite.records[0]
    suite.records[0].pictures.clear()
    figure = pictures.draw_samples(gather(suite).pictures)
    assert figure is not None
    assert "no run" in [text.get_text() for text in figure.axes[1].texts]
    assert "no picture" in [text.get_text() for text in figure.axes[2].texts]


@pytest.mark.parametrize("paper", [False, True])
def test_tiles_are_enlarged_by_one_whole_factor(frames: Frames, paper: bool) -> None:
    figure = pictures.draw_samples(frames.pictures, paper=paper)
    assert figure is not None
    with style(paper):
        figure.draw_without_rendering()
    shown = frames.pictures.set_index(["contender", "kind"])
    tiles = shown["tiles"]["real", "samples"]
    image = figure.axes[0].images[0]
    box = image.axes.get_window_extent()
    pixels = np.asarray(image.get_array())
    assert (box.height, box.width) == pytest.approx(pixels.shape[:2])
    scale = (pixels.shape[0] - 2 * 7) // (8 * 8)
    assert np.array_equal(pixels[: 8 * scale : scale, : 8 * scale : scale], tiles[0, 0])


def test_reconstructions_name_their_protocol(frames: Frames) -> None:
    figure = pictures.draw_reconstructions(frames.pictures)
    assert figure is not None
    titles = by_title(figure)
    assert titles["autoencoder"].startswith("encoder, MSE 0.01")
    assert [text.get_text() for text in figure.axes[1].texts] == ["input", "output"]
    assert [text.get_text() for text in figure.axes[2].texts] == ["failed\nout of memory"]


def test_translations_and_neighbours_show_only_those_who_have_them(frames: Frames) -> None:
    translations = pictures.draw_translations(frames.pictures)
    neighbours = pictures.draw_neighbours(frames.pictures)
    assert translations is not None
    assert neighbours is not None
    assert list(by_title(translations)) == ["cyclegan"]
    assert by_title(neighbours) == dict.fromkeys(
        ("autoencoder", "cyclegan"), "Near-copies 0.0110 (seed 0)"
    )


def test_nothing_is_drawn_of_what_nobody_has(frames: Frames) -> None:
    rest = frames.pictures[frames.pictures["kind"] == "samples"]
    draws = (
        *(pictures.draw_reconstructions, pictures.draw_translations, pictures.draw_neighbours),
        *(pictures.draw_interpolations, pictures.draw_evolution),
    )
    assert [draw(rest) for draw in draws] == [None] * 5
    assert pictures.draw_samples(frames.pictures.iloc[:0]) is None


def test_interpolations_have_a_row_a_pair(frames: Frames) -> None:
    figure = pictures.draw_interpolations(frames.pictures)
    assert figure is not None
    image = np.asarray(figure.axes[0].images[0].get_array())
    scale = (image.shape[1] + 2 - 8 * 2) // (8 * 8)
    assert image.shape[:2] == (4 * (8 * scale + 2) - 2, 8 * (8 * scale + 2) - 2)


def test_an_evolution_runs_from_the_first_validation_to_the_last(frames: Frames) -> None:
    figure = pictures.draw_evolution(frames.pictures)
    assert figure is not None
    axes = {a.get_title().partition("\n")[0]: a for a in figure.axes}
    seen = [text.get_text() for text in axes["autoencoder"].texts]
    assert seen == ["19.2K", "38.4K", "76.8K", "96.0K", "115K", "134K", "173K", "192K"]
    assert [text.get_text() for text in axes["gan"].texts] == ["19.2K", "38.4K"]
    tiles = frames.pictures.set_index(["contender", "kind"])["tiles"]["autoencoder", "evolution"]
    image = np.asarray(axes["autoencoder"].images[0].get_array())
    scale = (image.shape[0] - 2) // 16
    assert np.array_equal(image[-8 * scale :: scale, -8 * scale :: scale], tiles[-1, 1])


def test_an_evolution_without_its_history_has_no_times(frames: Frames) -> None:
    figure = pictures.draw_evolution(frames.pictures.assign(images=None))
    assert figure is not None
    assert not any(axes.texts for axes in figure.axes)


def test_only_so_many_contenders_are_shown(frames: Frames) -> None:
    one = frames.pictures.query("contender == 'autoencoder' and kind == 'samples'").iloc[0]
    many = one.to_frame().T.loc[one.to_frame().T.index.repeat(PANELS + 2)]
    many = many.assign(contender=[f"c{i}" for i in range(PANELS + 2)], mean_fid=range(PANELS + 2))
    figure = pictures.draw_samples(many)
    assert figure is not None
    assert len(figure.axes) == PANELS + 1
    assert "2 more models with a higher FID" in words(figure)


@pytest.mark.parametrize("size", [8, 28, 64, 256])
@pytest.mark.parametrize("count", [1, 3, 9, 21])
def test_tiles_of_every_size_fit_onto_a_papers_page(size: int, count: int) -> None:
    for square, inches in ((True, 6.9), (False, 6.9)):
        natural = size * min(8, max(2, pictures.WIDEST // size))
        columns, scale = pictures.fit_page(count, natural, 100, 320, square=square)
        assert columns <= count
        assert columns * (scale * natural + 100) <= inches * 320
