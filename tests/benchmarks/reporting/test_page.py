import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import FOUR, write_large_suite, write_suite

from benchmarks.analysis.columns import PANELS
from benchmarks.analysis.export import write_csv
from benchmarks.analysis.finding import Finding
from benchmarks.analysis.findings import collect_findings
from benchmarks.analysis.frames import Frames, gather
from benchmarks.analysis.headline import write_headline
from benchmarks.core.text import show_duration, show_number, show_p
from benchmarks.records.schema import Environment, Git
from benchmarks.records.store import read_record, read_suite, write_record
from benchmarks.reporting import page, plots
from benchmarks.reporting.page import answer as page_answer
from benchmarks.reporting.page import panels, provenance, templating
from benchmarks.reporting.page import pictures as page_pictures
from benchmarks.reporting.page import table as page_table
from benchmarks.reporting.page import text as page_text

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="100pt" height="50pt"></svg>'
CHARTS = {f"{plot.name}.svg": SVG for plot in plots.PLOTS.values() if plot.section}
MNIST = Path(__file__).parents[3] / "results/reference/mnist"
VOID = frozenset(("meta", "link", "img", "input", "line", "circle", "rect"))


class Element:
    """An element of a page: its name, attributes, children in order, and the text in it."""

    def __init__(self, name: str, attributes: dict[str, str | None]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", "".join(parts))

    def walk(self) -> Iterator["Element"]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, name: str, **attributes: str) -> list["Element"]:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if element.name == name
            and all(element.attributes.get(key) == value for key, value in wanted.items())
        ]

    def one(self, name: str, **attributes: str) -> "Element":
        (found,) = self.all(name, **attributes)
        return found


