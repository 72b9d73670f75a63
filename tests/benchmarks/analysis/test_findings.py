import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import count_calls
from synthetic import write_suite

from benchmarks.analysis.finding import Finding
from benchmarks.analysis.findings import collect_findings, state_flips
from benchmarks.analysis.frames import runs_frame
from benchmarks.analysis.headline import write_headline
from benchmarks.records.store import read_index, read_record, read_suite, write_index, write_record
from benchmarks.reporting.comparison import write_markdown

ROOT = Path(__file__).parents[3]
NAN = math.nan
NEAR, FAR, FARTHER = [1.0, 1.1, 0.9], [5.0, 5.2, 4.8], [9.0, 9.1, 8.8]
SIMILAR = [1.05, 0.95, 1.2]


def runs(
    metric: str = "fid",
    families: dict[str, str] | None = None,
    traits: dict[str, dict[str, object]] | None = None,
    **scores: list[float],
) -> pd.DataFrame:
    """A run for each score; NaN is one that diverged. By default all reconstruct alike."""
    usual = {"uses_source": False, "route": "encoder", "code_size": 16}
    rows = [
        {
            "contender": name,
            "family": (families or {}).get(name, "gan"),
            "seed": seed,
            "training": name,
            **usual,
            **(traits or {}).get(name, {}),
            "status": "diverged" if math.isnan(score) else "ok",
            metric: score,
        }
        for name, values in scores.items()
        for seed, score in enumerate(values)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(contender=pd.Categorical(frame["contender"], categories=[*scores]))


def find_one(frame: pd.DataFrame) -> Finding:
    (finding,) = collect_findings(frame)
    return finding


def read(folder: Path) -> list[Finding]:
    results = read_suite(folder)
    return collect_findings(runs_frame(results))


CHOOSE_A = "For generation, choose a: significantly better than all others by FID (p < 0.05)."


def test_a_leader_that_is_significantly_better_than_all_others_is_chosen() -> None:
    finding = find_one(runs(a=NEAR, b=FAR, c=FARTHER))
    assert finding.summary == (
        "a has the lowest FID (0.997), significantly better than b and c (p < 0.001,"
        " Holm-corrected)."
    )
    assert write_headline([finding]) == [CHOOSE_A]


def test_what_does_not_differ_significantly_is_not_ranked() -> None:
    finding = find_one(runs(b=SIMILAR, a=NEAR, c=FARTHER))
    assert finding.summary.startswith(
        "a has the lowest FID (0.997), but is not significantly different from b with 3 seeds"
        " (about "
    )
    assert finding.summary.endswith(
        "; it is significantly better than c (p = 0.0016, Holm-corrected)."
    )
    (verdict,) = write_headline([finding])
    assert verdict.startswith(
        "For generation, no model is significantly better than all others with 3 seeds:"
        " the best by FID may be a or b (about"
    )


def test_the_seeds_that_are_named_are_those_needed() -> None:
    finding = find_one(runs(a=NEAR, b=SIMILAR))
    needed = finding.pairs["seeds_needed"].iloc[0]
    assert 3 < needed < 100
    assert (
        f"not significantly different from b with 3 seeds (about {needed} seeds" in finding.summary
    )


def test_one_seed_says_nothing_about_other_trainings() -> None:
    findings = collect_findings(runs(a=[1.0], b=[2.0]).assign(inception_score=[8.0, 9.0]))
    why = "differences cannot be tested with fewer than 2 seeds per model"
    assert [finding.summary for finding in findings] == [
        f"a has the lowest FID (1.00), but {why}.",
        f"b has the highest Inception Score (9.00), but {why}.",
    ]
    assert write_headline(findings) == [
        f"No conclusion yet: {why}.",
        "In these runs, a is best by FID and b is best by Inception Score.",
        "A test needs at least 2 seeds per model, and about 4 to detect a difference of 3 standard"
        " deviations over seeds (power 0.8).",
    ]


def test_scores_that_do_not_vary_prove_nothing() -> None:
    finding = find_one(runs(a=[1.0, 1.0], b=[2.0, 2.0]))
    assert "since scores do not vary over seeds" in finding.summary
    assert write_headline([finding])[0].startswith(
        "No conclusion yet: differences cannot be tested"
    )


def test_without_scores_or_rivals_there_is_nothing_to_choose() -> None:
    assert collect_findings(runs(a=[NAN, NAN], b=[math.inf])) == []
    assert write_headline([]) == ["No model has a score, so none can be recommended."]
    alone = find_one(runs(a=NEAR, b=[NAN, NAN, NAN]))
    assert alone.summary == "a has FID 0.997; no other model has this score."
    assert write_headline([alone]) == ["Only a has scores, so there is nothing to compare it with."]


def test_failed_runs_are_named_and_held_against_the_choice() -> None:
    finding = find_one(runs(a=[*NEAR, NAN], b=[*FAR, 5.1], c=[NAN] * 4))
    assert "a: of 4 runs, 1 diverged; its scores are those of the others." in finding.details
    assert "c: of 4 runs, 4 diverged; it has no score." in finding.details
    assert write_headline([finding])[1] == "a is judged by 3 of its 4 runs."


def test_collapsed_runs_are_named() -> None:
    frame = runs(a=NEAR, b=FAR)
    frame.loc[0, "status"] = "collapsed"
    assert "Collapsed runs, scored nevertheless: a (1 of 3)." in find_one(frame).details


def test_a_translators_head_start_is_named_and_who_leads_without_it() -> None:
    traits = {"t": {"uses_source": True}}
    leading = find_one(runs(t=NEAR, b=FAR, c=FARTHER, traits=traits))
    sentence = (
        "t starts from real source images, which is an easier task; among models that start from"
        " noise, b has the lowest FID, significantly better than c (p < 0.001, Holm-corrected)."
    )
    assert sentence in leading.details
    assert write_headline([leading]) == [
        CHOOSE_A.replace("choose a", "choose t"),
        sentence,
    ]
    behind = find_one(runs(t=FARTHER, b=FAR, c=NEAR, traits=traits))
    assert "t starts from real source images, which is an easier task." in behind.details
    assert len(write_headline([behind])) == 1


def test_a_translator_that_reconstructs_best_may_hide_the_images() -> None:
    cycle = {"uses_source": True, "route": "cycle", "code_size": 784}
    frame = runs("reconstruction_mse", traits={"t": cycle, "b": cycle}, t=NEAR, b=FAR)
    assert write_headline([find_one(frame)]) == [
        "For reconstruction among models that translate to the source domain and back (codes of 784"
        " numbers), choose t: significantly better than all others by MSE (p < 0.05).",
        "t reconstructs through the source domain, and may hide information about the original in"
        " its translations.",
    ]


def test_flips_by_other_extractors_are_named() -> None:
    frame = runs(a=NEAR, b=FAR, c=FARTHER)
    frame["fid@random@12ab"] = [*FAR, *FARTHER, *(10 * x for x in FARTHER)]
    frame["fid@pixels@34cd"] = [*FAR, *NEAR, *FARTHER]
    finding = find_one(frame)
    flip = "With the extractor pixels the order is reversed: b is significantly better than a."
    assert finding.details[0] == flip
    same = "Significantly different pairs come in the same order with the extractor random."
    assert same in finding.details
    assert write_headline([finding]) == [
        CHOOSE_A,
        flip,
    ]


def test_a_reversed_order_that_is_not_significant_is_said_to_be() -> None:
    frame = runs(a=NEAR, b=FAR).assign(**{"fid@pixels@34cd": [*SIMILAR, *NEAR]})
    assert state_flips(find_one(frame)) == [
        "With the extractor pixels the order is reversed: b is better than a (not significantly)."
    ]


def test_who_is_within_the_floor_is_named() -> None:
    frame = runs(a=NEAR, b=FAR).assign(fid_floor_high=2.0)
    assert find_one(frame).details[-1] == (
        "The FID of a is within its floor (up to 2.00): this many samples show no difference"
        " between model and data."
    )


def test_foreign_images_and_calibration_do_not_compete() -> None:
    families = {"theirs": "external", "real": "calibration"}
    finding = find_one(runs(a=NEAR, b=FAR, theirs=[0.5], real=[0.1], families=families))
    assert list(finding.ranking["contender"]) == ["a", "b"]
    assert finding.details[-1].endswith("without seeds to test: theirs (0.500).")
    assert "significantly better" in finding.summary


def test_a_contender_with_one_run_left_is_not_judged() -> None:
    finding = find_one(runs(a=[1.0, NAN, NAN], b=FAR, c=FARTHER))
    assert "not significantly different from any other model with 1 to 3 seeds." in finding.summary
    assert any(line.startswith("a has only one scored run") for line in finding.details)
    assert "no model is significantly better" in write_headline([finding])[0]


def both(fid: dict[str, list[float]], inception: dict[str, list[float]]) -> list[str]:
    frame = runs(**fid)
    frame["inception_score"] = [x for name in fid for x in inception[name]]
    return write_headline(collect_findings(frame))


def test_a_leader_by_one_score_must_not_be_behind_by_another() -> None:
    high, low, middle = [9.0, 9.1, 8.9], [4.0, 4.1, 3.9], [6.0, 9.0, 12.0]
    assert both({"a": NEAR, "b": FAR}, {"a": high, "b": low}) == [
        "For generation, choose a: significantly better than all others by FID and Inception"
        " Score (p < 0.05)."
    ]
    assert both({"a": NEAR, "b": FAR}, {"a": high, "b": middle}) == [
        f"{CHOOSE_A[:-1]}; no model is significantly better by Inception Score."
    ]
    assert both({"a": NEAR, "b": FAR}, {"a": low, "b": high}) == [
        "For generation, the choice depends on the score: a is significantly better than all others"
        " by FID; b is significantly better than all others by Inception Score."
    ]


def test_one_choice_for_all_uses_is_one_sentence() -> None:
    frame = runs(a=NEAR, b=FAR).assign(reconstruction_mse=[*NEAR, *FAR])
    assert write_headline(collect_findings(frame)) == [
        "For generation and reconstruction among models that encode and decode (codes of 16"
        " numbers), choose a: significantly better than all others by FID and MSE (p < 0.05)."
    ]


def test_equal_contenders_seldom_differ_significantly() -> None:
    rng = np.random.default_rng(0)
    claims = [
        "significantly better" in find_one(runs(**frame)).summary
        for frame in (
            {name: np.exp(rng.normal(0, 0.3, 3)).tolist() for name in "abcde"} for _ in range(40)
        )
    ]
    assert np.mean(claims) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 40)


