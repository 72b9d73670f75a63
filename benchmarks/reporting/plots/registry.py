"""The registry of plots, their style, and how a figure becomes a file."""

import functools
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

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


class Draw(Protocol):
    """Draws a frame, in the style and the size for a screen or for a paper."""

    __name__: str

    def __call__(self, frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
        """None where the frame has nothing to show."""
        ...


@dataclass(frozen=True)
class Plot:
    """A plot of a suite.

    Attributes:
        name: the stem of its files.
        draw: the function that draws it.
        frame: the attribute of `Frames` that is drawn.
        section: the section of the page that shows it, empty for none.
        heading: its heading on the page.
        caption: the sentence below the heading.
        columns: the columns of the comparison whose values describe it to a screen reader.
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


def plot(
    frame: Literal["runs", "history", "pictures"],
    section: str = "",
    heading: str = "",
    caption: str = "",
    columns: tuple[str, ...] = (),
) -> Callable[[Draw], Draw]:
    """Register a function `draw_<name>` as a `Plot` of that name, which is drawn in `style`."""

    def register(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def styled(frame: pd.DataFrame, *, paper: bool = False) -> Figure | None:
            with style(paper):
                return draw(frame, paper=paper)

        name, drawn = draw.__name__.removeprefix("draw_"), cast("Draw", styled)
        PLOTS[name] = Plot(name, drawn, frame, section, heading, caption, columns)
        return drawn

    return register


def style(paper: bool) -> AbstractContextManager[None]:
    """Return a context of matplotlib's defaults with the style of this package, not the user's."""
    return mpl.style.context(["default", *STYLES[: 1 + paper]])


def save(figure: Figure, kind: str, *, paper: bool = False, dpi: float | None = None) -> bytes:
    """Return the file of a figure in `style`, the same bytes for the same figure.

    Args:
        figure: the figure.
        kind: png, svg or pdf.
        paper: in the style of a paper.
        dpi: pixels an inch, None for the style's own.
    """
    file = io.BytesIO()
    with style(paper):
        figure.savefig(file, format=kind, metadata=METADATA[kind], dpi=dpi or "figure")
    return file.getvalue()
