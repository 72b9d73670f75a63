"""Write the table that holds the published audits against the literature.

python .ci/literature.py
"""

from pathlib import Path

from benchmarks.analysis.audits import FOLDER, PUBLISHED, read_audit
from benchmarks.auditing.literature import compare_claims, write_table

SUITES = ("digits", "mnist")


def main() -> None:
    """Compare the published audits with what papers found."""
    audits = {suite: read_audit(PUBLISHED / suite / FOLDER) for suite in SUITES}
    found = {suite: compare_claims(audit.verdicts, audit.floors) for suite, audit in audits.items()}
    Path(PUBLISHED / "literature.md").write_text(write_table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
