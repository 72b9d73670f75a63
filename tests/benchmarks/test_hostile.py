"""What strangers send works or is refused in one line, and nothing outside its folder is written.

Every kind of file goes through at least 1,000 cases, the same in every run of all tests, and
through a fifth of them where slow tests are left out.
"""

import importlib
import io
import json
import os
import pickle
import struct
import sys
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save
from synthetic import write_suite

from benchmarks import report, run
from benchmarks.cli.options import make_run_parser
from benchmarks.cli.suite_options import read_options
from benchmarks.core.errors import BadInput
from benchmarks.core.pictures import FORMATS, open_picture
from benchmarks.data import load_dataset
from benchmarks.data.cache import cache_folder
from benchmarks.evaluation.image_sets import ImageSet, open_image_set
from benchmarks.evaluation.image_source import ImageSource
from benchmarks.execution.cleaning import clean
from benchmarks.records import store
from benchmarks.records.store import read_history, read_picture, read_suite
from benchmarks.reporting import comparison
from benchmarks.reporting.report import read_frames, write_report
from benchmarks.training.checkpoint import Damaged, load_checkpoint, save_checkpoint


def read_images(place: Path, **options: Any) -> np.ndarray:
    images = open_image_set(ImageSource(place, **options))
    assert isinstance(images, ImageSet)
    return np.concatenate(list(images.batches(32)))


GREY = np.random.default_rng(0).integers(0, 256, (70, 8, 8), dtype=np.uint8)


def cases(count: int) -> settings:
    share = settings().max_examples / 100  # of the default
    return settings(
        max_examples=round(count * share) or 1,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )


# What a case may do: all that Python does to the disk or starts is audited while it runs.

PATHS = {
    **dict.fromkeys(("open", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    **dict.fromkeys(("os.symlink",), (1,)),
}
"""The arguments of audit events that name what is written, changed or removed."""
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes what happens outside the folders that may change, while there are such."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None
        self.noted: list[str] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None or (event == "open" and not arguments[2] & WRITING):
            return
        if event in PROGRAMS:
            self.noted.append(f"{event} {arguments}")
        for place in PATHS.get(event, ()):
            self.check(event, arguments[place])

    def check(self, event: str, path: Any) -> None:
        if isinstance(path, int) or self.allowed is None:
            return
        real = os.path.realpath(os.fsdecode(path)) + os.sep
        if not real.startswith((*self.allowed, f"{os.devnull}/")) and "__pycache__" not in real:
            self.noted.append(f"{event} {real}")


WATCH = Watch()
sys.addaudithook(WATCH.hear)


@contextmanager
def nothing_else_written(*folders: Path) -> Iterator[None]:
    """Fail where something outside these folders is written, or a program or a pickle started."""
    WATCH.noted.clear()
    WATCH.allowed = tuple(os.path.realpath(folder) + os.sep for folder in folders)
    try:
        yield
    finally:
        WATCH.allowed = None
    assert not WATCH.noted


def refusal(action: Callable[[], object], *folders: Path, kind: type = BadInput) -> str:
    """What is said where `action` refuses its input, "" where it works; all else is a failure."""
    with nothing_else_written(*folders):
        try:
            action()
        except kind as error:
            message = str(error)
            assert message
            assert message.isprintable()
            return message
    return ""


def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.touch()
    with nothing_else_written(inside):
        (inside / "file").write_text("allowed")
    for harm in (
        lambda: outside.write_text("x"),
        outside.unlink,
        lambda: (inside / "file").rename(outside),
        lambda: (inside / "link").symlink_to(outside),
        lambda: (inside / "link").write_text("x"),
        lambda: os.system("true"),
        lambda: pickle.loads(pickle.dumps(Path)),
    ):
        with pytest.raises(AssertionError), nothing_else_written(inside):  # noqa: PT012
            harm()
            if (inside / "link").is_symlink() and not WATCH.noted:
                WATCH.noted.append("the link alone")


# Odd values and damaged bytes

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *(
                "",
                " ",
                ".",
                "..",
                "../x",
                "/etc/passwd",
                "C:\\x",
                "a/b",
                "~",
                "~nobody/x",
                "-",
                "--",
            ),
            *(
                "\0",
                "\n",
                "a\nb",
                "\x1b[31m",
                "\u202e",
                "\ufeff",
                "[red]",
                "[/]",
                "[/x]",
                "{0}",
                "%s",
            ),
            *("<script>", "$(id)", "x" * 300, "é" * 5_000, "folder:", "folder:/", "folder:\0"),
            *("folder:~nobody", f"folder:{'x' * 300}", f"folder:{'x/' * 3_000}", "os:system"),
            *("evil.py:X", f"{'x' * 300}.py:X", "\0.py:X", ":", "a:", ":a", "timm:[/x]", "real"),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1, 2, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(10**400)]),
    st.sampled_from([1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf"), -0.0]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def alike(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type, as they get past the first checks."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(-1, 1_000) | st.integers()
    if isinstance(value, float):
        return st.floats()
    return TEXTS if isinstance(value, str) else VALUES


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    inner = [value[key] for key in keys if isinstance(value[key], dict | list)]
    return [(value, key) for key in keys] + [place for part in inner for place in places(part)]


@st.composite
def mutated(draw: st.DrawFn, original: Any, *, typed: bool = False) -> Any:
    """A tree of dictionaries and lists in which a few values, of their own type or any, are others.

    Where they are of any type, keys are removed and entered too.
    """
    tree = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(1, 4))):
        container, key = draw(st.sampled_from(places(tree)))
        change = (
            "replace" if typed else draw(st.sampled_from(["replace"] * 3 + ["remove", "enter"]))
        )
        if typed and isinstance(container[key], dict | list | None):
            continue
        if change == "replace":
            container[key] = draw(
                alike(container[key]) if typed else alike(container[key]) | VALUES
            )
        elif change == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[draw(TEXTS)] = container.pop(key) if draw(st.booleans()) else draw(VALUES)
        else:
            container.append(draw(VALUES))
        if not places(tree):
            break
    return tree


