"""The first sentences of a report's page: which model to choose, and what to keep in mind."""

from collections.abc import Iterable, Sequence
from functools import reduce

from benchmarks.analysis.finding import (
    Finding,
    explain_untested,
    name_models,
    state_seeds,
    state_seeds_needed,
)
from benchmarks.analysis.findings import state_flips, state_head_start
from benchmarks.analysis.marks import state_audit
from benchmarks.core.text import join_words, plain
from benchmarks.statistics.differences import ALPHA, FEWEST_SEEDS, POWER, seeds_for

ADVICE = 3
"""Sentences at most on which model to choose; caveats are never cut off."""
EXAMPLE = 3
"""The difference, in standard deviations over seeds, of the advice for suites of one seed."""


def write_headline(findings: Sequence[Finding]) -> list[str]:
    """Write the page's first sentences, at most `ADVICE` on which model to choose, then caveats."""
    refusals = [finding.refusal for finding in findings if finding.refusal]
    findings = [finding for finding in findings if len(finding.ranking)]
    names = {name for finding in findings for name in finding.ranking["contender"]}
    if not findings and refusals:
        return ["No score can rank these models.", *refusals]
    if not findings:
        return ["No model has a score, so none can be recommended."]
    if len(names) == 1:
        return [f"Only {plain(names.pop())} has scores, so there is nothing to compare it with."]
    audits = state_audit([finding.failures for finding in findings])
    if not any(finding.tested for finding in findings):
        return [*_explain_no_tests(findings), *audits, *refusals, *_list_caveats(findings, set())]
    by_use: dict[str, list[Finding]] = {}
    for finding in findings:
        by_use.setdefault(finding.use, []).append(finding)
    chosen = {find_winner(part) for part in by_use.values()}
    if len(by_use) > 1 and len(chosen) == 1 and None not in chosen:
        advice = [_advise(join_words([*by_use]), findings)]
    else:
        advice = [_advise(use, part) for use, part in by_use.items()]
    return [*advice[:ADVICE], *audits, *refusals, *_list_caveats(findings, chosen)]


def find_winner(findings: Sequence[Finding]) -> str | None:
    """Return the one model that is significantly best by some score and beaten by none, if any."""
    leaders = {finding.leader for finding in findings if finding.certain}
    safe = [name for name in leaders if all(name in f.unbeaten for f in findings)]
    return safe[0] if len(leaders) == len(safe) == 1 else None


def _advise(use: str, findings: Sequence[Finding]) -> str:
    """State which model to choose for a use, by the findings that bear on it."""
    certain = [finding for finding in findings if finding.certain]
    left = [finding for finding in findings if not finding.certain]
    best = "significantly better than all others"
    if winner := find_winner(findings):
        also = f"; no model is significantly better by {_name_scores(left)}" if left else ""
        return (
            f"For {use}, choose {plain(winner)}: {best} by {_name_scores(certain)}"
            f" (p < {ALPHA:.2g}){also}."
        )
    if certain:
        leads = [f"{plain(f.leader)} is {best} by {f.symbol}" for f in certain]
        leads += [_state_open(finding) for finding in left]
        return f"For {use}, the choice depends on the score: {'; '.join(leads)}."
    common = reduce(lambda a, b: [name for name in a if name in b], [f.unbeaten for f in left])
    seeds = state_seeds(left[0].ranking)
    if len(common) == 1:
        return (
            f"For {use}, the safest choice is {plain(common[0])}: no model is significantly better"
            f" by {_name_scores(left)}, though {seeds} it is not {best}."
        )
    texts = [_state_open(finding) for finding in left]
    return f"For {use}, no model is {best} {seeds}: {'; '.join(texts)}."


def _state_open(finding: Finding) -> str:
    """State which models may be the best by a score, and how many seeds might tell."""
    needed = state_seeds_needed(finding.rivals[~(finding.rivals["p_holm"] <= ALPHA)])
    names = name_models(finding.unbeaten, "or")
    return f"the best by {finding.symbol} may be {names}{needed}"


def _explain_no_tests(findings: Sequence[Finding]) -> list[str]:
    """State who leads and why nothing could be tested, and how many seeds a test takes."""
    leaders = dict.fromkeys(finding.leader for finding in findings)
    leads = [
        f"{plain(name)} is best by {join_words([f.scale for f in findings if f.leader == name])}"
        for name in leaders
    ]
    sentences = [
        f"No conclusion yet: {explain_untested(findings[0])}.",
        f"In these runs, {join_words(leads)}.",
    ]
    if min(finding.ranking["seeds"].nlargest(2).min() for finding in findings) < FEWEST_SEEDS:
        needed = seeds_for(EXAMPLE, max(len(finding.pairs) for finding in findings))
        sentences.append(
            f"A test needs at least {FEWEST_SEEDS} seeds per model, and about {needed} to detect a"
            f" difference of {EXAMPLE} standard deviations over seeds (power {POWER:g})."
        )
    return sentences


def _list_caveats(findings: Sequence[Finding], chosen: set[str | None]) -> list[str]:
    """List what to keep in mind about the models that were chosen or lead."""
    lines = [line for finding in findings for line in state_flips(finding)]
    columns = ["contender", "seeds", "runs"]
    for finding in findings:
        rows = finding.ranking[finding.ranking["unscored"] > 0]
        for name, seeds, total in rows.loc[rows["contender"].isin(chosen), columns].to_numpy():
            lines.append(f"{plain(name)} is judged by {seeds} of its {total} runs.")
    for finding in findings:
        if finding.ranking["uses_source"].iloc[0] or finding.route == "cycle":
            lines += state_head_start(finding)
    return list(dict.fromkeys(lines))


def _name_scores(findings: Iterable[Finding]) -> str:
    return join_words([finding.symbol for finding in findings])
