import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic import write_suite

from benchmarks.analysis.pictures import join_tiles
from benchmarks.core.errors import BadInput
from benchmarks.records.schema import Picture
from benchmarks.records.store import read_history, read_record, read_suite, write_record
from benchmarks.reporting import tensorboard as events

pytest.importorskip("tensorboard", reason="no tensorboard")

TWO = (("gan", "gan"), ("cyclegan", "cyclegan"))


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", TWO, seeds=2, failures={("gan", 1): "diverged"})


def load(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), {"scalars": 0, "images": 0, "tensors": 0})
    return accumulator.Reload()


def series(scalars: Sequence[Any]) -> tuple[list[int], list[float]]:
    return [s.step for s in scalars], [s.value for s in scalars]


def test_curves_read_back_over_steps_and_over_images(suite: Path) -> None:
    folders, warnings = events.write_events(read_suite(suite))
    assert warnings == []
    names = ["gan-s0", "gan-s1", "cyclegan-s0", "cyclegan-s1", "real", "noise"]
    assert sorted(folder.name for folder in folders) == sorted(names)
    history = read_history(suite / "runs" / "gan-s0-1a2b3c4d")
    assert history is not None
    found = load(suite / "tensorboard" / "gan-s0")
    steps, losses = series(found.Scalars("loss/generator"))
    assert steps == history["step"].astype(int).to_list()
    assert losses == pytest.approx(history["loss_generator"].to_list(), rel=1e-6)
    validated = history.dropna(subset=["validation_fid"])
    images, fids = series(found.Scalars("by_images/validation_fid"))
    assert images == validated["images"].astype(int).to_list()
    assert fids == pytest.approx(validated["validation_fid"].to_list(), rel=1e-6)
    first, last = found.Scalars("loss/generator")[:: len(steps) - 1]
    assert last.wall_time - first.wall_time == pytest.approx(np.ptp(history["seconds"]))


def test_final_scores_costs_and_settings_are_there(suite: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    path = suite / "runs" / "gan-s0-1a2b3c4d"
    record = read_record(path)
    record.spec["settings"] = {"lr": 0.001, "hidden": [4, 2], "clip": None}
    write_record(path, record)
    events.write_events(read_suite(suite))
    found = load(suite / "tensorboard" / "gan-s0")
    fid = next(score.value for score in record.scores if score.metric == "fid")
    assert series(found.Scalars("scores/fid")) == ([3000], [pytest.approx(fid)])
    assert found.Scalars("costs/parameters")[0].value == record.costs.parameters
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    chosen = HParamsPluginData.FromString(content).session_start_info.hparams
    assert chosen["lr"].number_value == 0.001
    assert chosen["hidden"].string_value == "[4, 2]"
    assert chosen["contender"].string_value == "gan"
    (text,) = found.Tensors("record")[0].tensor_proto.string_val
    assert b"**status**: ok" in text
    diverged = load(suite / "tensorboard" / "gan-s1")
    assert "scores/fid" not in diverged.Tags()["scalars"]
    assert b"is not finite" in diverged.Tensors("record")[0].tensor_proto.string_val[0]


def test_pictures_are_enlarged_and_an_evolution_goes_by_steps(suite: Path) -> None:
    path = suite / "runs" / "gan-s0-1a2b3c4d"
    tiles = np.arange(3 * 8 * 2 * 8, dtype=np.uint8).reshape(24, 16)
    Image.fromarray(tiles).save(path / "evolution.png")
    record = read_record(path)
    record.pictures["evolution"] = Picture(
        file="evolution.png", rows=3, columns=2, seen=[64 * 2400, 64 * 2700, 64 * 3000]
    )
    write_record(path, record)
    events.write_events(read_suite(suite))
    found = load(suite / "tensorboard" / "gan-s0")
    assert set(found.Tags()["images"]) == {f"pictures/{kind}" for kind in record.pictures}
    evolution = found.Images("pictures/evolution")
    assert [image.step for image in evolution] == [2400, 2700, 3000]
    assert {(image.height, image.width) for image in evolution} == {(32, 66)}
    samples = found.Images("pictures/samples")[0]
    assert (samples.height, samples.width) == (8 * 34 - 2, 8 * 34 - 2)
    assert samples.encoded_image_string.startswith(b"\x89PNG")


def test_tiles_keep_their_place() -> None:
    tiles = np.zeros((1, 2, 8, 8, 3), np.uint8)
    tiles[0, 1] = 7
    whole = join_tiles(tiles, 4)
    assert whole.shape == (32, 66, 3)
    assert (whole[:, :32] == 0).all()
    assert (whole[:, 32:34] == 255).all()
    assert (whole[:, 34:] == 7).all()
    assert join_tiles(np.zeros((2, 2, 40, 40, 3), np.uint8), 1).shape == (82, 82, 3)


def test_written_again_curves_are_not_doubled_and_old_runs_are_gone(suite: Path) -> None:
    folders, _ = events.write_events(read_suite(suite))
    before = {path: path.read_bytes() for path in suite.glob("tensorboard/*/*")}
    stale = suite / "tensorboard" / "gone-s0" / events.FILE
    foreign = suite / "tensorboard" / "mine" / "events.out.tfevents.1.mine"
    for path in (stale, foreign):
        path.parent.mkdir()
        path.write_bytes(b"")
    events.write_events(read_suite(suite))
    assert not stale.parent.exists()
    assert foreign.exists()
    after = {path: path.read_bytes() for path in suite.glob("tensorboard/*/*") if path != foreign}
    assert after == before
    assert len(load(folders[0]).Scalars("loss/generator")) == 300


def test_names_that_are_no_folders_give_way_to_those_of_runs(suite: Path) -> None:
    records = read_suite(suite).records[:3]
    records[0].contender = "../out"
    records[1].contender, records[1].seed = "CycleGAN", 0
    records[2].contender, records[2].seed = "cyclegan", 0
    assert events.name_runs(records) == [record.run for record in records]


def test_what_cannot_be_read_is_named_and_left_out(suite: Path) -> None:
    run = suite / "runs" / "gan-s0-1a2b3c4d"
    (run / "history.csv").write_text("nonsense")
    (run / "samples.png").write_bytes(b"")
    _, warnings = events.write_events(read_suite(suite))
    assert len(warnings) == 2
    assert all("gan-s0-1a2b3c4d" in warning for warning in warnings)
    assert "scores/fid" in load(suite / "tensorboard" / "gan-s0").Tags()["scalars"]


def test_without_the_package_it_is_one_line(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r'pip install -e "\.\[tensorboard\]"'):
        events.write_events(read_suite(suite))
    assert not (suite / "tensorboard").exists()


def test_torch_is_not_needed(suite: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmarks.records.store import read_suite\n"
        "from benchmarks.reporting.tensorboard import write_events\n"
        "write_events(read_suite(Path(sys.argv[1])))\n"
        "sys.exit(bool({'torch', 'tensorflow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(suite)], check=False)
    assert done.returncode == 0
