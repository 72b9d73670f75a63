import builtins

import pytest
import torch
from safetensors.torch import load_file, save_file

from metrics import Material, build_extractor

timm = pytest.importorskip("timm")
NAMES = ("test_vit", "test_resnet")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights, classifier and all, in files like those of the Hugging Face Hub."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for name in NAMES:
            save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in NAMES}


def pictures(n: int = 6, channels: int = 3, side: int = 32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(side)
    coarse = torch.rand(n, channels, 5, 5, generator=rng)
    fine = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    return (255 * fine).round().to(torch.uint8)


def build(name, path, images=None):
    images = pictures() if images is None else images
    return build_extractor(f"timm:{name}", Material(images, None, None, "k", path, weights=path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [32, 250])
def test_sees_what_timm_shows_its_model(weights, name, side):
    """But for the rounding of Pillow's resized images to 8 bits."""
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    extractor = build(name, weights[name])
    model = timm.create_model(name, num_classes=0).eval()
    model.load_state_dict(load_file(weights[name]), strict=False)
    transform = create_transform(**resolve_model_data_config(model))
    images = pictures(side=side)
    shown = [transform(Image.fromarray(one.permute(1, 2, 0).numpy())) for one in images]
    with torch.no_grad():
        theirs = model(torch.stack(shown))
    features, logits = extractor(images)
    assert logits is None
    assert features.shape == (6, extractor.dimension) == theirs.shape
    difference = (features - theirs).norm() / (theirs - theirs.mean(dim=0)).norm()
    assert difference < 0.02


def test_grey_is_repeated_to_rgb(weights):
    extractor = build("test_vit", weights["test_vit"])
    grey = pictures(channels=1)
    thrice = extractor(grey.expand(-1, 3, -1, -1)).features
    torch.testing.assert_close(extractor(grey).features, thrice)


def test_batch_changes_nothing_but_rounding(weights):
    extractor = build("test_vit", weights["test_vit"])
    whole, parts = extractor(pictures()).features, extractor(pictures(), batch=4).features
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)


def test_name_and_hash(weights, tmp_path):
    extractor = build("test_vit", weights["test_vit"])
    assert str(extractor) == f"timm:test_vit@{extractor.digest[:8]}"
    assert extractor.digest == build("test_vit", weights["test_vit"]).digest
    tagged = build("test_vit.r160_in1k", weights["test_vit"])
    assert extractor.digest != tagged.digest
    state = load_file(weights["test_vit"])
    state["norm.weight"] += 1
    save_file(state, tmp_path / "other.safetensors")
    assert extractor.digest != build("test_vit", tmp_path / "other.safetensors").digest


def test_leaves_the_random_state_alone(weights):
    state = torch.get_rng_state()
    build("test_resnet", weights["test_resnet"])(pictures())
    assert torch.equal(state, torch.get_rng_state())


def test_unknown_name_is_one_line_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"'vit_smal_patch16_224': did you mean 'vit_small_patch1"):
        build("vit_smal_patch16_224", tmp_path)


def test_without_timm_the_extra_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "timm":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"pip install -e \"\.\[timm\]\""):
        build("test_vit", tmp_path)


def test_failed_download_says_what_to_do(monkeypatch):
    def fail(name, *, pretrained, num_classes):
        assert pretrained
        assert num_classes == 0
        raise OSError("no route. Try again.\nand again")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"\(no route\).*--inception-weights") as caught:
        build("test_vit", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot read"),
        (lambda path: path.write_bytes(b""), "no safetensors"),
        (lambda path: path.write_text("not a file of weights"), "no safetensors"),
        (lambda path: torch.save({}, path), "no safetensors"),
        (lambda path: save_file({"a": torch.zeros(2)}, path), "lacks cls_token"),
        (lambda path: save_file({"cls_token": torch.zeros(2)}, path), "shapes differ"),
    ],
    ids=["missing", "empty", "text", "pickle", "other model", "other shapes"],
)
def test_wrong_weights_are_one_line(tmp_path, make, words):
    path = tmp_path / "model.safetensors"
    make(path)
    with pytest.raises(ValueError, match=words) as caught:
        build("test_vit", path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
