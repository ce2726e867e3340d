from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import torch

from shipclip.backbones import load_backbone, openai
from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import download, package, random_clip, wrap
from shipclip.backbones.weights import read_weights
from shipclip.errors import MissingFile, UserError
from shipclip.precision import Precision
from tests.clips import FP32

# embed_dim, resolution, vision layers, vision width, patch, context, vocabulary, width, heads, layers: OpenAI's
# genuine shapes, with few vision pixels where the format allows it and one text layer to keep the tests quick.
SHAPES = {
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 1),
    "RN101": (512, 224, (3, 4, 23, 3), 64, None, 77, 49408, 512, 8, 1),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 1),
    "ViT-B/16": (512, 224, 12, 768, 16, 77, 49408, 512, 8, 1),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 1),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved state dict, which does not tell its activation."""
    file = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(random_clip(64, 32, 1, 64, 16, 77, 49408, 64, 1, 1).state_dict(), file)
    return file


def loaded(weights: Path, precision: str = "fp32", device: str = "cpu", activation: str = "quickgelu") -> Backbone:
    return load_backbone("", str(weights), precision, device, activation)


def built(weights: Path) -> torch.nn.Module:
    return package().model.build_model(torch.load(weights, weights_only=True)).float()


def archive(model: torch.nn.Module, file: Path) -> Path:
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.save(torch.jit.trace(model, example, check_trace=False), file)
    return file


@pytest.mark.parametrize("name", SHAPES)
def test_every_published_shape_loads_and_encodes(name: str, monkeypatch: pytest.MonkeyPatch):
    with torch.device("meta"):
        shapes = package().model.CLIP(*SHAPES[name]).state_dict()
    state_dict = {
        k: torch.full(v.shape, 0.01, dtype=torch.float16)
        if v.is_floating_point()
        else torch.zeros(v.shape, dtype=v.dtype)
        for k, v in shapes.items()
    }
    monkeypatch.setattr(openai, "download", lambda name: Path(name))
    monkeypatch.setattr(openai, "read_weights", lambda file: (state_dict, ""))
    clip = load_backbone(name)
    assert (clip.resolution, clip.dim, clip.width) == (224, SHAPES[name][0], SHAPES[name][7])
    assert clip.model.visual.conv1.weight.dtype == torch.float32
    assert clip.encode_texts(["a photo of a cat."]).shape == (1, clip.dim)


def test_an_archive_and_a_state_dict_give_the_same_features(weights: Path, tmp_path: Path):
    file, image = archive(built(weights), tmp_path / "archive.pt"), torch.randn(2, 3, 32, 32)
    first, second = loaded(weights).encode_image(image), load_backbone("", str(file)).encode_image(image)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)  # the builder rounded the archive to half
    assert first.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_float32_weights_keep_their_precision(weights: Path):
    stored = torch.load(weights, weights_only=True)
    found = loaded(weights).model.state_dict()
    assert torch.equal(found["text_projection"], stored["text_projection"])


def test_training_wrappers_around_the_state_dict_are_taken_off(weights: Path, tmp_path: Path):
    stored = torch.load(weights, weights_only=True)
    file = tmp_path / "wrapped.pt"
    torch.save({"state_dict": {f"module.{k}": v for k, v in stored.items()}, "epoch": 3}, file)
    assert read_weights(file)[0].keys() == stored.keys()


def test_nothing_is_left_to_learn_in_a_loaded_model(weights: Path):
    model = loaded(weights).model
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 damaged"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path):
    file = tmp_path / "bad.pt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pt cannot be read as CLIP weights"):
        load_backbone("", str(file))


def test_a_pickle_with_code_is_refused_without_running_it(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weights": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt cannot be read"):
        load_backbone("", str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_state_dict_of_another_model_is_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(UserError, match=r"linear\.pt are not those of an OpenAI CLIP"):
        load_backbone("", str(tmp_path / "linear.pt"))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(MissingFile, match=r"no CLIP weight file at .*nowhere\.pt: check MODEL.BACKBONE.PATH"):
        load_backbone("", str(tmp_path / "nowhere.pt"))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown CLIP 'ViT-B/17'.*RN50.*ViT-B/16"):
        load_backbone("ViT-B/17")


def test_without_network_the_place_for_the_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with pytest.raises(
        MissingFile,
        match=r"weights of ViT-B/16 are not at .*ViT-B-16\.pt.*no route to host.*put the file",
    ):
        download("ViT-B/16", tmp_path)


def test_a_damaged_cached_file_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ViT-B-16.pt").write_bytes(b"half a download")
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    with pytest.warns(UserWarning, match="SHA256"), pytest.raises(MissingFile, match="offline"):
        download("ViT-B/16", tmp_path)


def test_equal_weights_have_equal_fingerprints_and_others_do_not(weights: Path):
    clip = loaded(weights)
    assert clip.fingerprint == loaded(weights).fingerprint
    other = built(weights)
    other.visual.proj.data += 1e-3
    assert wrap(other, FP32).fingerprint != clip.fingerprint


def test_half_precision_falls_back_on_the_cpu_with_a_notice(weights: Path, capsys: pytest.CaptureFixture):
    assert loaded(weights, "fp16").dtype == torch.float32
    assert "fp16 needs a GPU" in capsys.readouterr().out


def test_bfloat16_rounds_image_features_alone_and_is_told_by_the_fingerprint(weights: Path):
    plain, low = loaded(weights), loaded(weights, "bf16")
    images = torch.randn(3, 3, low.resolution, low.resolution)
    with torch.no_grad():
        exact, rough = plain.encode_image(images), low.encode_image(images)
        assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
        assert torch.cosine_similarity(rough, exact).min() > 0.999
        assert torch.equal(low.unrounded().encode_image(images), exact)
        assert torch.equal(low.encode_image(images), rough)  # still
    assert plain.unrounded() is plain
    assert torch.equal(low.encode_texts(["a dog"]), plain.encode_texts(["a dog"]))
    assert len({plain.fingerprint, low.fingerprint, loaded(weights, "amp").fingerprint}) == 2  # no amp on a CPU


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="there is no precision fp8; known: amp bf16 fp16 fp32"):
        Precision.choose("fp8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_half_precision_on_a_gpu_is_openais(weights: Path):
    clip = loaded(weights, "fp16", "cuda")
    assert clip.dtype == torch.float16
    assert clip.model.ln_final.weight.dtype == torch.float32
    assert clip.encode_image(torch.randn(2, 3, 32, 32).half()).dtype == torch.float32
