"""Write the tables of `docs/performance.md` from what the scripts beside this one have measured.

Each source is a script that has an option `--json`, which is run, or such a file. Its tables stand
between the markers `<!-- NAME: begin -->` and `<!-- NAME: end -->`, NAME being the source's stem,
or are put at the end where there are none yet. A file is a list of {"title", "columns", "rows"},
where "made" may say on which machine and when.

    python tests/performance/report.py training_loop.py metrics_vs_peers.py
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.core.devices import multiplies_bfloat16

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "performance.md"
Tables = list[dict[str, Any]]


def describe_machine() -> str:
    """Name the processor, its cores, the GPU if there is one, PyTorch's version and the date."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    parts = [names[0] if names else platform.processor() or platform.machine()]
    has = "with" if multiplies_bfloat16() else "without"
    parts.append(f"{os.cpu_count()} cores {has} bfloat16")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"PyTorch {torch.__version__}", date.today().isoformat()])


def write_tables(path: Path, tables: Tables) -> None:
    """Write tables as JSON, each with the machine and the date."""
    made = describe_machine()
    found = [{"made": made} | table for table in tables]
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_tables(source: Path, arguments: list[str]) -> Tables:
    """Return the tables in a file, or those that a script measures now."""
    if source.suffix == ".json":
        return json.loads(source.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tables.json"
        script = source if source.exists() else HERE / source.name
        subprocess.run([sys.executable, script, "--json", target, *arguments], check=True)
        return read_tables(target, [])


def render(tables: Tables) -> str:
    """Render tables as Markdown, the machine below those that were made together."""
    blocks: list[str] = []
    for table, following in zip(tables, [*tables[1:], None], strict=True):
        rules = ["---", *["--:"] * (len(table["columns"]) - 1)]
        rows = [table["columns"], rules, *table["rows"]]
        lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        blocks.append(f"**{table['title']}**\n\n" + "\n".join(lines))
        made = table.get("made", describe_machine())
        if following is None or following.get("made", made) != made:
            blocks.append(f"({made})")
    return "\n\n".join(blocks)


def insert(document: str, name: str, text: str) -> str:
    """Return the document with the text between the markers of that name, or at its end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    block = f"{begin}\n{text}\n{end}"
    if begin not in document:
        return f"{document.rstrip()}\n\n{block}\n"
    before, rest = document.split(begin, 1)
    if end not in rest:
        sys.exit(f"{DOCUMENT}: {begin} has no {end} after it")
    return before + block + rest.split(end, 1)[1]


def main() -> None:
    """Measure or read, and write."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/performance.md.")
    parser.add_argument("sources", type=Path, nargs="+", metavar="SCRIPT.py|FILE.json")
    parser.add_argument("--with", nargs=argparse.REMAINDER, default=[], dest="arguments",
                        metavar="OPTION", help="options for the scripts, last")  # fmt: skip
    options = parser.parse_args()
    for source in options.sources:
        text = render(read_tables(source, options.arguments))
        document = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(insert(document, source.stem, text), encoding="utf-8")


if __name__ == "__main__":
    main()
