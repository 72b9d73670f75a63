"""The registry of plots, their style, and how a figure becomes a file."""

import functools
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.analysis.frames import Frames

STYLES = (Path(__file__).with_name("style.mplstyle"), Path(__file__).with_name("paper.mplstyle"))
"""The style of all plots, and what differs in a paper."""
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""By format, the metadata that would make the same plot another file at another time."""


Draw = Callable[..., Figure | None]
"""Draws a frame, for a screen or with `paper=True` for a paper; None if it has nothing to show."""


@dataclass(frozen=True)
class Plot:
    """A plot of a suite.

    Its name is the stem of its files, and `frame` the attribute of `Frames` that is drawn. A
    section of the page shows it, if any; the values of `columns` describe it to a screen reader.
    """

    name: str
    draw: Draw
    frame: str
    section: str = ""
    heading: str = ""
    caption: str = ""
    columns: tuple[str, ...] = ()

    def __call__(self, frames: Frames, *, paper: bool = False) -> Figure | None:
        """Draw it of a suite."""
        return self.draw(getattr(frames, self.frame), paper=paper)


PLOTS: dict[str, Plot] = {}
"""Plots by name."""


def plot(frame: Literal["runs", "history", "pictures"], **about: Any) -> Callable[[Draw], Draw]:
    """Register `draw_<name>` as a `Plot` of that name with other fields, drawn in `style`."""

    def register(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def styled(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
            with style(paper):
                return draw(frame, paper=paper)

        name = draw.__name__.removeprefix("draw_")
        PLOTS[name] = Plot(name, styled, frame, **about)
        return styled

    return register


def style(paper: bool) -> AbstractContextManager[None]:
    """Return a context of matplotlib's defaults with the style of this package, not the user's."""
    return mpl.style.context(["default", *STYLES[: 1 + paper]])


def save(figure: Figure, kind: str, *, paper: bool = False, dpi: float | None = None) -> bytes:
    """Return the file of a figure in `style`, the same bytes for the same figure.

    Its kind is png, svg or pdf; `dpi` are pixels an inch, None for the style's own.
    """
    file = io.BytesIO()
    with style(paper):
        figure.savefig(file, format=kind, metadata=METADATA[kind], dpi=dpi or "figure")
    return file.getvalue()
