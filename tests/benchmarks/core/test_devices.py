from pathlib import Path

import pytest
import torch

from benchmarks.core import devices
from benchmarks.core.devices import choose_device, multiplies_bfloat16
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


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 vaes\n", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512bw vaes\n", False),
        ("model name\t: avx512_bf16\nflags\t\t: fpu avx2\n", False),
        (None, False),
    ],
)
def test_a_cpu_multiplies_bfloat16_where_its_flags_say_so(
    flags: str | None, multiplies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    if flags is not None:
        devices.CPUINFO.write_text(f"processor\t: 0\n{flags}bugs\t\t:\n", encoding="utf-8")
    assert multiplies_bfloat16() is multiplies
