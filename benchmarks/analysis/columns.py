"""The table of columns: all scores, costs and facts of a comparison, each described once.

Tables, the page, the CSV files, changes between results and the documents' list derive from it. A
new cost is a field of `records.schema.Costs` and an entry here; a new metric is its own file alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.config.registry import list_metrics
from benchmarks.core.text import show_amount, show_number

MARK = "†"
"""Behind the heading of a score whose audit failed."""
ARROWS = {"lower": " ↓", "higher": " ↑", None: ""}
ALIKE = ("reconstruction_protocol", "code_size")
"""What reconstructions must have in common to be compared."""
PAIRS = frozenset(n for n, metric in list_metrics().items() if metric.about["inputs"] == "pairs")
"""The metrics of reconstructions."""


@dataclass(frozen=True)
class Column:
    """A column of a comparison, a row of which is a contender.

    Attributes:
        key: its name in `table.csv` and in data frames.
        meaning: what it is, in words.
        panel: the part of the tables that it stands in; empty where it stands in none.
        show: writes a value for people.
        name: what it is called where there is more room than above a column, with its unit.
        cost: of a field of `records.schema.Costs`, whether it is counted exactly, so that it is the
            same on every machine, or measured.
        source: of a metric, where it was published.
        interval: whether tables show the interval of a value.
        prose: whether its values are words, which may wrap.
        optional: whether it is left out where no contender has a value.
        within: the columns in whose values rows must agree to compete for its best value.
        marked: whether its audit failed.
        ranked: whether it has a best value.
    """

    key: str
    heading: str
    meaning: str
    panel: str = ""
    show: Callable[[Any], str] = str
    better: Literal["lower", "higher"] | None = None
    name: str = ""
    unit: str = ""
    cost: Literal["exact", "measured"] | None = None
    source: str = ""
    whole: bool = False
    interval: bool = False
    prose: bool = False
    optional: bool = False
    within: tuple[str, ...] = ()
    marked: bool = False
    ranked: bool = True

    @property
    def long_name(self) -> str:
        """What it is called where there is room: its name, or else its heading."""
        return self.name or self.heading

    @property
    def label(self) -> str:
        """The heading with its mark."""
        return self.heading + MARK * self.marked

    @property
    def title(self) -> str:
        """The heading with its mark and an arrow towards the better values."""
        return self.label + ARROWS[self.better]

    @property
    def definition(self) -> str:
        """What it is, where it was published and which values are better, in sentences."""
        sentences = [
            f"{self.meaning[:1].upper()}{self.meaning[1:]}.",
            f"Source: {self.source}." if self.source else "",
            f"{self.better.capitalize()} is better." if self.better else "",
        ]
        return " ".join(filter(None, sentences))


def score_columns(
    panel: str, *metrics: str, interval: bool = False, optional: bool = True
) -> tuple[Column, ...]:
    """Return the columns of metrics, described by their metadata."""
    entries = {name: list_metrics()[name] for name in metrics}
    return tuple(
        Column(
            name,
            {"inception_score": "Inception Score"}.get(name, entry.about["symbol"]),
            entry.summary,
            panel,
            show_number,
            entry.about["direction"],
            source=entry.about["source"],
            interval=interval,
            optional=optional,
            within=ALIKE if name in PAIRS else (),
        )
        for name, entry in entries.items()
    )


_SCORES = (
    *score_columns("Generation", "fid", interval=True, optional=False),
    *score_columns("Generation", "inception_score", interval=True),
    *score_columns("Generation", "kid"),
    *score_columns("Fidelity and variety", "precision", "recall", "density", "coverage"),
    *score_columns(
        "Classes and copies", "classes_reached", "class_kl", "authenticity", "near_copies"
    ),
    *score_columns("Modes", "modes", "high_quality", "reverse_kl", interval=True),
    *score_columns("Likelihood", "elbo", "iwae", "ais", "bits_per_dimension", interval=True),
    *score_columns("Reconstruction", "reconstruction_mse", interval=True, optional=False),
    *score_columns("Reconstruction", "psnr", "ssim"),
)
_FURTHER = [name for name in list_metrics() if name not in {column.key for column in _SCORES}]

COLUMNS = (
    Column("contender", "contender", "a model with its settings"),
    Column("family", "family", "the model's family"),
    Column("dataset", "data set", "the data set of the suite"),
    Column("training", "training", "the contender whose training the row shares with it"),
    Column("samples", "samples", "images of a run that FID is taken of", whole=True),
    Column("reference", "reference", "the split that FID is taken against"),
    Column("extractor", "extractor", "the extractor of the features, with its hash"),
    *_SCORES,
    Column(
        "reconstruction_protocol",
        "reconstructs by",
        "how held-out images are reconstructed: by one pass of an encoder, by a search of the code,"
        " or by a cycle through the source domain; reconstructions compare within one route and"
        " code size alone",
        "Reconstruction",
        prose=True,
    ),
    Column(
        "code_size",
        "code size",
        "how many numbers an image is reconstructed from",
        "Reconstruction",
        show_amount,
        whole=True,
        optional=True,
    ),
    Column(
        "seeds", "seeds", "runs with different seeds whose scores count", "Training", whole=True
    ),
    Column(
        "diverged",
        "diverged",
        "runs stopped because a loss was no longer finite, of all runs",
        "Training",
    ),
    Column("failed", "failed", "runs that failed, of all runs", "Training"),
    Column(
        "collapsed",
        "collapsed",
        "runs whose samples are all alike, of all runs",
        "Training",
        optional=True,
    ),
    Column(
        "fid_spread",
        "spread",
        "geometric standard deviation of FID over seeds",
        "Training",
        show_number,
        "lower",
    ),
    Column(
        "fid_best",
        "best FID",
        "FID of the checkpoint that is best by validation",
        "Training",
        show_number,
        "lower",
    ),
    Column(
        "fid_last_over_best",
        "last/best",
        "how many times worse the last checkpoint's FID is than the best one's",
        "Training",
        show_number,
        "lower",
    ),
    Column("best_step", "best step", "the step of the checkpoint best by validation", whole=True),
    Column(
        "parameters",
        "params",
        "numbers that training fits, in all networks together",
        "Cost",
        show_amount,
        "lower",
        name="parameters",
        cost="exact",
        whole=True,
    ),
    Column(
        "training_flops_per_step",
        "FLOPs/step",
        "floating-point operations of a training step",
        "Cost",
        show_amount,
        "lower",
        unit="FLOPs",
        cost="exact",
    ),
    Column(
        "sampling_flops_per_image",
        "FLOPs/img",
        "floating-point operations for one generated image",
        "Cost",
        show_amount,
        "lower",
        name="FLOPs/image",
        unit="FLOPs",
        cost="exact",
    ),
    Column(
        "train_seconds",
        "train s",
        "seconds that a run trained, the mean over runs",
        "Cost",
        show_number,
        "lower",
        name="training time in seconds",
        unit="s",
        cost="measured",
    ),
    Column(
        "images_per_second",
        "img/s",
        "training images seen in a second",
        "Cost",
        show_amount,
        "higher",
        name="images/s",
        unit="1/s",
        cost="measured",
    ),
    Column(
        "peak_memory_mb",
        "MB",
        "largest memory of a run's process, in MB",
        "Cost",
        show_number,
        "lower",
        name="memory in MB",
        unit="MB",
        cost="measured",
    ),
    Column(
        "tuned",
        "tuned",
        "values that the recipe sets beside the model's defaults",
        "Cost",
        whole=True,
        optional=True,
    ),
    Column(
        "training_flops",
        "training FLOPs",
        "floating-point operations of all training",
        "Further costs",
        show_amount,
        "lower",
        unit="FLOPs",
    ),
    Column("steps", "steps", "training steps of a run", "Further costs", show_amount, whole=True),
    Column(
        "training_images",
        "images seen",
        "training images that a run has seen, repeats included",
        "Further costs",
        show_amount,
        whole=True,
    ),
    Column(
        "score_seconds",
        "scoring s",
        "seconds that a run was scored",
        "Further costs",
        show_number,
        name="scoring time in seconds",
        unit="s",
        cost="measured",
    ),
    Column(
        "fid_floor",
        "FID's floor",
        "FID that as many images of the reference's own distribution have on average",
        show=show_number,
    ),
    Column(
        "paired_mse",
        "paired MSE",
        "mean squared error of translated pixels against the image that belongs to the source",
        show=show_number,
        better="lower",
    ),
    *score_columns("Further scores", *_FURTHER),
)
BY_KEY = {column.key: column for column in COLUMNS}
PANELS = {
    title: tuple(column for column in COLUMNS if column.panel == title)
    for title in dict.fromkeys(column.panel for column in COLUMNS)
    if title not in {"", "Further costs"}
}
"""The columns of each part of the tables."""
ALL_COSTS = tuple(column for column in COLUMNS if column.panel in {"Cost", "Further costs"})
"""The columns of the page's list of costs."""
COSTS = tuple(column.key for column in COLUMNS if column.cost)
"""The fields of `records.schema.Costs`."""
WHOLE = frozenset(column.key for column in COLUMNS if column.whole)
"""The columns of whole numbers."""
HEADLINES = ("fid", "inception_score", "reconstruction_mse")
"""The scores that answers are given by."""
PAPER = tuple(BY_KEY[key] for key in (*HEADLINES, "parameters", "train_seconds"))
"""The columns of a paper's table."""
FIRST = (
    *("fid", "fid_best", "inception_score", "reconstruction_mse", "paired_mse", "psnr", "ssim"),
)
FURTHER = ("fid_floor", *(name for name in list_metrics() if name not in FIRST))
AGREEING = (
    *("kid", "inception_score", "precision", "recall", "density", "coverage", "class_kl"),
    *("modes", "high_quality"),
)
"""Metrics whose ranks are compared with those of FID, beside FID by further extractors."""
STATUSES = ("diverged", "failed", "collapsed")
"""The columns that count runs which did not go well, each named after the status it counts."""
_PLACES = (
    *("contender", "family", "seeds", "fid", "fid_low", "fid_high"),
    *("inception_score", "inception_score_low", "inception_score_high"),
    *("reconstruction_mse", "reconstruction_mse_low", "reconstruction_mse_high"),
    *("reconstruction_protocol", "psnr", "ssim", "parameters", "train_seconds"),
    *("images_per_second", "peak_memory_mb", "diverged"),
    *("failed", "fid_best", "fid_best_low", "fid_best_high", "fid_last_over_best", "fid_spread"),
    *("best_step", "steps", "training_images", "training_flops_per_step", "training_flops"),
    *("sampling_flops_per_image", "score_seconds", "paired_mse", "samples", "reference"),
    *("extractor", "dataset"),
    *(f"{name}{end}" for name in FURTHER for end in ("", "_low", "_high")),
    *("code_size", "tuned", "training"),
)
COMPARISON_COLUMNS = tuple(dict.fromkeys((*_PLACES, *COSTS)))
"""The columns of `table.csv`: a format, in which each keeps its place and a new cost comes last."""
