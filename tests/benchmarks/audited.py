"""An audit of the synthetic suites with verdicts of the test's own choice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from synthetic import EXTRACTOR

from benchmarks.analysis.audit_files import (
    CURVE_COLUMNS,
    FLOOR_COLUMNS,
    VERDICT_COLUMNS,
    FaultInfo,
    MetricInfo,
)
from benchmarks.analysis.audits import FOLDER, Audit
from benchmarks.auditing.store import MEASURED, write_audit
from benchmarks.records.store import read_record, write_record

PAIRS = ("reconstruction_mse", "psnr", "ssim")
TITLES = {
    "blur": "blur",
    "noise": "noise",
    "shift": "shifts",
    "warp": "elastic warps",
    "contrast": "lost contrast",
    "jpeg": "JPEG artefacts",
    "foreign": "foreign images",
    "drop": "dropped classes",
    "duplicates": "duplicates",
    "memoriser": "memorised images",
}
DATA = "da7a" * 16
Verdicts = Mapping[str, Mapping[str, str]]
FINE = {"fid": {"blur": "sees"}, "kid": {"blur": "sees"}, "reconstruction_mse": {"blur": "sees"}}
FAILED = FINE | {"fid": {"blur": "sees", "drop": "blind", "shift": "blind", "duplicates": "misled"}}


def audit_suite(
    suite: Path, verdicts: Verdicts = FINE, extractor: str = EXTRACTOR, data: str = DATA
) -> Path:
    """Write an audit into a suite's folder: verdicts by metric and fault, and give its folder.

    A metric promises to see all faults but `memoriser`.
    """
    rows = [
        _verdict(metric, extractor, fault, verdict)
        for metric, found in verdicts.items()
        for fault, verdict in found.items()
    ]
    floors = pd.DataFrame([(*_key("fid", extractor), "full", 400, 1, 1, 1, 1, 24, float("nan"))])
    curves = pd.DataFrame([(*_key("fid", extractor), "blur", 0, 0.0, "full", 400, 1, 1, 1, 0.0)])
    measured = pd.DataFrame([(*_key("fid", extractor), "", 0, 0, "full", 400, float("inf"))])
    audit = Audit(
        suite / FOLDER,
        describe(verdicts, extractor, data),
        pd.DataFrame(rows, columns=[*VERDICT_COLUMNS]),
        floors.set_axis([*FLOOR_COLUMNS], axis="columns"),
        curves.set_axis([*CURVE_COLUMNS], axis="columns"),
    )
    measured = measured.set_axis([*MEASURED], axis="columns")
    write_audit(audit, measured, {"plots/heatmap.svg": b"<svg/>"})
    return suite / FOLDER


def fault_info(
    name: str, title: str, aspect: str, amounts: Sequence[float], share: bool, unit: str
) -> FaultInfo:
    shown = [f"{amount:.0%}" for amount in amounts]
    about = {"name": name, "title": title, "aspect": aspect, "amounts": amounts, "shown": shown}
    return FaultInfo(**about, share=share, unit=unit, summary="worse and worse")


def metric_info(
    name: str, symbol: str, direction: str, sees: Sequence[str], ignores: Sequence[str]
) -> MetricInfo:
    about = {"name": name, "symbol": symbol, "sees": sees, "ignores": ignores}
    return MetricInfo(**about, direction=direction)


def set_data(suite: Path, data: str, name: str = "digits") -> None:
    """Have all records of a suite say what data they are of."""
    for path in suite.glob("runs/*/record.json"):
        record = read_record(path.parent)
        record.dataset = name
        record.spec["data"] = {"fingerprint": data}
        write_record(path.parent, record)


def describe(verdicts: Verdicts, extractor: str, data: str) -> dict[str, Any]:
    """What `audit.json` holds."""
    fault = {"aspect": "fidelity", "amounts": [0.5, 1.0], "share": False, "unit": "of the side"}
    fault |= {"summary": "worse and worse", "shown": ["50 %", "100 %"]}
    metric = {"direction": "lower", "sees": ["fidelity"], "ignores": []}
    counts = ("samples", "quarter", "training", "pool", "splits", "repetitions", "seed", "classes")
    return {
        "dataset": {"name": "digits", "shape": [1, 8, 8], "fingerprint": data},
        "extractors": [extractor],
        **dict.fromkeys(counts, 10),
        "clustered": False,
        "seconds": 95.0,
        "faults": [{"name": name, "title": title, **fault} for name, title in TITLES.items()],
        "metrics": [{"name": name, "symbol": name, **metric} for name in verdicts],
    }


def _key(metric: str, extractor: str) -> tuple[str, str]:
    return metric, "" if metric in PAIRS else extractor


def _verdict(metric: str, extractor: str, fault: str, verdict: str) -> dict[str, Any]:
    promise = "" if fault == "memoriser" else "sees"
    kept = None if verdict == "undecided" else verdict in {"sees", "sees late"}
    names = dict(zip(("metric", "extractor"), _key(metric, extractor), strict=True))
    known = {"fault": fault, "aspect": "fidelity", "promise": promise, "verdict": verdict}
    return {**names, **known, "kept": kept, "tau": 0.5, "note": ""}
