import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from synthetic import EXTRACTOR, FOUR, TWENTY, score, write_suite

from benchmarks.records import (
    Entry,
    Published,
    Results,
    read_suite,
    write_index,
    write_record,
)
from benchmarks.tables import (
    COMPARISON_COLUMNS,
    comparison_frame,
    costs_frame,
    escape_latex,
    escape_markdown,
    failures,
    scores_frame,
    shorten,
    show_amount,
    show_comparison,
    show_number,
    write_csv,
    write_latex,
    write_markdown,
)

TIDY = "suite,dataset,contender,family,seed,status,metric,value,low,high,n,reference,extractor"
TABLE = (
    "contender,family,seeds,fid,fid_low,fid_high,inception_score,inception_score_low,"
    "inception_score_high,reconstruction_mse,reconstruction_mse_low,reconstruction_mse_high,"
    "reconstruction_protocol,psnr,ssim,parameters,train_seconds,images_per_second,peak_memory_mb,"
    "diverged,"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Four contenders: a seed of the GAN diverged, all of CycleGAN's failed."""
    failed = {("gan", 1): "diverged", **{("cyclegan", seed): "failed" for seed in range(3)}}
    return read_suite(write_suite(tmp_path_factory.mktemp("tables") / "suite", failures=failed))


def row(frame: pd.DataFrame, contender: str) -> dict[str, object]:
    return frame.set_index("contender").loc[contender].to_dict()


def test_columns_are_exactly_these(results: Results) -> None:
    scores, costs = scores_frame(results.records), costs_frame(results.records)
    assert write_csv(scores).decode().splitlines()[0] == TIDY
    assert write_csv(costs).decode().splitlines()[0] == TIDY
    assert write_csv(comparison_frame(results)).decode().startswith(TABLE)
    assert write_csv(scores_frame([])).decode() == f"{TIDY}\n"


def test_scores_have_a_row_each_and_failed_runs_one(results: Results) -> None:
    frame = scores_frame(results.records)
    assert len(frame) == sum(max(1, len(record.scores)) for record in results.records)
    diverged = frame[frame["status"] == "diverged"]
    assert len(diverged) == 1
    assert diverged[["metric", "value"]].isna().all(axis=None)
    assert set(costs_frame(results.records)["metric"]) >= {"parameters", "train_seconds"}


def test_csv_gives_every_float_back(results: Results) -> None:
    frame = scores_frame(results.records)
    content = write_csv(frame)
    assert b"\r" not in content
    read = [row["value"] for row in csv.DictReader(io.StringIO(content.decode()))]
    written = [None if pd.isna(value) else value for value in frame["value"]]
    assert [float(value) if value else None for value in read] == written


def test_comparison_sums_up_the_runs_that_are_ok(results: Results) -> None:
    frame = comparison_frame(results)
    assert list(frame["contender"]) == ["gan", "autoencoder", "vae", "cyclegan", "real", "noise"]
    scores = scores_frame(results.records)
    fids = scores[(scores["contender"] == "gan") & (scores["metric"] == "fid")]["value"]
    gan = row(frame, "gan")
    assert gan["fid"] == pytest.approx(stats.gmean(fids))
    assert (gan["seeds"], gan["diverged"], gan["failed"]) == (2, "1/3", "0/3")
    assert gan["reconstruction_protocol"] == "inversion, 200 steps"
    assert gan["training_flops"] == pytest.approx(3000 * 1.3e8)
    assert gan["fid_last_over_best"] == pytest.approx(1 / 0.93)
    assert (gan["samples"], gan["reference"], gan["extractor"]) == (400, "test", EXTRACTOR)
    assert (row(frame, "real")["fid"], row(frame, "noise")["fid"]) == (1.1, 320.0)


def test_a_contender_without_scores_keeps_its_row(results: Results) -> None:
    cyclegan = row(comparison_frame(results), "cyclegan")
    assert (cyclegan["seeds"], cyclegan["diverged"], cyclegan["failed"]) == (0, "0/3", "3/3")
    assert pd.isna(cyclegan["fid"])
    assert pd.isna(cyclegan["parameters"])
    assert "cyclegan, seed 2: failed (out of memory)" in failures(results.records)


def test_extractors_never_share_a_column(results: Results) -> None:
    mixed = [record.model_copy(deep=True) for record in results.records]
    vae = next(record for record in mixed if record.contender == "vae")
    vae.scores.insert(0, score("fid", 0.001, extractor="inception@00000000"))
    other = Results(results.folder, results.index, mixed, [])
    pd.testing.assert_frame_equal(comparison_frame(other), comparison_frame(results))


def test_the_best_contender_is_marked_and_calibration_never(results: Results) -> None:
    lines = write_markdown(results).decode().splitlines()
    header, *body = [line.strip("| ").split(" | ") for line in lines[:1] + lines[2:8]]
    fid = [line[header.index("FID ↓")] for line in body]
    assert [cell.startswith("**") for cell in fid] == [True, False, False, False, False, False]
    console = Console(width=80, file=io.StringIO())
    console.print(show_comparison(results, 80))
    assert len(re.findall(r"5\.79\* \[", console.file.getvalue())) == 1  # type: ignore[attr-defined]


def test_the_caption_says_what_the_numbers_are(results: Results) -> None:
    text = write_markdown(results).decode().replace("\\", "")
    for words in ("digits", "400 samples", "test split", EXTRACTOR, "Student's t", "jackknife"):
        assert words in text
    assert "FIDs of different extractors are not to be compared" in text
    assert "CycleGAN starts from held-out real source images" in text


@pytest.mark.parametrize("contenders", [FOUR, TWENTY])
def test_the_terminal_table_fits_80_columns(
    tmp_path: Path, contenders: tuple[tuple[str, str], ...]
) -> None:
    results = read_suite(write_suite(tmp_path / "suite", contenders, seeds=1))
    console = Console(width=80, file=io.StringIO())
    console.print(show_comparison(results, 80))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    fid = comparison_frame(results)["fid"]
    assert all(show_number(value) in text for value in fid)
    assert "……" not in text


def test_names_stand_for_themselves(tmp_path: Path) -> None:
    name = r"50%_of_$x|y*&{#1}<b>\~^[z]"
    folder = write_suite(tmp_path / "suite", (("a", "gan"), ("b", "vae")), seeds=1)
    suite = read_suite(folder)
    suite.records[0].contender = name
    suite.index.contenders[0] = Entry(name=name, family="gan")
    write_index(folder, suite.index)
    write_record(suite.run_folder(suite.records[0]), suite.records[0])
    results = read_suite(folder)
    lines = write_latex(results).decode().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    columns = lines[2].count("r", lines[2].index("}{")) + 1
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}
    table = write_markdown(results).decode().split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert lines[-1] == r"\end{tabular}"
    assert "booktabs" in lines[0]


