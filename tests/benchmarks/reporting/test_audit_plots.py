from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import texts
from matplotlib.figure import Figure
from synthetic_audit import EXTRACTORS, FAULTS, IMAGES, make_audit
from test_plots import check_texts

from benchmarks.analysis.audits import Audit
from benchmarks.reporting.audits import SIGNS, lay_out_verdicts
from benchmarks.reporting.plots import draw_heatmap, draw_ladder, render_audit
from benchmarks.reporting.plots.audits import LINEAR
from benchmarks.reporting.plots.registry import save, style


@pytest.fixture(scope="module")
def audit() -> Audit:
    return make_audit()


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    with style(paper=False):
        figure.draw_without_rendering()
    return figure


def signs(figure: Figure) -> list[str]:
    """What stands in the cells, those of the key included."""
    shown = {*SIGNS.values(), *(f"{sign}!" for sign in SIGNS.values())}
    return [text.get_text() for text in texts(figure) if text.get_text() in shown]


@pytest.mark.parametrize("extractor", [None, EXTRACTORS[0]])
def test_no_text_of_the_heat_map_is_cropped_and_none_overlaps(
    audit: Audit, extractor: str | None
) -> None:
    check_texts(drawn(draw_heatmap(audit, extractor=extractor)))


@pytest.mark.parametrize("fault", ["blur", "drop", "gaussian"])
def test_no_text_of_a_ladder_is_cropped_and_none_overlaps(audit: Audit, fault: str) -> None:
    check_texts(drawn(draw_ladder(audit, fault)))


def test_every_verdict_has_a_cell_with_its_sign(audit: Audit) -> None:
    key = signs(drawn(draw_heatmap(make_audit(metrics=("psnr",), faults=("blur",)))))
    shown = signs(drawn(draw_heatmap(audit)))
    assert len(shown) - (len(key) - 1) == len(audit.verdicts)
    broken = audit.verdicts["promise"].ne("") & (audit.verdicts["kept"] == False)  # noqa: E712
    assert sum("!" in sign for sign in shown) - 1 == broken.sum()


def test_one_extractor_alone_can_be_drawn(audit: Audit) -> None:
    words = [t.get_text() for t in texts(drawn(draw_heatmap(audit, extractor=EXTRACTORS[1])))]
    assert "features of pixels" in words
    assert "features of classifier" not in words
    assert "image by image" not in words
    assert draw_heatmap(audit, extractor="nobody@00000000") is None


def test_a_ladder_has_a_panel_an_extractor_and_pairs_one_of_their_own(audit: Audit) -> None:
    titles = [axes.get_title(loc="left") for axes in drawn(draw_ladder(audit, "blur")).axes]
    assert [title.rpartition(" ")[2] for title in titles] == [
        *("classifier", "pixels", "random"),
        "image",
    ]
    assert len(drawn(draw_ladder(audit, "drop")).axes) == len(EXTRACTORS)


def test_a_ladder_rings_the_thresholds(audit: Audit) -> None:
    figure = drawn(draw_ladder(audit, "drop"))
    rings = sum(
        line.get_fillstyle() == "full" and len(line.get_xdata()) == 1
        for axes in figure.axes
        for line in axes.lines
    )
    found = audit.verdicts[audit.verdicts["fault"] == "drop"]["threshold"].notna()
    assert rings == found.sum()


def test_a_floor_without_spread_ends_at_the_edge() -> None:
    audit = make_audit(metrics=("fid", "recall"), extractors=EXTRACTORS[:1], faults=("blur",))
    damaged = (audit.curves["metric"] == "fid") & (audit.curves["level"] > 0)
    audit.curves.loc[damaged, "excess"] = np.inf
    (axes,) = drawn(draw_ladder(audit, "blur")).axes
    low, high = axes.get_ylim()
    assert max(axes.lines[0].get_ydata()) == high
    assert low < -LINEAR < LINEAR < high


def test_what_was_not_measured_is_not_drawn(audit: Audit) -> None:
    assert all(
        cell is None
        for line in lay_out_verdicts(audit)[-1].lines
        for fault, cell in line.cells.items()
        if fault not in IMAGES
    )
    empty = make_audit(metrics=("psnr",), faults=("drop",))
    assert draw_heatmap(empty) is None
    assert draw_ladder(empty, "drop") is None
    assert render_audit(empty) == {}


def test_all_plots_are_files_and_the_same_each_time() -> None:
    few = {"metrics": ("fid", "psnr"), "extractors": EXTRACTORS[:1], "faults": ("blur", "drop")}
    files = render_audit(make_audit(**few))
    maps = {f"{name}.{kind}" for name in ("heatmap", "heatmap_all") for kind in ("png", "svg")}
    assert set(files) == maps | {"blur.png", "drop.png"}
    assert files == render_audit(make_audit(**few))


def test_hostile_names_are_one_line_of_text() -> None:
    name = "$\\frac{1}$<b>\x1b[31m\n\x00]]>--" + "x" * 200
    audit = make_audit(names={"fid": name, "blur": name}, faults=("blur", "drop"))
    for figure in (draw_heatmap(audit), draw_ladder(audit, "blur")):
        check_texts(drawn(figure))
        ElementTree.fromstring(save(drawn(figure), "svg"))


def test_every_fault_can_be_drawn_without_words_for_its_amounts(audit: Audit) -> None:
    bare = make_audit(faults=("blur", "quantisation"))
    for fault in bare.about["faults"]:
        del fault["shown"]
    words = " ".join(
        t.get_text() for t in drawn(draw_ladder(bare, "quantisation")).axes[0].get_xticklabels()
    )
    assert "32 grey levels" in words
    assert set(FAULTS) == set(audit.verdicts["fault"])
