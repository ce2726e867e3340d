"""Images to tensors: the same pixels that Dassl's transforms give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default
from dassl.data.transforms import build_transform
from PIL import Image

from shipclip.backbones.base import Preprocessing
from shipclip.errors import UserError
from shipclip.features.transforms import (
    DASSL_MEAN,
    DASSL_MODE,
    DASSL_STD,
    TRAINING,
    InputOptions,
    check_input,
    plain_transform,
    training_transform,
)
from shipclip.rng import seeded

PRE = Preprocessing(32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic")


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))


def dassl(transforms: tuple[str, ...], training: bool) -> Any:
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION, cfg.INPUT.TRANSFORMS = (32, 32), "bicubic", transforms
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD, cfg.INPUT.RRCROP_SCALE = list(PRE.mean), list(PRE.std), (0.5, 1.0)
    return build_transform(cfg, is_train=training)


@pytest.mark.parametrize(
    "transforms",
    [
        ("random_resized_crop", "random_flip", "normalize"),
        ("random_crop", "random_flip", "normalize"),
        ("normalize",),
        (*TRAINING[1:], "normalize"),
    ],
)
def test_training_images_are_dassls(transforms: tuple[str, ...], image: Image.Image):
    ours = training_transform(InputOptions(transforms, (0.5, 1.0)), PRE)
    if "random_crop" in transforms:
        image = image.resize((40, 40))
    with seeded(3, "view"):
        found = ours(image)
    with seeded(3, "view"):
        wanted = dassl(transforms, training=True)(image)
    assert torch.equal(found, wanted["img"] if isinstance(wanted, dict) else wanted)


def test_test_images_are_dassls(image: Image.Image):
    assert torch.equal(plain_transform(InputOptions(), PRE)(image), dassl(InputOptions().transforms, False)(image))


def test_a_backbone_may_ask_for_the_whole_image_squashed(image: Image.Image):
    squashed = plain_transform(InputOptions(), replace(PRE, resize="squash"))(image)
    wanted = plain_transform(InputOptions(), PRE)(image.resize((32, 32), Image.Resampling.BICUBIC))
    torch.testing.assert_close(squashed, wanted)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": (224, 224)}, r"INPUT.SIZE is \(224, 224\), but small reads images of 32 x 32"),
        ({"interpolation": "nearest"}, "INPUT.INTERPOLATION is 'nearest', but small was trained with 'bicubic'"),
        ({"pixel_mean": (0.1, 0.1, 0.1)}, r"INPUT.PIXEL_MEAN is .*, but small was trained with \(0.5, 0.4, 0.3\)"),
        ({"pixel_std": (0.1, 0.1, 0.1)}, "INPUT.PIXEL_STD is .*: leave INPUT.PIXEL_STD out"),
        ({"pixel_std": (0.1,)}, r"INPUT.PIXEL_STD is \(0.1,\): give 0 or 3 values"),
        ({"rrcrop_scale": (1.0, 0.5)}, r"INPUT.RRCROP_SCALE is \(1.0, 0.5\): give the smaller share first"),
        ({"gb_k": -3}, "INPUT.GB_K is -3: give at least 1"),
        ({"transforms": ("random_flipp",)}, "one of INPUT.TRANSFORMS is 'random_flipp': choose one of"),
    ],
)
def test_what_contradicts_the_backbone_is_refused(options: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        check_input(InputOptions(**options), PRE, "small")


def test_the_backbones_own_values_and_dassls_defaults_are_taken():
    check_input(InputOptions(size=(32, 32), interpolation="bicubic", pixel_mean=PRE.mean, pixel_std=PRE.std), PRE, "s")
    check_input(InputOptions(interpolation=DASSL_MODE, pixel_mean=DASSL_MEAN, pixel_std=DASSL_STD), PRE, "s")
