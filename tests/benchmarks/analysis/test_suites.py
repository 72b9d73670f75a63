import io
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from synthetic import FOUR, write_suite

from benchmarks.analysis.suites import Aggregate, explain_ranks, read_aggregate
from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_index, read_record, write_index, write_record
from benchmarks.reporting.overview import build_boards, show_aggregate, write_aggregate

THREE = FOUR[:3]


def write_data_set(
    folder: Path,
    data_set: str,
    fids: dict[str, float],
    fingerprint: str | None = None,
) -> Path:
    """A suite on a data set of this name, in which each contender has one FID in two runs."""
    families = dict(FOUR)
    entries = tuple((name, families.get(name, "gan")) for name in fids)
    write_suite(folder, entries, seeds=2)
    write_index(folder, read_index(folder).model_copy(update={"dataset": data_set}))
    for path in folder.glob("runs/*/record.json"):
        record = read_record(path.parent)
        record.dataset = data_set
        record.spec["data"] = {"name": data_set, "fingerprint": fingerprint or data_set}
        for score in record.scores:
            if score.metric == "fid" and record.contender in fids:
                score.value = fids[record.contender]
        write_record(path.parent, record)
    return folder


def write_many(folder: Path, n: int) -> list[Path]:
    """Data sets in which gan, autoencoder and vae rank alike, but for the first."""
    fids = [{"gan": 2.0, "autoencoder": 1.0, "vae": 4.0}]
    fids += [{"gan": 1.0, "autoencoder": 2.0, "vae": 8.0}] * (n - 1)
    return [write_data_set(folder / f"s{i}", f"data{i}", f) for i, f in enumerate(fids)]


def ranks_of(result: Aggregate, metric: str = "fid") -> pd.DataFrame:
    return result.ranks[result.ranks["metric"] == metric].set_index("contender")


def show(result: Aggregate, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(show_aggregate(result, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_ranks_wins_and_ratios_by_hand(tmp_path: Path) -> None:
    result = read_aggregate(write_many(tmp_path, 3))
    ranks = ranks_of(result)
    assert list(ranks.index) == ["gan", "autoencoder", "vae"]
    assert list(ranks["rank"]) == pytest.approx([4 / 3, 5 / 3, 3])
    assert list(ranks["wins"]) == [2, 1, 0]
    assert list(ranks["ratio"]) == pytest.approx([2 ** (1 / 3), 2 ** (2 / 3), 256 ** (1 / 3)])
    assert set(ranks["data_sets"]) == {3}
    assert ranks_of(result, "inception_score")["ratio"].isna().all()
    assert explain_ranks(result, "fid") == (
        "Of 3 contenders ranked on 3 data sets, gan has the best mean rank. A test of the"
        " ranks takes 5 data sets or more: 2 to go."
    )


def test_higher_inception_scores_rank_first(tmp_path: Path) -> None:
    scores = read_aggregate(write_many(tmp_path, 2)).scores
    rows = scores[(scores["metric"] == "inception_score") & (scores["suite"] == "data0")]
    assert rows.sort_values("rank")["value"].is_monotonic_decreasing


def test_ties_share_ranks_and_wins(tmp_path: Path) -> None:
    fids = {"gan": 1.0, "autoencoder": 1.0, "vae": 2.0}
    folders = [write_data_set(tmp_path / name, name, fids) for name in ("a", "b")]
    ranks = ranks_of(read_aggregate(folders))
    assert list(ranks["rank"]) == [1.5, 1.5, 3]
    assert list(ranks["wins"]) == [1, 1, 0]
    assert "gan and autoencoder share the best mean rank" in explain_ranks(
        read_aggregate(folders), "fid"
    )


def test_five_data_sets_are_tested_as_scipy_does(tmp_path: Path) -> None:
    result = read_aggregate(write_many(tmp_path, 6))
    test = result.tests["fid"]
    columns = np.array([[2, 1, 4], *[[1, 2, 8]] * 5], dtype=float).T
    assert test.chi2 == pytest.approx(stats.friedmanchisquare(*columns).statistic)
    assert test.cd == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 6)), rel=1e-3)
    text = explain_ranks(result, "fid")
    assert "differ significantly" in text
    assert text.endswith(
        "By the Nemenyi test (critical difference 1.35), gan is significantly better than vae."
    )
    files = write_aggregate(result)
    assert files["plots/critical_difference_fid.pdf"].startswith(b"%PDF")
    assert b"data:image/svg+xml" in files["report.html"]


def test_below_five_data_sets_there_is_no_diagram(tmp_path: Path) -> None:
    result = read_aggregate(write_many(tmp_path, 4))
    assert math.isnan(result.tests["fid"].p)
    files = write_aggregate(result)
    assert list(files) == [
        "aggregate.csv",
        "ranks.csv",
        "aggregate.md",
        "aggregate.tex",
        "report.html",
    ]
    assert b"5 data sets or more: 1 to go" in files["report.html"]