LENGTHS = [
    struct.pack(f"{order}I", n) for order in "<>" for n in (0, 1, 255, 60_000, 2**31, 2**32 - 1)
]
BYTES = st.one_of(st.binary(max_size=16), st.sampled_from([*LENGTHS, bytes(8), b"\xff" * 8]))


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of some files, with a few of its bytes changed, cut, repeated or put in."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 16))
        new = draw(st.one_of(BYTES, st.just(bytes(content[start : start + length] * 3))))
        cut = draw(st.integers(0, 9)) == 0
        content[start : None if cut else start + len(new)] = b"" if cut else new
    return bytes(content)


# Suites

VALID = """
summary = "a suite"
dataset = "digits"
source = "edges"
image_size = 8
channels = 1
images = 640
batch = 64
seeds = 1
evaluations = 2
samples = 64
reconstructions = 10
extractor = "random"
threads = 1

[likelihood]
images = 2

[published]
source = "a paper"
scores.vae.fid = 3.5

[contenders.vae]
hidden = [16]

[contenders.small]
model = "gan"
lr = 1e-3
betas = [0.5, 0.9]
"""
FRAGMENTS = st.sampled_from(
    [
        *VALID.splitlines(),
        *(
            "[",
            "]",
            "{",
            "}",
            '"',
            '"""',
            "'''",
            "=",
            ".",
            ",",
            "#",
            "\n",
            "\r",
            "\t",
            "\\",
            "\ufeff",
        ),
        *("[[contenders]]", "[contenders.vae.x]", "[contenders.'']", '["\\u0000"]', '"\\ud800"'),
        *("1979-05-27", "07:32:00", "1979-13-45", "0x" + "f" * 50, "1e999", "nan", "-inf", "1_0"),
        *("9" * 5_000, "contenders.vae.beta = " + "[" * 9 + "]" * 9),
    ]
)
DOCUMENTS = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("\n".join)


def to_toml(value: Any) -> str:
    """Write a value as TOML, tables inline; TOML has no null, so that one is an odd word."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{to_toml(str(k))} = {to_toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    text = json.dumps(value)
    return text.encode("utf-8", "replace").decode().replace("\x7f", "\\u007f")


def write_toml(path: Path, table: dict[str, Any]) -> Path:
    lines = [f"{to_toml(str(key))} = {to_toml(value)}\n" for key, value in table.items()]
    path.write_bytes("".join(lines).encode("utf-8", "surrogatepass"))
    return path


TABLE = tomllib.loads(VALID)


def read(path: Path, *options: str) -> Callable[[], object]:
    return lambda: read_options(make_run_parser().parse_args([str(path), *options]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the cases of all kinds, since making one takes longer than a case."""
    importlib.import_module("torch._dynamo")  # makes a cache of its own when it is imported
    return tmp_path_factory.mktemp("hostile")


