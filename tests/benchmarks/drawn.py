"""What is to be seen in a figure: its texts, where they stand, and whether they overlap."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def ticks(figure: Figure) -> set[Text]:
    """Labels of ticks, those included that are not shown."""
    return {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
    }


def texts(figure: Figure) -> list[Text]:
    """All that is written beside the ticks."""
    found = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [text for text in found if text not in ticks(figure)]


def shown_ticks(figure: Figure) -> list[Text]:
    """Labels of the ticks that are within their axes' limits."""
    found = []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low <= tick.get_loc() <= high:
                    labels = (tick.label1, tick.label2)
                    found += [t for t in labels if t.get_visible() and t.get_text()]
    return found


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other by more than a pixel or two."""
    slanting = [text for text in shown_ticks(figure) if text.get_rotation()]
    straight = [text for text in texts(figure) + shown_ticks(figure) if text not in slanting]
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-1.5)) for text in straight]
    return [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)]
