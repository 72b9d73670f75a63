"""The schema of what a run leaves on disk."""

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

SCHEMA: Literal[1] = 1


EXTERNAL = "external"


LARGEST_NUMBER = 1e100
"""Of a score or a cost: squares of larger ones overflow, and no measurement is as large."""


def _null_unless_finite(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    if not abs(value) <= LARGEST_NUMBER:
        return None
    return value if abs(value) >= 1 / LARGEST_NUMBER else 0.0


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


Status = Literal["ok", "diverged", "collapsed", "failed", "skipped"]


SCORED = frozenset(("ok", "collapsed"))
"""Statuses of the runs whose scores count: what collapsed is as good as its scores say it is."""


FAILED = "failed: "
"""How the note of a score begins that is missing because its metric or extractor has failed."""


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, ser_json_inf_nan="null")


class Score(_Schema):
    """One number of a run, with what is needed to read it.

    Attributes:
        metric: its name, e.g. `fid`, `fid_best`, `inception_score`, `reconstruction_mse`.
        value: None where it is not finite.
        low: lower end of the interval over samples.
        high: upper end of that interval.
        n: number of samples scored.
        reference: the split it was scored against, e.g. `test`.
        extractor: `name@hash` of the features, None for scores of pixels.
        protocol: how the scored images were made, e.g. `from noise`; of reconstructions the route.
        checkpoint: `last`, or `best` by validation.
        interval: what `low` and `high` are, in words.
        note: what to keep in mind when reading this number, in words.
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
        """Whether it is missing because what it is taken by has failed, as its note says."""
        return self.value is None and (self.note or "").startswith(FAILED)


class Costs(_Schema):
    """What a run took; None where it was not measured."""

    parameters: Whole | None = None
    training_flops_per_step: Number = None
    sampling_flops_per_image: Number = None
    train_seconds: Number = None
    images_per_second: Number = None
    peak_memory_mb: Number = None
    score_seconds: Number = None


class Training(_Schema):
    """How long a run trained: steps, images a step and in all, and its best step by validation.

    Attributes:
        validation: the settings of the sampler that validation drew by, where there are several.
    """

    steps: Whole
    batch: Whole
    images: Whole
    best_step: Whole | None = None
    validation: dict[str, JsonValue] = Field(default_factory=dict)


class Picture(_Schema):
    """A PNG of `rows` × `columns` tiles packed without borders, relative to the run's folder.

    Attributes:
        seen: of a picture of training, how many training images had been seen at each row.
    """

    file: InsidePath
    rows: int = Field(ge=1, le=10_000)
    columns: int = Field(ge=1, le=10_000)
    seen: list[Whole] = Field(default_factory=list)


class Git(_Schema):
    """The project's commit, and whether its working tree held anything else."""

    commit: str
    dirty: bool


class Environment(_Schema):
    """Versions and hardware of a run; None where they cannot be told (git: not a checkout)."""

    python: str
    versions: dict[str, str]
    platform: str
    cpu: str | None = None
    cores: Whole | None = None
    memory_mb: Whole | None = None
    gpu: str | None = None
    git: Git | None = None


class ModelTraits(_Schema):
    """What is said of a model follows from these, never from its name.

    Attributes:
        uses_source: whether it generates from images of a source domain.
        code_size: how many numbers it reconstructs an image from; None where that cannot be told.
        reconstruction: the route by which it reconstructs, None where it does not.
        tuned: how many of the recipe's values are not the model's defaults, sampling apart.
        note: what to keep in mind when its scores are read, in words.
    """

    uses_source: bool = False
    code_size: Whole | None = None
    reconstruction: str | None = None
    tuned: Whole | None = None
    note: str | None = None


class Record(_Schema):
    """One run: a contender trained with one seed and scored, or the reason why it was not.

    One that `collapsed` is scored as well, but its samples are all alike. The calibration runs
    `real` and `noise` have family `calibration`, images that another program made `external`;
    neither has a seed or training.

    Attributes:
        model: what the model is like; None where it could not be built, of rows without one, and
            in records of before this was kept: `analysis.lookup.read_traits` tells it of all.
        metrics: the names of all metrics there were when it was scored, applicable or not.
        environment: of the training.
        scored: of the scoring, where that was done again later; else None.
        code: of a model that ships, the hash of its modules when it was trained; else None.
        layout: what the user's own images were taken for, see `Dataset`; else None.
        shape: channels, height and width of the images, in calibration runs.
    """

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
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
    """What is known of a trained model beside its weights, until and after it is scored.

    Attributes:
        key: of all that determines the training, `RunSpec.training_key`.
        history: the rows of `history.csv`.
        chosen_by: the extractor by whose validation scores the best checkpoint was chosen.
        pictures: of the training, which are not drawn again when the model is scored anew.
        code: as in `Record`.
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
    """A suite's index: contenders and runs in the order of its tables.

    Attributes:
        runs: names of the contenders' runs.
        calibration: names of the runs `real` and `noise`.
        command: the command that made it.
        published: a paper's scores to be shown beside the suite's own.
    """

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
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
