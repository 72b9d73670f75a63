import pytest
import torch
from draws import normal

from metrics import matrices


@pytest.mark.parametrize("wide", [2, 40])
def test_matrices_are_those_of_either_library(monkeypatch, wide):
    a, b = normal(20, wide), normal(30, wide, seed=1)
    expected = a @ b.T, a @ a.T
    for amd in (False, True):
        monkeypatch.setattr(matrices, "_is_amd", lambda amd=amd: amd)
        found = matrices.product(a, b), matrices.product(a, a)
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