def test_collapsed_runs_count_and_are_counted(tmp_path: Path) -> None:
    statuses = {("gan", 1): "collapsed", ("vae", 0): "skipped"}
    results = read_suite(write_suite(tmp_path / "suite", failures=statuses))
    frame = comparison_frame(results)
    assert list(frame.columns)[-1] == "collapsed"
    gan = row(frame, "gan")
    assert (gan["seeds"], gan["collapsed"], gan["diverged"]) == (3, "1/3", "0/3")
    assert row(frame, "vae")["failed"] == "1/3"
    fids = [s.value for r in results.records[:3] for s in r.scores if s.metric == "fid"]
    assert gan["fid"] == pytest.approx(stats.gmean(fids))
    text = write_markdown(results).decode()
    assert "gan, seed 1: collapsed (all 399 samples are alike)" in text
    assert "| collapsed |" in text
    assert "Collapsed runs are counted" in text


def test_where_nothing_collapsed_no_column_says_so(results: Results) -> None:
    assert list(comparison_frame(results).columns) == list(COMPARISON_COLUMNS)
    assert "ollapsed" not in write_markdown(results).decode()


HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "a|b\n| --- |\n# c",
    "`code` $x$ \\(y\\) ~~z~~",
    r"\input{/etc/passwd} \\ & % ^^M",
    "\x1b[31mred\x07\x00\u202e",
    "- item",
    "1. item",
    "[1em]",
    "*star",
]


