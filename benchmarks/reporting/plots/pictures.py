"""Pictures of a suite side by side: each plot a pure function of `Frames.pictures`.

Tiles are enlarged by one whole factor in a plot, so that no pixel of a model is blurred.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.analysis.pictures import join_tiles
from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import plain, show_amount, show_number
from benchmarks.records.schema import SCORED
from benchmarks.reporting.plots.drawing import (
    COLUMN,
    PAGE,
    PANELS,
    best,
    break_name,
    label,
    shorten_reason,
    small,
    widest,
    write_note,
)
from benchmarks.reporting.plots.registry import plot

WIDEST = 640
"""Pixels that a panel's tiles may be wide: more of large tiles are left out."""
TIMES = 8
"""Validations of an evolution that are shown."""
Explain = Callable[[dict[Any, Any]], str]
"""Returns what stands below a contender's name, from its row of `Frames.pictures`."""


@dataclass(frozen=True)
class PicturePanel:
    """A titled mosaic of tiles, uint8 [rows, columns, H, W, 3], or a note why there is none.

    Names of rows stand on their left, those of columns below them.
    """

    title: str
    tiles: np.ndarray | None
    note: str = ""
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()


@plot("pictures")
def draw_samples(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Samples of all contenders side by side, beside real images."""
    rows = frame[frame["kind"] == "samples"]
    own = rows[rows["family"] != CALIBRATION]
    real = rows[(rows["family"] == CALIBRATION) & (rows["contender"] == "real")]
    panels = [PicturePanel("real images", tiles, "no picture") for tiles in real["tiles"]]
    panels += _make_panels(
        own, lambda row: _join_lines(_show_run_score(row), _show_trouble(row)), paper
    )
    return draw_panels(panels, 400, paper, square=True)


@plot("pictures")
def draw_reconstructions(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Held-out images above their reconstructions, with each contender's protocol."""
    return _draw_kind(frame, "reconstructions", _explain_reconstruction, ("input", "output"), paper)


@plot("pictures")
def draw_translations(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Source images above their translations and the way back."""
    rows = ("source", "translated", "back")
    return _draw_kind(frame, "translations", lambda _: "", rows, paper)


@plot("pictures")
def draw_neighbours(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """The samples nearest to training images, above those."""
    return _draw_kind(frame, "neighbours", _show_run_score, ("sample", "nearest"), paper)


@plot("pictures")
def draw_interpolations(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """Images between two codes, a row a pair of them."""
    return _draw_kind(frame, "interpolations", lambda _: "", (), paper)


@plot("pictures")
def draw_evolution(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
    """The same two samples over training, a strip a contender; below, training images seen."""
    rows = frame[frame["kind"] == "evolution"].to_dict("records")
    panels = [_make_strip(row, paper=paper) for row in _pick_best(rows)]
    return draw_panels([*panels, *_count_others(rows)], WIDEST, paper)


def _draw_kind(
    frame: pd.DataFrame, kind: str, explain: Explain, rows: Sequence[str], paper: bool
) -> Figure | None:
    """Draw the pictures of a kind, whose rows have names."""
    panels = _make_panels(frame[frame["kind"] == kind], explain, paper, rows)
    return draw_panels(panels, WIDEST, paper)


def _make_panels(
    frame: pd.DataFrame, explain: Explain, paper: bool, rows: Sequence[str] = ()
) -> list[PicturePanel]:
    """Make a panel of each of the best contenders, or a note why it has no picture."""
    pictures = frame.to_dict("records")
    panels = [
        PicturePanel(
            _join_lines(label(row["contender"], paper=paper), explain(row)),
            row["tiles"],
            _explain_absence(row),
            rows if row["tiles"] is not None else (),
        )
        for row in _pick_best(pictures)
    ]
    return [*panels, *_count_others(pictures)]


def _join_lines(*lines: str) -> str:
    return "\n".join(filter(None, lines))


def _make_strip(row: dict[Any, Any], *, paper: bool) -> PicturePanel:
    """Lay an evolution out with time from left to right, from the first validation to the last."""
    tiles = row["tiles"]
    times = min(len(tiles), TIMES, max(2, WIDEST // tiles.shape[3]))
    chosen = np.linspace(0, len(tiles) - 1, times).round().astype(int)
    seen = row["images"] if isinstance(row["images"], Sequence) else ()
    below = [show_amount(seen[i]) for i in chosen] if seen else []
    title = _join_lines(label(row["contender"], paper=paper), _show_trouble(row))
    return PicturePanel(title, tiles[chosen, :2].swapaxes(0, 1), columns=below)


def _pick_best(rows: Sequence[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return the rows of the best contenders."""
    fids = {row["contender"]: row["mean_fid"] for row in rows}
    chosen = best(list(fids), fids, PANELS)
    return [row for row in rows if row["contender"] in chosen]


def _count_others(rows: Iterable[dict[Any, Any]]) -> list[PicturePanel]:
    """Return a panel with the number of contenders that have none, if there are too many."""
    more = len({row["contender"] for row in rows}) - PANELS
    note = f"{more:,} more models\nwith a higher FID or none"
    return [PicturePanel("", None, note)] if more > 0 else []


def _explain_absence(row: dict[Any, Any]) -> str:
    if not isinstance(row["status"], str):
        return "no run"
    if row["status"] in SCORED:
        return "no picture"
    return f"{row['status']}\n{shorten_reason(row['reason'])}"


def _explain_reconstruction(row: dict[Any, Any]) -> str:
    protocol = plain(row["protocol"]) if isinstance(row["protocol"], str) else ""
    return ", ".join(filter(None, (protocol, _show_run_score(row))))


def _show_trouble(row: dict[Any, Any]) -> str:
    """Show what went wrong with a run that has a picture nevertheless."""
    if row["tiles"] is None or row["status"] == "ok":
        return ""
    return f"{row['status']}{_show_seed(row)}: {shorten_reason(row['reason'])}"


def _show_run_score(row: dict[Any, Any]) -> str:
    """Show a run's own score: `FID 5.79 (seed 0)`."""
    if row["tiles"] is None or math.isnan(row["value"]):
        return ""
    symbol = list_metrics()[row["metric"]].about["symbol"]
    return f"{symbol} {show_number(row['value'])}{_show_seed(row)}"


def _show_seed(row: dict[Any, Any]) -> str:
    return "" if pd.isna(row["seed"]) else f" (seed {row['seed']})"


def draw_panels(
    panels: Sequence[PicturePanel], width: int, paper: bool, *, square: bool = False
) -> Figure | None:
    """Lay panels out pixel by pixel, so that every tile is enlarged by the same whole factor.

    On a screen a panel's tiles are about `width` pixels wide; in a paper the figure fits a column
    or page. `square` leaves out as many rows as columns of large tiles.
    """
    if not panels:
        return None
    dpi = int(mpl.rcParams["figure.dpi"])
    tiles = []
    for own in (panel.tiles for panel in panels):
        most = None if own is None else max(2, WIDEST // own.shape[3])
        tiles.append(None if own is None else own[: most if square else None, :most])
    natural = max((t.shape[1] * t.shape[3] for t in tiles if t is not None), default=width)
    columns = math.ceil(math.sqrt(len(panels) * (1.6 if square else 0.45)))
    scale = max(1, round(width / natural))
    if paper:
        borders = 2 * max((t.shape[1] for t in tiles if t is not None), default=0)
        beside = borders + _side(panels, dpi) + _gap(dpi)
        columns, scale = fit_page(len(panels), natural, beside, dpi, square=square)
    images = [None if t is None else join_tiles(t, scale) for t in tiles]
    titles, wide, size, places = _lay_out(panels, images, columns, scale * natural, dpi)
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi))
    for panel, image, title, place in zip(panels, images, titles, places, strict=True):
        axes = figure.add_axes(place)
        middle = 0.5 if image is None else wide / 2 / image.shape[1]
        axes.set_title(title, x=middle, fontsize=8, pad=4, linespacing=1.15)
        _fill_panel(axes, panel, image)
    return figure


def fit_page(count: int, natural: int, beside: int, dpi: int, *, square: bool) -> tuple[int, int]:
    """Return columns and scale by which panels fill a paper's column, if few, or page best.

    Tiles of a panel are `natural` pixels wide before they are enlarged, with `beside` pixels
    beside them. `square` panels are about as high as wide.
    """
    several = (4, 5) if square else (2, 3)
    across = dpi * (COLUMN if count <= several[0] // 2 else PAGE) - _gap(dpi)

    def scale(columns: int) -> int:
        return int((across / columns - beside) // natural)

    options = [columns for columns in several if columns <= count] or [count]
    columns = max(options, key=lambda option: option * scale(option))
    while columns > 1 and scale(columns) < 1:
        columns -= 1
    return columns, max(1, scale(columns))


def _lay_out(
    panels: Sequence[PicturePanel],
    images: Sequence[np.ndarray | None],
    columns: int,
    width: int,
    dpi: int,
) -> tuple[list[str], int, tuple[int, int], list[tuple[float, float, float, float]]]:
    """Lay images out in columns, in pixels; panels are `width` wide where there are no images.

    Returns titles broken to the width of a panel, this width, width and height of the figure, and
    left, bottom, width and height of each image as fractions of the figure.
    """
    shapes = [image.shape[:2] for image in images if image is not None]
    wide = max((shape[1] for shape in shapes), default=width)
    high = max((shape[0] for shape in shapes), default=wide // 2)
    letters = max(8, wide * 160 // dpi // 11)  # of 8 points, by pixels at 160 an inch
    titles = [
        "\n".join(break_name(line, letters) for line in panel.title.splitlines())
        for panel in panels
    ]
    lines = [1 + title.count("\n") for title in titles]
    heads = [
        (24 * max(lines[i : i + columns]) + 12) * dpi // 160 for i in range(0, len(lines), columns)
    ]
    side, gap = _side(panels, dpi), _gap(dpi)
    below = gap + (22 * dpi // 160 if any(panel.columns for panel in panels) else 0)
    across = columns * (side + wide + gap) + gap
    down = sum(heads) + len(heads) * (high + below)
    places = []
    for i, image in enumerate(images):
        tall, broad = (high, wide) if image is None else image.shape[:2]
        row, column = divmod(i, columns)
        left = (column + 1) * (side + gap) + column * wide
        top = sum(heads[: row + 1]) + row * (high + below)
        places.append((left / across, 1 - (top + tall) / down, broad / across, tall / down))
    return titles, wide, (across, down), places


def _gap(dpi: int) -> int:
    return 24 * dpi // 160


def _side(panels: Sequence[PicturePanel], dpi: int) -> int:
    """Return the pixels that the names of rows take on the left of a panel."""
    texts = [text for panel in panels for text in panel.rows]
    return round(dpi * (widest(texts, small()) + 0.05)) if texts else 0


def _fill_panel(axes: Axes, panel: PicturePanel, image: np.ndarray | None) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if image is None:
        axes.set_facecolor("0.95")
        note = "\n".join(textwrap.fill(line, 26) for line in panel.note.splitlines()[:4])
        size = mpl.rcParams["font.size"]
        write_note(axes, 0.5, 0.5, note, ha="center", va="center", fontsize=size)
        return
    axes.imshow(image, interpolation="none", aspect="auto")
    for i, text in enumerate(panel.rows):
        write_note(axes, -0.01, 1 - (i + 0.5) / len(panel.rows), text, ha="right", va="center")
    for i, text in enumerate(panel.columns):
        write_note(axes, (i + 0.5) / len(panel.columns), -0.02, text, ha="center", va="top")
