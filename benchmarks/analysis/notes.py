"""What is to be known beside the numbers of a suite, in sentences: caption, doubts and notes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pandas as pd

from benchmarks.analysis.lookup import name_training, read_traits, score_of, shown_extractor
from benchmarks.config.registry import SAME_CODE, hash_model, list_models
from benchmarks.config.spec import CALIBRATION
from benchmarks.core.text import join_words, plain, show_number, show_share
from benchmarks.evaluation.extractors import doubt_extractor
from benchmarks.records.schema import Record
from benchmarks.records.store import Results

NAMED = 8
"""Contenders that a sentence of the caption names before it counts the rest."""


def caption(results: Results, intervals: str = "Brackets", *, brief: bool = False) -> str:
    """Explain a table's numbers: data set, reference, samples, extractor, intervals, routes.

    Args:
        results: what it is of.
        intervals: where the table has them.
        brief: whether it has only the headline scores.
    """
    records = results.records
    sampling = (s.interval for r in records for s in r.scores if s.metric == "fid" and s.interval)
    by = f" ({words})" if (words := next(sampling, None)) else ""
    translators = dict.fromkeys(plain(r.contender) for r in records if read_traits(r).uses_source)
    sentences = [
        f"Data set {results.index.dataset}; {_provenance(results)}.",
        "FIDs of different extractors are not to be compared; MSE is of pixels in [0, 1], and"
        " reconstructions compare by one route from codes of one size alone.",
        f"{intervals}: 95 % interval, Student's t over seeds (FID and MSE: on the log scale, about"
        f" the geometric mean); with one seed, over samples{by}.",
    ]
    if not brief:
        sentences += [
            "Spread: geometric standard deviation of FID over seeds. Best FID: of the checkpoint"
            " best by validation; last/best: how many times worse the last one is.",
            "Diverged and failed runs are counted, not averaged.",
        ]
        if any(record.status == "collapsed" for record in records):
            sentences.append("Collapsed runs are counted, and averaged by their scores.")
    if len(_sample_counts(results)) > 1:
        sentences.append("Sample counts differ, and FID falls as they grow: compare with care.")
    if translators:
        starts = "starts" if len(translators) == 1 else "start"
        names = join_words(list(translators), NAMED)
        sentences.append(
            f"{names} {starts} from held-out real source images, the others from noise."
        )
    sentences += _shared_trainings(records)
    if any(record.family == CALIBRATION for record in records):
        sentences.append(
            "real (training images) is the floor at this sample size, noise the ceiling."
        )
    if note := note_other_code(records):
        sentences.append(f"{note}.")
    return " ".join(sentences)


def _shared_trainings(records: Sequence[Record]) -> list[str]:
    """Return a sentence for each training with several rows, and how it was validated."""
    rows: dict[str, dict[str, bool]] = defaultdict(dict)
    for record in records:
        if isinstance(sampler := record.spec.get("sampler"), dict):
            fields = (sampler.get("validation"), record.spec.get("settings"))
            validation, settings = (f if isinstance(f, dict) else {} for f in fields)
            first = validation.items() <= settings.items()
            rows[name_training(record)][plain(record.contender)] = first
    return [
        f"{join_words([*names], NAMED)} are rows of one training; validation samples as"
        f" {join_words([name for name, first in names.items() if first])} does."
        for names in rows.values()
    ]


def note_other_code(records: Sequence[Record]) -> str:
    """Name those whose models have been trained with other code than there is now, if any.

    Records without a hash of that code tell it by the version of the model alone.
    """
    runs = Counter(record.contender for record in records)
    now = {model: hash_model(model) for model in {str(r.spec.get("model")) for r in records}}
    old = Counter(record.contender for record in records if _has_other_code(record, now))
    names = ", ".join(_of_all(name, count, runs[name]) for name, count in old.items())
    return f"{names}: trained with other code" if names else ""


def _has_other_code(record: Record, now: dict[str, str | None]) -> bool:
    model, version = (str(record.spec.get(key)) for key in ("model", "model_version"))
    if record.code is not None:
        return SAME_CODE.get(record.code, record.code) != now[model]
    entry = list_models().get(model)
    return entry is not None and record.family != CALIBRATION and version != str(entry.version)


def _provenance(results: Results) -> str:
    extractor = shown_extractor(results.records)
    scores = [s for r in results.records if (s := score_of(r, "fid", extractor))]
    if not scores:
        return "no run has an FID"
    counts = " or ".join(f"{n:,}" for n in _sample_counts(results))
    references = " or ".join(sorted({s.reference for s in scores if s.reference}))
    right = find_accuracy(results.records)
    skill = (
        f", which puts {show_share(right, 1)} of the test images into their class" if right else ""
    )
    return f"{counts} samples a run, scored against the {references} split by {extractor}{skill}"


def find_accuracy(records: Sequence[Record]) -> float | None:
    """Return the share of test images whose class the extractor that is shown has found."""
    extractor = shown_extractor(records)
    scores = (score_of(record, "extractor_accuracy", extractor) for record in records)
    return next((score.value for score in scores if score), None)


def doubt_features(records: Sequence[Record]) -> list[str]:
    """Return a line on why the extractor that is shown is a weak judge of the images, if it is.

    Of old records, without the shape of their images, a classifier alone is doubted.
    """
    shape = next((record.shape for record in records if record.shape), (1, 1, 1))
    return doubt_extractor(shown_extractor(records) or "", shape, find_accuracy(records))


def _sample_counts(results: Results) -> list[int]:
    """Return the numbers of images that FID was computed from."""
    extractor = shown_extractor(results.records)
    scores = [score_of(record, "fid", extractor) for record in results.records]
    return sorted({score.n for score in scores if score and score.n})


def failures(records: Iterable[Record]) -> list[str]:
    """Return a line for each run that is not ok: `gan, seed 1: diverged (loss is not finite)`."""
    return [
        f"{record.contender}{'' if record.seed is None else f', seed {record.seed}'}:"
        f" {record.status} ({record.reason})"
        for record in records
        if record.status != "ok"
    ]


def remarks(results: Results, frame: pd.DataFrame) -> list[str]:
    """Return a line for each doubt, run that is not ok, note and value of a paper."""
    return [
        *doubt_features(results.records),
        *failures(results.records),
        *model_notes(results.records),
        *score_notes(results.records),
        *compare_published(results, frame),
    ]


def model_notes(records: Iterable[Record]) -> list[str]:
    """Return a line for each note on a model, with all contenders that it concerns."""
    concerned: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        if note := read_traits(record).note:
            concerned[note][record.contender] = None
    return [f"{', '.join(names)}: {note}" for note, names in concerned.items()]


def score_notes(records: Sequence[Record]) -> list[str]:
    """Return a line for each note on scores of last checkpoints, with all contenders concerned.

    Of the extractor that is shown, and why the scores of others are missing; where a note is not of
    all runs, of how many it is.
    """
    extractor, runs = shown_extractor(records), Counter(r.contender for r in records if r.scores)
    concerned: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for run, score in ((record, score) for record in records for score in record.scores):
        own = score.checkpoint == "last" and score.extractor in {None, extractor}
        if score.note and (own or score.failed):
            metric = score.metric if own else f"{score.metric} by {score.extractor}"
            for note in [score.note] if score.failed else score.note.split("; "):
                said = note.replace("not told apart", "not distinguishable")  # in old records
                concerned[metric, said][run.contender] += 1
    return [
        f"{metric} of {', '.join(_of_all(n, count, runs[n]) for n, count in found.items())}: {note}"
        for (metric, note), found in concerned.items()
    ]


def _of_all(name: str, count: int, runs: int) -> str:
    return name if count == runs else f"{name} ({count} of {runs} runs)"


def compare_published(results: Results, frame: pd.DataFrame) -> list[str]:
    """Return a line for each value that a paper reports, beside the suite's own."""
    published = results.index.published
    if published is None:
        return []
    rows = {row["contender"]: row for row in frame.to_dict("records")}
    lines = []
    for contender, scores in published.scores.items():
        row = rows.get(contender, {})
        for metric in (metric for metric in scores if metric in row):
            own, low, high = (show_number(row[f"{metric}{end}"]) for end in ("", "_low", "_high"))
            here = f"here {own} [{low}, {high}]" if own else "here none"
            stated = f"{published.source} has {show_number(scores[metric])}"
            lines.append(f"{contender}: {metric}: {here}; {stated}")
    return lines
