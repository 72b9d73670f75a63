import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from latex_files import compile_latex, tabulars
from rich.console import Console
from scipy import stats
from synthetic import EXTRACTOR, FOUR, TWENTY, score, write_suite

from benchmarks.analysis.columns import COMPARISON_COLUMNS, PAIRS, PANELS
from benchmarks.analysis.comparison import comparison_frame
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.frames import costs_frame, scores_frame
from benchmarks.analysis.notes import failures
from benchmarks.config.registry import SAME_CODE, hash_model, list_models
from benchmarks.config.suite import PublishedScores
from benchmarks.core.errors import BadInput
from benchmarks.core.text import escape_latex, escape_markdown, shorten, show_amount, show_number
from benchmarks.records.schema import Costs, IndexEntry
from benchmarks.records.store import Results, read_suite, write_index, write_record
from benchmarks.report import load
from benchmarks.reporting.comparison import (
    build_cells,
    show_comparison,
    write_latex,
    write_markdown,
)
from benchmarks.reporting.latex import number, quantity

GENERATION, RECONSTRUCTION = PANELS["Generation"], PANELS["Reconstruction"]
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


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        (" \t@x", "' \N{REPLACEMENT CHARACTER}@x"),
        ("\r-x", "'\N{REPLACEMENT CHARACTER}-x"),
        ("a;+x", "a;'+x"),
        ("＝x", "'＝x"),
        ("a\u202eb\x1b", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ("-0.3", "-0.3"),
        ("-1e-05", "-1e-05"),
        ("-1+1", "'-1+1"),
        ("fid@random@1a2b, 95 % = a", "fid@random@1a2b, 95 % = a"),
    ],
)
def test_a_cell_is_no_formula_and_hides_nothing(cell: str, shown: str) -> None:
    table = write_csv(pd.DataFrame({cell: [cell, None], "x": [-0.3, 2], "n": [1, None]}))
    rows = list(csv.reader(io.StringIO(table.decode())))
    assert rows == [[shown, "x", "n"], [shown, "-0.3", "1.0"], ["", "2.0", ""]]


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
    assert [gan[key] for key in ("reconstruction_protocol", "code_size", "tuned")] == [
        *("search", 16, 2)
    ]
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


SCORES = {
    "FID": ("fid", 6.11, "6.11"),
    "Inception Score": ("inception_score", 9.13, "9.13"),
    "KID": ("kid", 0.122, "0.122"),
    "Precision": ("precision", 0.9, "0.900"),
    "Recall": ("recall", 0.5, "0.500"),
    "Density": ("density", 1.12, "1.12"),
    "Coverage": ("coverage", 0.8, "0.800"),
    "MSE": ("reconstruction_mse", 0.00395, "0.00395"),
    "PSNR": ("psnr", 24.0, "24.0"),
    "SSIM": ("ssim", 0.976, "0.976"),
    "best FID": ("fid_best", 5.69, "5.69"),
}
COSTS = {
    "params": ("parameters", 123_000, "123K"),
    "FLOPs/step": ("training_flops_per_step", 4.56e8, "456M"),
    "FLOPs/img": ("sampling_flops_per_image", 7.89e6, "7.89M"),
    "train s": ("train_seconds", 12.3, "12.3"),
    "img/s": ("images_per_second", 4_560.0, "4.56K"),
    "MB": ("peak_memory_mb", 789.0, "789"),
}
"""By the heading of a column, what stands under it, a value and how that is shown."""


def test_what_was_measured_stands_under_its_heading(tmp_path: Path) -> None:
    results = read_suite(write_suite(tmp_path / "suite", FOUR[:1], seeds=1))
    record = results.records[0]
    bare = {"low": None, "high": None}
    record.scores = [score(metric, value, **bare) for metric, value, _ in SCORES.values()]
    record.costs = Costs(**{cost: value for cost, value, _ in COSTS.values()})
    header, _, first, *_ = write_markdown(results).decode().splitlines()
    pairs = [[line.strip("| ").split(" | ") for line in (header, first)]]
    latex = write_latex(results).decode().replace("$", "")
    pairs += [[line.split(" & ") for line in rows[:2]] for _, rows in tabulars(latex)]
    expected = {heading: shown for heading, (_, _, shown) in (SCORES | COSTS).items()}
    for found in (pairs[:1], pairs[1:]):
        cells = {
            re.sub(r" (↓|↑|\\downarrow|\\uparrow)?( *\\\\)?$", "", heading): cell.strip(" \\")
            for headings, row in found
            for heading, cell in zip(headings, row, strict=True)
        }
        assert {heading: cells[heading] for heading in expected} == expected


