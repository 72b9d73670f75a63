"""Plots of a suite's records: each a pure function of `Material` that returns a Figure.

Colours are those of Okabe and Ito (2008) that stand out on white; a contender keeps its colour,
marker and line style in every plot. Saved files are the same byte for byte for the same records.
"""

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression

from benchmarks.errors import BadInput
from benchmarks.records import CALIBRATION, EXTERNAL, Record, Results, read_history, read_picture
from benchmarks.tables import (
    SCORED,
    comparison_frame,
    plain,
    runs_by_contender,
    score_of,
    shorten,
    show_number,
    shown_extractor,
)

DPI = 160
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")
GREY = "0.45"
LONGEST = 60
"""Characters of a contender's name that are shown; a suite's own names are no longer."""
PANELS, LABELS, ROWS = 24, 40, 200
"""Contenders that are shown at most, in panels, by a label beside a plot or by a row: the best by
FID."""
FEW = 20
"""Seeds that are drawn one by one; of more, the middle 90 % as a band."""
BAND = (0.05, 0.95)
CURVES, ALL_CURVES = 100, 1_000
"""Seeds of a contender, and runs in all, whose histories are drawn."""
SCORES = {
    "fid": "FID (lower is better)",
    "inception_score": "Inception Score (higher is better)",
    "reconstruction_mse": "Reconstruction MSE (lower is better)",
}
VARIETY = {
    "precision": "Precision (higher is better)",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
}
COSTS = {
    "parameters": "parameters",
    "train_seconds": "training, seconds",
    "training_flops": "training, FLOPs",
}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.6",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "0.3",
    "ytick.color": "0.3",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "svg.hashsalt": "generative-benchmarks",
    "text.parse_math": False,  # a dollar sign in a contender's name is no formula
}


@dataclass(frozen=True)
class Look:
    """A contender's appearance in every plot."""

    colour: str
    marker: str
    line: str


