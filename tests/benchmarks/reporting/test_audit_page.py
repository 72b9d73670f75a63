import base64
import hashlib
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from synthetic import write_suite
from synthetic_audit import ADVICE, ANSWERS, EXTRACTORS, FAULTS, make_audit, make_strips
from test_page import CHARTS, HOSTILE, Element, prepare, read

from benchmarks.analysis.audits import Audit
from benchmarks.reporting import page
from benchmarks.reporting.audits import SIGNS, lay_out_verdicts, list_broken, write_verdict_markdown
from benchmarks.reporting.page.audit import build_audit_page

CURVES = {f"{name}.png": next(iter(make_strips().values())) for name in FAULTS}


@pytest.fixture(scope="module")
def audit() -> Audit:
    return make_audit()


@pytest.fixture(scope="module")
def built(audit: Audit) -> Element:
    return read(build_audit_page(audit, CURVES, make_strips()))


def rows(table: Element) -> list[Element]:
    """Rows with cells, not those that name an extractor."""
    return [row for body in table.all("tbody") for row in body.all("tr") if row.all("td")]


def test_the_recommendation_and_the_known_answers_come_first(built: Element) -> None:
    first = built.one("main").all("section")[0]
    said = [p.text for p in first.all("p") if "answer" in (p.attributes.get("class") or "")]
    said += [li.text for li in first.one("ul", class_="advice").all("li")]
    assert said == list(ADVICE)
    answers = [li.text for li in first.one("ul", class_="answers").all("li")]
    outcomes = ("As expected", "As expected", "Not as expected", "Could not be asked")
    for text, outcome, answer in zip(answers, outcomes, ANSWERS, strict=True):
        assert text.startswith(f"{outcome} {answer[1]}")
        assert answer[2] in text
        assert answer[3] in text


def test_the_heat_map_has_every_verdict_as_a_word_and_a_sign(audit: Audit, built: Element) -> None:
    table = built.one("table", class_="heat walk")
    cells = [td for row in rows(table) for td in row.all("td")]
    measured = [td for td in cells if td.attributes["class"] != "none"]
    assert len(measured) == len(audit.verdicts)
    for td in measured:
        word = td.one("span", class_="word").text
        assert td.one("span", class_="sign").text.rstrip("!") == SIGNS[word]
        assert word.replace(" ", "-") in td.attributes["class"]
    heads = [th.text for th in table.all("th", class_="fault")]
    assert heads == [title for title, *_ in FAULTS.values()]


def test_cells_say_what_their_verdict_rests_on(audit: Audit, built: Element) -> None:
    table = built.one("table", class_="heat walk")
    tips = {
        td.attributes["data-tip"].partition("\n")[0]: td
        for row in rows(table)
        for td in row.all("td")
    }
    found = audit.verdicts.query("metric == 'fid' and fault == 'foreign'").iloc[0]
    cell = tips["FID, features of classifier: sees foreign images"]
    for words in (
        "Kendall's τ with the damage: 0.90 (95 %: 0.80 to 1.00)",
        f"from level {found['threshold']:.0f} (",
        "with 100 images from level",
        "R² of a line in the share of bad images: 0.95",
        "Drift from 400 to 100 images: 4 % of the ladder's range",
        "It claims to see damage to single images: holds",
    ):
        assert words in cell.attributes["data-tip"]


def test_a_broken_promise_is_marked_and_said(audit: Audit, built: Element) -> None:
    table = built.one("table", class_="heat walk")
    cells = [td for row in rows(table) for td in row.all("td")]
    broken = [td for td in cells if "broken" in td.attributes["class"]]
    promised = audit.verdicts["promise"] != ""
    assert len(broken) == (promised & audit.verdicts["kept"].eq(False)).sum() > 0
    assert all("!" in td.text and "fails" in td.attributes["data-tip"] for td in broken)
    verdicts = built.one("section", id="verdicts")
    lines = [li.text for li in verdicts.all("li")]
    assert lines == list_broken(lay_out_verdicts(audit), audit)
    assert any("misled by" in line for line in lines)
    assert any("which it claims to ignore" in line for line in lines)


def test_each_fault_has_its_pictures_with_labels(built: Element) -> None:
    articles = built.all("article", class_="ladder")
    assert len(articles) == len(FAULTS)
    for article, (name, (title, aspect, amounts, _)) in zip(articles, FAULTS.items(), strict=True):
        assert article.one("h3").text == f"{title} {aspect}"
        if name == "gaussian":
            assert "no images to show" in article.text
            continue
        labels = article.one("div", class_="row-names").all("span")
        assert len(labels) == 1 + len(amounts)
        strip = article.one("img", class_="tiles")
        content = base64.b64decode(strip.attributes["src"].partition(",")[2])
        width, height = Image.open(io.BytesIO(content)).size
        factor = int(strip.attributes["width"]) // width
        assert int(strip.attributes["height"]) == height * factor
    curve = articles[0].one("figure").one("img")
    assert "features of classifier: sees: FID" in curve.attributes["alt"].replace(
        "Features", "features"
    )


