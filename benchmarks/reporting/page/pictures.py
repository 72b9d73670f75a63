"""The pictures of a suite's page: mosaics as PNG, every tile enlarged by the same whole factor."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.config.registry import list_metrics
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import plain, shorten, show_amount, show_number
from benchmarks.reporting.page.templating import EmbeddedImage, embed_data, show_name

SHOWN = 24
"""Contenders whose pictures are shown: the best by FID."""
WIDEST = 1024
"""Pixels of a mosaic's side, beyond which it shows fewer tiles."""
FOLDED = 2
"""Images of a filmstrip side by side."""
MOMENTS = 24
"""Validations of a filmstrip."""
COLUMNS = 8
"""Images of a picture whose rows have names: of each, so many in a row."""
REASON = 120
"""Characters of a reason."""


@dataclass(frozen=True)
class PictureKind:
    """A kind of pictures: heading, caption, width in pixels and the names of its rows."""

    heading: str
    caption: str
    width: int
    rows: tuple[str, ...] = ()


KINDS = {
    "samples": PictureKind(
        "Samples",
        "The first samples of each model after training, not cherry-picked, beside real images at"
        " the same scale.",
        240,
    ),
    "neighbours": PictureKind(
        "Nearest training images",
        "The samples nearest to training images, above those images. Memorization would show here"
        " first.",
        500,
        ("sample", "nearest"),
    ),
    "reconstructions": PictureKind(
        "Reconstructions",
        "The first images of the held-out split, above their reconstructions.",
        500,
        ("input", "output"),
    ),
    "interpolations": PictureKind(
        "Interpolations",
        "From one code to another in equal steps, one pair per row.",
        560,
    ),
    "translations": PictureKind(
        "Translations",
        "Held-out source images, translated and translated back.",
        500,
        ("source", "target", "back"),
    ),
    "evolution": PictureKind(
        "Samples over training",
        "Samples from the same noise at each validation; below, the training images seen so far.",
        120,
    ),
}


@dataclass(frozen=True)
class Exhibit:
    """A contender's picture, or the note why there is none."""

    name: str
    detail: str
    note: str
    images: list[EmbeddedImage] = field(default_factory=list)


@dataclass(frozen=True)
class Gallery:
    """All pictures of a kind, and how many contenders more have one."""

    name: str
    kind: PictureKind
    exhibits: list[Exhibit]
    more: int


def build_galleries(pictures: pd.DataFrame) -> list[Gallery]:
    """Build a gallery of each kind of pictures there is, of `frames.Frames.pictures`."""
    own = pictures[(pictures["family"] != CALIBRATION) | (pictures["contender"] == "real")]
    frames = {str(kind): frame for kind, frame in own.groupby("kind", sort=False)}
    return [
        _build_gallery(name, kind, frames[name])
        for name, kind in KINDS.items()
        if name in frames and frames[name]["tiles"].notna().any()
    ]


def _build_gallery(name: str, kind: PictureKind, frame: pd.DataFrame) -> Gallery:
    real = frame["family"] == CALIBRATION
    ranked = frame[~real].sort_values("mean_fid", kind="stable", na_position="last")
    best = frame.loc[ranked.index[:SHOWN].sort_values()]
    chosen = _merge_alike(pd.concat([frame[real], best]).to_dict("records"))
    for row in filter(_has_tiles, chosen):
        row["tiles"] = row["tiles"][:, :COLUMNS] if kind.rows else row["tiles"]
    tiles = [row["tiles"] for row in chosen if _has_tiles(row)]
    columns = (FOLDED if name == "evolution" else own.shape[1] for own in tiles)
    natural = (n * (own.shape[3] + 1) - 1 for n, own in zip(columns, tiles, strict=True))
    factor = max(1, round(kind.width / min(WIDEST, max(natural))))
    exhibits = [_build_exhibit(name, row, factor) for row in chosen]
    return Gallery(name, kind, exhibits, max(0, len(ranked) - SHOWN))


def _merge_alike(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Show equal pictures once, under all names: rows of one training share some."""
    merged: dict[bytes | int, dict[Any, Any]] = {}
    for number, row in enumerate(rows):
        first = merged.setdefault(row["tiles"].tobytes() if _has_tiles(row) else number, row)
        if first is not row:
            first["contender"] = f"{first['contender']} and {row['contender']}"
            first["metric"] = first["metric"] if first["value"] == row["value"] else None
    return list(merged.values())


def _has_tiles(row: dict[Any, Any]) -> bool:
    return isinstance(row["tiles"], np.ndarray)


def _build_exhibit(name: str, row: dict[Any, Any], factor: int) -> Exhibit:
    shown = "real images" if row["family"] == CALIBRATION else show_name(str(row["contender"]))
    note = ""
    if row["status"] not in {None, "ok"}:
        note = f"{row['status']}: {shorten(plain(row['reason'] or ''), REASON)}"
    if not _has_tiles(row):
        return Exhibit(shown, "", note or "no picture")
    if name == "evolution":
        images = _build_filmstrip(row["tiles"], row["images"], factor)
    else:
        images = [embed_mosaic(row["tiles"], factor)]
    return Exhibit(shown, _state_score(row), note, images)


def _state_score(row: dict[Any, Any]) -> str:
    """State the run's own score: `FID 0.362, seed 0`."""
    parts = [str(row["protocol"])] if row["kind"] == "reconstructions" and row["protocol"] else []
    if row["metric"] and not pd.isna(row["value"]):
        symbol = list_metrics()[row["metric"]].about["symbol"]
        parts.append(f"{symbol} {show_number(row['value'])}")
    if not pd.isna(row["seed"]):
        parts.append(f"seed {row['seed']}")
    return ", ".join(parts)


def _build_filmstrip(
    tiles: np.ndarray, seen: Sequence[float] | None, factor: int
) -> list[EmbeddedImage]:
    """Embed a small mosaic of each validation, evenly chosen if there are many."""
    count, columns = len(tiles), min(FOLDED, tiles.shape[1])
    # Each row of tiles is laid out in rows of two.
    folded = tiles[:, : tiles.shape[1] // columns * columns]
    folded = folded.reshape(count, -1, columns, *tiles.shape[2:])
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOMENTS)).round().astype(int))
    labels = [f"{show_amount(images)} images" for images in seen] if seen else None
    return [
        embed_mosaic(folded[i], factor, labels[i] if labels else f"{i + 1} of {count}")
        for i in chosen
    ]


def embed_mosaic(tiles: np.ndarray, factor: int, label: str = "") -> EmbeddedImage:
    """Embed tiles, uint8 [rows, columns, H, W, 3], to be shown `factor` times as large.

    It is stored at natural size with gaps of a transparent pixel; of large tiles only so many as
    fit into `WIDEST` pixels.
    """
    height, width = tiles.shape[2:4]
    tiles = tiles[: max(1, WIDEST // height), : max(1, WIDEST // width)]
    rows, columns = tiles.shape[:2]
    canvas = np.zeros((rows, height + 1, columns, width + 1, 4), dtype=np.uint8)
    canvas[:, :height, :, :width, :3] = tiles.swapaxes(1, 2)
    canvas[:, :height, :, :width, 3] = 255
    flat = canvas.reshape(rows * (height + 1), columns * (width + 1), 4)[:-1, :-1]
    grey = bool((flat[..., :1] == flat[..., 1:3]).all())
    image = Image.fromarray(flat[..., [0, 3]] if grey else flat, "LA" if grey else "RGBA")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    source = embed_data(file.getvalue(), "image/png")
    return EmbeddedImage(source, image.width * factor, image.height * factor, caption=label)