@pytest.mark.parametrize("contenders", [20, 100])
def test_the_text_stays_short_with_many_contenders(contenders: int) -> None:
    rng = np.random.default_rng(1)
    frame = runs(**{f"c{i}": np.exp(rng.normal(i % 5, 0.5, 5)).tolist() for i in range(contenders)})
    finding = find_one(frame)
    assert count_calls(lambda: find_one(frame)) < 400_000
    assert max(map(len, [finding.summary, *finding.details, *write_headline([finding])])) < 250
    assert "not significantly different from" in finding.summary
    assert finding.summary.count(", c") <= 3


def test_names_stay_in_one_line() -> None:
    finding = find_one(runs(**{"a\n\x1b[31mb": NEAR, "c": FAR}))
    text = " ".join([finding.summary, *finding.details, *write_headline([finding])])
    assert text.isprintable()


def test_a_suite_on_disk_is_put_into_words(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "digits", failures={("vae", 1): "failed"})
    findings = read(folder)
    assert [finding.metric for finding in findings] == [
        "fid",
        "inception_score",
        "reconstruction_mse",
    ]
    assert findings[0].summary.startswith("gan has the lowest FID (")
    assert "vae: of 3 runs, 1 failed; its scores are those of the others." in findings[0].details
    assert write_headline(findings)[0] == (
        "For generation, choose gan: significantly better than all others by FID and Inception"
        " Score (p < 0.05)."
    )


