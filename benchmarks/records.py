"""What a run leaves on disk: the schema, and reading and writing it whole or not at all.

Layout of a suite's folder:

    suite.json                  the suite's index: its contenders and runs, in order
    runs/<run>/record.json      one run: status, spec, scores, costs, environment
    runs/<run>/history.csv      step, images, seconds, loss_<player>, validation_fid
    runs/<run>/*.png            pictures, tiles packed without borders
"""

import errno
import hashlib
import io
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import uuid
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    model_validator,
)

from benchmarks.errors import BadInput, naming, one_line
from benchmarks.interruption import in_hand

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA: Literal[1] = 1
CALIBRATION = "calibration"
EXTERNAL = "external"
Model = TypeVar("Model", bound=BaseModel)
LARGEST_NUMBER = 1e100
"""Of a score or a cost: squares of larger ones overflow, and no measurement is as large."""
LARGEST_FILE = 64 * 2**20
"""Bytes of a record, an index or a history."""
RESERVE = 16 * 2**20
"""Bytes of a disk that are left to files smaller than this, so that it can be told that it is full.
"""
VERSIONED = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pillow"),
    *("torchmetrics", "torch-fidelity", "safetensors", "generative-benchmarks"),
)


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
            in records of before this was kept: `traits.read_traits` tells it of all.
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


class Entry(_Schema):
    """A contender of a suite."""

    name: str
    family: str


class Published(_Schema):
    """What a paper reports: `scores` by contender and metric, and where they stand."""

    source: str
    scores: dict[str, dict[str, FiniteFloat]]


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
    contenders: list[Entry]
    runs: list[RunName]
    calibration: list[RunName] = Field(default_factory=list)
    command: str = ""
    published: Published | None = None

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [entry.name for entry in self.contenders]
        if len(set(names)) < len(names):
            raise ValueError("two contenders have the same name")
        return self


@dataclass(frozen=True)
class Results:
    """A suite read back: its index, its readable records in order, and what was left out."""

    folder: Path
    index: Index
    records: list[Record]
    warnings: list[str]

    def run_folder(self, record: Record) -> Path:
        """The folder of a record's run."""
        return self.folder / "runs" / record.run


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all: beside it first, flushed to the disk, then renamed.

    Raises:
        OSError: it cannot be written, or the disk would be all but full with it.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with in_hand():
        path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(path.parent).free < len(content) + RESERVE * (len(content) > RESERVE):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        try:
            with naming(path), beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_record(run_folder: Path, record: Record) -> Path:
    """Write `record.json` with its checksum into the folder of its run and return its path."""
    return write_sealed(run_folder / "record.json", record)


def write_index(folder: Path, index: Index) -> Path:
    """Write `suite.json` into a suite's folder and return its path."""
    return _write_json(folder / "suite.json", index)


def read_record(run_folder: Path) -> Record:
    """Read the record of a run.

    Raises:
        BadInput: if it is missing, damaged or of another schema.
    """
    return read_sealed(run_folder / "record.json", Record)


def read_index(folder: Path) -> Index:
    """Read the index of a suite's folder.

    Raises:
        BadInput: if it is missing, naming the nearest folder that has one, or damaged.
    """
    if not os.path.lexists(folder / "suite.json"):
        raise BadInput(f"{folder} holds no suite.json: {_hint(folder)}")
    return _read_json(folder / "suite.json", Index)


def read_suite(folder: Path) -> Results:
    """Read a suite's index and its records in order, the calibration runs last.

    A record that is missing, damaged or of another suite is left out and named in `warnings`.

    Raises:
        BadInput: if the folder has no readable index, or none of its records can be read.
    """
    index = read_index(folder)
    records, left_out = [], []
    for run in dict.fromkeys(index.runs + index.calibration):
        try:
            check_within(folder / "runs" / run / "record.json", folder)
            record = read_record(folder / "runs" / run)
            _check_belongs(record, run, index)
            records.append(record)
        except BadInput as error:
            left_out.append(str(error))
    if not records:
        named = f": {left_out[0]}" if left_out else ", and its suite.json names no runs"
        raise BadInput(f"{folder} holds no readable record{named}")
    return Results(folder, index, records, left_out)


def read_history(run_folder: Path) -> "pd.DataFrame | None":
    """Read a run's `history.csv` (columns as in the layout above), None where there is none.

    Raises:
        BadInput: if it is damaged.
    """
    import pandas as pd

    path = run_folder / "history.csv"
    if not os.path.lexists(path):
        return None
    check_within(path, run_folder)
    try:
        history = pd.read_csv(io.BytesIO(read_bytes(path)))
        numeric: pd.DataFrame = history.astype(float)
        numeric = numeric.where(numeric.abs() <= LARGEST_NUMBER)
    except (ValueError, OverflowError, MemoryError) as error:
        raise BadInput(f"{path} is no readable history: {one_line(error)}") from error
    if missing := {"step", "images"} - set(numeric.columns):
        raise BadInput(f"{path} is no readable history: no column {', '.join(sorted(missing))}")
    return numeric