def test_the_suite_that_is_changed_below_is_valid(folder: Path) -> None:
    assert refusal(read(write_toml(folder / "a.toml", TABLE)), folder) == ""


@cases(1_000)
@given(document=st.one_of(DOCUMENTS, damaged([VALID.encode()]), st.binary(max_size=100)))
def test_suites_of_any_text(folder: Path, document: str | bytes) -> None:
    content = document.encode("utf-8", "replace") if isinstance(document, str) else document
    (folder / "a.toml").write_bytes(content)
    refusal(read(folder / "a.toml"))


@cases(1_000)
@given(table=mutated(TABLE))
def test_suites_with_odd_values(folder: Path, table: dict[str, Any]) -> None:
    refusal(read(write_toml(folder / "a.toml", table)))


@cases(100)
@given(table=mutated(TABLE))
def test_plans_of_suites_with_odd_values(folder: Path, table: dict[str, Any]) -> None:
    path = write_toml(folder / "a.toml", table)
    line = [str(path), "--dry-run", "--device", "cpu", "--data-root", str(folder / "data")]
    with pytest.MonkeyPatch.context() as patch, nothing_else_written(cache_folder()):
        patch.setattr("benchmarks.data.downloads._download_file", lambda *_: None)
        said = io.StringIO()
        patch.setattr(sys, "stderr", said)
        patch.setattr(sys, "stdout", io.StringIO())
        code = run.main(line)
    assert code == (2 if said.getvalue() else 0)
    assert len(said.getvalue().splitlines()) <= 1


@cases(300)
@given(value=VALUES.map(to_toml) | TEXTS | FRAGMENTS)
def test_hyper_parameters_on_the_command_line(folder: Path, value: str) -> None:
    path = write_toml(folder / "a.toml", TABLE)
    refusal(read(path, "--set", f"vae.beta={value}", "--set", f"{value}=1"))


# Records


@pytest.fixture(scope="module")
def results(folder: Path) -> Path:
    place = write_suite(folder / "suite", (("gan", "gan"), ("vae", "vae")), seeds=1)
    write_report(read_frames(place))  # matplotlib writes a cache of its own when it is imported
    return place


