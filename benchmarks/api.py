"""The names that a notebook uses: `score` does what `python -m benchmarks.score` does, silently."""

import io
import warnings
from argparse import Namespace
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group

from benchmarks.cli.score_options import OUT, build_request
from benchmarks.cli.scoreboard import find_own_scores, list_notes, render_scores, sort_scores
from benchmarks.core.devices import choose_device
from benchmarks.core.files import write_atomically
from benchmarks.evaluation.image_source import ValueRange
from benchmarks.evaluation.request import OpenProgress, hide_progress, open_request
from benchmarks.records.schema import Picture, Record, Score

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

__all__ = ["OUT", "Result", "score", "score_images"]


def score(
    images: "Path | str | np.ndarray | Tensor",
    against: "Path | str | np.ndarray | Tensor | None" = None,
    *,
    dataset: str | None = None,
    split: str | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    data_root: Path | str | None = None,
    range: ValueRange | None = None,  # noqa: A002 - as the option is called
    key: str | None = None,
    against_range: ValueRange | None = None,
    against_key: str | None = None,
    resize: int | None = None,
    extractor: str | None = None,
    inception_weights: Path | str | None = None,
    metrics: str | list[str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    save_statistics: Path | str | None = None,
    watch: OpenProgress = hide_progress,
) -> "Result":
    """Score images against those of a data set, or against another set.

    Arguments are called as the options of `python -m benchmarks.score`, whose help explains them;
    images may be a path, an array or a tensor. Nothing is printed, and nothing is written but what
    `save_statistics` names.

    Raises:
        BadInput: an argument is wrong, or does not go with another; or images cannot be read.
    """
    return score_images(Namespace(**locals(), into=None, label=None, force=False), watch)


@dataclass(frozen=True)
class Result:
    """The scores of a set of images, as a notebook shows and a file keeps them.

    `result["fid"]` is a value, NaN of a metric that failed.

    Attributes:
        notes: limits of the scores, and the processing of the images.
        pictures: of the images, for a row of a comparison, by what they show.
        count: of the reference's images, None where that is unknown.
    """

    record: Record
    title: str
    notes: list[str]
    pictures: dict[str, tuple[Picture, bytes]]
    count: int | None = None

    def __getitem__(self, metric: str) -> float:
        value = {score.metric: score.value for score in self.scores}[metric]
        return nan if value is None else value

    @property
    def scores(self) -> list[Score]:
        """The scores by the extractor itself, in the order of tables."""
        return sort_scores(find_own_scores(self.record))

    @property
    def frame(self) -> "pd.DataFrame":
        """A row a score, with the columns of `scores.csv`."""
        from benchmarks.analysis.frames import scores_frame

        return scores_frame([self.record])

    def __rich__(self) -> Group:
        return render_scores(self.title, self.record, self.scores, self.notes, self.count)

    def __str__(self) -> str:
        file = io.StringIO()
        Console(file=file, width=100, markup=False).print(self)
        return file.getvalue()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ["metric", "value", "low", "high", "n", "reference", "extractor"]
        return str(self.frame[columns].to_html(index=False))

    def write(self, folder: Path) -> list[Path]:
        """Write `scores.csv` and `scores.json` into a folder and return their paths."""
        from benchmarks.analysis.export import write_csv

        text = self.record.model_dump_json(by_alias=True, indent=2) + "\n"
        files = {"scores.csv": write_csv(self.frame), "scores.json": text.encode()}
        for name, content in files.items():
            write_atomically(folder / name, content)
        return [folder / name for name in files]


def score_images(options: Namespace, progress: OpenProgress = hide_progress) -> Result:
    """Check everything, then read and score: what the command does but for writing.

    Raises:
        BadInput: an option is wrong, or does not go with another; or images cannot be read.
    """
    request = build_request(options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        images, target = open_request(request, progress)
        from benchmarks.evaluation.external import score_external  # which imports torch

        like = request.spec.device if request.spec else "auto"
        device = choose_device(like if options.device == "auto" else options.device)
        record, notes, pictures = score_external(request, images, target, device, progress)
    notes += list_notes(record, target.count)
    return Result(record, images.source.title, notes, pictures, target.count)
