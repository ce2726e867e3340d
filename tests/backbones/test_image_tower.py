from __future__ import annotations

import pytest
import torch
from torch import nn

from shipclip.backbones import image_tower
from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import random_clip, use_gelu, wrap
from tests.clips import FP32


def built(vision_layers: int | tuple[int, ...], patch: int | None) -> Backbone:
    width = 128 if patch else 32
    return wrap(random_clip(64, 64, vision_layers, width, patch, 77, 49408, 64, 1, 1), FP32)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_vision_transformer_gives_what_openais_pass_gives(layers: int):
    clip = built(layers, 16)
    images = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(clip.image(images), clip.model.encode_image(images), rtol=1e-5, atol=1e-5)


def test_a_resnet_gives_what_openais_pass_gives():
    clip = built((1, 1, 1, 1), None)
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(clip.image(images), clip.model.encode_image(images))


def test_features_do_not_depend_on_the_other_images_of_the_batch():
    clip = built(2, 16)
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(clip.image(images)[2:3], clip.image(images[2:3]), rtol=1e-5, atol=1e-5)


OTHERS = {"tanh": nn.GELU(approximate="tanh"), "relu": nn.ReLU()}


@pytest.mark.parametrize("kind", ["quickgelu", "gelu", "tanh", "relu"])
@pytest.mark.parametrize("piece", [700, 1 << 18])  # a row at a time, all at once
@pytest.mark.parametrize("low", [False, True])
def test_a_hidden_layer_that_is_overwritten_has_the_bits_of_its_own_pass(
    kind: str, piece: int, low: bool, monkeypatch: pytest.MonkeyPatch
):
    clip = built(2, 16)
    if kind != "quickgelu":
        use_gelu(clip.model)
    for block in clip.image.blocks:
        if kind in OTHERS:
            block.mlp.gelu = OTHERS[kind]
    monkeypatch.setattr(image_tower, "PIECE", piece)
    images = torch.randn(5, 3, 64, 64)
    kept = images.clone()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        wanted = clip.image(images)  # with gradients by the modules
        with torch.no_grad():
            found = clip.image(images)
    assert torch.equal(found, wanted) and torch.equal(images, kept)


def test_under_autocast_residuals_stay_in_float32():
    torch.manual_seed(0)
    clip = wrap(random_clip(64, 64, 12, 64, 16, 77, 49408, 64, 1, 1), FP32)
    images, rows = torch.randn(8, 3, 64, 64), []
    clip.image.visual.ln_post.register_forward_hook(lambda module, given, out: rows.append(given[0].dtype))
    with torch.no_grad():
        exact = clip.encode_image(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = clip.encode_image(images)
    assert rows == [torch.float32] * 2
    assert (rough - exact).norm(dim=1).max() < 0.008  # 0.0105 with a residual stream in bfloat16
