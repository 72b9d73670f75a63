"""An audit as the command would leave it, made up: its verdicts follow its curves."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.analysis.audit_files import CURVE_COLUMNS, FLOOR_COLUMNS, VERDICT_COLUMNS
from benchmarks.analysis.audits import Audit
from benchmarks.config.registry import list_metrics

EXTRACTORS = ("classifier@3fa94c1e", "pixels@834c8505", "random@1a2b3c4d")
FEATURES = ("fid", "kid", "precision", "recall", "density", "coverage")
FEATURES += ("authenticity", "near_copies")
LOGITS = ("inception_score", "classes_reached", "class_kl")
PAIRS = ("reconstruction_mse", "psnr", "ssim")
SEEN = ("fidelity", "classes", "variety")
SHARES = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
FAULTS: dict[str, tuple[str, str, tuple[float, ...], str]] = {
    "blur": ("blur", "fidelity", (0.02, 0.04, 0.06, 0.1, 0.2, 9.0), "of the image's side"),
    "noise": ("noise", "fidelity", (0.02, 0.05, 0.1, 0.2, 0.4, 1.0), "standard deviation"),
    "contrast": ("lost contrast", "fidelity", SHARES, "of the contrast lost"),
    "quantisation": ("fewer grey levels", "fidelity", (32, 16, 8, 4, 2, 1), "grey levels"),
    "jpeg": ("JPEG artefacts", "fidelity", (75, 50, 30, 15, 5, 1), "quality"),
    "shift": ("shifts", "fidelity", (0.03, 0.06, 0.1, 0.2, 0.3, 0.5), "of the image's side"),
    "warp": ("elastic warps", "fidelity", (0.5, 1.0, 2.0, 4.0, 6.0, 9.0), "pixels"),
    "foreign": ("foreign images", "fidelity", SHARES, "of the images"),
    "static": ("noise mixed in", "fidelity", SHARES, "of the images"),
    "drop": ("dropped classes", "classes", (1, 2, 4, 6, 8, 9), "of 10 classes"),
    "thin": ("thinned classes", "classes", SHARES, "of the other classes"),
    "shrink": ("shrinkage within classes", "variety", SHARES, "of each class"),
    "duplicates": ("duplicates", "variety", SHARES, "of the images"),
    "memoriser": ("memorised images", "copying", SHARES, "of the images"),
    "jitter": ("jittered copies", "copying", SHARES, "of the images"),
    "gaussian": ("Gaussian features", "shape", SHARES, "of the features"),
}
"""Title, aspect, amounts and unit of each fault."""
IMAGES = ("blur", "noise", "contrast", "quantisation", "jpeg", "shift", "warp")


def make_audit(
    metrics: Sequence[str] = (*FEATURES, *LOGITS, *PAIRS),
    extractors: Sequence[str] = EXTRACTORS,
    faults: Sequence[str] = tuple(FAULTS),
    names: Mapping[str, str] | None = None,
) -> Audit:
    """Make up an audit; `names` replaces symbols of metrics and titles of faults."""
    rng = np.random.default_rng(0)
    about = _about(metrics, extractors, faults, names or {})
    promises = {m["name"]: (m["sees"], m["ignores"]) for m in about["metrics"]}
    verdicts, floors, curves = [], [], []
    for metric, extractor in _pairings(metrics, extractors):
        floors += _floors(metric, extractor, rng)
        for fault in faults:
            if metric in PAIRS and fault not in IMAGES:
                continue
            strength = _strength(metric, fault, promises[metric][0], rng)
            course = _course(metric, extractor, fault, strength, rng)
            curves += course
            verdicts.append(_verdict(metric, extractor, fault, promises[metric], course))
    return Audit(
        Path("results/mini/audit"),
        about,
        pd.DataFrame(verdicts, columns=[*VERDICT_COLUMNS]).astype({"kept": object}),
        pd.DataFrame(floors, columns=[*FLOOR_COLUMNS]),
        pd.DataFrame(curves, columns=[*CURVE_COLUMNS]),
    )


def _pairings(metrics: Sequence[str], extractors: Sequence[str]) -> list[tuple[str, str]]:
    features = [(m, e) for e in extractors for m in metrics if m in FEATURES]
    logits = [(m, extractors[0]) for m in metrics if m in LOGITS]
    return features + logits + [(m, "") for m in metrics if m in PAIRS]


def _strength(metric: str, fault: str, sees: Sequence[str], rng: np.random.Generator) -> float:
    """Floor deviations at total damage: now and then a promise is not kept."""
    if FAULTS[fault][1] not in sees:
        return float(rng.choice([0.0, 0.0, 0.0, 30.0]))
    return float(rng.choice([300.0, 80.0, 20.0, 20.0, 5.0, 0.0, -8.0]))


def _course(
    metric: str, extractor: str, fault: str, strength: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    amounts = (0.0, *FAULTS[fault][2])
    excess = strength * np.linspace(0, 1, len(amounts)) ** 2 + rng.normal(0, 0.4, len(amounts))
    pairs = metric in PAIRS
    rows = []
    for size, n in (("full", 400), ("quarter", 100)):
        for level, amount in enumerate(amounts):
            value = 5 + float(excess[level])
            if pairs:
                value = np.inf if metric == "psnr" and not level else 0.1 * level**1.5
                value = -value if metric != "reconstruction_mse" else value
            rows.append(
                {
                    "metric": metric,
                    "extractor": extractor,
                    "fault": fault,
                    "level": level,
                    "amount": amount,
                    "size": size,
                    "n": n,
                    "mean": value,
                    "low": value - 0.3,
                    "high": value + 0.3,
                    "excess": np.nan if pairs else float(excess[level]),
                }
            )
    return rows


def _verdict(
    metric: str,
    extractor: str,
    fault: str,
    promised: tuple[Sequence[str], Sequence[str]],
    course: list[dict[str, Any]],
) -> dict[str, Any]:
    aspect, amounts = FAULTS[fault][1:3]
    excess = np.array([row["excess"] for row in course[1 : 1 + len(amounts)]])
    if metric in PAIRS:
        excess = np.arange(1.0, 1 + len(amounts))
    beyond = np.flatnonzero(excess < 2)
    first = int(beyond[-1]) + 2 if len(beyond) else 1
    found = first <= len(amounts)
    if excess[-1] < -4:
        verdict = "misled"
    elif not found:
        verdict = "undecided" if abs(excess[-1]) > 1 else "blind"
    else:
        verdict = "sees" if first <= 4 else "sees late"
    promise = "sees" if aspect in promised[0] else "ignores" if aspect in promised[1] else ""
    kept = verdict in {"sees", "sees late"} if promise == "sees" else verdict == "blind"
    return {
        "metric": metric,
        "extractor": extractor,
        "fault": fault,
        "aspect": aspect,
        "verdict": verdict,
        "tau": 0.9,
        "tau_low": 0.8,
        "tau_high": 1.0,
        "threshold": first if found else np.nan,
        "threshold_amount": amounts[first - 1] if found else np.nan,
        "threshold_quarter": min(first + 1, len(amounts)) if found else np.nan,
        "linearity": 0.95 if amounts == SHARES else np.nan,
        "drift": 0.04,
        "promise": promise,
        "kept": None if verdict == "undecided" else kept,
        "note": "two of ten seeds say otherwise" if verdict == "undecided" else "",
    }


def _floors(metric: str, extractor: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    pairs, mean = metric in PAIRS, float(rng.uniform(0.5, 5))
    rows = []
    for size, n in (("full", 400), ("full", 310), ("quarter", 100)):
        deviation = 0.0 if pairs else 2 / np.sqrt(n)
        value = 0.0 if pairs else mean + 20 / n
        rows.append(
            {
                "metric": metric,
                "extractor": extractor,
                "size": size,
                "n": n,
                "mean": value,
                "deviation": deviation,
                "low": value - 2 * deviation,
                "high": value + 2 * deviation,
                "splits": 24,
                "bias": 1.5 if size == "quarter" and not pairs else np.nan,
            }
        )
    return rows


def _about(
    metrics: Sequence[str],
    extractors: Sequence[str],
    faults: Sequence[str],
    names: Mapping[str, str],
) -> dict[str, Any]:
    known = list_metrics()
    return {
        "schema": 1,
        "dataset": {"name": "digits", "shape": [1, 8, 8], "fingerprint": "5e1ec7ed" * 8},
        "extractors": list(extractors),
        "samples": 400,
        "quarter": 100,
        "training": 1078,
        "pool": 1200,
        "splits": 24,
        "repetitions": 8,
        "seed": 0,
        "clustered": False,
        "classes": 10,
        "faults": [_fault(name, names) for name in faults],
        "metrics": [
            {
                "name": name,
                "symbol": names.get(name, known[name].about["symbol"]),
                "direction": known[name].about["direction"],
                "sees": list(known[name].about.get("sees") or SEEN),
                "ignores": list(known[name].about.get("ignores") or ()),
            }
            for name in metrics
        ],
        "answers": [
            {
                "name": name,
                "question": question,
                "expected": expected,
                "found": found,
                "passed": passed,
                "values": {},
            }
            for name, question, expected, found, passed in ANSWERS
        ],
        "advice": list(ADVICE),
        "command": "python -m benchmarks.audit digits",
        "environment": {
            "python": "3.11.7",
            "versions": {"numpy": "2.0"},
            "platform": "Linux",
            "git": {"commit": "abc", "dirty": False},
        },
        "seconds": 95.0,
    }


ANSWERS = (
    ("real", "Is real told from real?", "within the floor", "FID 1.02, floor 0.9 to 1.1", True),
    ("memoriser", "Is a memoriser caught?", "authenticity under 0.1", "authenticity 0.02", True),
    ("dropper", "Is a mode dropper caught?", "recall under its floor", "recall as real", False),
    ("reversal", "Does a Parzen window rank the better VAE lower?", "yes", "no labels", None),
)
ADVICE = (
    "Trust KID under the classifier first: it sees 12 of 16 faults and is misled by none.",
    "Read recall beside it for dropped classes, and authenticity for copies.",
    "With 400 samples and 3 seeds, two models whose KID differs by 20 % can be told apart; 10 %"
    " take 12 seeds.",
)


def _fault(name: str, names: Mapping[str, str]) -> dict[str, Any]:
    title, aspect, amounts, unit = FAULTS[name]
    return {
        "name": name,
        "title": names.get(name, title),
        "aspect": aspect,
        "amounts": list(amounts),
        "share": amounts == SHARES,
        "unit": unit,
        "summary": f"{title}, more from level to level",
        "shown": [f"{amount:.0%}" if amount <= 1 else f"{amount:g}" for amount in amounts],
    }


def make_strips(side: int = 8) -> dict[str, bytes]:
    """Pictures of the ladders, 10 images over 7 levels, of faults that have them."""
    rng = np.random.default_rng(0)
    strips = {}
    for name in FAULTS:
        if name != "gaussian":
            file = io.BytesIO()
            pixels = rng.integers(0, 256, (7 * side, 10 * side), np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            strips[f"{name}.png"] = file.getvalue()
    return strips
