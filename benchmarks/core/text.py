"""Formatting of names and numbers, and escapes for Markdown, LaTeX and CSV."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

GREEK = {
    **{sign: unicodedata.name(sign).split()[-1].lower() for sign in "αβγδεζηθικμνξπρστυφχψω"},
    **{sign: unicodedata.name(sign).split()[-1].capitalize() for sign in "ΓΔΘΞΠΣΦΨΩ"},
    "λ": "lambda",
    "Λ": "Lambda",
    "µ": "mu",
}
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # at a row's start they would be the last one's
    **{sign: f"$\\{name}$" for sign, name in GREEK.items()},
    "\N{REPLACEMENT CHARACTER}": "?",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
}

FORMULA = re.compile(r"(?:^|(?<=;))(?!-?[\d.]+(?:e[-+]?\d+)?$)(?=\s*[=+\-@＝＋－＠])")
"""The place in a cell where a spreadsheet would see the beginning of a formula."""


def show_number(value: float) -> str:
    """Format three significant digits, with separators of thousands: 0.0123, 12.3, 1,234."""
    if not math.isfinite(value):
        return ""
    if value == 0 or abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def show_amount(value: float) -> str:
    """Format three significant digits with a suffix: 950, 12.3K, 1.23M, 4.56G."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= 0.9995 * size:
            return f"{show_number(value / size)}{suffix}"
    return f"{value:.3g}" if math.isfinite(value) else ""


def show_share(share: float, digits: int = 0) -> str:
    """Format a share in percent: `57 %`, `under 1 %`, and with one digit `98.3 %`."""
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"under {least:g} %"
    return f"{share:.{digits}%}".replace("%", " %")


def show_duration(seconds: float) -> str:
    """Format a duration in a suitable unit: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes // 60 % 24} h"


def visible(text: str, keep: str = "") -> str:
    """Replace invisible characters, such as those that turn the direction of writing."""
    hidden = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in keep else hidden for c in text)


def plain(text: str) -> str:
    """Put a text into one line of visible characters, none of which steers a terminal."""
    return visible(" ".join(text.split()))


def shorten(name: str, width: int) -> str:
    """Replace a long name's middle by an ellipsis, since long names differ at their ends."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def escape_markdown(text: str) -> str:
    """Escape a text for a cell of a Markdown table."""
    escaped = re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", plain(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(LATEX.get(sign, sign) for sign in unicodedata.normalize("NFC", plain(text)))


def escape_csv(text: str) -> str:
    """Escape a text for a cell of CSV that a spreadsheet may open.

    An apostrophe goes before a beginning of a formula, as OWASP's "CSV Injection" advises,
    also behind a semicolon, at which it may cut; numbers stay numbers.
    """
    return visible(FORMULA.sub("'", text))


def show_p(p: float) -> str:
    """Format a p-value in as many digits as matter: `0.21`, `0.004`, `< 0.001`; nothing for NaN."""
    if not math.isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def state_p(p: float) -> str:
    """Format a p-value for a sentence: `p = 0.004`, `p < 0.001`."""
    shown = show_p(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def join_cells(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def count(number: int, noun: str) -> str:
    """Format a number and its noun: `1 seed`, `1,234 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join_words(
    texts: Sequence[str], most: int | None = None, comma: str = ", ", word: str = "and"
) -> str:
    """Join texts: `a, b and c`; of more than `most` the rest is counted: `a, b and 3 more`."""
    kept = [*texts]
    if most is not None and len(kept) > most:
        kept = [*kept[: most - 1], f"{len(kept) - most + 1} more"]
    last = f" {word} " if comma == ", " else f"{comma}{word} "
    return last.join(filter(None, [comma.join(kept[:-1]), *kept[-1:]]))


def safe(text: str) -> str:
    """Make a folder's name of a data set's."""
    return "".join(c if c.isalnum() else "-" for c in text).strip("-")


def round_count(n: int) -> int:
    """Round to two significant digits, for numbers of which no more is known."""
    return n if n < 100 else round(n, 2 - len(str(n)))
