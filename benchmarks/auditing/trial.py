"""An audit from the data set to the files that it leaves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.analysis.audits import Audit
from benchmarks.auditing import store
from benchmarks.auditing.advice import advise
from benchmarks.auditing.answers import QUESTIONS, Answer
from benchmarks.auditing.faults import FAULTS
from benchmarks.auditing.measurements import (
    Bank,
    Design,
    Session,
    make_rng,
    rehearse,
    to_frame,
)
from benchmarks.auditing.own import enter_metric
from benchmarks.auditing.stock import (
    FEWEST,
    Stock,
    build_bank,
    check_pool,
    count_pool,
    draw_strips,
    gather_stock,
)
from benchmarks.auditing.verdicts import FaultInfo, MetricInfo, curves, floors, judge
from benchmarks.auditing.workers import Source, Tell, carry_out
from benchmarks.config.registry import is_reference
from benchmarks.core.errors import BadInput, one_line
from benchmarks.core.seeds import derive_seed
from benchmarks.data import Dataset
from benchmarks.records.environment import read_environment
from benchmarks.reporting.audits import write_verdict_markdown
from benchmarks.reporting.comparison import PANELS
from benchmarks.reporting.page.audit import build_audit_page
from benchmarks.reporting.plots.audits import render_audit
from metrics import METRICS, Extractor, Features, Material

FAULT_KEYS = tuple(FaultInfo.__dataclass_fields__)
METRIC_KEYS = tuple(MetricInfo.__dataclass_fields__)


@dataclass(frozen=True)
class Request:
    """What is to be audited.

    Attributes:
        extractors: names, or references of the user's; the first is the main one.
        metrics: the names of the shipped ones that are asked.
        own: references of the user's metrics.
        faults: the names of those that are laid on.
        samples: images in a set; None for as many as a suite scores, up to `most`.
        most: see `samples`.
        splits: pairs of held-out sets of which the floor is made.
        repetitions: how many of these are damaged.
        seed: of all randomness.
    """

    extractors: tuple[str, ...]
    metrics: tuple[str, ...]
    own: tuple[str, ...]
    faults: tuple[str, ...]
    samples: int | None
    most: int
    splits: int
    repetitions: int
    seed: int


@dataclass(frozen=True)
class Trial:
    """An audit that is ready to be measured."""

    data: Dataset
    stock: Stock
    session: Session
    source: Source


def prepare(data: Dataset, request: Request, material: Material) -> Trial:
    """Deal out the images, and let every extractor see every one of them once.

    Raises:
        BadInput: there are too few images, or an extractor cannot be built, or a metric or an
            extractor of the user's is none.
    """
    samples = count_samples(data, request)
    own = [name for reference in request.own for name in enter_metric(reference)]
    design = Design(
        samples=samples,
        splits=request.splits,
        repetitions=request.repetitions,
        seed=request.seed,
        faults=request.faults,
        metrics=tuple(dict.fromkeys([*arrange(request.metrics), *own])),
    )
    source = Source(request.extractors, material, request.own)
    extractors = build(source)
    stock = gather_stock(data, samples, make_rng(request.seed, "stock"))
    images, classes, places = build_bank(stock, make_rng(request.seed, "bank"))
    bank = Bank(images, classes, places, see(extractors, images))
    session = Session(design, bank, extractors)
    rehearse(session)
    return Trial(data, stock, session, source)


def arrange(metrics: Iterable[str]) -> list[str]:
    """Put metrics into the order of a comparison's columns, variants behind what they vary."""
    columns = [column.key for panel in PANELS.values() for column in panel]

    def place(name: str) -> tuple[int, str]:
        kin = (i for i, key in enumerate(columns) if name == key or name.startswith(f"{key}_"))
        return next(kin, len(columns)), name

    return sorted(metrics, key=place)


def build(source: Source) -> dict[str, Extractor]:
    """Build the extractors.

    Raises:
        BadInput: the data or the weights are not enough for one of them.
    """
    try:
        return source.build()
    except BadInput:
        raise
    except Exception as error:
        # One of the user's may fail in any way; where all are ours, that is a bug of ours.
        if isinstance(error, ValueError | SafetensorError) or any(
            map(is_reference, source.extractors)
        ):
            raise BadInput(f"--extractor: {type(error).__name__}: {one_line(error)}") from error
        raise


def see(extractors: Mapping[str, Extractor], images: Tensor) -> dict[str, Features]:
    """Let every extractor see every image.

    Raises:
        BadInput: what one of them gives is no matrix of finite numbers with a row an image.
    """
    seen = {}
    for name, extractor in extractors.items():
        try:
            seen[name] = extractor(images)
        except Exception as error:
            if type(extractor.network).__module__.startswith("metrics."):
                raise
            raise BadInput(
                f"--extractor {name}: {type(error).__name__}: {one_line(error)}"
            ) from error
        for part in seen[name]:
            if part is not None and (
                part.ndim != 2 or len(part) != len(images) or not part.isfinite().all()
            ):
                raise BadInput(
                    f"--extractor {name}: gives {list(part.shape)} numbers, not all finite, where "
                    f"a row of finite ones for each of {len(images):,} images is needed"
                )
    return seen


