"""LaTeX files as tests see them: what their tabulars hold, and whether they compile."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def tabulars(text: str) -> list[tuple[int, list[str]]]:
    """How many columns each tabular of a LaTeX file has, and its rows."""
    parts = re.findall(r"\\begin\{tabular\}\{(\w+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    return [(len(a), [x for x in body.splitlines() if x.endswith(r"\\")]) for a, body in parts]


def compile_latex(folder: Path, **files: str) -> str:
    """Typeset `main.tex` and give the log, which knows of no error."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    for name, content in files.items():
        (folder / f"{name}.tex").write_text(content, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=600, check=False)
    log = done.stdout.decode(errors="replace").replace("\n", "")
    assert done.returncode == 0, log
    assert (folder / "main.pdf").exists()
    return log