@pytest.mark.parametrize("same", ["name", "content"])
def test_suites_of_one_data_set_count_once(tmp_path: Path, same: str) -> None:
    first, second = {"gan": 1.0, "vae": 2.0}, {"gan": 2.0, "vae": 1.0}
    name = "a" if same == "name" else "b"
    fingerprints = ("x", "y") if same == "name" else ("x", "x")
    folders = [
        write_data_set(tmp_path / "one", "a", first, fingerprints[0]),
        write_data_set(tmp_path / "two", name, first, fingerprints[1]),
        write_data_set(tmp_path / "three", "c", second),
    ]
    result = read_aggregate(folders)
    assert result.data_sets == 2
    assert list(ranks_of(result)["rank"]) == [1.5, 1.5]
    assert list(ranks_of(result)["suites"]) == [3, 3]
    rows = list(dict.fromkeys(result.scores["suite"]))
    assert rows == (["a (one)", "a (two)", "c"] if same == "name" else ["a", "b", "c"])
    assert result.notes[0] == (
        f"One data set, a, in rows of their own that count once in mean ranks: {rows[0]}, {rows[1]}"
    )


def test_reconstructions_are_ranked_within_a_route_alone(tmp_path: Path) -> None:
    scores = {"gan": 1.0, "vae": 2.0, "autoencoder": 3.0}
    result = read_aggregate([write_data_set(tmp_path / name, name, scores) for name in "ab"])
    ranks = result.ranks[result.ranks["metric"] == "reconstruction_mse"]
    assert set(ranks["contender"]) == {"vae", "autoencoder"}
    assert "Not ranked by MSE: gan, by another route or from codes of another size" in result.notes
    assert "Of 2 contenders that encode and decode ranked" in explain_ranks(
        result, "reconstruction_mse"
    )
    board = next(b for b in build_boards(result) if b.metric == "reconstruction_mse")
    gan = [head.text for head in board.table.header].index("gan")
    assert not any(row[gan].mark for row in board.table.groups[0])


def test_contenders_that_a_data_set_lacks_are_named_and_not_ranked(tmp_path: Path) -> None:
    folders = [
        write_data_set(tmp_path / "one", "a", {"gan": 1.0, "vae": 2.0, "autoencoder": 3.0}),
        write_data_set(tmp_path / "two", "b", {"gan": 1.0, "autoencoder": 3.0}),
    ]
    result = read_aggregate(folders)
    assert list(ranks_of(result).index) == ["gan", "autoencoder"]
    assert result.notes == [
        "Not ranked by FID, IS, MSE: vae, without a score on b",
        "Not ranked by MSE: any contender, since no two reconstruct by one route from codes of one"
        " size",
    ]
    table = result.scores[(result.scores["metric"] == "fid") & (result.scores["suite"] == "a")]
    assert dict(zip(table["contender"], table["rank"], strict=True))["autoencoder"] == 2


def test_a_data_set_with_other_contenders_does_not_empty_the_ranks(tmp_path: Path) -> None:
    folders = [
        *write_many(tmp_path, 2),
        write_data_set(tmp_path / "foreign", "c", {"mine": 1.0, "gan": 2.0}),
    ]
    result = read_aggregate(folders)
    assert set(ranks_of(result)["data_sets"]) == {2}
    assert "c, with fewer than two of the other contenders" in result.notes[0]


def test_nothing_in_common_is_said_and_not_ranked(tmp_path: Path) -> None:
    folders = [
        write_data_set(tmp_path / "one", "a", {"gan": 1.0}),
        write_data_set(tmp_path / "two", "b", {"vae": 1.0}),
    ]
    result = read_aggregate(folders)
    assert result.ranks.empty
    assert explain_ranks(result, "fid").startswith("No ranks: ")
    assert "1.00" in show(result)
    assert write_aggregate(result)["ranks.csv"].count(b"\n") == 1


def test_folders_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", THREE, seeds=1)
    with pytest.raises(BadInput, match="two or more different folders"):
        read_aggregate([folder, tmp_path / "." / "suite"])
    with pytest.raises(BadInput, match=r"holds no suite\.json"):
        write_aggregate(read_aggregate([folder, tmp_path / "nowhere"]))


def test_long_and_hostile_names_fit_the_terminal(tmp_path: Path) -> None:
    names = ["\x1b[31mred", "<script>alert(1)</script>", *(f"{'long_' * 11}{i}" for i in range(7))]
    names = [name.replace("/", "_") for name in names]
    fids = {name: 1.0 + i for i, name in enumerate(names)}
    result = read_aggregate([write_data_set(tmp_path / n, n, fids) for n in ("a", "b")])
    text = show(result)
    assert max(map(len, text.splitlines())) <= 80
    files = write_aggregate(result)
    assert "\x1b" not in text + files["report.html"].decode() + files["aggregate.md"].decode()
    assert b"<script" not in files["report.html"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_the_latex_compiles_as_it_is(tmp_path: Path) -> None:
    result = read_aggregate(write_many(tmp_path, 2))
    (tmp_path / "aggregate.tex").write_bytes(write_aggregate(result)["aggregate.tex"])
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "aggregate.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
