"""Records as tables: tidy frames, a row a contender, and the same as CSV, Markdown, LaTeX, text."""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks import latex
from benchmarks.catalogue import list_metrics
from benchmarks.errors import BadInput, unknown
from benchmarks.records import CALIBRATION, Record, Results, Score, read_suite
from benchmarks.statistics import Interval, interval_over_seeds, last_over_best, spread
from benchmarks.wording import (
    escape_latex,
    escape_markdown,
    plain,
    shorten,
    show_amount,
    show_number,
)

if TYPE_CHECKING:
    from benchmarks.frames import Frames

TIDY_COLUMNS = (
    *("suite", "dataset", "contender", "family", "seed", "status"),
    *("metric", "value", "low", "high", "n", "reference", "extractor"),
)
COSTS = (
    *("parameters", "training_flops_per_step", "sampling_flops_per_image"),
    *("train_seconds", "images_per_second", "peak_memory_mb", "score_seconds"),
)
PROSE = 18  # characters before a terminal's cell of words wraps
NAME = 16  # characters of a name that a terminal's tables leave room for
HEADLINES = (
    *("fid", "fid_best", "inception_score", "reconstruction_mse", "paired_mse", "psnr", "ssim"),
)
FURTHER = ("fid_floor", *(name for name in list_metrics() if name not in HEADLINES))
COMPARISON_COLUMNS = (
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
)


SCORED = frozenset(("ok", "collapsed"))
"""Statuses of the runs whose scores count: what collapsed is as good as its scores say it is."""

ARRAYS = frozenset(("tiles", "images"))
"""Columns of pictures whose cells are arrays and lists."""

STATUSES = {
    "diverged": {"diverged"},
    "failed": {"failed", "skipped"},
    "collapsed": {"collapsed"},
}
"""The columns that count runs which did not go well, each with the statuses that it counts."""


def scores_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row a score, with `TIDY_COLUMNS`.

    A run without scores, such as a diverged one, has one row whose metric and value are empty.
    """
    return _tidy(
        (*_identity(record), *_score_cells(score))
        for record in records
        for score in (record.scores or (None,))
    )


def costs_frame(records: Iterable[Record]) -> pd.DataFrame:
    """A row a measured cost, with `TIDY_COLUMNS`; costs vary from machine to machine."""
    return _tidy(
        (*_identity(record), cost, value, None, None, None, None, None)
        for record in records
        for cost in COSTS
        if (value := getattr(record.costs, cost)) is not None
    )


def comparison_frame(results: Results) -> pd.DataFrame:
    """A row a contender in the suite's order, then the calibration rows, with `COMPARISON_COLUMNS`.

    Scores are summed up over the runs that were scored (`seeds` says how many), as
    `statistics.interval_over_seeds` has it; costs are means over them. `diverged` and `failed`
    (which counts skipped runs too) read "1/3", and so does the column `collapsed`, which is there
    where any run has collapsed. Only the scores of `shown_extractor` are used.
    """
    calibration = [r.contender for r in results.records if r.family == CALIBRATION]
    names = [entry.name for entry in results.index.contenders] + calibration
    families = {entry.name: entry.family for entry in results.index.contenders}
    extractor = shown_extractor(results.records)
    runs = runs_by_contender(results.records)
    rows = [
        {
            "contender": name,
            "family": families.get(name, CALIBRATION),
            "dataset": results.index.dataset,
            **_contender_cells(runs.get(name, []), extractor),
        }
        for name in names
    ]
    further = ["collapsed"] if any(r.status == "collapsed" for r in results.records) else []
    frame = pd.DataFrame(rows, columns=[*COMPARISON_COLUMNS, *further])
    whole = ["seeds", "parameters", "best_step", "steps", "training_images", "samples"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def runs_by_contender(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The runs of each contender, in their order."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.contender, []).append(record)
    return runs


def shown_extractor(records: Iterable[Record]) -> str | None:
    """The extractor of the first FID: numbers of different extractors never share a column."""
    used = (s.extractor for r in records for s in r.scores if s.metric == "fid" and s.extractor)
    return next(used, None)


def score_of(record: Record, metric: str, extractor: str | None) -> Score | None:
    """A run's score by a metric, leaving out those of other extractors than `extractor`."""
    found = (s for s in record.scores if s.metric == metric and s.extractor in {None, extractor})
    return next(found, None)


