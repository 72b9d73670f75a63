import hashlib
import pickle
import warnings

import pytest
import torch
import torch_fidelity
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import (
    URL_INCEPTION_V3,
    FeatureExtractorInceptionV3,
)
from torch_fidelity.interpolate_compat_tensorflow import (
    interpolate_bilinear_2d_like_tensorflow1x,
)

from metrics import InceptionExtractor, frechet_distance, inception_score
from metrics.extractors import inception
from metrics.extractors.base import hash_tensors
from metrics.extractors.inception import RECIPE, WEIGHTS, resize

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


@pytest.mark.slow
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
    assert distance == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    score = inception_score(ours.logits, splits=1).inception_score
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert score > 1.01


def test_is_as_exact_as_torch_fidelity(weights, extractor):
    """Both are float32; its network in float64 is the truth."""
    images = pictures(3, 3)[:2]
    network = FeatureExtractorInceptionV3("theirs", ["2048", "logits_unbiased"], str(weights))
    theirs = network(images)
    network.double().feature_extractor_internal_dtype = torch.float64
    for truth, their, our in zip(network(images), theirs, extractor(images), strict=True):
        scale = truth.abs().max()
        assert 0 < (their - truth).abs().max() < 3e-6 * scale
        assert 0 < (our - truth).abs().max() < 3e-6 * scale


@pytest.mark.parametrize("shape", [(5, 5), (28, 28), (32, 48), (299, 299), (400, 301)])
def test_resizes_as_torch_fidelity(shape):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, *shape), generator=rng).to(torch.uint8)
    theirs = interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )
    torch.testing.assert_close(resize(images), (theirs - 128) / 128, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_batch_does_not_change_the_distance(extractor):
    real, fake = pictures(3, 0)[:6], pictures(3, 1)[:6] // 2
    distances = [
        frechet_distance(extractor(real, batch).features, extractor(fake, batch).features)
        for batch in (None, 1)
    ]
    assert distances[1] == pytest.approx(distances[0], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_does_not_change_the_distance(weights, extractor):
    real, fake = pictures(3, 0), pictures(3, 1) // 2
    other = InceptionExtractor(weights, "cuda")
    assert other.hash == extractor.hash
    distances = [
        frechet_distance(one(real).features, one(fake).features) for one in (extractor, other)
    ]
    assert distances[1] == pytest.approx(distances[0], rel=1e-4)


def test_hash_is_of_the_published_weights(weights, extractor):
    """However the network that computes holds them."""
    assert extractor.digest == hash_tensors(torch.load(weights, weights_only=True), RECIPE)


@pytest.mark.slow
def test_compiled_is_the_same(weights, extractor, monkeypatch):
    """Every layer is compiled, though here by a backend that needs no C++ compiler."""
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph

    def compile_whole(module, *, dynamic, options):
        original(module, backend=backend, fullgraph=True, dynamic=dynamic)

    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", compile_whole)
    images = pictures(3, 4)[:2]
    compiled = InceptionExtractor(weights, compile=True)(images)
    torch.testing.assert_close(compiled, extractor(images))
    assert len(graphs) == 2


def test_sixteen_bits_are_near_and_another_extractor(weights, extractor):
    images = pictures(3, 4)[:2]
    half = InceptionExtractor(weights, precision="bfloat16")
    exact, rounded = extractor(images), half(images)
    assert str(half) == f"inception:bfloat16@{half.hash}"
    assert half.hash != extractor.hash
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        assert 1e-4 * a.norm() < (a - b).norm() < 0.05 * a.norm()


@pytest.mark.parametrize("precision", ["bfloat", "float16"])
def test_a_precision_that_is_not_there_is_one_line(weights, precision):
    with pytest.raises(ValueError, match=r"inception:bfloat16|did you mean 'bfloat16'"):
        InceptionExtractor(weights, precision=precision)


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


@pytest.fixture
def hub(tmp_path, monkeypatch, weights):
    """Let torch's hub folder be empty, and the published weights be `weights`, at a file URL."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", weights.as_uri())
    monkeypatch.setattr(inception, "WEIGHTS", sha256(weights))
    return tmp_path / "hub" / "checkpoints" / weights.name


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_failed_download_says_what_to_do(hub, monkeypatch):
    absent = "file:///nowhere/inception.pth"
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", absent)
    with pytest.raises(ValueError, match=r"nowhere/inception.pth.*--inception-weights") as caught:
        InceptionExtractor()
    assert "\n" not in str(caught.value)


def test_download_is_checked_and_kept(hub, weights, extractor):
    assert URL_INCEPTION_V3.startswith("https://github.com/toshas/torch-fidelity/releases/")
    assert WEIGHTS[:8] in URL_INCEPTION_V3
    assert InceptionExtractor().hash == extractor.hash
    assert hub.read_bytes() == weights.read_bytes()


def test_a_download_that_differs_is_refused_and_not_kept(hub, weights, monkeypatch):
    monkeypatch.setattr(inception, "WEIGHTS", 64 * "0")
    with pytest.raises(ValueError, match=f'expected "{64 * "0"}", got "{sha256(weights)}"'):
        InceptionExtractor()
    assert not list(hub.parent.iterdir())


def test_weights_that_are_there_and_differ_are_refused(hub, weights):
    hub.parent.mkdir(parents=True)
    hub.write_bytes(weights.read_bytes() + b"x")
    words = f"{hub} is not the published .* is {sha256(hub)}, not {sha256(weights)}; delete it"
    with pytest.raises(ValueError, match=words):
        InceptionExtractor()


def test_other_weights_of_ones_own_are_said_to_differ_once(hub, weights, tmp_path, caplog):
    InceptionExtractor(weights)
    assert not caplog.messages
    own = tmp_path / "own.pth"
    state = torch.load(weights, weights_only=True)
    torch.save({name: tensor.clone() for name, tensor in state.items()}, own)
    own.write_bytes(own.read_bytes() + b"x")
    for _ in range(2):
        InceptionExtractor(own)
    (line,) = caplog.messages
    assert line.startswith(f"{own} is not the published file of Inception's weights: its SHA256")
