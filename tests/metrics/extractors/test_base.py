from unittest.mock import patch

import pytest
import torch

from metrics import EXTRACTORS, Extractor, Material, RandomExtractor, build_extractor, extractor


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (20, 3, 8, 8), generator=rng).to(torch.uint8)


@patch.dict(EXTRACTORS)
def test_a_family_is_built_by_its_members_names(tmp_path, images):
    @extractor(name="seeded:NAME", summary="random with a seed")
    def build(material: Material, name: str) -> Extractor:
        return RandomExtractor(material.images.shape[1], seed=int(name))

    material = Material(images, None, None, "k", tmp_path)
    assert build_extractor("seeded:5", material).hash == RandomExtractor(3, seed=5).hash
    for name in ("seeded:", "seeded", "other:5"):
        with pytest.raises(ValueError, match=f"unknown extractor '{name}'.*seeded:NAME"):
            build_extractor(name, material)


def test_published_hashes_stay():
    """Tables name these; their weights are made from seeds alone."""
    assert str(RandomExtractor(1)) == "random@d3eb92a2"
    assert str(RandomExtractor(3)) == "random@20aafe06"
