import pytest
import torch
from dassl.data.transforms import build_transform
from dassl.data.transforms.transforms import AVAI_CHOICES, Cutout, GaussianNoise, InstanceNormalization
from PIL import Image

from shipclip.backbones import openai

COOP = [
    *("INPUT.SIZE", "(32, 32)", "INPUT.INTERPOLATION", "bicubic"),
    *("INPUT.PIXEL_MEAN", "[0.48145466, 0.4578275, 0.40821073]"),
    *("INPUT.PIXEL_STD", "[0.26862954, 0.26130258, 0.27577711]"),
    *("INPUT.TRANSFORMS", "['random_resized_crop', 'random_flip', 'normalize']"),
]


@pytest.fixture
def image() -> Image.Image:
    return Image.merge("RGB", [Image.effect_noise((50, 40), sigma) for sigma in (20, 60, 90)])


def kinds(transform) -> list[str]:
    return [type(step).__name__ for step in transform.transforms]


@pytest.mark.parametrize("size", [(50, 40), (20, 90), (32, 32)])
def test_the_test_transform_equals_clips_preprocessing(cfg, image, size):
    cfg.merge_from_list(COOP)
    image = image.resize(size)
    assert torch.equal(build_transform(cfg, is_train=False)(image), openai.package()._transform(32)(image))


def test_coops_training_transform(cfg):
    cfg.merge_from_list(COOP)
    transform = build_transform(cfg)
    assert kinds(transform) == ["RandomResizedCrop", "RandomHorizontalFlip", "ToTensor", "Normalize"]
    crop = transform.transforms[0]
    assert (crop.size, crop.scale, crop.ratio) == ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3))
    assert crop.interpolation.value == "bicubic"


def test_the_order_is_fixed_whatever_the_order_of_the_list(cfg):
    one = build_transform(cfg, choices=AVAI_CHOICES)
    other = build_transform(cfg, choices=AVAI_CHOICES[::-1])
    assert (
        kinds(one)
        == kinds(other)
        == [
            *("Random2DTranslation", "RandomCrop", "RandomResizedCrop", "RandomHorizontalFlip"),
            *("AutoAugment", "AutoAugment", "AutoAugment", "RandAugment", "RandAugment", "RandAugment"),
            *("ColorJitter", "RandomGrayscale", "RandomApply", "ToTensor", "Cutout", "Normalize"),
            *("GaussianNoise", "InstanceNormalization"),
        ]
    )


@pytest.mark.parametrize("name", [None, *AVAI_CHOICES])
def test_each_transform_gives_an_image_of_the_right_size(cfg, image, name):
    cfg.INPUT.GB_K = 5  # a blur of 21 pixels is wider than the image
    transform = build_transform(cfg, choices=[name] if name else [])
    image = image.resize((8, 8)) if name == "random_crop" else image
    for _ in range(3):
        assert transform(image).shape == (3, 8, 8)


def test_without_a_random_crop_the_image_is_resized(cfg):
    assert kinds(build_transform(cfg, choices=["random_flip"]))[0] == "Resize"
    assert "Resize" not in kinds(build_transform(cfg, choices=["random_crop"]))


def test_each_part_is_printed(cfg, capsys):
    cfg.merge_from_list(COOP)
    build_transform(cfg)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Building transform_train"
    assert len(lines) == 5 and all(line.startswith("+ ") for line in lines[1:])


def test_an_unknown_name_is_an_assertion_error(cfg):
    with pytest.raises(AssertionError, match=r"unknown transform 'flip' in INPUT.TRANSFORMS"):
        build_transform(cfg, choices=["flip"])


def test_an_unknown_interpolation_is_named(cfg):
    cfg.INPUT.INTERPOLATION = "cubic"
    with pytest.raises(ValueError, match=r"INPUT\.INTERPOLATION is 'cubic'"):
        build_transform(cfg)


def test_no_transform_gives_none(cfg):
    cfg.INPUT.NO_TRANSFORM = True
    assert build_transform(cfg) is None


def test_cutout_blanks_a_square():
    image = torch.ones(3, 40, 40)
    cut = Cutout(1, 10)(image)
    blank = (cut == 0).all(0)
    assert 25 <= blank.sum() <= 100 and image.all()


def test_instance_normalisation_gives_mean_0_and_deviation_1():
    image = InstanceNormalization()(torch.rand(3, 9, 9) * 5 + 2)
    assert torch.allclose(image.mean((1, 2)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(image.std((1, 2)), torch.ones(3), atol=1e-6)


def test_noise_has_its_mean_and_deviation_and_its_probability():
    image = torch.zeros(1, 300, 300)
    noise = GaussianNoise(2.0, 0.5, p=1.0)(image)
    assert noise.mean().item() == pytest.approx(2.0, abs=0.02)
    assert noise.std().item() == pytest.approx(0.5, abs=0.02)
    assert GaussianNoise(p=0.0)(image) is image