def test_floors_are_those_of_whole_sets(audit: Audit, built: Element) -> None:
    lines = rows(built.one("section", id="floors").one("table"))
    assert len(lines) == len(audit.floors[["metric", "extractor"]].drop_duplicates())
    first = audit.floors.iloc[0]
    assert first["n"] == 400
    assert lines[0].all("td")[0].text == f"{first['mean']:.3g}"
    assert lines[0].all("td")[-1].text == "+1.5"


def test_provenance_has_data_extractors_command_and_machine(built: Element) -> None:
    text = built.one("section", id="provenance").text
    for words in (*EXTRACTORS, "5e1ec7ed", "python -m benchmarks.audit digits", "3.11.7", "1,200"):
        assert words in text


def test_nothing_leads_out_of_it_and_only_its_own_script_runs(built: Element) -> None:
    references = [
        e.attributes[key] or ""
        for e in built.walk()
        for key in ("src", "href")
        if key in e.attributes
    ]
    assert all(reference.startswith(("#", "data:")) for reference in references)
    ids = {e.attributes["id"] for e in built.walk() if "id" in e.attributes}
    assert {r[1:] for r in references if r.startswith("#")} <= ids
    policy = built.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    for name in ("style", "script"):
        digest = hashlib.sha256("".join(map(str, built.one(name).children)).encode()).digest()
        assert f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not any(
        key.startswith("on") or key == "style" for e in built.walk() for key in e.attributes
    )


def test_headings_come_in_order(built: Element) -> None:
    levels = [int(e.name[1]) for e in built.walk() if re.fullmatch("h[1-6]", e.name)]
    assert levels[0] == levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_same_audit_gives_the_same_files(audit: Audit) -> None:
    strips = make_strips()
    assert build_audit_page(audit, CURVES, strips) == build_audit_page(make_audit(), CURVES, strips)
    assert write_verdict_markdown(audit) == write_verdict_markdown(make_audit())


def hostile_audit() -> Audit:
    audit = make_audit(names={"fid": HOSTILE[0], "blur": HOSTILE[1], "noise": HOSTILE[3]})
    audit.about["advice"] = [HOSTILE[0]]
    audit.about["command"] = HOSTILE[1]
    audit.about["dataset"]["name"] = HOSTILE[4]
    audit.about["answers"][0]["found"] = HOSTILE[1]
    audit.about["extractors"][0] = HOSTILE[2]
    return replace(audit, verdicts=audit.verdicts.replace(EXTRACTORS[0], HOSTILE[2]))


def test_hostile_names_are_text() -> None:
    content = build_audit_page(hostile_audit(), CURVES, make_strips())
    hostile = read(content)
    assert len(hostile.all("script")) == 1
    assert not [img for img in hostile.all("img") if img.attributes["src"] == "x"]
    assert "{{ 7 * 7 }}" in hostile.one("h1").text
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", content.decode())


def test_the_markdown_has_a_table_an_extractor_and_escapes_names(audit: Audit) -> None:
    text = write_verdict_markdown(audit).decode()
    assert text.startswith("# Audit of metrics on digits\n")
    for words in (*ADVICE, "## Features of classifier", "## Image by image", "● sees |", "○ blind"):
        assert words in text
    assert "- Not as expected: Is a mode dropper caught?" in text
    assert "KID, features of classifier: blind to blur" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(FAULTS) + 2}
    hostile = write_verdict_markdown(hostile_audit()).decode()
    assert "<script" not in hostile.replace("`</script><img src=x onerror=alert(1)>`", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("audited") / "mini")


def report(folder: Path, audit: Audit | None) -> Element:
    frames, findings = prepare(folder)
    return read(page.build_page(replace(frames, audit=audit), findings, CHARTS, []))


def test_a_report_shows_the_audit_of_its_own_scores(folder: Path, audit: Audit) -> None:
    built = report(folder, audit)
    section = built.one("section", id="audit")
    names = {row.one("th").text for row in rows(section.one("table"))}
    assert {"FID", "Recall", "MSE"} <= names
    assert "features of classifier" in section.text
    assert "features of pixels" not in section.text
    for words in (*ADVICE, "Is a mode dropper caught?", "400 images a set", "published audit"):
        assert words in section.text
    assert "#audit" in {a.attributes["href"] for a in built.one("nav").all("a")}


def test_a_report_marks_scores_whose_audit_failed(folder: Path, audit: Audit) -> None:
    built = report(folder, audit)
    heads = built.one("table", id="comparison").all("th", scope="col")
    marked = {th.text for th in heads if th.attributes.get("class") == "mark"}
    assert "FID† ↓" in marked
    assert all("†" in text for text in marked)
    lines = [li.text for li in built.one("ul", class_="marks").all("li")]
    assert any(line.startswith("† FID") and "misled by" in line for line in lines)


def test_a_report_without_an_audit_tells_how_to_make_one(folder: Path) -> None:
    built = report(folder, None)
    section = built.one("section", id="audit")
    assert section.one("code").text == "python -m benchmarks.audit mini"
    assert not section.all("table")
    assert not built.all("ul", class_="marks")


def test_an_audit_of_none_of_the_scores_says_so(folder: Path) -> None:
    other = make_audit(metrics=("authenticity",), extractors=("pixels@834c8505",))
    section = report(folder, other).one("section", id="audit")
    assert "of none of these scores" in section.text
