"""The schema of the files that a run writes."""

from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from benchmarks.config.suite import PublishedScores

EXTERNAL = "external"
"""The family of rows whose images another program generated."""

LARGEST_NUMBER = 1e100
"""A score's or a cost's bound: squares of larger ones overflow, and no measurement is as large."""


def _null_unless_finite(value: Any) -> Any:
    if not isinstance(value, float) or 1 / LARGEST_NUMBER <= abs(value) <= LARGEST_NUMBER:
        return value
    return 0.0 if abs(value) < 1 else None


def _check_inside(file: str) -> str:
    foreign = PureWindowsPath(file)
    if not foreign.parts or foreign.drive or foreign.root or ".." in foreign.parts:
        raise ValueError(f"{file!r} is no path inside the run's folder")
    return PurePosixPath(*foreign.parts).as_posix()


def _check_name(name: str) -> str:
    if name in {"", ".", ".."} or set(name) & set("/\\:\0"):
        raise ValueError(f"{name!r} is no name of a folder")
    return name


# JSON knows neither NaN nor infinity: a number that is not finite, or beyond use, is null.
Number = Annotated[float | None, BeforeValidator(_null_unless_finite)]

InsidePath = Annotated[str, AfterValidator(_check_inside)]

RunName = Annotated[str, AfterValidator(_check_name)]

# Beyond these, floats no longer tell whole numbers apart and tables' columns overflow.
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]

Status = Literal["ok", "diverged", "collapsed", "failed"]

SCORED = frozenset(("ok", "collapsed"))
"""Statuses of the runs whose scores count: a collapsed model is as good as its scores."""

FAILED = "failed: "
"""Beginning of the note on a score that is missing because its metric or extractor failed."""


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, ser_json_inf_nan="null")


class Score(_Schema):
    """One number of a run, None where it is not finite, with its interval over `n` samples.

    Attributes:
        metric: its name, e.g. `fid`, `fid_best`, `inception_score`, `reconstruction_mse`.
        reference: the split that it was scored against, e.g. `test`.
        extractor: `name@hash` of the features, None for scores of pixels.
        protocol: how the images were generated, e.g. `from noise`, or the route of reconstructions.
        checkpoint: `last`, or `best` by validation.
        interval: the kind of interval, in words.
        note: a caveat, in words.
    """

    metric: str
    value: Number
    low: Number = None
    high: Number = None
    n: Whole | None = None
    reference: str | None = None
    extractor: str | None = None
    protocol: str | None = None
    checkpoint: Literal["last", "best"] = "last"
    interval: str | None = None
    note: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it is missing because its metric or extractor failed, by its note."""
        return self.value is None and (self.note or "").startswith(FAILED)


class Costs(_Schema):
    """The costs of a run; None where they were not measured."""

    parameters: Whole | None = None
    training_flops_per_step: Number = None
    sampling_flops_per_image: Number = None
    train_seconds: Number = None
    images_per_second: Number = None
    peak_memory_mb: Number = None
    score_seconds: Number = None


class Training(_Schema):
    """The length of a training: steps, images per step and in all, and the best step by validation.

    `validation` are settings of the sampler that validation used, where there are several.
    """

    steps: Whole
    batch: Whole
    images: Whole
    best_step: Whole | None = None
    validation: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def last_is_best(self) -> bool:
        """Whether the last checkpoint is the best one by validation."""
        return self.best_step == self.steps


class Picture(_Schema):
    """A PNG of `rows` × `columns` tiles packed without borders, relative to the run's folder.

    `seen` are the training images seen at each row of a picture of the training.
    """

    file: InsidePath
    rows: int = Field(ge=1, le=10_000)
    columns: int = Field(ge=1, le=10_000)
    seen: list[Whole] = Field(default_factory=list)


class Git(_Schema):
    """The project's commit, and whether its working tree had other changes."""

    commit: str
    dirty: bool


class Environment(_Schema):
    """Versions and hardware of a run; None where they are unknown (git: not a checkout)."""

    python: str
    versions: dict[str, str]
    platform: str
    cpu: str | None = None
    cores: Whole | None = None
    memory_mb: Whole | None = None
    gpu: str | None = None
    git: Git | None = None


class ModelTraits(_Schema):
    """A model's properties, by which reports describe it, never by its name.

    Attributes:
        uses_source: whether it generates from images of a source domain.
        code_size: numbers in the code that an image is reconstructed from; None where unknown.
        reconstruction: the route by which it reconstructs, None where it does not.
        tuned: number of training settings that differ from the model's defaults.
        note: a caveat on its scores, in words.
    """

    uses_source: bool = False
    code_size: Whole | None = None
    reconstruction: str | None = None
    tuned: Whole | None = None
    note: str | None = None


class Record(_Schema):
    """One run: a contender trained with one seed and scored, or the reason why it was not.

    One that `collapsed` is scored as well, but its samples are all alike. The calibration runs
    `real` and `noise` have family `calibration`, images of another program `external`; neither has
    a seed or training.

    Attributes:
        model: None where it could not be built, for rows without one, and in records older than
            this field: `analysis.lookup.read_traits` finds its properties for all.
        metrics: the names of all metrics there were when it was scored, applicable or not.
        environment: where it was trained.
        scored: where it was scored, if that was done again later.
        code: hash of the modules of a model that ships when it was trained.
        layout: how the folder of the user's own images was read, see `Dataset`.
        shape: channels, height and width of the images, in calibration runs.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run: RunName
    suite: str
    dataset: str
    contender: str
    family: str
    seed: Whole | None = None
    status: Status
    reason: str | None = None
    spec: dict[str, JsonValue] = Field(default_factory=dict)
    model: ModelTraits | None = None
    scores: list[Score] = Field(default_factory=list)
    costs: Costs = Field(default_factory=Costs)
    training: Training | None = None
    pictures: dict[str, Picture] = Field(default_factory=dict)
    metrics: list[str] = Field(default_factory=list)
    environment: Environment | None = None
    scored: Environment | None = None
    code: str | None = None
    layout: str | None = None
    shape: tuple[int, int, int] | None = None

    @model_validator(mode="after")
    def _check_reason(self) -> Self:
        if self.status != "ok" and not self.reason:
            raise ValueError(f"a run that is {self.status} needs a reason")
        return self


class TrainedRecord(_Schema):
    """A trained model beside its weights; `key` is `RunSpec.training_key`, `code` as in `Record`.

    Attributes:
        history: the rows of `history.csv`.
        chosen_by: the extractor by whose validation scores the best checkpoint was chosen.
        pictures: pictures of the training, which are not drawn again when the model is rescored.
    """

    key: str
    training: Training
    costs: Costs
    history: list[dict[str, Number]]
    chosen_by: str
    environment: Environment
    pictures: dict[str, Picture] = Field(default_factory=dict)
    code: str | None = None


class IndexEntry(_Schema):
    """A contender of a suite."""

    name: str
    family: str


class Index(_Schema):
    """A suite's index: the command that was run, contenders and runs in the order of its tables.

    `calibration` names the runs `real` and `noise`; `published` are a paper's scores.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    suite: str
    dataset: str
    contenders: list[IndexEntry]
    runs: list[RunName]
    calibration: list[RunName] = Field(default_factory=list)
    command: str = ""
    published: PublishedScores | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [entry.name for entry in self.contenders]
        if len(set(names)) < len(names):
            raise ValueError("two contenders have the same name")
        return self