@dataclass(frozen=True)
class Material:
    """What plots are made of, read once.

    Attributes:
        frame: `tables.comparison_frame` of the results.
        histories: by run, the columns of those that are drawn.
        pictures: by run and kind, uint8 [rows, columns, H, W, 3], of those that are drawn.
        warnings: a line for each history or picture that could not be read.
    """

    results: Results
    frame: pd.DataFrame
    histories: dict[str, dict[str, np.ndarray]]
    pictures: dict[tuple[str, str], np.ndarray]
    warnings: list[str]

    @property
    def contenders(self) -> list[str]:
        """Names in the suite's order."""
        return [entry.name for entry in self.results.index.contenders]

    @property
    def trained(self) -> list[str]:
        """Names of those that were trained here, and have more to show than samples."""
        return [e.name for e in self.results.index.contenders if e.family != EXTERNAL]

    @cached_property
    def looks(self) -> dict[str, Look]:
        """How each contender looks, by its place in the suite."""
        return {
            name: Look(
                COLOURS[i % len(COLOURS)],
                MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
                LINES[i // len(COLOURS) % len(LINES)],
            )
            for i, name in enumerate(self.contenders)
        }

    @cached_property
    def extractor(self) -> str | None:
        """The features of the scores that are shown."""
        return shown_extractor(self.results.records)

    @cached_property
    def by_contender(self) -> dict[str, list[Record]]:
        """All runs of each contender, in the order of their seeds."""
        return runs_by_contender(self.results.records)

    @cached_property
    def rows(self) -> dict[str, dict[Any, Any]]:
        """Each contender's row of `frame`."""
        return {row["contender"]: row for row in self.frame.to_dict("records")}

    def runs(self, contender: str) -> list[Record]:
        """All runs of a contender, in the order of their seeds."""
        return self.by_contender.get(contender, [])

    def best(self, names: list[str], limit: int) -> list[str]:
        """Leave out all but the `limit` names with the best FID; the others keep their order."""
        fids = {name: self.rows[name]["fid"] for name in names}
        ranked = sorted(names, key=lambda name: (math.isnan(fids[name]), fids[name]))
        chosen = set(ranked[:limit])
        return [name for name in names if name in chosen]


def gather(results: Results) -> Material:
    """Read the histories and pictures that are drawn: a run's pictures stand for its contender."""
    histories, pictures, warnings = {}, {}, []
    runs = runs_by_contender(results.records)
    for record in chain.from_iterable(records[: curves(len(runs))] for records in runs.values()):
        try:
            if (history := read_history(results.run_folder(record))) is not None:
                histories[record.run] = {str(c): history[c].to_numpy() for c in history}
        except BadInput as error:
            warnings.append(str(error))
    for record in filter(None, map(_pick, runs.values())):
        for kind, picture in record.pictures.items():
            try:
                pictures[record.run, kind] = read_picture(results.run_folder(record), picture)
            except BadInput as error:
                warnings.append(str(error))
    return Material(results, comparison_frame(results), histories, pictures, warnings)


def curves(contenders: int) -> int:
    """Of how many seeds of each contender the histories are drawn."""
    return min(CURVES, max(1, ALL_CURVES // max(1, contenders)))


@dataclass(frozen=True)
class Panel:
    """A titled mosaic of tiles, uint8 [rows, columns, H, W, 3], or a note why there is none."""

    title: str
    tiles: np.ndarray | None
    note: str = ""


def draw_samples(material: Material) -> Figure:
    """Samples of all contenders side by side, beside real images."""
    real = next((r for r in material.results.records if r.contender == "real"), None)
    panels = [_panel(material, "real", "samples", real, "real images")] if real else []
    for name in material.best(material.contenders, PANELS):
        record = _pick(material.runs(name))
        details = (_score_text(material, record, "fid"), _trouble(record))
        detail = "\n".join(filter(None, details))
        panels.append(_panel(material, name, "samples", record, detail))
    return _draw_panels([*panels, *_rest(material.contenders)], width=400, square=True)


def draw_reconstructions(material: Material) -> Figure:
    """Held-out images over their reconstructions, with each contender's protocol."""
    panels = []
    for name in material.best(material.trained, PANELS):
        record = _first_scored(material.runs(name))
        mse = score_of(record, "reconstruction_mse", None) if record else None
        detail = _score_text(material, record, "reconstruction_mse")
        protocol = plain(mse.protocol) if mse and mse.protocol else None
        detail = ", ".join(filter(None, (protocol, detail)))
        panels.append(_panel(material, name, "reconstructions", record, detail))
    panels += _rest(material.trained)
    return _draw_panels(panels, width=640, labels=("input", "output"))


def draw_translations(material: Material) -> Figure | None:
    """Source images over their translations and the way back; None if no contender translates."""
    panels = _panels_of(material, "translations")
    labels = ("source", "translated", "back")
    return _draw_panels(panels, width=640, labels=labels) if panels else None


def draw_neighbours(material: Material) -> Figure | None:
    """The samples that come nearest to training images over those, None where nobody has them."""
    panels = _panels_of(material, "neighbours", "near_copies")
    return _draw_panels(panels, width=640, labels=("sample", "nearest")) if panels else None


def _panels_of(material: Material, kind: str, metric: str = "") -> list[Panel]:
    """A panel for each contender that has a picture of this kind, with its score by a metric."""
    records = {name: _first_scored(material.runs(name)) for name in material.contenders}
    having = [n for n, r in records.items() if r and (r.run, kind) in material.pictures]
    panels = []
    for name in material.best(having, PANELS):
        detail = _score_text(material, records[name], metric) if metric else ""
        panels.append(_panel(material, name, kind, records[name], detail))
    return panels + _rest(having)


def _first_scored(records: Iterable[Record]) -> Record | None:
    """The first run that went well, or else the first that was scored nevertheless."""
    scored = [record for record in records if record.status in SCORED]
    return next((r for r in scored if r.status == "ok"), scored[0] if scored else None)


def _pick(records: Sequence[Record]) -> Record | None:
    """The run whose samples stand for its contender, if need be as far as one came that failed."""
    came_far = (record for record in records if "samples" in record.pictures)
    return _first_scored(records) or next(came_far, None)


def _panel(material: Material, name: str, kind: str, record: Record | None, detail: str) -> Panel:
    """The panel of one run's picture, or the note why its contender has none."""
    shown = label(name)
    title = f"{shown}\n{detail}" if detail and name != "real" else detail or shown
    if record is None:
        return Panel(title, None, _reason(material.runs(name)))
    return Panel(title, material.pictures.get((record.run, kind)), "no picture")


def _rest(names: Sequence[str]) -> list[Panel]:
    """A panel that says how many contenders have none, if there are too many."""
    more = len(names) - PANELS
    return (
        [Panel("", None, f"{more:,} more contenders\nwith a higher FID or none")]
        if more > 0
        else []
    )


def _trouble(record: Record | None) -> str:
    """What went wrong with a run that has a picture nevertheless."""
    if record is None or record.status == "ok":
        return ""
    seed = "" if record.seed is None else f" (seed {record.seed})"
    return f"{record.status}{seed}: {_brief(record.reason)}"


def _reason(records: Sequence[Record]) -> str:
    return f"{records[0].status}\n{_brief(records[0].reason)}" if records else "no run"


def _brief(reason: str | None) -> str:
    return textwrap.shorten(plain(reason or ""), 100, placeholder=" …")


def label(name: str) -> str:
    """A contender's name as it is shown."""
    return shorten(plain(name), LONGEST)


def _score_text(material: Material, record: Record | None, metric: str) -> str:
    """A run's own score as its picture's title has it: `FID 5.79`."""
    score = score_of(record, metric, material.extractor) if record else None
    if record is None or score is None or score.value is None:
        return ""
    name = {"fid": "FID", "reconstruction_mse": "MSE", "near_copies": "near-copies"}[metric]
    seed = "" if record.seed is None else f" (seed {record.seed})"
    return f"{name} {show_number(score.value)}{seed}"


@dataclass(frozen=True)
class Grid:
    """Where panels of one size stand in a figure, in pixels."""

    count: int
    columns: int
    wide: int
    high: int
    side: int
    head: int
    gap: int = 24

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the figure."""
        rows = math.ceil(self.count / self.columns)
        across = self.columns * (self.side + self.wide + self.gap) + self.gap
        return across, rows * (self.head + self.high + self.gap)

    def place(self, i: int, wide: int, high: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of an image in panel `i`, as fractions of the figure."""
        row, column = divmod(i, self.columns)
        across, down = self.size
        left = self.gap + column * (self.side + self.wide + self.gap) + self.side
        top = row * (self.head + self.high + self.gap) + self.head
        return left / across, 1 - (top + high) / down, wide / across, high / down


def _draw_panels(
    panels: Sequence[Panel], width: int, labels: Sequence[str] = (), *, square: bool = False
) -> Figure:
    """Lay panels out pixel by pixel, so that every tile is enlarged by the same whole factor."""
    tiles = [panel.tiles if panel.tiles is None else _crop(panel.tiles, square) for panel in panels]
    natural = [t.shape[1] * t.shape[3] for t in tiles if t is not None]
    scale = max(1, round(width / max(natural, default=width)))
    images = [None if t is None else _mosaic(t, scale) for t in tiles]
    shapes = [image.shape[:2] for image in images if image is not None]
    wide = max((shape[1] for shape in shapes), default=width)
    titles = [_wrap(panel.title, wide) for panel in panels]
    grid = Grid(
        count=len(panels),
        columns=math.ceil(math.sqrt(len(panels) * (1.6 if square else 0.45))),
        wide=wide,
        high=max((shape[0] for shape in shapes), default=width // 2),
        side=14 * max((len(label) for label in labels), default=0),
        head=24 * (1 + max(title.count("\n") for title in titles)) + 12,
    )
    figure = Figure(figsize=(grid.size[0] / DPI, grid.size[1] / DPI))
    for i, (panel, image, title) in enumerate(zip(panels, images, titles, strict=True)):
        high, wide = (grid.high, grid.wide) if image is None else image.shape[:2]
        axes = figure.add_axes(grid.place(i, wide, high))
        axes.set_title(title, fontsize=8, pad=4, linespacing=1.15)
        _fill(axes, panel, image, labels)
    return figure


def _fill(axes: Axes, panel: Panel, image: np.ndarray | None, labels: Sequence[str]) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    at = axes.transAxes
    if image is None:
        axes.set_facecolor("0.95")
        note = "\n".join(textwrap.fill(line, 26) for line in panel.note.splitlines()[:4])
        axes.text(0.5, 0.5, note, ha="center", va="center", color=GREY, transform=at)
        return
    axes.imshow(image, interpolation="nearest", aspect="auto")
    for i, label in enumerate(labels):
        y = 1 - (i + 0.5) / len(labels)
        axes.text(-0.01, y, label, ha="right", va="center", color=GREY, fontsize=8, transform=at)


def _crop(tiles: np.ndarray, square: bool) -> np.ndarray:
    """Leave out the tiles of large images that would make a panel wider than 640 pixels."""
    most = max(2, 640 // tiles.shape[3])
    return tiles[: most if square else None, :most]


def _mosaic(tiles: np.ndarray, scale: int) -> np.ndarray:
    """Tiles enlarged `scale` times, two white pixels apart: uint8 [height, width, 3]."""
    large = tiles.repeat(scale, axis=2).repeat(scale, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = framed.shape
    joined = framed.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    return joined[:-2, :-2]


def _wrap(title: str, width: int) -> str:
    """Break a title of 8 points where it would be wider than `width` pixels."""
    return "\n".join(_break_name(line, max(8, width // 11)) for line in title.splitlines())


def _break_name(name: str, width: int) -> str:
    """Break a text into lines of at most `width` characters, after a space or sign if it can be."""
    lines = [""]
    for piece in re.findall(rf"[^\s_\-/.]{{0,{width - 1}}}[\s_\-/.]?|.", name):
        if len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def draw_scores(material: Material) -> Figure:
    """FID, Inception Score and reconstruction error: values, intervals, seeds, floor, ceiling."""
    return _draw_metrics(material, SCORES)


def draw_variety(material: Material) -> Figure | None:
    """Precision, recall, density and coverage likewise; None where nobody has them."""
    titles = {m: title for m, title in VARIETY.items() if material.frame[m].notna().any()}
    return _draw_metrics(material, titles) if titles else None


def _draw_metrics(material: Material, titles: dict[str, str]) -> Figure:
    """A panel a metric: each contender's value, interval and seeds, the floor and the ceiling."""
    names = material.best(material.contenders, ROWS)
    labels = [_row_label(material, name) for name in names]
    lines = sum(label.count("\n") + 2 for label in labels)
    figure = Figure(figsize=(11, 1.7 + 0.15 * lines), layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, titles, strict=True):
        for place, name in enumerate(names):
            _draw_score(axes, material, name, metric, place)
        _scale(axes.xaxis, _values(material, names, metric))
        axes.set_title(titles[metric], pad=18)
        axes.grid(visible=False, axis="y")
        _draw_calibration(axes, material, metric)
    panels[0].set(yticks=range(len(names)), yticklabels=labels, ylim=(len(names) - 0.4, -0.6))
    many = any(len(material.runs(name)) > FEW for name in names)
    small = "bar: the middle 90 % of seeds" if many else "small: single seeds"
    figure.supxlabel(
        "large: mean over seeds (of FID and MSE geometric) with its 95 % interval; "
        f"{small}; features: {plain(material.extractor or 'None')}"
        + _left_out(material.contenders, ROWS),
        fontsize=8,
        color=GREY,
    )
    return figure


def _row_label(material: Material, name: str) -> str:
    """A contender's name, and how many of its runs collapsed: their scores are among the others."""
    collapsed = material.rows[name].get("collapsed", "0/")
    note = "" if collapsed.startswith("0/") else f"\n{collapsed} collapsed"
    return _break_name(label(name), 26) + note


def _left_out(names: Sequence[str], limit: int) -> str:
    more = len(names) - limit
    return f"; {more:,} more contenders have a higher FID or none" if more > 0 else ""


def _draw_score(axes: Axes, material: Material, name: str, metric: str, place: int) -> None:
    row, look = material.rows[name], material.looks[name]
    value, low, high = (row[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(value):
        runs = material.runs(name)
        note = "not scored" if not runs or _first_scored(runs) else runs[0].status
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": GREY, "fontsize": 8}
        axes.text(0.5, place, note, transform=axes.get_yaxis_transform(), **style)
        return
    seeds = _seeds(material, name, metric)
    below = [place + 0.25] * len(seeds)
    axes.plot([low, high], [place, place], "-", color=look.colour, lw=2.2, alpha=0.55)
    axes.plot([value], [place], look.marker, color=look.colour, ms=7, mec="white", mew=0.8)
    if len(seeds) > FEW:
        ends = np.quantile(seeds, BAND)
        axes.plot(ends, below[:2], "-", color=look.colour, lw=4, alpha=0.35, solid_capstyle="butt")
    elif len(seeds) > 1:
        axes.plot(seeds, below, look.marker, color=look.colour, ms=3, alpha=0.6, ls="")


def _draw_calibration(axes: Axes, material: Material, metric: str) -> None:
    """Vertical lines at the floor and the ceiling, named above the axes."""
    known = material.frame[material.frame["family"] == CALIBRATION].dropna(subset=[metric])
    lines = sorted(zip(known[metric], known["contender"], strict=True))
    places = [_fraction(axes.xaxis, value) for value, _ in lines]
    near = len(lines) == 2 and places[1] - places[0] < 0.15
    for i, (value, name) in enumerate(lines):
        axes.axvline(value, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
        align: Any = ("right", "left")[i] if near else "center"
        above = axes.get_xaxis_transform()
        axes.text(value, 1.01, name, transform=above, ha=align, va="bottom", color=GREY, fontsize=8)


def _seeds(material: Material, name: str, metric: str) -> list[float]:
    """Values of a contender's single runs, those that were scored."""
    scored = [record for record in material.runs(name) if record.status in SCORED]
    scores = [score_of(record, metric, material.extractor) for record in scored]
    return [score.value for score in scores if score and score.value is not None]


def _values(material: Material, names: Sequence[str], metric: str) -> list[float]:
    """All that the axis of a metric has to hold."""
    shown = material.frame[material.frame["contender"].isin([*names, "real", "noise"])]
    ends = shown[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy(dtype=float)
    seeds = [_seeds(material, name, metric) for name in names]
    drawn = [np.quantile(s, BAND).tolist() if len(s) > FEW else s for s in seeds]
    return [*ends[np.isfinite(ends)].tolist(), *chain.from_iterable(drawn)]


def _scale(axis: Axis, values: Sequence[float]) -> None:
    """Plain numbers on an axis, logarithmic where positive values range over more than tenfold."""
    axes, letter = axis.axes, "x" if isinstance(axis, XAxis) else "y"
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low > 0 and high > 10 * low:
        axes.set(**{f"{letter}scale": "log"})
        ticks = (1.0, 2.0, 5.0) if high < 100 * low else (1.0, 3.0) if high < 500 * low else (1.0,)
        axis.set_major_locator(LogLocator(subs=ticks))
        axis.set_minor_locator(NullLocator())
        pad = (high / low) ** 0.06
        ends = (low / pad, high * pad)
    else:
        axis.set_major_locator(MaxNLocator(5) if values else NullLocator())
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        ends = (low - margin, high + margin)
    axes.set(**{f"{letter}lim": ends})
    axis.set_major_formatter(FuncFormatter(_tick))


def _tick(value: float, _: int | None = None) -> str:
    for size, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def _fraction(axis: Axis, value: float) -> float:
    """Where on an axis a value stands: 0 at its lower and 1 at its upper end."""
    low, high, at = axis.get_transform().transform(np.array([*axis.get_view_interval(), value]))
    return float((at - low) / (high - low))


def draw_training(material: Material) -> Figure:
    """FID against the validation split over training: mean over seeds, band of their range."""
    names = material.best(material.trained, LABELS)
    figure, (axes,), height = _labelled_figure(names, panels=1, width=7.0)
    drawn = {name: _draw_course(axes, material, name) for name in names}
    _scale(axes.yaxis, [value for values in drawn.values() for value in values])
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set(xlabel="training images", ylabel="FID against the validation split")
    axes.set_title(
        f"line: geometric mean over {_seeds_drawn(material)}; band: their range; "
        "×: a run that stopped" + _left_out(material.trained, LABELS)
    )
    colours = {name: look.colour for name, look in material.looks.items()}
    _label_right(axes, {name: v[-1] for name, v in drawn.items() if v}, colours, height)
    return figure


def _seeds_drawn(material: Material) -> str:
    """The seeds whose histories are drawn, in words."""
    limit = curves(len(material.by_contender))
    most = max(map(len, material.by_contender.values()), default=0)
    return "seeds" if most <= limit else f"the first {limit} of up to {most:,} seeds"


def _draw_course(axes: Axes, material: Material, name: str) -> list[float]:
    """Draw a contender's validation FID over training and return what was drawn, its end last."""
    look = material.looks[name]
    ended, stopped = list[pd.Series](), list[pd.Series]()
    for record in material.runs(name):
        curve = _curve(material.histories.get(record.run), "validation_fid")
        if len(curve):
            (ended if record.status in SCORED else stopped).append(curve)
    for curve in stopped:
        axes.plot(curve.index, curve, look.line, color=look.colour, lw=0.8, alpha=0.8)
        axes.plot(curve.index[-1:], curve.iloc[-1:], "x", color=look.colour, ms=7, mew=2)
    drawn = [float(value) for curve in stopped + ended for value in curve]
    if ended:
        together = pd.concat(ended, axis="columns").sort_index()
        mean = np.exp(np.log(together).mean(axis=1))
        low, high = together.min(axis=1), together.max(axis=1)
        alpha = 0.15 if len(material.contenders) <= len(COLOURS) else 0.06
        axes.fill_between(mean.index, low, high, color=look.colour, alpha=alpha, lw=0)
        axes.plot(mean.index, mean, look.line, color=look.colour, marker=look.marker, ms=4)
        drawn.append(float(mean.iloc[-1]))
    return drawn


def _curve(history: dict[str, np.ndarray] | None, column: str) -> pd.Series:
    """A column over training images, where it is finite."""
    if history is None or column not in history:
        return pd.Series(dtype=float)
    finite = np.isfinite(history[column])
    curve = pd.Series(history[column][finite], index=history["images"][finite])
    return curve if curve.index.is_unique else curve[~curve.index.duplicated(keep="last")]


def draw_losses(material: Material) -> Figure:
    """Each player's loss over training, smoothed: a panel a contender, a thin line a seed."""
    names = material.best(material.trained, PANELS)
    columns = min(len(names), 4 if len(names) > 6 else 3 if len(names) > 4 else 2)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(2.6 * max(columns, 3), 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _draw_players(axes, material, name)
        axes.set_title(_break_name(label(name), 28))
    for axes in panels[len(names) :]:
        axes.remove()
    drawn = min(curves(len(material.by_contender)), max(map(len, material.by_contender.values())))
    band = f"; median and middle 90 % of {_seeds_drawn(material)}" if drawn > FEW else ""
    below = f"training images{band}{_left_out(material.trained, PANELS)}"
    figure.supxlabel(below, fontsize=9)
    figure.supylabel("loss, running mean", fontsize=9)
    return figure


def _draw_players(axes: Axes, material: Material, name: str) -> None:
    histories = [h for r in material.runs(name) if (h := material.histories.get(r.run)) is not None]
    columns = dict.fromkeys(str(column) for history in histories for column in history)
    players = [column for column in columns if column.startswith("loss_")]
    window = max(1, max((len(history["images"]) for history in histories), default=0) // 50)
    smooth = {
        player: [_smooth(c, window) for h in histories if len(c := _curve(h, player))]
        for player in players
    }
    if not any(smooth.values()):
        axes.text(0.5, 0.5, "no history", ha="center", color=GREY, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    for place, (player, seeds) in enumerate(smooth.items()):
        if seeds:
            colour = COLOURS[place % len(COLOURS)]
            _draw_player(axes, seeds, colour, label(player.removeprefix("loss_")))
    # The first steps' losses may be many times the later ones: they leave the panel.
    values = np.concatenate([curve.to_numpy() for seeds in smooth.values() for curve in seeds])
    _scale(axes.yaxis, [float(v) for v in np.quantile(values, [0.005, 0.98])])
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.legend(loc="best", fontsize=7, labelcolor="linecolor", handlelength=1)


def _draw_player(axes: Axes, seeds: Sequence[pd.Series], colour: str, name: str) -> None:
    """Draw the curves of a player's seeds, as a band if there are many."""
    if len(seeds) > FEW:
        together = pd.concat(seeds, axis="columns").sort_index()
        low, middle, high = (together.quantile(q, axis="columns") for q in (BAND[0], 0.5, BAND[1]))
        axes.fill_between(together.index, low, high, color=colour, alpha=0.2, lw=0)
        seeds = [middle]
    for i, curve in enumerate(seeds):
        shown = name if i == 0 else None
        axes.plot(curve.index, curve, color=colour, lw=0.8, alpha=0.8, label=shown)


def _smooth(curve: pd.Series, window: int) -> pd.Series:
    return curve.rolling(window, min_periods=1).mean()


def draw_cost(material: Material) -> Figure:
    """FID against parameters, training seconds and training FLOPs, labelled on the right."""
    frame = material.frame[material.frame["fid"].notna()]
    contenders = frame[~frame["family"].isin([CALIBRATION, EXTERNAL])]
    named = list(contenders["contender"])
    contenders = contenders[contenders["contender"].isin(material.best(named, LABELS))]
    floor = frame[frame["contender"] == "real"]
    shown = pd.concat([contenders, floor])
    figure, panels, height = _labelled_figure(list(shown["contender"]), panels=3, width=2.8)
    for axes, cost in zip(panels, COSTS, strict=True):
        _draw_cost(axes, material, contenders, cost)
        for value in floor["fid"]:
            axes.axhline(value, color=GREY, lw=1, ls=(0, (4, 3)), zorder=1)
    panels[0].set_ylabel("FID (lower is better)" + _left_out(named, LABELS))
    ends = shown[["fid", "fid_low", "fid_high"]].to_numpy(dtype=float)
    _scale(panels[0].yaxis, ends[np.isfinite(ends)].tolist())
    colours = {name: look.colour for name, look in material.looks.items()} | {"real": GREY}
    fids = dict(zip(shown["contender"], shown["fid"], strict=True))
    _label_right(panels[-1], fids, colours, height)
    return figure


def _draw_cost(axes: Axes, material: Material, frame: pd.DataFrame, cost: str) -> None:
    axes.set_xlabel(COSTS[cost])
    known = frame.dropna(subset=[cost])
    for row in frame.to_dict("records"):
        look = material.looks[row["contender"]]
        axes.axhline(row["fid"], color=look.colour, lw=0.8, alpha=0.3, zorder=1)
    for row in known.to_dict("records"):
        look, at = material.looks[row["contender"]], row[cost]
        ends = [row["fid_low"], row["fid_high"]]
        axes.plot([at, at], ends, color=look.colour, lw=1.6, alpha=0.5)
        axes.plot([at], [row["fid"]], look.marker, color=look.colour, ms=7, mec="white")
    _scale(axes.xaxis, known[cost].astype(float).tolist())
    if known.empty:
        note = "no run was scored" if frame.empty else "not measured"
        axes.text(0.5, 0.7, note, ha="center", color=GREY, transform=axes.transAxes)


def _labelled_figure(
    names: Sequence[str], panels: int, width: float
) -> tuple[Figure, list[Axes], float]:
    """Panels `width` inches wide with room for names on their right, and the panels' height."""
    room = 0.075 * max((len(label(name)) for name in names), default=0) + 0.6
    height = max(3.0, 0.17 * len(names))
    across, down = 0.7 + panels * width + room, height + 0.8
    figure = Figure(figsize=(across, down))
    grid = figure.add_gridspec(
        *(1, panels),
        left=0.7 / across,
        right=1 - room / across,
        bottom=0.5 / down,
        top=1 - 0.3 / down,
        wspace=0.08,
    )
    return figure, list(grid.subplots(sharey=True, squeeze=False)[0]), height


def _label_right(
    axes: Axes, values: dict[str, float], colours: dict[str, str], height: float
) -> None:
    """Names on the right of axes `height` inches high, level with their values or led to them."""
    figure = cast("Figure", axes.figure)
    width = axes.get_position().width * figure.get_figwidth()
    order = sorted(values, key=lambda name: values[name])
    places = [_fraction(axes.yaxis, values[name]) for name in order]
    for name, place, level in zip(order, places, spread_out(places, 0.16 / height), strict=True):
        leader = {"arrowstyle": "-", "color": colours[name], "lw": 0.8, "alpha": 0.6}
        axes.annotate(
            label(name),
            xy=(1.0, place),
            xytext=(1 + 0.35 / width, level),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=colours[name],
            arrowprops=leader | {"relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0},
            annotation_clip=False,
        )


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places of [0, 1] at least `gap` apart, as little as least squares can.

    Less `gap` times their rank, they have only to ascend: an isotonic regression.
    """
    if not places:
        return []
    steps = gap * np.arange(len(places))
    ascending = isotonic_regression(np.asarray(places) - steps).x
    return (ascending.clip(0, max(0.0, 1 - steps[-1])) + steps).tolist()


PLOTS: dict[str, Callable[[Material], Figure | None]] = {
    "samples": draw_samples,
    "reconstructions": draw_reconstructions,
    "translations": draw_translations,
    "neighbours": draw_neighbours,
    "scores": draw_scores,
    "variety": draw_variety,
    "training": draw_training,
    "losses": draw_losses,
    "cost": draw_cost,
}


def render(material: Material) -> dict[str, bytes]:
    """Draw every plot that has something to show: file name, such as `scores.png`, to content."""
    files = {}
    with mpl.rc_context(STYLE):
        for name, draw in PLOTS.items():
            if figure := draw(material):
                files[f"{name}.png"] = _save(figure, "png", {"Software": None})
                files[f"{name}.svg"] = _save(figure, "svg", {"Date": None})
    return files


def _save(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()
