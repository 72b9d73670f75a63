"""Data frames as CSV files."""

from typing import Any

import pandas as pd

from benchmarks.core.text import escape_csv


def write_csv(frame: pd.DataFrame) -> bytes:
    """Write CSV with the shortest digits that restore every float, LF line ends and no formulas."""
    texts = {
        str(name): pd.Series(map(_write_cell, column), frame.index, dtype=object)
        for name, column in frame.select_dtypes(exclude="number").items()
    }
    shown = frame.assign(**texts).rename(columns=_write_cell)
    return shown.to_csv(index=False, lineterminator="\n").encode()


def _write_cell(value: Any) -> Any:
    return escape_csv(value) if isinstance(value, str) else value