class Reader(HTMLParser):
    """Reads a page into elements; every tag must be closed in its turn."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open = [Element("document", {})]
        self.feed(content.decode())
        assert [element.name for element in self.open] == ["document"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(content: bytes) -> Element:
    return Reader(content).open[0]


@cache
def prepare(folder: Path) -> tuple[Frames, list[Finding]]:
    frames = gather(read_suite(folder))
    return frames, collect_findings(frames.runs)


def build(folder: Path, left_out: tuple[str, ...] = ()) -> bytes:
    return page.build_page(*prepare(folder), CHARTS, list(left_out))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failures = {("gan", 1): "diverged", ("gan", 2): "diverged", ("vae", 0): "collapsed"}
    return write_suite(tmp_path_factory.mktemp("page") / "mini", failures=failures)


@pytest.fixture(scope="module")
def built(folder: Path) -> Element:
    return read(build(folder))


def test_the_answer_comes_first(folder: Path, built: Element) -> None:
    _, findings = prepare(folder)
    first, *_ = built.one("main").all("section")
    answers = [p.text for p in first.all("p") if "answer" in (p.attributes.get("class") or "")]
    assert answers == write_headline(findings)
    assert [a.one("p", class_="headline").text for a in first.all("article")] == [
        finding.summary for finding in findings
    ]


def test_each_score_has_its_ranks_and_tests_between_pairs(folder: Path, built: Element) -> None:
    _, findings = prepare(folder)
    for finding, article in zip(findings, built.all("article"), strict=True):
        ranks, pairs = article.all("table")
        rows = ranks.one("tbody").all("tr")
        assert [row.one("th").text for row in rows] == list(finding.ranking["contender"])
        assert len(pairs.one("tbody").all("tr")) == len(finding.pairs)
        assert article.one("details") in list(article.walk())


def test_rows_of_one_training_reconstruct_and_cost_once(tmp_path: Path) -> None:
    names = ("vae_prior", "vae_mixture", "autoencoder")
    folder = write_suite(tmp_path / "suite", tuple((name, "vae") for name in names))
    for path in folder.glob("runs/vae_*"):
        record = read_record(path)
        record.spec["sampler"] = {"contender": "vae", "name": "any", "settings": {}}
        record.costs.train_seconds = 10.0
        write_record(path, record)
    frames, findings = prepare(folder)
    section = page_answer.describe_finding(findings[-1], frames)
    assert {row["name"] for row in section["ranking"].lines} == {"vae", "autoencoder"}
    seconds = frames.runs[frames.runs["contender"] == "autoencoder"]["train_seconds"].sum()
    assert f"{show_duration(30 + seconds)} of training in all" in page_answer.state_facts(frames)
    prices = page_answer.state_costs(frames.comparison, findings)
    assert any(price.startswith("vae: ") for price in prices)


def test_calibration_rows_stand_apart_at_the_end(built: Element) -> None:
    contenders, calibration = built.one("table", id="comparison").all("tbody")
    assert [row.one("th").text for row in contenders.all("tr")] == [name for name, _ in FOUR]
    assert [row.one("th").text for row in calibration.all("tr")] == ["real", "noise"]


def test_the_best_of_a_column_is_marked_by_words_and_a_star(folder: Path, built: Element) -> None:
    frames, _ = prepare(folder)
    table = built.one("table", id="comparison")
    place = [th.text for th in table.all("th", scope="col")].index("MSE ↓") - 1
    marked = ["best" in row.all("td")[place].text for row in table.all("tbody")[0].all("tr")]
    contest = frames.comparison.head(len(FOUR))
    encoders = contest[contest["reconstruction_protocol"] == "encoder"]["reconstruction_mse"]
    assert len(encoders) == 2
    assert marked == list(contest["reconstruction_mse"] == encoders.min())


def test_headings_and_cells_explain_themselves(built: Element) -> None:
    table = built.one("table", id="comparison")
    heading = next(b for b in table.all("button") if b.text == "FID ↓").attributes["data-tip"]
    for words in ("Fréchet", "Lower is better", "n = 400", "classifier@3fa94c1e", "Heusel"):
        assert words in heading
    cell = table.all("tbody")[0].all("tr")[1].all("td")[0].attributes["data-tip"]
    for words in ("FID of autoencoder", "95 % interval", "Student's t over 3 seeds", "n = 400"):
        assert words in cell


def test_all_columns_are_explained(built: Element) -> None:
    headings = built.one("table", id="comparison").all("th", scope="col")[1:]
    terms = built.one("dl", class_="glossary").all("div")
    assert [h.text for h in headings] == [t.one("dt").text for t in terms]
    assert all(len(t.one("dd").text) > 10 for t in terms)


def test_groups_of_columns_can_be_chosen(built: Element) -> None:
    boxes = {label.text.strip(): label.one("input") for label in built.all("label")}
    assert set(boxes) <= set(PANELS)
    shown = {title for title, box in boxes.items() if "checked" in box.attributes}
    assert shown == page_table.SHOWN & set(boxes)
    assert shown < set(boxes)


def test_sorting_knows_numbers_and_what_is_missing(built: Element) -> None:
    table = built.one("table", id="comparison")
    heads = table.all("th", scope="col")
    place = [th.text for th in heads].index("diverged") - 1
    rows = table.all("tbody")[0].all("tr")
    shares = [float(row.all("td")[place].attributes["data-value"]) for row in rows]
    assert shares == pytest.approx([2 / 3, 0, 0, 0])
    train = [th.text for th in heads].index("train s ↓") - 1
    assert "data-value" not in table.all("tbody")[1].all("tr")[0].all("td")[train].attributes


def test_the_table_can_be_downloaded_whole(folder: Path, built: Element) -> None:
    frames, _ = prepare(folder)
    data = built.one("script", id="table-csv")
    assert json.loads("".join(map(str, data.children))) == (write_csv(frames.comparison).decode())


def test_charts_stand_in_their_panels_and_are_described(folder: Path, built: Element) -> None:
    for section in page.CHARTED:
        images = built.one("section", id=section).all("img")
        assert len(images) == sum(plot.section == section for plot in plots.PLOTS.values())
        for image in images:
            assert len(image.attributes["alt"] or "") > 20
            assert base64.b64decode(image.attributes["src"].partition(",")[2]) == SVG
    assert (
        "FID by model: gan " in built.one("section", id="quality").all("img")[0].attributes["alt"]
    )
    without = read(page.build_page(*prepare(folder), {}, []))
    assert not without.one("section", id="quality").all("img")


def test_runs_that_went_wrong_are_told_with_their_reasons(built: Element) -> None:
    lines = [li.text for li in built.one("ul", class_="troubles").all("li")]
    assert lines == [
        "gan: 2 of 3 diverged (seeds 1 to 2): loss_generator is not finite at step 812",
        "vae: 1 of 3 collapsed (seed 0): all 399 samples are alike",
    ]


def test_what_was_left_out_is_named(folder: Path) -> None:
    lines = tuple(f"runs/{i}/record.json is damaged" for i in range(13))
    notice = read(build(folder, lines)).one("aside", class_="notice")
    assert [li.text for li in notice.all("li")] == list(lines[: page_text.LINES])
    assert "and 3 more" in notice.text
    assert not read(build(folder)).all("aside", class_="notice")


def test_the_same_records_give_the_same_page(folder: Path) -> None:
    first = build(folder)
    prepare.cache_clear()
    assert build(folder) == first


def test_nothing_on_the_page_leads_out_of_it(built: Element) -> None:
    references = [
        e.attributes[key] or ""
        for e in built.walk()
        for key in ("src", "href")
        if key in e.attributes
    ]
    assert references
    assert all(reference.startswith(("#", "data:")) for reference in references)
    ids = {e.attributes["id"] for e in built.walk() if "id" in e.attributes}
    assert {r[1:] for r in references if r.startswith("#")} <= ids


def test_only_the_page_s_own_script_and_style_are_allowed(built: Element) -> None:
    policy = built.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    for name in ("style", "script"):
        (element,) = (e for e in built.all(name) if "type" not in e.attributes)
        digest = hashlib.sha256("".join(map(str, element.children)).encode()).digest()
        assert f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not any(
        key.startswith("on") or key == "style" for e in built.walk() for key in e.attributes
    )


HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"quoted' name",
    "bidi\N{RIGHT-TO-LEFT OVERRIDE}eman",
    "{{ 7 * 7 }}",
    "name " + 200 * "long",
)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    contenders = tuple((f"c{i}", "gan") for i in range(len(HOSTILE)))
    frames, _ = prepare(write_suite(tmp_path / "mini", contenders, 2, {("c0", 1): "failed"}))
    content = page.build_page(*rename(frames, dict(zip(dict(contenders), HOSTILE, strict=True))))
    hostile = read(content)
    assert len(hostile.all("script")) == 2
    assert not [img for img in hostile.all("img") if img.attributes["src"] == "x"]
    names = [th.text for th in hostile.one("table", id="comparison").all("th", scope="row")]
    assert names[:3] == [*HOSTILE[:3]]
    assert names[3] == "bidi\N{REPLACEMENT CHARACTER}eman"
    assert names[4] == "{{ 7 * 7 }}"
    assert len(names[5]) <= templating.LONGEST
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", content.decode())


def rename(
    frames: Frames, names: dict[str, str]
) -> tuple[Frames, list[Finding], dict[str, bytes], list[str]]:
    """The same suite under other names, such as only a record made by hand would have."""
    results = frames.results
    records = [
        r.model_copy(
            update={"contender": names.get(r.contender, r.contender), "reason": "<b>why</b>"}
        )
        for r in results.records
    ]
    entries = [e.model_copy(update={"name": names[e.name]}) for e in results.index.contenders]
    index = results.index.model_copy(
        update={"contenders": entries, "command": "</script><script>alert(2)</script>"}
    )
    renamed = gather(replace(results, records=records, index=index))
    findings = collect_findings(renamed.runs)
    return renamed, findings, CHARTS, ["<script>alert(3)</script> is damaged"]


def test_more_runs_make_no_more_rows(tmp_path: Path) -> None:
    few = build(write_large_suite(tmp_path / "few", FOUR, seeds=3))
    many = build(write_large_suite(tmp_path / "many", FOUR, seeds=60))
    assert many.count(b"<tr") == few.count(b"<tr")
    assert many.count(b"<li") <= few.count(b"<li") + 5
    assert len(many) < 1.05 * len(few)


def test_of_many_contenders_the_lists_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_answer, "RANKED", 5)
    monkeypatch.setattr(page_answer, "PAIRED", 3)
    monkeypatch.setattr(page_pictures, "SHOWN", 4)
    contenders = tuple((f"c{i}", family) for i, (_, family) in enumerate(FOUR * 2))
    many = read(build(write_suite(tmp_path / "many", contenders, seeds=2)))
    samples = many.one("div", id="pictures-samples")
    assert len(samples.all("figure")) == 4 + 1
    assert "and 4 more models" in samples.text
    ranks, pairs = many.all("article")[0].all("table")
    assert len(ranks.one("tbody").all("tr")) == 5
    assert len(pairs.one("tbody").all("tr")) == 3
    assert f"and {8 * 7 // 2 - 3} more pairs" in many.all("article")[0].text


def test_the_page_of_mnist_is_whole_and_under_10_mb() -> None:
    frames, findings = prepare(MNIST)
    content = page.build_page(frames, findings, plots.render(frames, formats=("svg",)), [])
    assert len(content) < 10e6
    assert len(read(content).all("figure")) >= 20


def test_headings_come_in_order(built: Element) -> None:
    levels = [int(e.name[1]) for e in built.walk() if re.fullmatch("h[1-6]", e.name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_pictures_are_enlarged_by_a_whole_factor_and_described(built: Element) -> None:
    for image in built.one("section", id="pictures").all("img"):
        encoded = base64.b64decode(image.attributes["src"].partition(",")[2])
        width, height = Image.open(io.BytesIO(encoded)).size
        factor = int(image.attributes["width"]) // width
        assert (int(image.attributes["width"]), int(image.attributes["height"])) == (
            width * factor,
            height * factor,
        )
        assert image.attributes["alt"]
    first = built.one("div", id="pictures-samples").all("figure")[0]
    assert "real images" in first.text
    assert "not cherry-picked" in built.text


@pytest.mark.parametrize("grey", [True, False])
def test_a_mosaic_keeps_its_pixels_between_transparent_gaps(grey: bool) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 1 if grey else 3), np.uint8)
    tiles = np.repeat(tiles, 3, axis=-1) if grey else tiles
    embedded = page_pictures.embed_mosaic(tiles, 3)
    image = Image.open(io.BytesIO(base64.b64decode(embedded.source.partition(",")[2])))
    assert image.mode == ("LA" if grey else "RGBA")
    assert (embedded.width, embedded.height) == (3 * image.width, 3 * image.height)
    pixels = np.asarray(image.convert("RGBA"))
    assert pixels.shape == (2 * 4 + 1, 3 * 5 + 2, 4)
    assert (pixels[5:9, 6:11, :3] == tiles[1, 1]).all()
    assert (pixels[4, :, 3] == 0).all()
    assert (pixels[:, 5, 3] == 0).all()
    assert (pixels[:4, :5, 3] == 255).all()


def test_large_tiles_are_fewer() -> None:
    embedded = page_pictures.embed_mosaic(np.zeros((8, 8, 400, 400, 3), np.uint8), 1)
    assert (embedded.width, embedded.height) == (801, 801)


def _evolution(rows: int, images: tuple[float, ...] | None) -> pd.DataFrame:
    tiles = np.zeros((rows, 8, 4, 4, 3), np.uint8)
    row = {"contender": "gan", "family": "gan", "seed": 0, "run": "gan-s0", "status": "ok"}
    row |= {"reason": None, "kind": "evolution", "tiles": tiles, "images": images}
    row |= {"metric": None, "value": np.nan, "protocol": None, "mean_fid": 1.0}
    return pd.DataFrame([row])


def test_a_filmstrip_is_labelled_with_the_images_seen() -> None:
    (gallery,) = page_pictures.build_galleries(_evolution(3, (6400.0, 12_800.0, 19_200.0)))
    (exhibit,) = gallery.exhibits
    assert [i.caption for i in exhibit.images] == ["6.40K images", "12.8K images", "19.2K images"]
    (gallery,) = page_pictures.build_galleries(_evolution(2, None))
    assert [i.caption for i in gallery.exhibits[0].images] == ["1 of 2", "2 of 2"]


def test_a_long_filmstrip_keeps_its_ends() -> None:
    seen = tuple(float(i) for i in range(1, 101))
    (gallery,) = page_pictures.build_galleries(_evolution(100, seen))
    labels = [image.caption for image in gallery.exhibits[0].images]
    assert len(labels) == page_pictures.MOMENTS
    assert (labels[0], labels[-1]) == ("1 images", "100 images")


def test_provenance_has_the_command_and_flags_a_dirty_tree(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "mini", FOUR[:1], seeds=2)
    environments = [
        Environment(
            python="3.11.7",
            versions={"numpy": "2.0"},
            platform="Linux",
            git=Git(commit="abc", dirty=dirty),
        )
        for dirty in (False, True)
    ]
    for run, environment in zip(("gan-s0-1a2b3c4d", "gan-s1-1a2b3c4d"), environments, strict=True):
        record = read_record(folder / "runs" / run)
        spec = {"data": {"fingerprint": "f1n9e2"}, "steps": 7, "seed": record.seed}
        write_record(
            folder / "runs" / run,
            record.model_copy(update={"environment": environment, "spec": spec}),
        )
    results = read_suite(folder)
    index = results.index.model_copy(update={"command": "python -m benchmarks.run mini"})
    told = provenance.trace_results(replace(results, index=index))
    assert told["command"] == "python -m benchmarks.run mini"
    (_, training), _ = told["machines"]
    git = next(fact for fact in training if fact.name == "Git")
    assert git.flagged
    assert git.lines == ["abc, clean (1 run)", "abc, with uncommitted changes (1 run)"]
    assert ["f1n9e2"] in [fact.lines for fact in told["facts"]]
    assert json.loads(told["specs"][0][2]) == {"data": {"fingerprint": "f1n9e2"}, "steps": 7}
    assert told["specs"][0][1] == "gan, 2 runs, seeds 0 to 1"


def test_values_are_tallied_the_most_frequent_first() -> None:
    assert provenance.tally(["a", "a", None]) == ["a"]
    assert provenance.tally(["b", "a", "a"]) == ["a (2 runs)", "b (1 run)"]
    assert provenance.tally(range(6))[-1] == "and 2 more"


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([], ""),
        ([None], ""),
        ([3], "seed 3"),
        ([2, 0, 1, 7], "seeds 0 to 2 and 7"),
        (range(0, 40, 2), "seeds 0, 2, 4, 6, 8, 10, 12, 14 and 12 more"),
    ],
)
def test_seeds_are_named_in_ranges(seeds: list[int | None], words: str) -> None:
    assert provenance.name_seeds(seeds) == words


@pytest.mark.parametrize(
    ("p", "text"), [(np.nan, ""), (0.0002, "< 0.001"), (0.0041, "0.004"), (0.31, "0.31")]
)
def test_p_values_are_shown_with_the_digits_they_have(p: float, text: str) -> None:
    assert show_p(p) == text


def test_ranks_are_shown_as_intervals() -> None:
    assert page_answer.show_ranks(2, 2, 2) == "2"
    assert page_answer.show_ranks(2, 1, 4) == "1–4"


def test_intervals_are_laid_out_on_one_axis() -> None:
    strips = page_answer.scale_ends(
        [(1, 10, 100), (100, 1000, 10_000), (np.nan, np.nan, np.nan)], log=True
    )
    assert strips[0] == pytest.approx((0, 0.25, 0.5))
    assert strips[1] == pytest.approx((0.5, 0.75, 1))
    assert strips[2] is None


def test_an_endless_interval_does_not_press_the_others_together() -> None:
    near, far, endless = page_answer.scale_ends(
        [(1.9, 2, 2.1), (3.9, 4, 4.1), (1e-9, 3, 1e9)], log=False
    )
    assert far[1] - near[1] > 0.3
    assert endless[2] == 1


def test_the_variance_is_told_in_shares(folder: Path) -> None:
    frames, _ = prepare(folder)
    sentence, parts = panels.split_fid_variance(frames)
    assert sum(share for _, _, share in parts) == pytest.approx(1)
    assert sentence.startswith("Of the variance of log FID, ")


def test_further_extractors_have_a_table(folder: Path) -> None:
    frames, _ = prepare(folder)
    assert panels.compare_extractors(frames) is None
    further = replace(frames, runs=frames.runs.assign(**{"fid@pixels": frames.runs["fid"] * 2}))
    table = panels.compare_extractors(further)
    assert [head.text for head in table.header[1:]] == ["classifier@3fa94c1e", "pixels"]
    assert len(table.rows) == len(FOUR) + 2
    means = frames.comparison.set_index("contender")["fid"]
    for name, own, other in table.rows:
        assert own.text == show_number(means[name.text])
        assert other.text == show_number(2 * means[name.text])


def test_pictures_that_rows_of_one_training_share_are_shown_once() -> None:
    shared, own = np.zeros((1, 2, 4, 4, 3), np.uint8), np.ones((1, 2, 4, 4, 3), np.uint8)
    columns = ("contender", "tiles", "metric", "value")
    rows = [("a", shared, "fid", 1.0), ("b", own, "fid", 2.0), ("c", shared, "fid", 3.0)]
    rows += [("d", None, None, None), ("e", None, None, None)]
    merged = page_pictures._merge_alike([dict(zip(columns, row, strict=True)) for row in rows])
    assert [row["contender"] for row in merged] == ["a and c", "b", "d", "e"]
    assert [row["metric"] for row in merged] == [None, "fid", None, None]