@pytest.fixture(scope="module", params=HOSTILE)
def hostile(request: pytest.FixtureRequest, results: Results) -> Results:
    """All that a record says in words is the same hostile text."""
    text = request.param
    records = [record.model_copy(deep=True) for record in results.records]
    for record in records:
        if record.family != "calibration":
            record.contender = text + record.contender
        record.reason = text if record.reason else None
        for s in record.scores:
            s.reference = s.note = s.interval = text
            s.extractor = text if s.extractor else None
            s.protocol = text
    entries = [e.model_copy(update={"name": text + e.name}) for e in results.index.contenders]
    index = results.index.model_copy(update={"dataset": text, "contenders": entries})
    return replace(results, index=index, records=records)


def test_markdown_says_what_records_say_and_does_nothing_else(hostile: Results) -> None:
    table, *notes = write_markdown(hostile).decode().rstrip("\n").split("\n\n")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert len(table.splitlines()) == 2 + 6
    for line in [*table.splitlines(), *notes]:
        assert line.isprintable()
        bare = re.sub(r"\\.", "", line)
        assert not re.search(r"[<>`$~\[\]]", bare.replace(" [", "").replace("]", ""))
    for note in notes:
        assert "\n" not in note
        assert not re.match(r"[-+#>=*]|\d+[.)]", note)


def test_latex_rows_hold_no_command_of_a_record(hostile: Results) -> None:
    lines = write_latex(hostile).decode().splitlines()
    assert all(line.isprintable() for line in lines)
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 1 + 6
    known = r"\\(textbackslash\{\}|textasciitilde\{\}|textasciicircum\{\}|text(less|greater)\{\})"
    for line in rows:
        rest = re.sub(known, "", line.removesuffix(r"\\"))
        rest = re.sub(r"\\textbf\{[^{}]*\}|\$\\(down|up)arrow\$|\\[&%$#_{}]", "", rest)
        assert not re.search(r"[\\$#%^_~]", rest)
        assert not re.match(r"\s*[\[*]", line)


def test_no_record_steers_the_terminal(hostile: Results) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(show_comparison(hostile, 80))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(line.isprintable() for line in text.splitlines())


def test_notes_and_published_values_stand_under_the_table(results: Results) -> None:
    noted = [r.model_copy(deep=True) for r in results.records]
    for record in noted:
        if record.scores and record.contender in {"gan", "vae"}:
            record.scores[0].note = "few images; within its floor"
    published = Published(source="a paper, table 1", scores={"vae": {"fid": 3.21}})
    index = results.index.model_copy(update={"published": published})
    text = write_markdown(replace(results, index=index, records=noted)).decode()
    assert "fid of gan, vae: within its floor" in text
    assert re.search(r"vae: fid: here [\d.]+ .*; a paper, table 1 has 3\.21", text)
    assert "few images" not in write_markdown(results).decode()


def test_optional_columns_are_shown_where_somebody_has_a_value(results: Results) -> None:
    header = write_markdown(results).decode().splitlines()[0]
    assert "Precision ↑" in header
    assert "AIS" not in header


def test_escaping() -> None:
    assert escape_latex(r"a_b & 5% \x {y}") == r"a\_b \& 5\% \textbackslash{}x \{y\}"
    assert escape_markdown("a_b|c*<d>\n&") == r"a\_b\|c\*&lt;d&gt; &amp;"


def test_numbers_as_people_read_them() -> None:
    shown = [show_number(v) for v in (0, 0.012345, 1.5, 12.34, 999.6, 12345.6, float("nan"))]
    assert shown == ["0", "0.0123", "1.50", "12.3", "1,000", "12,346", ""]
    amounts = [show_amount(v) for v in (950, 12_345, 999_800, 1.234e9, 5e13)]
    assert amounts == ["950", "12.3K", "1.00M", "1.23G", "50.0T"]


def test_long_names_keep_both_ends() -> None:
    assert shorten("a_rather_long_name-07", 9) == "a_ra…e-07"
    assert shorten("short", 9) == "short"
