import pickle
import warnings
from urllib.error import URLError

import pytest
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from metrics import InceptionExtractor, frechet_distance, inception_score

ALIVE = 6
COUNT = 10


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in the file format of the published ones.

    All but a few of the 2048 features are switched off: with more images than features that live,
    torch-fidelity's own result is well conditioned, and quick.
    """
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        blank = path.with_name("blank.pth")
        torch.save({}, blank)
        network = FeatureExtractorInceptionV3("random", ["2048"], str(blank))
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    network.fc.weight *= 400
    last = network.Mixed_7c
    for branch in (last.branch3x3_2a, last.branch3x3_2b, last.branch3x3dbl_3a):
        branch.bn.bias.fill_(-1e3)
    for branch in (last.branch3x3dbl_3b, last.branch_pool):
        branch.bn.bias.fill_(-1e3)
    last.branch1x1.bn.bias[ALIVE:] = -1e3
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def extractor(weights):
    return InceptionExtractor(weights)


def pictures(channels: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(COUNT, channels, 5, 5, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return (255 * fine).round().to(torch.uint8)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_agrees_with_torch_fidelity(weights, extractor):
    real, fake = pictures(3, 0), pictures(3, 1) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch_fidelity.calculate_metrics(
            input1=Pictures(fake),
            input2=Pictures(real),
            fid=True,
            isc=True,
            isc_splits=1,
            batch_size=COUNT,
            cuda=False,
            verbose=False,
            cache=False,
            save_cpu_ram=True,
            feature_extractor_weights_path=str(weights),
        )
    ours = extractor(fake, batch=COUNT)
    distance = frechet_distance(extractor(real, batch=COUNT).features, ours.features)
    assert distance == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    score = inception_score(ours.logits)
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert score > 1.01


def test_grey_is_repeated_to_rgb(extractor):
    grey = pictures(1, 2)[:2]
    once, thrice = extractor(grey), extractor(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(once, thrice, rtol=0, atol=0)
    assert once.features.shape == (2, 2048)
    assert once.logits.shape == (2, 1008)


class Payload:
    def __reduce__(self):
        return pytest.fail, ("a file of weights was unpickled",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*--inception-weights"),
        (b"", "cannot read"),
        (b"not a file of weights", "cannot read"),
        (pickle.dumps({"a": 1}, protocol=2), "cannot read|holds no weights"),
        (Payload(), "cannot read"),
        ({"conv": torch.zeros(3)}, "holds no weights"),
        ([1, 2], "holds no weights"),
    ],
    ids=["missing", "empty", "text", "pickle", "code", "other network", "list"],
)
def test_wrong_weights_are_one_line(tmp_path, content, words):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=words) as caught:
        InceptionExtractor(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(*_, **options):
        assert options["weights_only"] is True
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(ValueError, match=r"no route.*--inception-weights") as caught:
        InceptionExtractor()
    assert "\n" not in str(caught.value)


def test_download_is_of_the_published_file(monkeypatch, weights, extractor):
    asked = []

    def load(url, **_):
        asked.append(url)
        return torch.load(weights, weights_only=True)

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    assert InceptionExtractor().hash == extractor.hash
    assert asked[0].startswith("https://github.com/toshas/torch-fidelity/releases/")