def test_the_second_is_marked_where_it_is_not_the_last(results: Results) -> None:
    frame = comparison_frame(results)
    marks = {column.key: [c.mark for c in build_cells(frame, column)] for column in GENERATION}
    none, best, second = "", "best", "second"
    assert marks["fid"] == [best, second, none, none, none, none]
    pair = frame[frame["contender"].isin(["gan", "vae", "real"])]
    assert [c.mark for c in build_cells(pair, GENERATION[0])] == [best, none, none]
    frame["fid"] = [3.0, 2.0, 2.0, 3.0, 1.0, 9.0]
    assert [c.mark for c in build_cells(frame, GENERATION[0])] == [
        *(second, best, best, second),
        *(none, none),
    ]


def test_the_best_reconstruction_is_that_of_its_route_and_code_size(results: Results) -> None:
    frame = comparison_frame(results)
    best = [cell.best for cell in build_cells(frame, RECONSTRUCTION[0])]
    assert list(frame["contender"])[best.index(True)] == "autoencoder"
    assert sum(best) == 1
    frame.loc[frame["contender"] == "vae", "code_size"] = 64
    assert not any(cell.mark for cell in build_cells(frame, RECONSTRUCTION[0]))


def test_rows_of_one_training_have_no_best_reconstruction_among_them(results: Results) -> None:
    frame = comparison_frame(results).head(3).assign(training="gan", code_size=16)
    frame["reconstruction_protocol"] = "search"
    assert not any(cell.best for cell in build_cells(frame, RECONSTRUCTION[0]))


def test_a_model_that_does_not_reconstruct_is_said_not_to(results: Results) -> None:
    records = [record.model_copy(deep=True) for record in results.records]
    for record in records:
        if record.contender == "vae":
            record.scores = [s for s in record.scores if s.metric not in {*PAIRS}]
    frame = comparison_frame(replace(results, records=records))
    assert row(frame, "vae")["reconstruction_protocol"] == "none"
    assert "| none |" in write_markdown(replace(results, records=records)).decode()


def test_what_is_to_be_kept_in_mind_of_a_model_stands_below_the_table(results: Results) -> None:
    records = [record.model_copy(deep=True) for record in results.records]
    for record in records:
        if record.contender == "autoencoder" and record.model:
            record.model.note = "its codes were never trained to follow the prior"
    text = write_markdown(replace(results, records=records)).decode()
    assert text.count("autoencoder: its codes were never trained to follow the prior") == 1


def test_rows_of_one_training_name_it_in_every_frame(results: Results) -> None:
    records = [record.model_copy(deep=True) for record in results.records]
    sampler = {"contender": "both", "name": "mixture", "settings": {}}
    for record in records[:6]:
        record.spec["sampler"] = sampler
    changed = replace(results, records=records)
    assert list(comparison_frame(changed)["training"][:3]) == ["both", "both", "vae"]
    scores = scores_frame(records)
    assert set(scores["training"]) == {"both", "vae", "cyclegan", "real", "noise"}
    assert "training" not in scores_frame(results.records)


def test_latex_marks_the_best_and_the_second(results: Results) -> None:
    text = write_latex(results).decode()
    generation = tabulars(text)[0][1]
    assert generation[0].startswith(r"contender & FID $\downarrow$ & Inception Score $\uparrow$")
    assert r"\textbf{5." in generation[1]
    assert r"\underline{" in generation[2]
    assert all("textbf" not in line and "underline" not in line for line in generation[-2:])
    assert text.count(r"\midrule") > len(tabulars(text))


