"""Images to tensors: augmentation in training, CLIP's plain preprocessing in a test. Names and order are Dassl's.

torchvision is imported when a transform is made: that takes as long as importing torch, and much ends before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..backbones.base import Preprocessing
from ..errors import UserError
from ..options import checked, option

MODES = ("bilinear", "bicubic", "nearest")
# Dassl's defaults: what INPUT holds where no file names a value.
DASSL_MEAN, DASSL_STD, DASSL_MODE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"
DASSL_SIZE = (224, 224)


TRAINING = ("random_crop", "random_resized_crop", "random_flip", "colorjitter", "randomgrayscale", "gaussian_blur")
SIDE = 10_000  # pixels; no backbone reads larger images


@dataclass(frozen=True)
class InputOptions:
    """How training images are augmented. Size, interpolation, mean and std are the backbone's; a file that names them
    as well is held against it."""

    transforms: tuple[str, ...] = option(
        ("random_resized_crop", "random_flip", "normalize"), of=str, choices=(*TRAINING, "normalize")
    )
    rrcrop_scale: tuple[float, float] = option((0.08, 1.0), of=float, sizes=(2,), above=0, most=1)  # Dassl's
    crop_padding: int = option(4, least=0, most=SIDE)
    colorjitter_b: float = option(0.4, least=0, most=100)
    colorjitter_c: float = option(0.4, least=0, most=100)
    colorjitter_s: float = option(0.4, least=0, most=100)
    colorjitter_h: float = option(0.1, least=0, most=0.5)
    rgs_p: float = option(0.2, least=0, most=1)  # share of grey images, of randomgrayscale
    gb_p: float = option(0.5, least=0, most=1)  # share of blurred images, of gaussian_blur
    gb_k: int = option(21, least=1, most=SIDE)
    size: tuple[int, ...] = option((), of=int, sizes=(0, 2), least=1, most=SIDE)
    interpolation: str = option("", choices=("", *MODES))
    pixel_mean: tuple[float, ...] = option((), of=float, sizes=(0, 3))
    pixel_std: tuple[float, ...] = option((), of=float, sizes=(0, 3), above=0)

    def check(self, where: str) -> None:
        """Refuse a range that ends before it begins."""
        low, high = self.rrcrop_scale
        if low > high:
            raise UserError(f"{where}RRCROP_SCALE is {self.rrcrop_scale}: give the smaller share first")


def check_input(options: InputOptions, pre: Preprocessing, name: str) -> None:
    """Refuse values that no transform takes, and such as contradict the backbone called `name`."""
    checked(options, "INPUT.")
    nothing_named = tuple(options.pixel_mean) == DASSL_MEAN and tuple(options.size) == DASSL_SIZE
    if options.size and not nothing_named and tuple(options.size) != (pre.size, pre.size):
        raise UserError(
            f"INPUT.SIZE is {tuple(options.size)}, but {name} reads images of {pre.size} x {pre.size}: "
            f"leave INPUT.SIZE out, or set it to ({pre.size}, {pre.size})"
        )
    for key, value, own, default in (
        ("INTERPOLATION", options.interpolation, pre.interpolation, DASSL_MODE),
        ("PIXEL_MEAN", tuple(options.pixel_mean), pre.mean, DASSL_MEAN),
        ("PIXEL_STD", tuple(options.pixel_std), pre.std, DASSL_STD),
    ):
        if value and value != default and not _same(value, own):
            raise UserError(f"INPUT.{key} is {value!r}, but {name} was trained with {own!r}: leave INPUT.{key} out")


def _same(value: str | tuple[float, ...], own: str | tuple[float, ...]) -> bool:
    if isinstance(value, str):
        return value == own
    return len(value) == len(own) and all(abs(a - b) < 1e-6 for a, b in zip(value, own, strict=True))


def training_transform(options: InputOptions, pre: Preprocessing) -> Callable:
    """Augmentation; its random choices come from the global generators."""
    import torchvision.transforms as T

    size, mode, chosen = (pre.size, pre.size), T.InterpolationMode(pre.interpolation), options.transforms
    steps: list[Callable] = []
    if "random_crop" not in chosen and "random_resized_crop" not in chosen:
        steps.append(T.Resize(size, interpolation=mode))
    jitter = (options.colorjitter_b, options.colorjitter_c, options.colorjitter_s, options.colorjitter_h)
    blur = T.GaussianBlur(options.gb_k + 1 - options.gb_k % 2)
    for name, step in (
        ("random_crop", T.RandomCrop(size, padding=options.crop_padding)),
        ("random_resized_crop", T.RandomResizedCrop(size, scale=tuple(options.rrcrop_scale), interpolation=mode)),
        ("random_flip", T.RandomHorizontalFlip()),
        ("colorjitter", T.ColorJitter(*jitter)),
        ("randomgrayscale", T.RandomGrayscale(p=options.rgs_p)),
        ("gaussian_blur", T.RandomApply([blur], p=options.gb_p)),
    ):
        if name in chosen:
            steps.append(step)
    return T.Compose([*steps, *_to_tensor(options, pre)])


def plain_transform(options: InputOptions, pre: Preprocessing) -> Callable:
    """The backbone's own preprocessing: resize, crop the centre, normalise."""
    import torchvision.transforms as T

    size, mode = (pre.size, pre.size), T.InterpolationMode(pre.interpolation)
    resize = [T.Resize(pre.size, interpolation=mode), T.CenterCrop(size)]
    if pre.resize == "squash":
        resize = [T.Resize(size, interpolation=mode)]
    return T.Compose([*resize, *_to_tensor(options, pre)])


def _to_tensor(options: InputOptions, pre: Preprocessing) -> list[Callable]:
    import torchvision.transforms as T

    normal = [T.Normalize(mean=pre.mean, std=pre.std)] if "normalize" in options.transforms else []
    return [T.ToTensor(), *normal]
