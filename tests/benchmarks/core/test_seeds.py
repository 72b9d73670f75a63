"""Seeds by purpose: every part counts, and what was drawn once can be drawn again."""

import pytest

from benchmarks.core.seeds import derive_seed

PARTS = (0, "digits", "vae", "weights")


def test_a_seed_can_be_found_again_anywhere() -> None:
    # int(sha256(b"0/digits/vae/weights").hexdigest()[:16], 16) >> 1
    assert derive_seed(*PARTS) == 499_281_178_655_721_380


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_every_part_makes_another_seed(place: int) -> None:
    changed, left_out = list(PARTS), list(PARTS)
    changed[place] = "other"
    del left_out[place]
    assert len({derive_seed(*parts) for parts in (PARTS, changed, left_out)}) == 3


def test_parts_neither_swap_nor_run_into_each_other() -> None:
    assert (
        len({derive_seed(*parts) for parts in (("a", "b"), ("b", "a"), ("ab",), ("ab", ""))}) == 4
    )