def test_a_paper_gets_the_headline_scores_in_one_tabular(results: Results) -> None:
    ((columns, rows),) = tabulars(write_latex(results, paper=True).decode())
    assert columns == 6
    assert rows[0].count("downarrow") == 4
    unscored = comparison_frame(results).assign(inception_score=math.nan)
    ((columns, rows),) = tabulars(write_latex(results, unscored, paper=True).decode())
    assert columns == 5


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((8.44, 8.303, 8.577), r"$8.44 \pm 0.14$"),
        ((0.362, 0.206, 0.635), "$0.36^{+0.27}_{-0.16}$"),
        ((1527.6, 1526.4, 1529.3), "$1{,}527.6^{+1.7}_{-1.2}$"),
        ((8.0, 8.0, 8.0), r"$8.00 \pm 0$"),
        ((0.0, 0.0, 0.0), r"$0 \pm 0$"),
        ((5.67, 0.0, 15.7), "$5.7^{+10}_{-5.7}$"),
        ((2.19e-5, 4.45e-6, 1.08e-4), r"$(2.2^{+8.6}_{-1.7})\cdot10^{-5}$"),
        ((5.91e-4, 5.6e-9, 62.3), "$0.00059^{+62}_{-0.00059}$"),
        ((0.999, 0.900, 1.098), r"$0.999 \pm 0.099$"),
        ((-0.0152, -0.0163, -0.0141), r"$-0.0152 \pm 0.0011$"),
        ((3.0, 3.0 - 1e-9, 3.0 + 1e-9), r"$3.0000 \pm 0.0000000010$"),
    ],
)
def test_values_have_the_digits_that_their_intervals_warrant(
    interval: tuple[float, float, float], shown: str
) -> None:
    assert quantity(*interval) == shown


def test_numbers_in_latex() -> None:
    assert number("-1.66e-05", "best") == r"$\textbf{$-$1.66}\cdot10^{-5}$"
    assert number("23,324") == "$23{,}324$"
    assert number("62.7K", "second") == r"\underline{62.7K}"
    assert number("encode & decode") == r"encode \& decode"
    assert not number("")


def test_latex_compiles_alone(hostile: Results, tmp_path: Path) -> None:
    log = compile_latex(tmp_path, main=write_latex(hostile).decode())
    assert "Overfull" not in log


def test_latex_compiles_within_a_paper(results: Results, tmp_path: Path) -> None:
    paper = r"""\documentclass{article}\usepackage{booktabs}\begin{document}
        Before. \begin{table}\centering\input{short}\caption{Scores.}\end{table}
        \input{table} After. \input{table}\end{document}"""
    short, table = (write_latex(results, paper=p).decode() for p in (True, False))
    assert "Overfull" not in compile_latex(tmp_path, main=paper, short=short, table=table)


def test_nothing_of_a_large_table_is_cut(results: Results, tmp_path: Path) -> None:
    names = (*"βü变é", *(f"a rather long name of a contender, number {i:03d}" for i in range(90)))
    records = [results.records[0].model_copy(update={"contender": name}) for name in names]
    entries = [IndexEntry(name=name, family="gan") for name in names]
    index = results.index.model_copy(update={"contenders": entries})
    large = replace(results, index=index, records=[*records, *results.records[-2:]])
    text = write_latex(large).decode()
    assert all(escape_latex(name) in text for name in names)
    assert max(len(rows) for _, rows in tabulars(text)) <= 41
    assert "Overfull" not in compile_latex(tmp_path, main=text)


def test_results_are_loaded_as_frames(results: Results, tmp_path: Path) -> None:
    scores = load(results.folder)
    assert len(scores) == len(scores_frame(results.records))
    assert scores["value"].dtype == "float64"
    assert scores["metric"].dtype == "string"
    assert scores["seed"].dtype == "Int64"
    costs, comparison = (load(str(results.folder), what) for what in ("costs", "comparison"))
    assert set(costs["metric"]) >= {"parameters"}
    assert list(comparison.columns) == list(COMPARISON_COLUMNS)
    assert len(load(results.folder, "runs")) == len(results.records)
    assert set(load(results.folder, "history")["contender"]) >= {"gan", "vae"}
    with pytest.raises(BadInput, match="unknown frame 'score': did you mean 'scores'"):
        load(results.folder, "score")
    with pytest.raises(BadInput, match=r"suite\.json"):
        load(tmp_path)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_names_keep_their_room_in_a_terminal(tmp_path: Path, width: int) -> None:
    names = ("autoencoder", "a_very_long_name_of_a_contender")
    results = read_suite(write_suite(tmp_path / "suite", tuple((n, "vae") for n in names)))
    console = Console(width=width, file=io.StringIO())
    console.print(show_comparison(results, width))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    tables = sum("───" in line for line in lines)
    assert sum(line.startswith(" autoencoder ") for line in lines) == tables
    assert sum(line.startswith(" a_very") for line in lines) == tables