def read_all(place: Path) -> None:
    """Read whatever a report reads."""
    found = read_suite(place)
    for record in found.records:
        place = found.run_folder(record)
        with suppress(BadInput):
            read_history(place)
        for picture in record.pictures.values():
            with suppress(BadInput):
                read_picture(place, picture)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a file that may be changed, and bring it back afterwards."""
    original = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(original)


def seal(fields: Any) -> bytes:
    """Give a record the right checksum, as a stranger would."""
    if isinstance(fields, dict):
        fields = {key: value for key, value in fields.items() if key != "sha256"}
        fields["sha256"] = store.seal(fields)
    return json.dumps(fields).encode()


@pytest.fixture(scope="module")
def record(results: Path) -> dict[str, Any]:
    return json.loads((results / "runs" / "gan-s0-1a2b3c4d" / "record.json").read_text())


@cases(1_000)
@given(data=st.data())
def test_records_with_odd_values(
    results: Path, record: dict[str, Any], data: st.DataObject
) -> None:
    with replaced(results / "runs" / record["run"] / "record.json") as path:
        path.write_bytes(seal(data.draw(mutated(record))))
        refusal(lambda: read_all(results))


@cases(1_000)
@given(data=st.data())
def test_indexes_with_odd_values(results: Path, data: st.DataObject) -> None:
    with replaced(results / "suite.json") as path:
        path.write_text(json.dumps(data.draw(mutated(json.loads(path.read_text())))))
        refusal(lambda: read_all(results))


@cases(40)
@given(data=st.data())
def test_tables_of_records_with_odd_values(
    results: Path, record: dict[str, Any], data: st.DataObject
) -> None:
    with replaced(results / "runs" / record["run"] / "record.json") as path:
        path.write_bytes(seal(data.draw(mutated(record, typed=True))))
        found = read_suite(results)
        if not found.warnings:
            comparison.write_markdown(found)
            comparison.write_latex(found)


@cases(4)
@given(data=st.data())
def test_reports_of_records_with_odd_values(
    results: Path, record: dict[str, Any], data: st.DataObject
) -> None:
    with replaced(results / "runs" / record["run"] / "record.json") as path:
        path.write_bytes(seal(data.draw(mutated(record, typed=True))))
        with nothing_else_written(results):
            assert report.main([str(results)]) in {0, 2}


# Pictures


def encode(kind: str, pixels: np.ndarray = GREY[0], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


COLOUR = np.stack([GREY[0], GREY[1], GREY[2]], axis=-1)
FRAMES = {"save_all": True, "append_images": [Image.fromarray(GREY[3])]}
EXIF = Image.Exif()
EXIF[0x0112] = 6
PICTURES = [
    *(encode(kind, pixels) for kind in FORMATS for pixels in (GREY[0], COLOUR)),
    *(encode(kind, COLOUR, **FRAMES) for kind in ("GIF", "PNG", "TIFF", "WEBP")),
    *(encode(kind, COLOUR, exif=EXIF) for kind in ("JPEG", "PNG", "TIFF", "WEBP")),
    *(encode("TIFF", COLOUR, compression=name) for name in ("tiff_lzw", "jpeg", "packbits")),
    *(encode("PNG", GREY[0].astype(np.uint16) * 257), encode("TIFF", GREY[0].astype(np.float32))),
    *(b"P2 2 2 255 0 1 2 3", b"P1 2 2 0 1 1 0", b"P3 1 1 255 1 2 3", b"Pf 2 2 1.0 " + bytes(16)),
]


def checked(content: bytes) -> bytes:
    """Give the parts of a PNG their right checksums, so that damage gets past them."""
    parts, start = [content[:8]], 8
    while content.startswith(b"\x89PNG") and start + 8 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        part = content[start + 4 : start + 8 + length]
        parts += [content[start : start + 4], part, struct.pack(">I", zlib.crc32(part))]
        start += 12 + length
    return b"".join(parts) if len(parts) > 1 else content


DAMAGED_PICTURES = st.one_of(damaged(PICTURES), damaged(PICTURES).map(checked))


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Path:
    """A folder with 63 pictures and, as `x.png`, whatever a case puts there."""
    place = folder / "pictures"
    place.mkdir()
    for number in range(63):
        (place / f"{number:02}.bmp").write_bytes(encode("BMP", GREY[number]))
    return place


@cases(1_000)
@given(content=DAMAGED_PICTURES)
def test_pictures(folder: Path, content: bytes) -> None:
    path = folder / "x.png"
    path.write_bytes(content)
    with warnings.catch_warnings(action="ignore"):
        refusal(lambda: open_picture(path), kind=ValueError)
        refusal(lambda: open_picture(io.BytesIO(content)), kind=ValueError)


@cases(200)
@given(content=DAMAGED_PICTURES)
def test_folders_of_pictures(pictures: Path, content: bytes) -> None:
    (pictures / "x.png").write_bytes(content)
    refusal(lambda: read_images(pictures))
    load = lambda: load_dataset(f"folder:{pictures}", data_root=pictures, image_size=8)  # noqa: E731
    refusal(load, cache_folder())


# Archives


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ZIPS = [
    zipped({f"{number:02}.bmp": encode("BMP", GREY[number]) for number in range(64)}, method)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
]
ARRAYS = [saved(GREY), saved(np.asfortranarray(GREY)), saved(GREY[:64] / np.float32(255))]
ARCHIVES = [zipped({"a.npy": array}, method) for array in ARRAYS for method in (0, 8)]
WORDS = st.sampled_from(
    [
        *("|u1", "<f4", "|O", "|V0", "<U0", "(2,)u1", "M8[s]", "", "x", "S99999999999"),
        *((), (1,), ("u1",), ("u1", 2), [], [("a", "u1")], [()], [("a", "u1", (2,))], None, 7),
        *((64, 8, 8), (10**13, 8, 8), (-1, 8, 8), (2**63, 1), (0, 8, 8), (64, 0, 0), (True, 8, 8)),
        *((64.0, 8, 8), "64", {}, {"a": 1}, True, False, 1, "é" * 100),
    ]
)


@st.composite
def headed(draw: st.DrawFn) -> bytes:
    """An array under a header that numpy would not write."""
    names = ["descr", "fortran_order", "shape"]
    fields = dict(zip(names, ("|u1", False, (70, 8, 8)), strict=True))
    fields[draw(st.sampled_from(names))] = draw(WORDS)
    text = draw(
        st.sampled_from([repr(fields), "-" * 9_000 + "1", "[" * 900, "{'a", "{" + "1," * 400, "\\"])
        if draw(st.integers(0, 5)) == 0
        else st.just(repr(fields))
    ).encode()
    version = draw(st.sampled_from([1, 2, 3, 4]))
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + GREY.tobytes()


@cases(1_000)
@given(content=damaged(ZIPS))
def test_archives_of_pictures(folder: Path, content: bytes) -> None:
    (folder / "a.zip").write_bytes(content)
    refusal(lambda: read_images(folder / "a.zip"))


@cases(1_000)
@given(content=st.one_of(damaged(ARCHIVES), headed().map(lambda array: zipped({"a.npy": array}))))
def test_archives_of_arrays(folder: Path, content: bytes) -> None:
    (folder / "a.npz").write_bytes(content)
    refusal(lambda: read_images(folder / "a.npz", value_range="unit"))


@cases(1_000)
@given(content=st.one_of(damaged(ARRAYS), headed()))
def test_arrays(folder: Path, content: bytes) -> None:
    (folder / "a.npy").write_bytes(content)
    refusal(lambda: read_images(folder / "a.npy", value_range="unit"))


# Checkpoints

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(7)}
CHECKPOINT = save(TENSORS, {"about": "{}"})


@st.composite
def described(draw: st.DrawFn) -> bytes:
    """Tensors under a header that safetensors would not write."""
    size = struct.unpack("<Q", CHECKPOINT[:8])[0]
    header = json.loads(CHECKPOINT[8 : 8 + size])
    if draw(st.booleans()):
        header["weight"]["dtype"] = draw(st.sampled_from(["BF16", "F8_E4M3", "F4", "U32", "C64"]))
        header["weight"]["shape"] = draw(st.sampled_from([[2, 6], [12], [24], [3], [0], [48]]))
    else:
        header = draw(mutated(header))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + CHECKPOINT[8 + size :]


@pytest.fixture(scope="module")
def kept(folder: Path) -> bytes:
    save_checkpoint(folder / "kept.safetensors", TENSORS)
    return (folder / "kept.safetensors").read_bytes()


@cases(1_000)
@given(data=st.data())
def test_checkpoints(folder: Path, kept: bytes, data: st.DataObject) -> None:
    path = folder / "state.safetensors"
    content = data.draw(st.one_of(damaged([kept]), described()))
    path.write_bytes(content)
    if not refusal(lambda: load_checkpoint(path)[0], kind=Damaged):
        assert content == kept


# One by one


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    part = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return encode("PNG")[:8] + part + encode("PNG")[33:]


def test_a_picture_that_claims_60_000_by_60_000_pixels(pictures: Path, capsys) -> None:
    for side in (9_500, 60_000):
        (pictures / "x.png").write_bytes(bomb(side, side))
        assert "bomb" in refusal(lambda: read_images(pictures))
        load = f"--dataset=folder:{pictures}"
        assert run.main([load, "--dry-run", "--data-root", str(pictures)]) == 2
        message = capsys.readouterr().err
        assert "bomb" in message
        assert len(message.splitlines()) == 1


def test_a_pipe_and_an_endless_device_are_not_read(pictures: Path) -> None:
    (pictures / "x.png").unlink(missing_ok=True)
    os.mkfifo(pictures / "x.png")
    assert "no such file" in refusal(lambda: read_images(pictures))
    (pictures / "x.png").unlink()
    (pictures / "x.png").symlink_to("/dev/zero")
    load = lambda: load_dataset(f"folder:{pictures}", data_root=pictures)  # noqa: E731
    assert "x.png (there is no such file)" in refusal(load, cache_folder())
    (pictures / "x.png").unlink()


def test_formats_that_run_programs_are_not_opened(pictures: Path) -> None:
    (pictures / "x.png").write_bytes(encode("EPS"))
    load = lambda: load_dataset(f"folder:{pictures}", data_root=pictures)  # noqa: E731
    assert "its content is none of" in refusal(load, cache_folder())


def test_a_file_that_is_an_array_and_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(saved(GREY) + zipped({"a.npy": saved(GREY)}))
    np.testing.assert_array_equal(read_images(tmp_path / "a.npz"), GREY[:, None])


def test_old_processed_files_of_mnist_are_not_unpickled(tmp_path: Path) -> None:
    place = tmp_path / "MNIST" / "processed"
    place.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(70, 28, 28, dtype=torch.uint8), torch.zeros(70)), place / name)
    with pytest.raises(BadInput, match="MNIST could not be read"):
        load_dataset("mnist", data_root=tmp_path, download=False)


def test_code_that_a_suite_names_is_executed_only_where_the_user_names_it(tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    path = tmp_path / "a.toml"
    path.write_text(f"[contenders.vae]\n[contenders.mine]\nmodel = '{code}:X'\nlr = 1e-3\n")
    assert f"--models vae,{code}:X" in refusal(read(path))
    assert f"--models {code}:X" in refusal(read(path, "--models", "mine"))
    assert refusal(read(path, "--models", "vae")) == ""
    assert refusal(read(path, "--models", f"vae, {code}:X")) == ""
    assert run.main([str(path), "--dry-run", "--device", "cpu"]) == 2
    assert not (tmp_path / "ran").exists()
    path.write_text("[contenders.mine]\nmodel = 'antigravity:X'\n")
    assert "executes antigravity:X" in refusal(read(path))


@pytest.mark.parametrize("name", ["..toml", "...toml"])
def test_a_suite_is_not_called_after_another_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(VALID)
    assert "called after its results" in refusal(read(tmp_path / name))


def test_names_with_markup_are_shown_as_they_are(tmp_path: Path, capsys) -> None:
    place = tmp_path / "[" / "x]" / "[red]"
    place.mkdir(parents=True)
    for number in range(1_000):
        pixels = np.roll(GREY[number % 70], number // 70)
        (place / f"{number}.bmp").write_bytes(encode("BMP", pixels))
    table = TABLE | {"dataset": f"folder:{place}", "contenders": {"vae": {}}}
    path = write_toml(tmp_path / "[bold].toml", table)
    assert run.main([str(path), "--dry-run", "--device", "cpu"]) == 0
    assert "[red]" in capsys.readouterr().out.replace("\n", "")


def test_links_out_of_a_results_folder_are_not_followed(tmp_path: Path) -> None:
    place = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=1)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "samples.png").write_bytes(b"mine")
    (place / "plots").symlink_to(secret)
    assert "lies outside" in refusal(lambda: write_report(read_frames(place)), place)
    (place / "plots").unlink()
    run_folder = place / "runs" / "gan-s0-1a2b3c4d"
    (run_folder / "samples.png").unlink()
    (run_folder / "samples.png").symlink_to(secret / "samples.png")
    (run_folder / "history.csv").unlink()
    (run_folder / "history.csv").symlink_to("history.csv")
    pictures = read_suite(place).records[0].pictures
    assert "lies outside" in refusal(lambda: read_picture(run_folder, pictures["samples"]))
    refusal(lambda: read_history(run_folder))
    run_folder.rename(secret / "run")
    run_folder.symlink_to(secret / "run")
    assert "lies outside" in read_suite(place).warnings[0]
    assert (secret / "samples.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["runs", ".holder", ".lock", "runs/gan-s0-1a2b3c4d/checkpoint"])
def test_no_command_writes_or_cleans_through_a_link(tmp_path: Path, name: str) -> None:
    place = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=1)
    secret = tmp_path / "secret"
    (secret / "run").mkdir(parents=True)
    (secret / "run" / "record.json").write_text("mine")
    if name == "runs":
        (place / "runs").rename(tmp_path / "runs")
    target = secret / "run" / "record.json" if name.startswith(".") else secret
    (place / name).symlink_to(target)
    assert "lies outside" in refusal(lambda: clean(place, [], dry=False), place)
    assert (secret / "run" / "record.json").read_text() == "mine"


def test_a_record_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    place = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=1)
    path = place / "runs" / "gan-s0-1a2b3c4d" / "record.json"
    path.unlink()
    os.mkfifo(path)
    assert "is no file of at most" in read_suite(place).warnings[0]