@pytest.mark.parametrize("suite", ["digits", "mnist", "modes", "modes_grid", "likelihood"])
def test_the_reference_results_say_nothing_beyond_their_tests(suite: str) -> None:
    findings = read(ROOT / "results" / "reference" / suite)
    assert findings
    assert write_headline(findings)
    for finding in findings:
        beaten = finding.pairs["p_holm"] <= 0.05
        claimed = "significantly better than" in finding.summary
        assert claimed == (beaten & (finding.pairs["first"] == finding.leader)).any()


def test_reconstructions_are_ranked_within_a_route_and_code_size() -> None:
    traits: dict[str, dict[str, object]] = {
        "search": {"route": "search", "code_size": 100},
        "small": {"route": "search", "code_size": 32},
        "own": {"code_size": None},
    }
    scores = {"small": [0.4, 0.5, 0.45], "a": NEAR, "b": FAR, "search": SIMILAR, "own": [0.1] * 3}
    finding = find_one(runs("reconstruction_mse", traits=traits, **scores))
    assert finding.summary == (
        "Among models that encode and decode (codes of 16 numbers), a has the lowest MSE (0.997),"
        " significantly better than b (p < 0.001, Holm-corrected)."
    )
    assert list(finding.ranking["contender"]) == ["a", "b"]
    assert finding.details[0] == (
        "Reconstructions compare only within a route and code size; not compared:"
        " own (encoder, codes of unknown size; MSE 0.100), small (search, codes of 32"
        " numbers; MSE 0.448) and search (search, codes of 100 numbers; MSE 1.06)."
    )


