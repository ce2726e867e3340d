from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from shipclip.backbones.base import Backbone
from shipclip.features import bank as bank_module
from shipclip.features import encode as encode_module
from shipclip.features.bank import FeatureBank, load_bank
from shipclip.features.encode import encode
from shipclip.features.pixels import Views, fresh
from shipclip.learners import LEARNERS
from shipclip.texts import Texts
from tests.features.pictures import PLAIN, RANDOM, Item, pictures


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    return pictures(tmp_path, 7)


def test_plain_views_are_the_models_features_of_the_images(clip: Backbone, items: list[Item]):
    found = encode(clip, Views(items, PLAIN))
    images = torch.stack([PLAIN(Image.open(item.impath)) for item in items])
    torch.testing.assert_close(found, clip.encode_image(images)[None], rtol=1e-5, atol=1e-6)
    assert not found.requires_grad


def test_every_view_of_every_image_is_another(clip: Backbone, items: list[Item]):
    found = encode(clip, Views(items, RANDOM, count=3))
    assert found.shape == (3, 7, clip.dim)
    distance = torch.cdist(found.flatten(0, 1), found.flatten(0, 1)) + torch.eye(21)
    assert distance.min() > 1e-4


@pytest.mark.parametrize("workers", [0, 2])
def test_views_depend_on_seed_and_number_alone(clip: Backbone, items: list[Item], workers: int):
    torch.manual_seed(torch.seed())
    together = encode(clip, Views(items, RANDOM, seed=5, count=3), workers)
    alone = encode(clip, fresh(Views(items, RANDOM, seed=5, count=3), 2))
    torch.testing.assert_close(alone[0], together[2])
    other = encode(clip, Views(items, RANDOM, seed=6, count=3))
    assert (other - together).abs().max() > 1e-3


def test_encoding_leaves_the_global_generators_alone(clip: Backbone, items: list[Item]):
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    encode(clip, Views(items, RANDOM, count=2))
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_an_unreadable_image_is_named(clip: Backbone, items: list[Item], content: bytes | None, workers: int):
    file = Path(items[4].impath)
    file.write_bytes(file.read_bytes()[:60] if content is None else content)
    with pytest.raises(ValueError, match=r"the image .*4\.png cannot be read") as error:
        encode(clip, Views(items, PLAIN), workers)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
def test_images_of_every_mode_are_read(clip: Backbone, tmp_path: Path, mode: str):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (40, 40), 9 if mode in ("L", "P", "I;16") else None).save(file)
    assert encode(clip, Views([Item(str(file), 0)], PLAIN)).shape == (1, 1, clip.dim)


def test_encoding_in_batches_fills_one_tensor(clip: Backbone, items: list[Item], monkeypatch: pytest.MonkeyPatch):
    views = Views(items, RANDOM, count=2)
    whole = encode(clip, views)
    monkeypatch.setattr(encode_module, "ENCODE_BATCH", 6)  # three images at once, the last alone
    found = encode(clip, views)
    torch.testing.assert_close(found, whole)
    assert found.is_contiguous() and found.untyped_storage().nbytes() == 2 * 7 * clip.dim * 4


def test_a_cache_that_cannot_be_written_is_a_notice(
    clip: Backbone, items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture
):
    (tmp_path / "file").touch()
    found = load_bank(clip, Views(items, PLAIN), str(tmp_path / "file" / "cache"))
    assert found.features.shape == (1, 7, clip.dim)
    assert "the features could not be kept" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["TipAdapter", "GDA"])
def test_what_is_made_of_features_in_half_precision_is_in_single(
    name: str, clip: Backbone, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bank_module, "BLOCK", 3)
    features = torch.nn.functional.normalize(torch.randn(2, 10, clip.dim), dim=-1).half()
    labels = torch.arange(10) % 2
    half, whole = FeatureBank(features, labels), FeatureBank(features.float(), labels)
    assert torch.equal(half.mean(), whole.mean()) and half.mean().dtype == torch.float32
    assert torch.equal(half.of_view(1, 3), features[1, ::3].float())
    found = []
    for bank in (half, whole):
        kind = LEARNERS.get(name)
        learner = kind(clip, ["cat", "dog"], kind.Options(), 0, Texts())
        learner.prepare(bank, bank)
        found.append(learner.state_dict())
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == found[1][key].dtype and torch.equal(value, found[1][key]), key
