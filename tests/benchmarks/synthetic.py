"""Suites as runs would leave them on disk, made up but for the pictures' digits."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.records.schema import (
    Costs,
    Index,
    IndexEntry,
    ModelTraits,
    Picture,
    Record,
    Score,
    Training,
)
from benchmarks.records.store import read_index, read_record, write_index, write_record

FOUR = (("gan", "gan"), ("autoencoder", "autoencoder"), ("vae", "vae"), ("cyclegan", "cyclegan"))
TWENTY = tuple(
    (f"{family}_with_a_rather_long_name-latent_64-conv_{i:02d}", family)
    for i, family in enumerate(["gan", "autoencoder", "vae", "cyclegan"] * 5)
)
EXTRACTOR = "classifier@3fa94c1e"
PROTOCOLS = {
    "gan": "search",
    "autoencoder": "encoder",
    "vae": "encoder",
    "cyclegan": "cycle",
}
TRAITS = {
    family: ModelTraits(
        uses_source=family == "cyclegan", code_size=16, reconstruction=route, tuned=2
    )
    for family, route in PROTOCOLS.items()
}
PLAYERS = {
    "gan": ("generator", "discriminator"),
    "autoencoder": ("autoencoder",),
    "vae": ("vae",),
    "cyclegan": ("generators", "discriminators"),
}


REASONS = {
    "diverged": "loss_generator is not finite at step 812",
    "collapsed": "all 399 samples are alike",
    "failed": "out of memory",
}
SCORED = ("ok", "collapsed")
STEPS = np.linspace(0, 1, 8)
VIEWS = ("random@1a2b3c4d", "pixels@834c8505")


def write_suite(
    folder: Path,
    contenders: tuple[tuple[str, str], ...] = FOUR,
    seeds: int = 3,
    failures: dict[tuple[str, int], str] | None = None,
    channels: int = 1,
    views: Sequence[str] = (),
) -> Path:
    """Write a suite of runs; `failures` gives statuses other than ok by (contender, seed).

    A run that diverged has a picture of its samples and of their evolution. Each of the `views` is
    a further extractor that FID is taken by, and that ranks contenders in its own way.
    """
    suite = folder.name
    failures = failures or {}
    runs = []
    for place, (name, family) in enumerate(contenders):
        for seed in range(seeds):
            status = failures.get((name, seed), "ok")
            record = _record(suite, (name, family), seed, status, place)
            if status in SCORED:
                record.scores += _further_fids(record, views)
            runs.append(record.run)
            _write_run(folder / "runs" / record.run, record, channels)
    calibration = [_calibration(folder, suite, name, channels) for name in ("real", "noise")]
    entries = [IndexEntry(name=name, family=family) for name, family in contenders]
    index = Index(
        suite=suite, dataset="digits", contenders=entries, runs=runs, calibration=calibration
    )
    write_index(folder, index)
    return folder


def write_large_suite(folder: Path, contenders: tuple[tuple[str, str], ...], seeds: int) -> Path:
    """Write a suite of many runs; the seeds of a contender have the same history and pictures."""
    write_suite(folder, contenders, seeds=1)
    index = read_index(folder)
    runs = []
    for place, entry in enumerate(contenders):
        first = folder / "runs" / index.runs[place]
        pictures = read_record(first).pictures
        files = {path.name: path.read_bytes() for path in first.iterdir()}
        for seed in range(seeds):
            record = _record(folder.name, entry, seed, "ok", place)
            record.pictures = pictures
            run_folder = folder / "runs" / record.run
            run_folder.mkdir(exist_ok=True)
            for name, content in files.items():
                (run_folder / name).write_bytes(content)
            write_record(run_folder, record)
            runs.append(record.run)
    write_index(folder, index.model_copy(update={"runs": runs}))
    return folder


def score(metric: str, value: float, spread: float = 0.08, **further: object) -> Score:
    fields = {
        "n": 400,
        "reference": "test",
        "extractor": EXTRACTOR,
        "interval": "95 %, block jackknife over samples",
    }
    bounds = {"low": value * (1 - spread), "high": value * (1 + spread)}
    return Score(metric=metric, value=value, **{**fields, **bounds, **further})


def _record(suite: str, entry: tuple[str, str], seed: int, status: str, place: int) -> Record:
    name, family = entry
    fields = {"run": f"{name}-s{seed}-1a2b3c4d", "suite": suite, "dataset": "digits"}
    fields |= {"contender": name, "family": family, "seed": seed, "status": status}
    fields |= {"reason": REASONS.get(status), "model": TRAITS[family]}
    if status not in SCORED:
        return Record(**fields)
    rng = np.random.default_rng([place, seed])
    fid = 6.0 * (1 + place % 7) * math.exp(0.15 * rng.standard_normal())
    mse = 0.004 * (1 + place % 5) ** 2 * math.exp(0.1 * rng.standard_normal())
    protocol = {"protocol": PROTOCOLS[family], "extractor": None}
    return Record(
        **fields,
        spec={"steps": 3000},
        scores=[
            score("fid", fid),
            score("fid_best", fid * 0.93, checkpoint="best"),
            score("inception_score", 9 - place % 6 + 0.2 * rng.standard_normal()),
            score("reconstruction_mse", mse, **protocol),
            score("psnr", -10 * math.log10(mse), **protocol),
            score("ssim", 1 - 6 * mse, **protocol),
            score("kid", fid / 50),
            score("precision", 0.9 - 0.1 * (place % 4)),
            score("recall", 0.5 + 0.1 * (place % 4)),
            score("density", 1.1 - 0.2 * (place % 4)),
            score("coverage", 0.8 - 0.1 * (place % 4)),
            score("near_copies", 0.011),
        ],
        costs=Costs(
            parameters=120_000 + 31_000 * place,
            training_flops_per_step=1.3e8 * (1 + place % 6),
            sampling_flops_per_image=2.1e6 * (1 + place),
            train_seconds=12.0 + 4 * place + float(rng.random()),
            images_per_second=9000.0 / (1 + place),
            peak_memory_mb=612.0 + 10 * place,
            score_seconds=3.0,
        ),
        training=Training(steps=3000, batch=64, images=192_000, best_step=2700 - 300 * seed),
    )


def _further_fids(record: Record, views: Sequence[str]) -> list[Score]:
    fid = next(s.value for s in record.scores if s.metric == "fid")
    return [
        score("fid", 3 * fid ** (1 / (1 + place)) * (1 + place * record.seed), extractor=view)
        for place, view in enumerate(views)
    ]


def _calibration(folder: Path, suite: str, name: str, channels: int) -> str:
    fid, inception = {"real": (1.1, 9.3), "noise": (320.0, 1.4)}[name]
    record = Record(
        run=f"{name}-00000000",
        suite=suite,
        dataset="digits",
        contender=name,
        family="calibration",
        status="ok",
        scores=[
            score("fid", fid),
            score("inception_score", inception),
            score("precision", 0.95 if name == "real" else 0.0),
        ],
    )
    run_folder = folder / "runs" / record.run
    _save_tiles(
        run_folder / "samples.png", _digits(64, 0.0 if name == "real" else 16.0), channels, 8
    )
    record.pictures["samples"] = Picture(file="samples.png", rows=8, columns=8)
    write_record(run_folder, record)
    return record.run


def _write_run(run_folder: Path, record: Record, channels: int) -> None:
    _write_history(run_folder, record)
    if record.status in SCORED:
        _write_pictures(run_folder, record, channels)
    elif record.status == "diverged":
        _save_picture(run_folder, record, "samples", _digits(64, 8.0), channels, 8)
        _save_picture(run_folder, record, "evolution", _evolution(2, 8.0), channels, 2)
    write_record(run_folder, record)


def _write_pictures(run_folder: Path, record: Record, channels: int) -> None:
    noise = 1.0 + list(PROTOCOLS).index(record.family)
    inputs, outputs = _digits(10, 0.0), _digits(10, noise)
    pictures = {"samples": (_digits(64, noise), 8)}
    pictures["reconstructions"] = (np.concatenate([inputs, outputs]), 2)
    pictures["neighbours"] = (np.concatenate([outputs, inputs]), 2)
    blended = [_digits(4, noise) * (1 - t) + _digits(8, noise)[4:] * t for t in STEPS]
    interpolations = np.stack(blended, axis=1).reshape(-1, 8, 8).astype(np.uint8)
    pictures["interpolations"] = (interpolations, 4)
    pictures["evolution"] = (_evolution(10, noise), 10)
    if record.family == "cyclegan":
        pictures["translations"] = (np.concatenate([255 - inputs, outputs, 255 - outputs]), 3)
    for kind, (tiles, rows) in pictures.items():
        _save_picture(run_folder, record, kind, tiles, channels, rows)


def _save_picture(
    run_folder: Path, record: Record, kind: str, tiles: np.ndarray, channels: int, rows: int
) -> None:
    _save_tiles(run_folder / f"{kind}.png", tiles, channels, rows)
    seen = [300 * 64 * (row + 1) for row in range(rows)] if kind == "evolution" else []
    picture = Picture(file=f"{kind}.png", rows=rows, columns=len(tiles) // rows, seen=seen)
    record.pictures[kind] = picture


def _write_history(run_folder: Path, record: Record) -> None:
    run_folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(record.seed)
    steps = np.arange(10, 3001, 10) if record.status in SCORED else np.arange(10, 811, 10)
    columns: dict[str, np.ndarray] = {"step": steps, "images": steps * 64, "seconds": steps / 250}
    for place, player in enumerate(PLAYERS[record.family]):
        decay = 0.7 + (1.5 + place) * np.exp(-steps / 400)
        columns[f"loss_{player}"] = decay + 0.15 * rng.standard_normal(len(steps))
    final = next((s.value for s in record.scores if s.metric == "fid"), 30.0)
    fid = final * (1 + 12 * np.exp(-steps / 500)) * np.exp(0.05 * rng.standard_normal(len(steps)))
    columns["validation_fid"] = np.where(steps % 300 == 0, fid, np.nan)
    pd.DataFrame(columns).to_csv(run_folder / "history.csv", index=False)


def _evolution(validations: int, noise: float) -> np.ndarray:
    """The same eight digits with less and less noise: uint8 [validations * 8, 8, 8]."""
    return np.concatenate([_digits(8, noise + 12 / (1 + row)) for row in range(validations)])


@cache
def _images() -> np.ndarray:
    return load_digits().images


def _digits(n: int, noise: float) -> np.ndarray:
    """Real digits of 0 to 16, blurred by noise: uint8 [n, 8, 8]."""
    images = _images()[:n]
    noisy = images + noise * np.random.default_rng(0).standard_normal(images.shape)
    return (noisy.clip(0, 16) * 255 / 16).astype(np.uint8)


def _save_tiles(path: Path, tiles: np.ndarray, channels: int, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n, height, width = tiles.shape
    grid = tiles.reshape(rows, n // rows, height, width).swapaxes(1, 2)
    grey = grid.reshape(rows * height, n // rows * width)
    tinted = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    Image.fromarray(tinted if channels == 3 else grey).save(path)
