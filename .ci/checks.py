"""The parts of `.ci/run` that look into files: `python .ci/checks.py readme|measure|outputs|sizes`.

`readme`, `measure` and `sizes` need nothing but Python.
"""

import csv
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("pip install -e . && python -m benchmarks.run", 'pip install -e ".[test]" && pytest')
LARGEST = 2_000_000
FAMILIES = {"gan", "autoencoder", "vae", "cyclegan"}


def main(argv: list[str]) -> int:
    """Carry out one check and give its exit code."""
    check, *arguments = argv
    try:
        return {"readme": readme, "measure": measure, "outputs": outputs, "sizes": sizes}[check](
            *arguments
        )
    except (AssertionError, OSError, ValueError, ET.ParseError) as error:
        print(f"{check}: {error}", file=sys.stderr)
        return 1


def readme(number: str = "") -> int:
    """Print the set-up commands as README.md's fenced blocks have them, or one of the two."""
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1::2]
    lines = [line for block in blocks for line in block.splitlines()[1:]]
    found = []
    for command in COMMANDS:
        matching = [line for line in lines if line.startswith(command)]
        assert len(matching) == 1, f"README.md has {len(matching)} fenced lines like: {command}"
        found += matching
    print(found[int(number) - 1] if number else "\n".join(found))
    return 0


def measure(command: str) -> int:
    """Run a command as it stands, and print the time and memory of the main job in it."""
    process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, start_new_session=True)
    seen, peak = [], 0
    while process.poll() is None:
        members = [pid for pid in processes() if session(pid) == process.pid]
        if any(b"benchmarks.run" in read(pid, "cmdline").split(b"\0") for pid in members):
            seen.append(time.monotonic())
            peak = max(peak, sum(map(resident, members)))
        time.sleep(0.25)
    if seen:
        print(f"main job: {seen[-1] - seen[0]:.0f} s, at most {peak / 2**20:.2f} GiB in memory")
    return process.returncode


def processes() -> list[int]:
    """List the numbers of all processes, where the system tells them (Linux)."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def read(pid: int, name: str) -> bytes:
    """Read a process's file; one that has ended or is another user's has nothing to tell."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def session(pid: int) -> int | None:
    """Give the session that a process belongs to."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def resident(pid: int) -> int:
    """Give a process's memory in KiB, its share of what it has in common with others."""
    lines = read(pid, "smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(b"Pss:"))


def outputs(folder: str) -> int:
    """Check that the main job's tables and plots are there and make sense."""
    from benchmarks.analysis.columns import COMPARISON_COLUMNS
    from benchmarks.analysis.frames import TIDY_COLUMNS
    from benchmarks.core.text import escape_latex, escape_markdown
    from benchmarks.reporting.plots import PLOTS

    place = Path(folder)
    rows = read_table(place / "table.csv", COMPARISON_COLUMNS)
    fid = {row["contender"]: float(row["fid"]) for row in rows}
    assert {row["family"] for row in rows} >= FAMILIES, "table.csv lacks a family"
    assert list(fid)[-2:] == ["real", "noise"], "table.csv does not end with real and noise"
    for name, value in fid.items():
        assert math.isfinite(value), f"the FID of {name} is {value}"
    # A sampler whose codes no training has made can be worse than noise, the best of a family not.
    for family in FAMILIES:
        best = min(fid[row["contender"]] for row in rows if row["family"] == family)
        assert fid["real"] <= best <= fid["noise"], f"the FID of {family}, {best}, is out of bounds"
    for name, escape in (("table.md", escape_markdown), ("table.tex", escape_latex)):
        text = (place / name).read_text(encoding="utf-8")
        assert all(escape(contender) in text for contender in fid), f"{name} lacks a contender"
    for name in ("scores.csv", "costs.csv"):
        assert read_table(place / name, TIDY_COLUMNS), f"{name} has no rows"
    for name in PLOTS:
        check_plot(place / "plots" / name)
    page = (place / "report.html").read_text(encoding="utf-8")
    assert all(contender in page for contender in fid), "report.html lacks a contender"
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page), "report.html is not whole"
    print(f"{len(rows)} rows, {len(PLOTS)} plots; FID", fid)
    return 0


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read a CSV file and check its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == columns, f"{path.name} has other columns"
        return list(reader)


def check_plot(path: Path) -> None:
    """Check that a plot is there as a picture that can be read, PNG and SVG."""
    from PIL import Image

    with Image.open(path.with_suffix(".png")) as picture:
        assert len(picture.convert("L").getcolors(256) or ()) > 2, f"{path.name}.png is empty"
    drawn = ET.parse(path.with_suffix(".svg")).iter("{http://www.w3.org/2000/svg}path")  # noqa: S314 - our own file
    assert next(drawn, None) is not None, f"{path.name}.svg is empty"


def sizes() -> int:
    """Check that no tracked file is large."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    large = [f"{file} ({file.stat().st_size:,})" for file in files if too_large(file)]
    assert not large, f"tracked files of more than {LARGEST:,} bytes: {', '.join(large)}"
    return 0


def too_large(file: Path) -> bool:
    """Tell whether a file is there and larger than a tracked file may be."""
    return file.is_file() and file.stat().st_size > LARGEST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