def test_the_caption_says_what_the_numbers_are(results: Results) -> None:
    text = write_markdown(results).decode().replace("\\", "")
    for words in ("digits", "400 samples", "test split", EXTRACTOR, "Student's t", "jackknife"):
        assert words in text
    assert "FIDs of different extractors are not to be compared" in text
    assert "cyclegan starts from held-out real source images, the others from noise" in text


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
    suite.index.contenders[0] = IndexEntry(name=name, family="gan")
    write_index(folder, suite.index)
    write_record(suite.run_folder(suite.records[0]), suite.records[0])
    results = read_suite(folder)
    for columns, rows in tabulars(write_latex(results).decode()):
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {columns - 1}
    table = write_markdown(results).decode().split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_collapsed_runs_count_and_are_counted(tmp_path: Path) -> None:
    statuses = {("gan", 1): "collapsed", ("vae", 0): "failed"}
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


def test_what_was_trained_with_other_code_is_marked(tmp_path: Path) -> None:
    results = read_suite(write_suite(tmp_path / "suite"))
    for record in results.records:
        record.spec["model"] = record.contender
        entry = list_models().get(record.contender)
        record.spec["model_version"] = str(entry.version) if entry else ""
        record.code = None if record.contender == "autoencoder" else hash_model(record.contender)
    assert "other code" not in write_markdown(results).decode()
    moved = {now: before for before, now in SAME_CODE.items()}
    for record in results.records:
        record.code = moved.get(record.code or "", record.code)
    assert "other code" not in write_markdown(results).decode()
    for record in results.records:
        if record.contender == "vae" or (record.contender, record.seed) == ("gan", 1):
            record.code = "00000000"
    console = Console(width=500, file=io.StringIO())
    console.print(show_comparison(results, 500))
    shown = [write_markdown(results).decode().replace("\\", ""), write_latex(results).decode()]
    for text in (*shown, console.file.getvalue()):  # type: ignore[attr-defined]
        assert "gan (1 of 3 runs), vae: trained with other code." in text


def test_records_without_a_hash_tell_other_code_by_the_models_version(tmp_path: Path) -> None:
    results = read_suite(write_suite(tmp_path / "suite"))
    for record in results.records:
        record.spec |= {"model": record.contender, "model_version": "1"}
    text = write_markdown(results).decode()
    raised = {name for name, entry in list_models().items() if entry.version != 1}
    assert {"autoencoder", "vae"} <= raised
    assert all(re.search(rf"{name}[a-z, ]*: trained with other code", text) for name in raised)
    assert not re.search(r"gan, [a-z, ]*: trained with other code", text.replace("cyclegan", ""))


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
    text = write_latex(hostile).decode()
    assert all(line.isprintable() for line in text.splitlines())
    rows = [row for _, rows in tabulars(text) for row in rows]
    assert all(len(rows) in {1 + 4, 1 + 6} for _, rows in tabulars(text))
    known = r"text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|(down|up)arrow|pm|cdot"
    for line in rows:
        rest = re.sub(rf"\\({known})", "", line.removesuffix(r"\\"))
        rest = re.sub(r"\\(textbf|underline)\{[^{}]*\}|10\^|\^\{\+|_\{-|\\[&%$#_{}]", "", rest)
        assert not re.search(r"[\\#%^_~]", re.sub(r"\$[^$]*\$", "", rest))
        assert rest.count("$") % 2 == 0
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
    published = PublishedScores(source="a paper, table 1", scores={"vae": {"fid": 3.21}})
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
