"""The page in a real browser: what its script and style do, and that nothing leaves it."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from synthetic import FOUR, write_suite
from synthetic_audit import FAULTS, make_audit, make_strips
from test_page import prepare, rename

from benchmarks.analysis.export import write_csv
from benchmarks.reporting import page as pages
from benchmarks.reporting.page.audit import build_audit_page
from benchmarks.reporting.plots import PLOTS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="700pt" height="200pt"></svg>'
CHARTS = {f"{plot.name}.svg": SVG for plot in PLOTS.values() if plot.section}
LONG = (("a_contender_with_a_very_long_name-latent_64-convolutional_00", "gan"), *FOUR[1:])
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Visit:
    """A page in a tab, and what went wrong or was asked for while it was there."""

    page: "playwright.Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """Requests that went anywhere but to the file itself."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=BROWSER, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    failures = {("vae", 0): "diverged", ("vae", 1): "diverged", ("vae", 2): "diverged"}
    return write_suite(tmp_path_factory.mktemp("browser") / "mini", LONG, failures=failures)


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    path = folder / "report.html"
    path.write_bytes(pages.build_page(*prepare(folder), CHARTS, ["a record is damaged"]))
    return path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "audit.html"
    strips = make_strips()
    curves = {f"{name}.png": next(iter(strips.values())) for name in FAULTS}
    path.write_bytes(build_audit_page(make_audit(), curves, strips))
    return path


@pytest.fixture(scope="module")
def marked(folder: Path) -> Path:
    """A report with an audit whose marks it carries."""
    frames, findings = prepare(folder)
    path = folder / "marked.html"
    content = pages.build_page(replace(frames, audit=make_audit()), findings, CHARTS, [])
    path.write_bytes(content)
    return path


def visit(browser: "playwright.Browser", file: Path, **options: object) -> Visit:
    """Open a file in a tab of its own."""
    context = browser.new_context(**options)
    opened = Visit(context.new_page())
    opened.page.set_default_timeout(60_000)
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.page.on("console", lambda message: opened.errors.append(message.text))
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    opened.page.goto(file.as_uri())
    return opened


