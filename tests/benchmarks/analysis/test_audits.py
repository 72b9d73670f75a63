import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from audited import DATA, FAILED, FINE, audit_suite, set_data
from synthetic import EXTRACTOR, write_suite

from benchmarks.analysis import audit_files, audits
from benchmarks.analysis.audits import Audit, demand_audit, find_audit, read_audit
from benchmarks.auditing.store import read_measurements
from benchmarks.core.errors import BadInput
from benchmarks.records.store import read_index, read_suite, seal, write_index


@pytest.fixture(autouse=True)
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The audits of the checkout, none at first."""
    folder = tmp_path / "published"
    folder.mkdir()
    monkeypatch.setattr(audits, "PUBLISHED", folder)
    return folder


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = write_suite(tmp_path / "suite", (("gan", "gan"), ("vae", "vae")), seeds=1)
    set_data(folder, DATA)
    return folder


def find(suite: Path) -> tuple[Audit | None, list[str]]:
    warnings = list[str]()
    return find_audit(read_suite(suite), warnings), warnings


def edit(path: Path, **changes: object) -> None:
    """Change fields of `audit.json` as somebody would who knows how it is sealed."""
    fields = json.loads(path.read_text("utf-8")) | changes
    fields.pop("sha256", None)
    path.write_text(json.dumps(fields | {"sha256": seal(fields)}), "utf-8")


def test_an_audit_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = audit_suite(tmp_path, FAILED | {"kid": {"blur": "undecided"}})
    audit = read_audit(folder)
    rows = audit.verdicts.set_index(["metric", "fault"])
    assert rows.loc[("fid", "drop"), ["verdict", "extractor", "kept"]].tolist() == [
        "blind",
        EXTRACTOR,
        False,
    ]
    assert rows.loc[("fid", "blur"), "kept"] is True
    assert rows.loc[("kid", "blur"), "kept"] is None
    assert rows.loc[("reconstruction_mse", "blur"), "extractor"] == ""
    assert rows["threshold"].isna().all()
    assert audit.about["dataset"] == {"name": "digits", "shape": [1, 8, 8], "fingerprint": DATA}
    assert audit.curves["level"].tolist() == [0]
    assert read_measurements(folder)["value"].tolist() == [float("inf")]
    assert (folder / "verdict.csv").read_text().startswith("dataset,metric,extractor,fault,")


def test_the_same_audit_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = (audit_suite(tmp_path / name) for name in ("a", "b"))
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert Path("measurements.csv.gz") in files
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_pictures_of_an_earlier_audit_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "audit" / "strips" / "blur.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    folder = audit_suite(tmp_path)
    assert not stale.exists()
    assert (folder / "plots" / "heatmap.svg").exists()


def test_failures_are_broken_promises_in_words(tmp_path: Path) -> None:
    many = ("blur", "noise", "shift", "warp", "contrast", "jpeg", "foreign")
    verdicts = FAILED | {
        "kid": {"blur": "sees late", "drop": "undecided", "memoriser": "blind"},
        "recall": dict.fromkeys(many, "blind"),
        "psnr": {"shift": "misled"},
    }
    audit = read_audit(audit_suite(tmp_path, verdicts))
    fid = ["blind to dropped classes and shifts", "misled by duplicates"]
    assert audit.failures("fid", EXTRACTOR) == audit.failures("fid_best", EXTRACTOR) == fid
    assert audit.failures("kid", EXTRACTOR) == []
    assert audit.failures("recall", EXTRACTOR) == [
        "blind to blur, noise, shifts, elastic warps and 3 more"
    ]
    assert (
        audit.failures("psnr", None) == audit.failures("psnr", "pixels@1") == ["misled by shifts"]
    )
    assert [audit.covers(m, EXTRACTOR) for m in ("fid_best", "paired_mse", "precision")] == [
        True,
        True,
        False,
    ]


def test_another_training_of_the_extractor_is_spoken_of_but_no_other_one(tmp_path: Path) -> None:
    audit = read_audit(audit_suite(tmp_path, FAILED))
    assert audit.failures("fid", "classifier@00000000") == audit.failures("fid", EXTRACTOR)
    assert audit.find_extractor("classifier@00000000") == EXTRACTOR
    assert not audit.covers("fid", "random@3fa94c1e")
    assert audit.failures("fid", "random@3fa94c1e") == []


def test_a_suites_own_audit_comes_before_the_published_one(suite: Path, published: Path) -> None:
    assert find(suite) == (None, [])
    audit_suite(published / "digits", FAILED)
    found, _ = find(suite)
    assert found is not None
    assert found.folder == published / "digits" / "audit"
    own = audit_suite(suite)
    found, warnings = find(suite)
    assert found is not None
    assert (found.folder, warnings) == (own, [])


def test_an_audit_of_other_data_never_speaks(suite: Path, published: Path) -> None:
    audit_suite(published / "other", data="0" * 64)
    audit_suite(suite, data="0" * 64)
    found, (warning,) = find(suite)
    assert found is None
    assert "is of other data" in warning


def test_results_of_unknown_data_have_their_own_audit_alone(
    tmp_path: Path, published: Path
) -> None:
    suite = write_suite(tmp_path / "suite", (("gan", "gan"),), seeds=1)
    audit_suite(published / "digits")
    assert find(suite) == (None, [])
    audit_suite(suite)
    assert find(suite)[0] is not None


def damage_text(folder: Path) -> None:
    (folder / "audit.json").write_text('{"schema": 1', "utf-8")


def damage_seal(folder: Path) -> None:
    path = folder / "audit.json"
    path.write_text(path.read_text("utf-8").replace('"samples": 10', '"samples": 11'), "utf-8")


def damage_schema(folder: Path) -> None:
    edit(folder / "audit.json", samples="\x1b[31m many")


def damage_table(folder: Path) -> None:
    path = folder / "verdict.csv"
    path.write_text(path.read_text("utf-8").replace("sees", "blind"), "utf-8")


def remove_table(folder: Path) -> None:
    (folder / "curves.csv").unlink()


def mix_audits(folder: Path) -> None:
    other = audit_suite(folder.parent / "elsewhere", FAILED)
    shutil.copy(other / "verdict.csv", folder)


def rewrite_table(folder: Path, name: str, **changes: object) -> None:
    table = pd.read_csv(folder / name, keep_default_na=False).assign(**changes)
    content = table.to_csv(index=False).encode()
    (folder / name).write_bytes(content)
    digests = json.loads((folder / "audit.json").read_text("utf-8"))["digests"]
    edit(folder / "audit.json", digests=digests | {name: audit_files.digest_table(content)})


def invent_verdict(folder: Path) -> None:
    rewrite_table(folder, "verdict.csv", verdict="perfect")


def invent_fault(folder: Path) -> None:
    rewrite_table(folder, "curves.csv", fault="\x1b]0;gremlins\a")


def put_words_for_numbers(folder: Path) -> None:
    rewrite_table(folder, "floors.csv", mean="__import__('os')")


def leave_out_amounts(folder: Path) -> None:
    faults = json.loads((folder / "audit.json").read_text("utf-8"))["faults"]
    edit(folder / "audit.json", faults=[fault | {"shown": []} for fault in faults])


def lead_outside(folder: Path) -> None:
    (folder / "floors.csv").rename(folder.parent / "floors.csv")
    (folder / "floors.csv").symlink_to(folder.parent / "floors.csv")


DAMAGES = [
    *(damage_text, damage_seal, damage_schema, damage_table, remove_table, mix_audits),
    *(invent_verdict, invent_fault, put_words_for_numbers, leave_out_amounts, lead_outside),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_audit_is_one_line_and_never_speaks(suite: Path, damage: object) -> None:
    folder = audit_suite(suite, FINE)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(BadInput) as error:
        read_audit(folder)
    assert str(error.value).isprintable()
    assert str(folder) in str(error.value)
    found, (warning,) = find(suite)
    assert found is None
    assert warning == str(error.value)


def test_line_ends_of_another_system_do_no_harm(tmp_path: Path) -> None:
    folder = audit_suite(tmp_path, FAILED)
    path = folder / "verdict.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_audit(folder).failures("fid", EXTRACTOR)


def test_measurements_that_unpack_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = audit_suite(tmp_path)
    monkeypatch.setattr("benchmarks.auditing.store.LARGEST_FILE", 1_000)
    for content in (gzip.compress(b"0" * 10_000), b"no archive", gzip.compress(b"a,b\n1,2\n")[:-9]):
        (folder / "measurements.csv.gz").write_bytes(content)
        with pytest.raises(BadInput, match=r"measurements\.csv\.gz is no readable table"):
            read_measurements(folder)


def test_words_that_pandas_takes_for_nothing_stay_words(tmp_path: Path) -> None:
    verdicts = {"nan": {"blur": "blind"}, "NA": {"blur": "sees"}}
    folder = audit_suite(tmp_path, FINE | verdicts)
    assert read_audit(folder).failures("nan", EXTRACTOR) == ["blind to blur"]


def test_a_demanded_audit_that_is_not_there_comes_with_the_command(suite: Path) -> None:
    command = "python -m benchmarks.run mnist --steps 5 --image-size 16 --dataset 'folder:a b'"
    for name, expected in (
        (command, "python -m benchmarks.audit mnist --dataset 'folder:a b' --image-size 16 --out"),
        ("python -m benchmarks.score --help", "python -m benchmarks.audit --dataset digits"),
        ("", "python -m benchmarks.audit --dataset digits --out"),
    ):
        write_index(suite, read_index(suite).model_copy(update={"command": name}))
        with pytest.raises(BadInput, match="no audit covers") as error:
            demand_audit(read_suite(suite))
        assert f"make one by {expected}" in str(error.value)
    audit_suite(suite)
    assert demand_audit(read_suite(suite)).covers("fid", EXTRACTOR)