def scores_of(record: Record, extractor: str | None) -> dict[str, Score]:
    """All that `score_of` finds, by metric."""
    scores = reversed(record.scores)
    return {score.metric: score for score in scores if score.extractor in {None, extractor}}


def load(folder: Path | str, what: str = "scores") -> pd.DataFrame:
    """Read a suite's folder as a data frame.

    Args:
        folder: `results/<suite>`, with its `suite.json`.
        what: `scores` or `costs`, a row each, tidy; `comparison`, a row a contender; `runs`, a row
            a run; `history`, a row a logged step; `pictures`, a row a picture.

    Raises:
        BadInput: the folder holds no readable suite, or there is no such frame.
    """
    frames: dict[str, Callable[[Results], pd.DataFrame]] = {
        "scores": lambda results: scores_frame(results.records),
        "costs": lambda results: costs_frame(results.records),
        "comparison": comparison_frame,
        "runs": lambda results: _gather(results).runs,
        "history": lambda results: _gather(results).history,
        "pictures": lambda results: _gather(results).pictures,
    }
    if what not in frames:
        raise BadInput(unknown("frame", what, frames))
    frame = frames[what](read_suite(Path(folder)))
    texts = [c for c in frame.select_dtypes(["object", "string"]) if c not in ARRAYS]
    return frame.astype(dict.fromkeys(texts, "string"))


def _gather(results: Results) -> "Frames":
    from benchmarks.frames import gather

    return gather(results)


def write_csv(frame: pd.DataFrame) -> bytes:
    """CSV with the shortest digits that give back every float, and LF line ends."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _identity(r: Record) -> tuple[Any, ...]:
    return r.suite, r.dataset, r.contender, r.family, r.seed, r.status


def _score_cells(s: Score | None) -> tuple[Any, ...]:
    if s is None:
        return (None,) * 7
    return s.metric, s.value, s.low, s.high, s.n, s.reference, s.extractor


def _tidy(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(TIDY_COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high"), "float64")
    return frame.astype({"seed": "Int64", "n": "Int64", **numbers})


def _contender_cells(records: Sequence[Record], extractor: str | None) -> dict[str, Any]:
    """The row of one contender from all its runs."""
    scored = [record for record in records if record.status in SCORED]
    runs = [scores_of(record, extractor) for record in scored]
    cells: dict[str, Any] = {"seeds": len(scored)}
    for metric in (*HEADLINES, *FURTHER):
        value, low, high = interval_over_seeds(metric, _intervals(runs, metric))
        cells |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    for column, statuses in STATUSES.items():
        cells[column] = f"{sum(r.status in statuses for r in records)}/{len(records)}"
    last, best = ([run.value for run in _intervals(runs, metric)] for metric in ("fid", "fid_best"))
    cells |= {"fid_last_over_best": last_over_best(last, best), "fid_spread": spread(last)}
    return cells | _provenance_cells(runs) | _cost_cells(scored)


def _intervals(runs: Sequence[dict[str, Score]], metric: str) -> list[Interval]:
    """Each run's value and interval over samples, NaN where it has none."""
    scores = [run.get(metric) for run in runs]
    bounds = [(s.value, s.low, s.high) if s else (None,) * 3 for s in scores]
    return [Interval(*(math.nan if x is None else x for x in b)) for b in bounds]


def _provenance_cells(runs: Sequence[dict[str, Score]]) -> dict[str, Any]:
    fid = _first(run.get("fid") for run in runs)
    reconstruction = _first(run.get("reconstruction_mse") for run in runs)
    return {
        "reconstruction_protocol": reconstruction.protocol if reconstruction else None,
        "samples": fid.n if fid else None,
        "reference": fid.reference if fid else None,
        "extractor": fid.extractor if fid else None,
    }


def _cost_cells(scored: Sequence[Record]) -> dict[str, Any]:
    """Means over runs of the costs and of the training's length."""
    trained = [r.training for r in scored if r.training]
    cells = {cost: _mean([getattr(r.costs, cost) for r in scored]) for cost in COSTS}
    steps = _mean([t.steps for t in trained])
    per_step = cells["training_flops_per_step"]
    return cells | {
        "parameters": _whole(cells["parameters"]),
        "steps": _whole(steps),
        "best_step": _whole(_mean([t.best_step for t in trained])),
        "training_images": _whole(_mean([t.images for t in trained])),
        "training_flops": None if steps is None or per_step is None else steps * per_step,
    }


