"""Tables in LaTeX: numbers with their uncertainties, tabulars, and a file that compiles alone."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal

from benchmarks.analysis.columns import MARK
from benchmarks.core.text import escape_latex

Mark = Literal["best", "second", "better", "worse", ""]
"""How a value stands among those that it competes with, or beside an earlier one."""

ROWS = 40
"""Rows of a tabular; what is longer goes on in another one, for a page holds no more."""

HEAD = r"""% Alone, pdflatex makes a page of this. A paper takes it by \input, with booktabs;
% with graphicx as well, what is too wide is made smaller.
\expandafter\ifx\csname @nodocument\endcsname\relax % within a document
  \let\tableend\relax
\else
  \documentclass{article}
  \usepackage[a4paper,margin=2cm]{geometry}
  \usepackage{booktabs,graphicx}
  \pagestyle{empty}
%(signs)s  \def\tableend{\end{document}}
  \begin{document}
\fi
\par\begingroup
\footnotesize\renewcommand{\arraystretch}{1.25}%
\setlength{\tabcolsep}{3.5pt}\setlength{\parindent}{0pt}
\def\fit{\par\leavevmode
  \ifdim\wd0>\linewidth \ifdefined\resizebox \resizebox{\linewidth}{!}{\box0}\else\box0 \fi
  \else\box0 \fi\par\medskip}
"""
TAIL = r"""\endgroup
\tableend
"""


def document(parts: Iterable[str], notes: str) -> str:
    """Write a file of tabulars with notes under them, which compiles alone and within a paper."""
    body = "".join(parts) + f"\\parbox{{\\linewidth}}{{{escape_latex(notes)}}}\\par\n"
    file = HEAD.replace("%(signs)s", declare_signs(body)) + body + TAIL
    return file.replace(MARK, r"$^\dagger$")  # which is no sign of its fonts


def declare_signs(text: str) -> str:
    """Declare the signs that pdfTeX's fonts lack; ASCII letters with an accent they have."""
    accented = r"[A-Za-z][\u0300\u0301\u0302\u0303\u0308]"
    signs = {sign: unicodedata.normalize("NFD", sign) for sign in text if not sign.isascii()}
    lacking = sorted(sign for sign, parts in signs.items() if not re.fullmatch(accented, parts))
    spelled = "".join(
        f"\n  \\DeclareUnicodeCharacter{{{ord(s):04X}}}{{U+{ord(s):04X}}}" for s in lacking
    )
    return f"  \\ifdefined\\DeclareUnicodeCharacter{spelled}\n  \\fi\n" if lacking else ""


def tabulars(
    title: str, alignment: str, header: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]
) -> str:
    """Write rows under a header, groups of rows apart; several tabulars where they are many.

    All texts are LaTeX; the alignment has an l or r for each column.
    """
    rows = [(place, row) for place, group in enumerate(groups) for row in group]
    lines = [rf"\textbf{{{title}}}\par\nopagebreak\smallskip"] if title else []
    for start in range(0, len(rows), ROWS):
        lines += [r"\setbox0\hbox{%", rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
        lines.append(_ampersands(header))
        for _, group in groupby(rows[start : start + ROWS], key=itemgetter(0)):
            lines += [r"\midrule", *(_ampersands(row) for _, row in group)]
        lines += [r"\bottomrule", r"\end{tabular}}\fit"]
    return "\n".join([*lines, ""]) if lines else ""


def _ampersands(row: Iterable[str]) -> str:
    return " & ".join(row) + r" \\"


def number(text: str, mark: Mark = "") -> str:
    """Write a number as it is shown, `-1.2e-05` or `12.3K`, or words, with its mark."""
    match = re.fullmatch(r"(-?[\d,]*\.?\d*)(?:e([-+]\d+))?", text)
    if not text or not match:
        return _emphasise(escape_latex(text), mark)
    mantissa, exponent = match.groups()
    return f"${_digits(mantissa, mark)}{_power(int(exponent or 0))}$"


def quantity(value: float, low: float, high: float, mark: Mark = "") -> str:
    """Write a value and its interval, with the digits that this warrants.

    `8.44 ± 0.14` where its ends are equally far, else the two distances above and below; these
    have two significant digits, and the value as many decimals as the smaller of them, but at
    most five significant digits.
    """
    below, above = value - low, high - value
    distance = max(below, above)
    # A power of ten is set apart where the number is very small or large.
    size = abs(value) if 100 * abs(value) > distance else distance
    exponent = _exponent(size) if size and not 1e-3 <= size < 1e6 else 0
    value, below, above = (x / 10.0**exponent for x in (value, below, above))
    known = [_decimals(x) for x in (below, above) if x > 0]
    most = max(0, 4 - _exponent(value))
    decimals = min(max(known), most) if known else max(0, most - 2)
    shown = _digits(f"{value:,.{decimals}f}" if value or known else "0", mark)
    down, up = _distance(below), _distance(above)
    whole = rf"{shown} \pm {up}" if up == down else f"{shown}^{{+{up}}}_{{-{down}}}"
    return f"$({whole}){_power(exponent)}$" if exponent else f"${whole}$"


def _exponent(x: float) -> int:
    """Return the exponent of ten of a number of two significant digits."""
    return int(f"{x:.1e}".partition("e")[2])


def _decimals(x: float) -> int:
    """Return the decimals of two significant digits."""
    return max(0, 1 - _exponent(x))


def _distance(x: float) -> str:
    return _digits(f"{x:,.{_decimals(x)}f}") if x > 0 else "0"


def _power(exponent: int) -> str:
    return rf"\cdot10^{{{exponent}}}" if exponent else ""


def _digits(text: str, mark: Mark = "") -> str:
    """Write digits within a formula."""
    grouped = text.replace(",", "{,}")
    return _emphasise(grouped.replace("-", "$-$") if mark == "best" else grouped, mark)


def _emphasise(text: str, mark: Mark) -> str:
    """Set the best in bold and underline the second."""
    styles = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}
    return styles.get(mark, text)