def count_samples(data: Dataset, request: Request) -> int:
    """Decide how many images a set has: as many as a suite scores, if there are twice as many.

    Raises:
        BadInput: there are too few held-out images, or fewer than are asked for.
    """
    check_pool(data, FEWEST)
    half = count_pool(data) // 2
    if request.samples is not None and not FEWEST <= request.samples <= half:
        raise BadInput(
            f"--samples {request.samples}: from {FEWEST} to {half:,}, half of the held-out images"
        )
    scored = min(len(data.source_test), len(data.test))
    return request.samples or max(FEWEST, min(half, request.most, scored))


def measure(trial: Trial, jobs: int, tell: Tell) -> tuple[pd.DataFrame, list[Answer]]:
    """Measure everything and ask what is known, in so many processes.

    Returns:
        A row a measurement, see `measurements.MEASURED`, and the answers.
    """
    found, answers = carry_out(trial.session, trial.source, list(QUESTIONS), jobs, tell)
    return to_frame(found), answers


def describe(trial: Trial, command: Sequence[str], gpu: str | None) -> dict[str, Any]:
    """Say what is audited and how, as `audit.json` keeps it."""
    session, data = trial.session, trial.data
    design = session.design
    return {
        "dataset": {
            "name": data.name,
            "shape": list(data.shape),
            "fingerprint": data.fingerprint,
        },
        "extractors": list(session.extractors),
        "samples": design.samples,
        "quarter": session.count("quarter"),
        "training": len(trial.stock.train),
        "pool": len(trial.stock.pool),
        "splits": design.splits,
        "repetitions": design.repetitions,
        "quarter_repetitions": len(session.repetitions("quarter")),
        "seed": design.seed,
        "clustered": trial.stock.clustered,
        "classes": int(trial.stock.pool_classes.max()) + 1,
        "faults": [describe_fault(name) for name in design.faults],
        "metrics": [asdict(describe_metric(name)) for name in design.metrics],
        "command": " ".join(command),
        "environment": read_environment(gpu).model_dump(mode="json"),
    }


def describe_fault(name: str) -> dict[str, Any]:
    """Say what a fault is, with its amounts in words."""
    fault = FAULTS[name]
    shown = [fault.show(amount) for amount in fault.amounts]
    return asdict(fault.info()) | {"summary": fault.summary, "shown": shown, "kind": fault.kind}


def describe_metric(name: str) -> MetricInfo:
    """Say what a metric promises."""
    about = METRICS[name].metadata
    return MetricInfo(name, about.symbol, about.direction, about.sees, about.ignores)


def conclude(
    folder: Path, about: Mapping[str, Any], measurements: pd.DataFrame, runs: pd.DataFrame | None
) -> Audit:
    """Judge what was measured.

    Args:
        folder: of the audit.
        about: what `describe` gave, and the answers.
        measurements: all of them.
        runs: `Frames.runs` of the suite, where it has any, for what seeds add.
    """
    faults = [FaultInfo(**{key: fault[key] for key in FAULT_KEYS}) for fault in about["faults"]]
    metrics = [
        MetricInfo(**{key: metric[key] for key in METRIC_KEYS}) for metric in about["metrics"]
    ]
    audit = Audit(
        folder=folder,
        about=dict(about),
        verdicts=judge(measurements, faults, metrics, derive_seed("verdicts", about["seed"])),
        floors=floors(measurements, metrics),
        curves=curves(measurements, faults, metrics),
    )
    audit.about["advice"] = advise(audit, runs)
    return audit


def write(audit: Audit, measurements: pd.DataFrame, strips: Mapping[str, bytes]) -> list[Path]:
    """Write an audit with its plots and its page."""
    drawn = render_audit(audit)
    files = {f"plots/{name}": content for name, content in drawn.items()}
    files |= {f"strips/{name}": content for name, content in strips.items()}
    files["verdict.md"] = write_verdict_markdown(audit)
    files["audit.html"] = build_audit_page(audit, drawn, dict(strips))
    tables = audit.verdicts, audit.floors, audit.curves
    return store.write_audit(audit.folder, audit.about, *tables, measurements, files)


def draw_all_strips(trial: Trial) -> dict[str, bytes]:
    """Draw what each fault does as a person sees it; nothing of one of features."""
    bank, names = trial.session.bank, trial.session.design.faults
    seen = bank.images, bank.classes, bank.places
    drawn = {f"{n}.png": draw_strips(*seen, FAULTS[n], make_rng("strip", n)) for n in names}
    return {name: picture for name, picture in drawn.items() if picture is not None}