def _first(scores: Iterable[Score | None]) -> Score | None:
    return next((score for score in scores if score), None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


@dataclass(frozen=True)
class Column:
    """How a column of `comparison_frame` is shown to a person; `better` marks its best value.

    An `optional` one is left out where nobody has a value.
    """

    key: str
    heading: str
    show: Callable[[Any], str] = str
    better: str | None = None
    interval: bool = False
    prose: bool = False
    optional: bool = False

    @property
    def title(self) -> str:
        """The heading with an arrow towards the better values."""
        return self.heading + {"lower": " ↓", "higher": " ↑", None: ""}[self.better]


def metric_columns(*names: str, interval: bool = False) -> tuple[Column, ...]:
    """The columns of metrics, as their metadata has them."""
    known = list_metrics()
    return tuple(
        Column(
            name,
            known[name].about["symbol"],
            show_number,
            known[name].about["direction"],
            interval=interval,
            optional=True,
        )
        for name in names
    )


GENERATION = (
    Column("fid", "FID", show_number, "lower", interval=True),
    Column("inception_score", "Inception Score", show_number, "higher", True, optional=True),
    *metric_columns("kid"),
)
VARIETY = metric_columns("precision", "recall", "density", "coverage")
COPIES = metric_columns("classes_reached", "class_kl", "authenticity", "near_copies")
MODES = metric_columns("modes", "high_quality", "reverse_kl", interval=True)
LIKELIHOOD = metric_columns("elbo", "iwae", "ais", "bits_per_dimension", interval=True)
RECONSTRUCTION = (
    Column("reconstruction_mse", "MSE", show_number, "lower", interval=True),
    Column("psnr", "PSNR", show_number, "higher", optional=True),
    Column("ssim", "SSIM", show_number, "higher", optional=True),
    Column("reconstruction_protocol", "reconstructs by", prose=True),
)
DIFFICULTY = (
    Column("seeds", "seeds"),
    Column("diverged", "diverged"),
    Column("failed", "failed"),
    Column("collapsed", "collapsed", optional=True),
    Column("fid_spread", "spread", show_number, "lower"),
    Column("fid_best", "best FID", show_number, "lower"),
    Column("fid_last_over_best", "last/best", show_number, "lower"),
)
COST = (
    Column("parameters", "params", show_amount, "lower"),
    Column("training_flops_per_step", "FLOPs/step", show_amount, "lower"),
    Column("sampling_flops_per_image", "FLOPs/image", show_amount, "lower"),
    Column("train_seconds", "train s", show_number, "lower"),
    Column("images_per_second", "images/s", show_amount, "higher"),
    Column("peak_memory_mb", "MB", show_number, "lower"),
)
HEADLINE = (*GENERATION[:2], RECONSTRUCTION[0], COST[0], COST[3])
"""The columns of a paper's table."""
SHOWN = {c.key for c in (*GENERATION, *VARIETY, *COPIES, *MODES, *LIKELIHOOD)}
PANELS = {
    "Generation": GENERATION,
    "Fidelity and variety": VARIETY,
    "Classes and copies": COPIES,
    "Modes": MODES,
    "Likelihood": LIKELIHOOD,
    "Reconstruction": RECONSTRUCTION,
    "Training": DIFFICULTY,
    "Cost": COST,
    "Further scores": metric_columns(*(name for name in FURTHER[1:] if name not in SHOWN)),
}


def present(frame: pd.DataFrame, columns: Iterable[Column]) -> list[Column]:
    """Leave out the optional columns in which nobody has a value."""
    return [c for c in columns if not c.optional or (c.key in frame and frame[c.key].notna().any())]


@dataclass(frozen=True)
class Cell:
    """What a person reads in a cell: the value, its interval's ends, how it stands in its column.

    Attributes:
        text: the value as it is shown; empty where there is none.
        bounds: the ends of its interval as they are shown.
        best: whether it is the best of its column.
        second: whether nothing but the best is better.
        value: the value itself.
        ends: those of its interval themselves.
    """

    text: str
    bounds: tuple[str, str] | None = None
    best: bool = False
    second: bool = False
    value: Any = None
    ends: tuple[float, float] | None = None

    def join(self) -> str:
        """The value with its interval: `12.3 [10.9, 15.0]`."""
        return f"{self.text} [{', '.join(self.bounds)}]" if self.bounds else self.text


def cells(frame: pd.DataFrame, column: Column) -> list[Cell]:
    """A column of `comparison_frame` as it is shown, its best and second best values marked.

    Calibration rows compete with none. All who share a place are marked; a single value has
    nothing to be the best of, and the worse of two is no second.
    """
    contest = frame["family"] != CALIBRATION
    places = _podium(frame.loc[contest, column.key].dropna(), column.better)
    bounds = [f"{column.key}_low", f"{column.key}_high"]
    lows, highs = (
        frame[end] if column.interval and end in frame else [math.nan] * len(frame)
        for end in bounds
    )
    rows = zip(frame[column.key], lows, highs, contest, strict=True)
    return [_cell(column, *row[:3], places if row[3] else {}) for row in rows]


def _podium(values: pd.Series, better: str | None) -> dict[Any, str]:
    """Which value is the best, and which the second best."""
    if better is None or len(values) < 2:
        return {}
    places = sorted(set(values), reverse=better == "higher")
    return dict(zip(places, ("best", "second") if len(values) > 2 else ("best",), strict=False))


def _cell(column: Column, value: Any, low: float, high: float, places: dict[Any, str]) -> Cell:
    if pd.isna(value):
        return Cell("")
    bounded = pd.notna(low) and pd.notna(high)
    place = places.get(value)
    return Cell(
        column.show(value),
        (column.show(low), column.show(high)) if bounded else None,
        place == "best",
        place == "second",
        value,
        (low, high) if bounded else None,
    )


def caption(results: Results, intervals: str = "Brackets", *, brief: bool = False) -> str:
    """What the table's numbers are: data set, reference, samples, extractor, intervals, routes.

    Args:
        results: what it is of.
        intervals: where they stand in the table.
        brief: whether only the headline scores stand there.
    """
    families = {record.family for record in results.records}
    sentences = [
        f"Data set {results.index.dataset}; {_provenance(results)}.",
        "FIDs of different extractors are not to be compared; MSE is of pixels in [0, 1].",
        f"{intervals}: 95 % interval, Student's t over seeds (FID and MSE: on the log scale, about"
        f" the geometric mean); with one seed, over samples{_sample_interval(results.records)}.",
    ]
    if not brief:
        sentences += [
            "Spread: geometric standard deviation of FID over seeds. Best FID: of the checkpoint"
            " best by validation; last/best: how many times worse the last one is.",
            "Diverged and failed runs are counted, not averaged.",
        ]
    if not brief and any(record.status == "collapsed" for record in results.records):
        sentences.append("Collapsed runs are counted, and averaged by their scores.")
    if len(_sample_counts(results)) > 1:
        sentences.append("Sample counts differ, and FID falls as they grow: compare with care.")
    if "cyclegan" in families:
        sentences.append("CycleGAN starts from held-out real source images, the others from noise.")
    if CALIBRATION in families:
        sentences.append(
            "real (training images) is the floor at this sample size, noise the ceiling."
        )
    return " ".join(sentences)


def _provenance(results: Results) -> str:
    extractor = shown_extractor(results.records)
    scores = [s for r in results.records if (s := score_of(r, "fid", extractor))]
    if not scores:
        return "no run has an FID"
    counts = " or ".join(f"{n:,}" for n in _sample_counts(results))
    references = " or ".join(sorted({s.reference for s in scores if s.reference}))
    right = next(
        (s.value for r in results.records if (s := score_of(r, "extractor_accuracy", extractor))),
        None,
    )
    skill = f", which puts {right:.1%} of the test images into their class" if right else ""
    return f"{counts} samples a run, scored against the {references} split by {extractor}{skill}"


def _sample_counts(results: Results) -> list[int]:
    """How many images FID was taken of, every number that occurs."""
    extractor = shown_extractor(results.records)
    scores = [score_of(record, "fid", extractor) for record in results.records]
    return sorted({score.n for score in scores if score and score.n})


def failures(records: Iterable[Record]) -> list[str]:
    """A line for each run that is not ok: `gan, seed 1: diverged (loss is not finite)`."""
    return [
        f"{record.contender}, seed {record.seed}: {record.status} ({record.reason})"
        for record in records
        if record.status != "ok"
    ]


def remarks(results: Results, frame: pd.DataFrame) -> list[str]:
    """A line for each run that is not ok, each note on a score, each value of a paper."""
    return [
        *failures(results.records),
        *score_notes(results.records),
        *compare_published(results, frame),
    ]


def score_notes(records: Iterable[Record]) -> list[str]:
    """A line for each note on the scores of last checkpoints, with all whom it concerns."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for score in record.scores:
            for note in (score.note or "").split("; ") if score.checkpoint == "last" else ():
                concerned.setdefault((score.metric, note), []).append(record.contender)
    return [
        f"{metric} of {', '.join(dict.fromkeys(names))}: {note}"
        for (metric, note), names in concerned.items()
        if note
    ]


def compare_published(results: Results, frame: pd.DataFrame) -> list[str]:
    """A line for each value that a paper reports, beside the suite's own."""
    published = results.index.published
    if published is None:
        return []
    rows = {row["contender"]: row for row in frame.to_dict("records")}
    return [
        f"{contender}: {metric}: {_beside(rows[contender], metric)}; {published.source} has "
        f"{show_number(value)}"
        for contender, scores in published.scores.items()
        for metric, value in scores.items()
        if contender in rows and metric in rows[contender]
    ]


def _beside(row: dict[Any, Any], metric: str) -> str:
    value, low, high = (row[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(value):
        return "here none"
    return f"here {show_number(value)} [{show_number(low)}, {show_number(high)}]"


def _sample_interval(records: Iterable[Record]) -> str:
    words = (s.interval for r in records for s in r.scores if s.metric == "fid" and s.interval)
    return f" ({found})" if (found := next(words, None)) else ""


def write_markdown(results: Results, frame: pd.DataFrame | None = None) -> bytes:
    """A Markdown table of all columns, the best values in bold, with its caption under it.

    Args:
        results: what it is of.
        frame: their `comparison_frame`, where it has been made already.
    """
    frame = comparison_frame(results) if frame is None else frame
    header, rows = _grid(frame, _markdown_cell, escape_markdown)
    lines = [_pipes(header), _pipes(["---"] + ["---:"] * (len(header) - 1))]
    lines += [_pipes(row) for row in rows]
    notes = [caption(results), *remarks(results, frame)]
    return "\n".join([*lines, *(f"\n{_paragraph(note)}" for note in notes), ""]).encode()


def write_latex(
    results: Results, frame: pd.DataFrame | None = None, *, paper: bool = False
) -> bytes:
    """Tabulars in LaTeX, one a panel, the best values in bold, the second underlined.

    The file compiles as it is, and within a paper.

    Args:
        results: what it is of.
        frame: their `comparison_frame`, where it has been made already.
        paper: whether only to give the table of the headline scores.
    """
    frame = comparison_frame(results) if frame is None else frame
    panels = {"": tuple(c for c in HEADLINE if frame[c.key].notna().any())} if paper else PANELS
    parts = [
        _latex_panel(frame, title, columns)
        for title, panel in panels.items()
        if (columns := present(frame, panel))
    ]
    what = "± (or the distances above and below, where they differ)"
    notes = f"{caption(results, what, brief=paper)} Best in bold, second best underlined."
    return latex.document(parts, notes).encode()


def _latex_panel(frame: pd.DataFrame, title: str, columns: Sequence[Column]) -> str:
    """A panel's tabulars, the calibration rows apart where they have a score."""
    shown = [[_latex_cell(cell) for cell in cells(frame, column)] for column in columns]
    header = ["contender", *(escape_latex(column.title) for column in columns)]
    groups: tuple[list[list[str]], list[list[str]]] = ([], [])
    scored = [i for i, column in enumerate(columns, 1) if column.better]
    for name, family, *texts in zip(frame["contender"], frame["family"], *shown, strict=True):
        row = [escape_latex(name), *texts]
        if family != CALIBRATION or any(row[i] for i in scored):
            groups[family == CALIBRATION].append(row)
    alignment = "l" + "".join("l" if column.prose else "r" for column in columns)
    return latex.tabulars(title, alignment, header, groups)


def _grid(
    frame: pd.DataFrame, show: Callable[[Cell], str], escape: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the one wide table of Markdown, a row a contender."""
    columns = [column for panel in PANELS.values() for column in present(frame, panel)]
    shown = [[show(cell) for cell in cells(frame, column)] for column in columns]
    header = ["contender"] + [escape(column.title) for column in columns]
    names = [escape(name) for name in frame["contender"]]
    return header, [list(row) for row in zip(names, *shown, strict=True)]


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.text}**" if cell.best else escape_markdown(cell.text)
    return f"{value} [{', '.join(cell.bounds)}]" if cell.bounds else value


def _latex_cell(cell: Cell) -> str:
    mark: latex.Mark = "best" if cell.best else "second" if cell.second else ""
    if cell.ends:
        return latex.quantity(cell.value, *cell.ends, mark)
    return latex.number(cell.text, mark)


def _paragraph(text: str) -> str:
    """A text as a paragraph of Markdown, not as a list, a heading or a rule."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape_markdown(text))


def _pipes(row: Iterable[str]) -> str:
    return "| " + " | ".join(row) + " |"


def show_comparison(results: Results, width: int, frame: pd.DataFrame | None = None) -> Group:
    """The table for a terminal of `width` characters: panels, the best values starred.

    Args:
        results: what it is of.
        width: of the terminal.
        frame: their `comparison_frame`, where it has been made already.
    """
    frame = comparison_frame(results) if frame is None else frame
    tables = [
        table
        for title, panel in PANELS.items()
        if (columns := present(frame, panel))
        for table in _terminal_tables(frame, title, columns, width)
    ]
    notes = [
        Text(plain(note), style="dim")
        for note in ("* the best of its column.", caption(results), *remarks(results, frame))
    ]
    return Group(*tables, *notes)


def _terminal_tables(
    frame: pd.DataFrame, title: str, columns: Sequence[Column], width: int
) -> list[Table]:
    """A panel, in as many tables as leave room for its names."""
    longest = max((cell_len(plain(name)) for name in frame["contender"]), default=0)
    room = width - 4 - min(longest, NAME)
    shown = [_terminal_column(frame, column, room) for column in columns]
    parts: list[list[TerminalColumn]] = [[]]
    for column in shown:
        if parts[-1] and sum(c.width + 2 for c in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    titles = [title] + ["continued"] * (len(parts) - 1)
    return [_terminal_table(frame, *part, width) for part in zip(titles, parts, strict=True)]


@dataclass(frozen=True)
class TerminalColumn:
    """A column as a terminal shows it, and how many characters it takes."""

    column: Column
    texts: list[Text]
    width: int


def _terminal_column(frame: pd.DataFrame, column: Column, room: int) -> TerminalColumn:
    """A column without its intervals where there is no room for them."""
    values = cells(frame, column)
    for bounded in (True, False):
        texts = [_terminal_cell(cell, bounded) for cell in values]
        widest = max(cell_len(column.heading), *(text.cell_len for text in texts))
        widest = min(widest, PROSE) if column.prose else widest
        if widest + 2 <= room:
            break
    return TerminalColumn(column, texts, widest)


def _terminal_table(
    frame: pd.DataFrame, title: str, columns: Sequence[TerminalColumn], width: int
) -> Table:
    """A table whose only cells to wrap are prose; names give way by their middle."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for shown in columns:
        justify: Literal["left", "right"] = "left" if shown.column.prose else "right"
        table.add_column(shown.column.heading, width=shown.width, justify=justify)
    room = max(8, width - 4 - sum(shown.width + 2 for shown in columns))
    rows = zip(*(shown.texts for shown in columns), strict=True)
    scored = [i for i, shown in enumerate(columns) if shown.column.better]
    for name, family, texts in zip(frame["contender"], frame["family"], rows, strict=True):
        if family != CALIBRATION or any(texts[i].plain for i in scored):
            table.add_row(Text(shorten(plain(name), room)), *texts)
    return table


def _terminal_cell(cell: Cell, bounded: bool) -> Text:
    style = "bold green" if cell.best else "underline" if cell.second else ""
    text = Text(plain(cell.text), style=style)
    if cell.best:
        text.append("*")
    if bounded and cell.bounds:
        text.append(f" [{', '.join(cell.bounds)}]", style="not bold not underline dim")
    return text
