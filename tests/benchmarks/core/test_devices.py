import pytest
import torch

from benchmarks.core.devices import choose_device
from benchmarks.core.errors import BadInput


def test_mps_is_a_device_where_there_is_one_and_never_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (choose_device("mps"), choose_device("auto")) == ("mps", "cpu")
    with pytest.raises(BadInput, match="--device cuda: this machine has cpu, mps"):
        choose_device("cuda")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"--device mps: this machine has cpu$"):
        choose_device("mps")