def read_picture(run_folder: Path, picture: Picture) -> "np.ndarray":
    """Read a picture as its tiles: uint8 [rows, columns, H, W, 3].

    Raises:
        BadInput: if it is missing, damaged or does not divide into its rows and columns.
    """
    import numpy as np

    from benchmarks.data.decoding import open_picture

    path = run_folder / picture.file
    check_within(path, run_folder)
    try:
        with warnings.catch_warnings(action="ignore"):
            pixels = np.asarray(open_picture(path).convert("RGB"))
    except (ValueError, MemoryError) as error:
        raise BadInput(f"{path} is no readable picture: {one_line(error)}") from error
    rows, columns = picture.rows, picture.columns
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    if pixels.shape != (rows * height, columns * width, 3) or not pixels.size:
        raise BadInput(f"{path} of {pixels.shape[:2]} pixels has no {rows} × {columns} equal tiles")
    return pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2)


def environment(gpu: str | None = None) -> Environment:
    """Tell the versions and the hardware of this process; `gpu` is the name of the one in use."""
    return Environment(
        python=platform.python_version(),
        versions={name: version for name in VERSIONED if (version := _version(name))},
        platform=platform.platform(),
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        memory_mb=_memory_mb(),
        gpu=gpu,
        git=_git(Path(__file__).resolve().parents[1]),
    )


def write_sealed(path: Path, model: BaseModel) -> Path:
    """Write a model as JSON with the checksum of its content, and return its path."""
    # What is not finite becomes null in JSON, and the checksum is that of what is written.
    fields = json.loads(model.model_dump_json(by_alias=True))
    text = json.dumps(fields | {"sha256": seal(fields)}, indent=2, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def read_sealed(path: Path, schema: type[Model]) -> Model:
    """Read what `write_sealed` wrote.

    Raises:
        BadInput: it is missing, damaged or of another schema.
    """
    try:
        fields = json.loads(read_bytes(path))
        found = fields.pop("sha256", None) if isinstance(fields, dict) else None
        intact = found == seal(fields)
        model = schema.model_validate(fields)
    except ValidationError as error:
        raise _foreign(path, error) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is damaged or foreign: {one_line(error)}") from error
    if not intact:
        raise BadInput(f"{path} is damaged or foreign: its content does not match its checksum")
    return model


def seal(fields: JsonValue) -> str:
    """Return the SHA-256 of JSON's content, however laid out: it shows damage, not forgery."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _write_json(path: Path, model: BaseModel) -> Path:
    write_atomically(path, (model.model_dump_json(by_alias=True, indent=2) + "\n").encode())
    return path


def _read_json(path: Path, schema: type[Model]) -> Model:
    try:
        return schema.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise _foreign(path, error) from error


def read_bytes(path: Path) -> bytes:
    """Read a file that is no pipe or device, which could go on for ever."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise BadInput(f"{path} is no file of at most {LARGEST_FILE:,} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(f"{path} is missing") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {one_line(error)}") from error


def _foreign(path: Path, error: ValidationError) -> BadInput:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return BadInput(f"{path} is damaged or foreign: {where}: {first['msg']}")


def _check_belongs(record: Record, run: str, index: Index) -> None:
    """Refuse a record that was copied from another run, suite or data set."""
    for key, found, expected in (
        ("run", record.run, run),
        ("suite", record.suite, index.suite),
        ("dataset", record.dataset, index.dataset),
    ):
        if found != expected:
            raise BadInput(f"runs/{run}/record.json is foreign: {key} {found!r}, not {expected!r}")
    known = {entry.name for entry in index.contenders}
    if record.family != CALIBRATION and record.contender not in known:
        raise BadInput(f"runs/{run}/record.json is foreign: no contender {record.contender!r}")


def check_links(folder: Path) -> None:
    """Refuse a suite's folder of which a link leads out, before anything in it is written.

    Raises:
        BadInput: one does.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                check_within(path, folder)


def check_within(path: Path, folder: Path) -> None:
    """Refuse a path that a link leads out of a folder.

    Raises:
        BadInput: it does.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise BadInput(f"{path} lies outside {folder}: put the file itself there, not a link")


def _hint(folder: Path) -> str:
    """Name the nearest folder, beside `folder` or in it, that has an index."""
    parent = folder.resolve().parent
    found = [
        path.parent
        for top in (folder, parent)
        for path in sorted(top.glob("*/suite.json"))
        if path.is_file()
    ]
    near = get_close_matches(folder.name, [path.name for path in found], n=1, cutoff=0.0)
    nearest = next((path for path in found if [path.name] == near), None)
    return f"did you mean {nearest}?" if nearest else "name a folder written by benchmarks.run"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or None)


def _memory_mb() -> int | None:
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


def _git(root: Path) -> Git | None:
    """The state of the checkout at `root`; results do not make it dirty, since runs write them."""
    if not (root / ".git").exists():
        return None
    git = ("git", "-C", str(root))
    try:
        commit = _output(*git, "rev-parse", "HEAD")
        changes = _output(*git, "status", "--porcelain", "--", ".", ":!results")
    except (OSError, subprocess.SubprocessError):
        return None
    return Git(commit=commit, dirty=bool(changes))


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()