@pytest.fixture(scope="module")
def tab(browser: "playwright.Browser", file: Path) -> Iterator[Visit]:
    opened = visit(browser, file, viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield opened
    opened.page.context.close()


@pytest.fixture
def report(tab: Visit, file: Path) -> Iterator[Visit]:
    """The report in a tab that all tests share, loaded anew."""
    tab.errors.clear()
    tab.requests.clear()
    tab.page.mouse.move(0, 0)
    tab.page.goto(file.as_uri())
    yield tab
    assert tab.errors == []
    assert tab.left == []


def order(page: "playwright.Page") -> list[str]:
    return page.locator("#comparison tbody th").all_inner_texts()


def column(page: "playwright.Page", title: str) -> "playwright.Locator":
    return page.locator("#comparison thead th[aria-sort]").filter(has_text=re.compile(f"^{title}"))


def test_a_click_sorts_the_best_first_then_the_other_way_round(report: Visit) -> None:
    head = column(report.page, "FID ↓")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert order(report.page) == [LONG[0][0], "autoencoder", "cyclegan", "vae", "real", "noise"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert order(report.page) == ["cyclegan", "autoencoder", LONG[0][0], "vae", "real", "noise"]
    assert "Sorted by FID" in report.page.locator("#status").inner_text()


def test_where_higher_is_better_the_highest_comes_first(report: Visit) -> None:
    head = column(report.page, "Inception Score")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = report.page.locator("#comparison tbody.contenders td:nth-child(3)").all()
    numbers = [float(v.get_attribute("data-value") or "-inf") for v in values]
    assert numbers == sorted(numbers, reverse=True)


def test_the_keyboard_sorts_too(report: Visit) -> None:
    name, fid = (column(report.page, title) for title in ("model", "FID ↓"))
    name.get_by_role("button").focus()
    report.page.keyboard.press("Enter")
    assert order(report.page)[:3] == [LONG[0][0], "autoencoder", "cyclegan"]
    report.page.keyboard.press("Tab")
    report.page.keyboard.press("Space")
    assert fid.get_attribute("aria-sort") == "ascending"
    assert name.get_attribute("aria-sort") == "none"


def test_groups_of_columns_are_shown_and_hidden(report: Visit) -> None:
    params = column(report.page, "params")
    assert params.is_hidden()
    report.page.get_by_label("Cost", exact=True).check()
    assert params.is_visible()
    report.page.get_by_label("Generation", exact=True).uncheck()
    assert column(report.page, "FID ↓").is_hidden()
    assert report.page.locator("#comparison .groups th").filter(has_text="Generation").is_hidden()
    hidden = report.page.locator("#comparison tbody td[data-group='0']")
    assert not any(cell.is_visible() for cell in hidden.all())


def test_pointing_at_a_heading_or_a_cell_explains_it(report: Visit) -> None:
    tip = report.page.get_by_role("tooltip")
    assert tip.is_hidden()
    column(report.page, "FID ↓").get_by_role("button").hover()
    tip.wait_for(state="visible")
    assert "Fréchet" in tip.inner_text()
    assert "n = 400" in tip.inner_text()
    cell = report.page.locator("#comparison tbody td").first
    cell.hover()
    report.page.wait_for_function("document.querySelector('#tip').textContent.startsWith('FID of')")
    assert cell.get_attribute("aria-describedby") == "tip"
    for words in ("95 % interval", "n = 400", "classifier@3fa94c1e", "Fréchet", "Lower is better"):
        assert words in tip.inner_text()
    report.page.mouse.move(5, 5)
    tip.wait_for(state="hidden")
    assert cell.get_attribute("aria-describedby") is None


def test_an_explanation_can_be_pointed_at_itself(report: Visit) -> None:
    report.page.locator("#comparison tbody td").first.hover()
    tip = report.page.get_by_role("tooltip")
    tip.hover()
    # The page's own timers come in their order, however slow it is.
    report.page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
    assert tip.is_visible()


def test_the_focus_explains_too_and_escape_ends_it(report: Visit) -> None:
    tip = report.page.get_by_role("tooltip")
    column(report.page, "FID ↓").get_by_role("button").focus()
    tip.wait_for(state="visible")
    assert "Lower is better" in tip.inner_text()
    report.page.keyboard.press("Escape")
    tip.wait_for(state="hidden")


def test_arrow_keys_move_between_cells(report: Visit) -> None:
    focused = "[document.activeElement.closest('tr').rowIndex, document.activeElement.cellIndex]"
    table = report.page.locator("#comparison")
    assert table.locator("tbody td[tabindex='0']").count() == 1
    table.locator("tbody td[tabindex='0']").focus()
    for key, place in (
        ("ArrowRight", [2, 2]),
        ("ArrowDown", [3, 2]),
        ("ArrowLeft", [3, 1]),
        ("ArrowUp", [2, 1]),
        ("ArrowUp", [2, 1]),
    ):
        report.page.keyboard.press(key)
        assert report.page.evaluate(focused) == place
    assert "FID of" in report.page.get_by_role("tooltip").inner_text()
    report.page.keyboard.press("End")
    assert report.page.evaluate("document.activeElement.hidden") is False
    assert table.locator("tbody td[tabindex='0']").count() == 1


def test_the_whole_table_is_downloaded_as_csv(report: Visit, folder: Path) -> None:
    with report.page.expect_download() as waiting:
        report.page.get_by_role("button", name="Download CSV").click()
    assert waiting.value.suggested_filename == "mini.csv"
    content = Path(waiting.value.path()).read_bytes()
    frames, _ = prepare(folder)
    assert content == write_csv(frames.comparison)
    assert len(list(csv.DictReader(io.StringIO(content.decode())))) == len(LONG) + 2


def test_the_skip_link_is_the_first_stop(report: Visit) -> None:
    report.page.keyboard.press("Tab")
    assert report.page.evaluate("document.activeElement.className") == "skip"
    report.page.keyboard.press("Enter")
    assert report.page.evaluate("document.activeElement.id") == "main"


def test_everything_has_a_name_for_a_screen_reader(report: Visit) -> None:
    nameless = """[...document.querySelectorAll("button, a, summary, img, [role=group], section")]
        .filter((e) => !(e.textContent.trim() || e.alt || e.getAttribute("aria-label")))
        .map((e) => e.outerHTML.slice(0, 80))"""
    assert report.page.evaluate(nameless) == []
    for landmark in ("main", "navigation", "banner"):
        assert report.page.get_by_role(landmark).count() == 1


def test_the_command_is_copied(browser: "playwright.Browser", folder: Path, tmp_path: Path) -> None:
    frames, findings, plots, left_out = rename(prepare(folder)[0], {name: name for name, _ in LONG})
    path = tmp_path / "report.html"
    path.write_bytes(pages.build_page(frames, findings, plots, left_out))
    opened = visit(browser, path, permissions=["clipboard-read", "clipboard-write"])
    opened.page.get_by_role("button", name="Copy").click()
    opened.page.get_by_role("button", name="Copied").wait_for()
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == frames.results.index.command
    opened.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_scrolls_nothing_but_tables_and_charts(
    browser: "playwright.Browser", file: Path, scheme: str
) -> None:
    opened = visit(browser, file, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert opened.page.evaluate(OVERFLOW) == 0
    for box in opened.page.locator("#controls input").all():
        box.check()
    opened.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert opened.page.evaluate(OVERFLOW) == 0
    assert opened.errors == []
    opened.page.context.close()


CONTRAST = """() => {
  const channel = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((x) => x / 255);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 1) return colour;
    }
  };
  const poor = new Set();
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("svg")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(browser: "playwright.Browser", file: Path, scheme: str) -> None:
    opened = visit(browser, file, color_scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert opened.page.evaluate(CONTRAST) == []
    opened.page.context.close()


def colours(page: "playwright.Page") -> tuple[str, str, str, str]:
    """Of the paper, and how charts and pictures are filtered."""
    shade = "getComputedStyle(document.body).backgroundColor"
    filters = [
        page.locator(image).first.evaluate("(e) => getComputedStyle(e).filter")
        for image in (".chart img", "img.tiles")
    ]
    ink = "getComputedStyle(document.body).color"
    return page.evaluate(shade), page.evaluate(ink), *filters


def test_dark_and_light_differ_and_pictures_are_never_inverted(
    browser: "playwright.Browser", file: Path
) -> None:
    light, dark = (visit(browser, file, color_scheme=scheme) for scheme in ("light", "dark"))
    assert colours(light.page)[:2] != colours(dark.page)[:2]
    assert colours(light.page)[2:] == ("none", "none")
    assert colours(dark.page)[2:] == ("invert(1) hue-rotate(180deg)", "none")
    in_dark = colours(dark.page)
    light.page.locator("#theme").click()
    assert colours(light.page) == in_dark
    light.page.locator("#theme").click()
    assert colours(light.page)[2] == "none"
    assert light.errors + dark.errors == []
    light.page.context.close()
    dark.page.context.close()


def test_it_prints_to_pdf_with_its_tests_open_and_without_controls(
    browser: "playwright.Browser", file: Path
) -> None:
    opened = visit(browser, file, color_scheme="dark")
    content = opened.page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 3
    opened.page.emulate_media(media="print")
    assert opened.page.locator("#controls").is_hidden()
    assert opened.page.locator("#comparison").is_hidden()
    assert opened.page.locator(".print-only table").count() >= 5
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.page.locator("details[data-print]:not([open])").count() == 0
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.page.locator("details[data-print][open]").count() == 0
    opened.page.context.close()


def test_no_table_is_cut_on_paper(browser: "playwright.Browser", file: Path) -> None:
    opened = visit(browser, file, viewport={"width": 695, "height": 1000})
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    wider = """[...document.querySelectorAll("table, img, pre")].filter((e) =>
        e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
        .map((e) => `${e.tagName} ${e.textContent.slice(0, 40)}`)"""
    assert opened.page.evaluate(wider) == []
    opened.page.context.close()


def test_hostile_names_do_nothing(browser: "playwright.Browser", folder: Path) -> None:
    hostile = {
        LONG[0][0]: "<script>document.title = 'owned'</script>",
        "autoencoder": "</script><img src=http://example.org/x onerror=alert(1)>",
        "vae": "\"'><svg onload=alert(1)>",
        "cyclegan": "\N{RIGHT-TO-LEFT OVERRIDE}nagelcyc",
    }
    path = folder / "hostile.html"
    path.write_bytes(pages.build_page(*rename(prepare(folder)[0], hostile)))
    opened = visit(browser, path)
    opened.page.on("dialog", lambda dialog: opened.errors.append(dialog.message))
    column(opened.page, "FID ↓").get_by_role("button").click()
    opened.page.locator("#comparison tbody td").first.hover()
    assert opened.page.title().startswith("mini")
    assert opened.page.locator("img:not([src^='data:'])").count() == 0
    assert "<script>" in "".join(order(opened.page))
    assert (opened.errors, opened.left) == ([], [])
    opened.page.context.close()


def test_nothing_can_be_fetched(browser: "playwright.Browser", file: Path) -> None:
    opened = visit(browser, file)
    fetched = opened.page.evaluate(
        """async () => {
            const image = new Promise((done) => {
                const element = new Image();
                element.onload = () => done("loaded");
                element.onerror = () => done("refused");
                element.src = "http://127.0.0.1:9/x.png";
            });
            const answer = fetch("http://127.0.0.1:9/").then(() => "fetched", () => "refused");
            return [await image, await answer];
        }"""
    )
    assert fetched == ["refused", "refused"]
    assert any("Content Security Policy" in error for error in opened.errors)
    opened.page.context.close()


def test_without_scripts_all_columns_can_be_read(browser: "playwright.Browser", file: Path) -> None:
    opened = visit(browser, file, java_script_enabled=False)
    assert column(opened.page, "params").is_visible()
    assert opened.page.locator("#controls").is_hidden()
    opened.page.context.close()


def test_verdicts_explain_themselves_and_are_walked_by_arrow_keys(
    browser: "playwright.Browser", audited: Path
) -> None:
    opened = visit(browser, audited, viewport={"width": 1280, "height": 900})
    table, tip = opened.page.locator("table.heat"), opened.page.get_by_role("tooltip")
    assert table.locator("tbody td[tabindex='0']").count() == 1
    table.locator("tbody td[tabindex='0']").focus()
    opened.page.keyboard.press("ArrowRight")
    tip.wait_for(state="visible")
    assert tip.inner_text().startswith("FID, features of classifier:")
    assert "noise" in tip.inner_text()
    for _ in range(11):  # past the heading of the second extractor
        opened.page.keyboard.press("ArrowDown")
    assert tip.inner_text().startswith("FID, features of pixels:")
    assert table.locator("tbody td[tabindex='0']").count() == 1
    table.locator("th.fault span").first.hover()
    opened.page.wait_for_function("document.querySelector('#tip').textContent.startsWith('blur')")
    assert (opened.errors, opened.left) == ([], [])
    opened.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["audited", "marked"])
def test_audits_stand_out_on_screens_of_every_width(
    browser: "playwright.Browser", request: pytest.FixtureRequest, kind: str, scheme: str
) -> None:
    path = request.getfixturevalue(kind)
    for width in (360, 1280):
        opened = visit(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
        assert opened.page.evaluate(OVERFLOW) == 0
        assert opened.page.evaluate(CONTRAST) == []
        assert (opened.errors, opened.left) == ([], [])
        opened.page.context.close()


@pytest.mark.parametrize("kind", ["audited", "marked"])
def test_no_verdict_is_cut_on_paper(
    browser: "playwright.Browser", request: pytest.FixtureRequest, kind: str
) -> None:
    opened = visit(browser, request.getfixturevalue(kind), viewport={"width": 695, "height": 1000})
    opened.page.emulate_media(media="print")
    wider = """[...document.querySelectorAll("table, img, pre")].filter((e) =>
        e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
        .map((e) => `${e.tagName} ${e.textContent.slice(0, 40)}`)"""
    assert opened.page.evaluate(wider) == []
    opened.page.context.close()


def test_the_verdicts_of_a_report_can_be_walked_beside_its_comparison(
    browser: "playwright.Browser", marked: Path
) -> None:
    opened = visit(browser, marked, viewport={"width": 1280, "height": 900})
    for table in ("#comparison", "table.heat"):
        assert opened.page.locator(f"{table} tbody td[tabindex='0']").count() == 1
    column(opened.page, "FID† ↓").get_by_role("button").hover()
    tip = opened.page.get_by_role("tooltip")
    tip.wait_for(state="visible")
    assert "misled by" in tip.inner_text()
    assert opened.errors == []
    opened.page.context.close()