def test_each_route_has_a_winner_of_its_own() -> None:
    traits: dict[str, dict[str, object]] = {name: {"route": "search"} for name in "cd"}
    frame = runs("reconstruction_mse", traits=traits, a=NEAR, b=FAR, c=FAR, d=FARTHER)
    assert [finding.leader for finding in collect_findings(frame)] == ["a", "c"]


def test_where_no_two_reconstruct_alike_no_model_is_ranked() -> None:
    frame = runs("reconstruction_mse", traits={"a": {"route": "search"}}, a=NEAR, b=FAR)
    finding = find_one(frame)
    assert finding.summary == (
        "No model is ranked by MSE: no two models reconstruct by the same route from codes of the"
        " same size."
    )
    assert finding.ranking.empty
    assert write_headline([finding]) == ["No score can rank these models.", finding.summary]


def test_a_training_by_several_samplers_reconstructs_once() -> None:
    traits: dict[str, dict[str, object]] = {
        name: {"training": "vae"} for name in ("vae_prior", "vae_mixture")
    }
    scores = {"vae_prior": [*NEAR[:2], NAN], "vae_mixture": NEAR, "b": FAR}
    finding = find_one(runs("reconstruction_mse", traits=traits, **scores))
    assert list(finding.ranking["contender"]) == ["vae", "b"]
    assert list(finding.ranking["seeds"]) == [3, 3]


def test_rows_of_one_training_are_spoken_of_as_such() -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, 5)
    traits: dict[str, dict[str, object]] = {name: {"training": "vae"} for name in ("x", "y")}
    scores = {"x": np.exp(luck).tolist(), "y": np.exp(luck + 0.2 + 0.02 * rng.normal(size=5))}
    finding = find_one(runs(traits=traits, **scores))
    assert "significantly better than y" in finding.summary
    assert (
        "In 100 % of their common trainings, x is better than y (95 % interval"
        in finding.details[0]
    )


def test_caveats_are_never_cut_off_by_others() -> None:
    traits: dict[str, dict[str, object]] = {"t": {"uses_source": True}}
    frame = runs(t=[*NEAR, NAN], b=[*FAR, 5.1], traits=traits)
    turned = [*FAR, math.nan, *NEAR, 1.0]
    views = {f"fid@view{i}@12ab": turned for i in range(4)}
    answer = write_headline(collect_findings(frame.assign(**views)))
    assert sum("the order is reversed" in line for line in answer) == 4
    assert "t is judged by 3 of its 4 runs." in answer
    assert answer[-1].startswith("t starts from real source images")


def test_what_is_said_of_a_translator_follows_from_no_name(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", (("unit", "cyclegan"), ("vae", "vae")))
    for path in folder.glob("runs/unit-*"):
        write_record(path, read_record(path).model_copy(update={"family": "unit"}))
    index = read_index(folder)
    entry = index.contenders[0].model_copy(update={"family": "unit"})
    write_index(folder, index.model_copy(update={"contenders": [entry, index.contenders[1]]}))
    text = " ".join([*write_headline(read(folder)), *read(folder)[0].details])
    assert "unit starts from real source images, which is an easier task" in text
    table = write_markdown(read_suite(folder)).decode()
    assert "unit starts from held-out real source images, the others from noise." in table
    assert "cyclegan" not in (text + table).lower()
    kinds = ("py", "html", "js")
    sources = [path for kind in kinds for path in ROOT.glob(f"benchmarks/**/*.{kind}")]
    assert not [path for path in sources if "cyclegan" in path.read_text("utf-8").lower()]
