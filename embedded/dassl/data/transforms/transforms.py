"""Image to tensor, in one fixed order whatever the order in INPUT.TRANSFORMS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}

AVAI_CHOICES = [
    "random_flip",
    "random_resized_crop",
    "normalize",
    "instance_norm",
    "random_crop",
    "random_translation",
    "center_crop",
    "cutout",
    "imagenet_policy",
    "cifar10_policy",
    "svhn_policy",
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
    "gaussian_noise",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
]

POLICIES = {
    "imagenet_policy": T.AutoAugmentPolicy.IMAGENET,
    "cifar10_policy": T.AutoAugmentPolicy.CIFAR10,
    "svhn_policy": T.AutoAugmentPolicy.SVHN,
}


class Random2DTranslation:
    """Half of the time: enlarge to 9/8 and take a random crop of the given size."""

    def __init__(self, height: int, width: int, p: float = 0.5, interpolation=InterpolationMode.BILINEAR):
        big = (round(height * 1.125), round(width * 1.125))
        self.moved = T.Compose([T.Resize(big, interpolation), T.RandomCrop((height, width))])
        self.still = T.Resize((height, width), interpolation)
        self.p = p

    def __call__(self, image: Any) -> Any:
        return self.moved(image) if torch.rand(1).item() < self.p else self.still(image)


class InstanceNormalization:
    """Each channel of an image to zero mean and unit deviation."""

    def __init__(self, eps: float = 1e-8):
        self.eps = eps

    def __call__(self, image: Tensor) -> Tensor:
        mean, std = image.flatten(1).mean(dim=1), image.flatten(1).std(dim=1)
        return (image - mean[:, None, None]) / (std[:, None, None] + self.eps)


class Cutout:
    """`n_holes` black squares of `length` pixels at random places; they may overlap the border."""

    def __init__(self, n_holes: int = 1, length: int = 16):
        self.n_holes, self.length = n_holes, length

    def __call__(self, image: Tensor) -> Tensor:
        h, w = image.shape[1:]
        out = image.clone()
        for _ in range(self.n_holes):
            y, x = np.random.randint(h), np.random.randint(w)
            half = self.length // 2
            out[:, max(0, y - half) : y + half, max(0, x - half) : x + half] = 0
        return out


class GaussianNoise:
    """Additive noise, half of the time."""

    def __init__(self, mean: float = 0.0, std: float = 0.15, p: float = 0.5):
        self.mean, self.std, self.p = mean, std, p

    def __call__(self, image: Tensor) -> Tensor:
        if torch.rand(1).item() > self.p:
            return image
        return image + torch.randn(image.shape) * self.std + self.mean


def build_transform(cfg: Any, is_train: bool = True, choices: list[str] | None = None) -> Callable | None:
    """The transform of an INPUT node, or None with NO_TRANSFORM.

    Args:
        cfg: the whole config.
        is_train: augment; otherwise resize the shorter edge and crop the centre, as CLIP does.
        choices: names in place of INPUT.TRANSFORMS.
    """
    if cfg.INPUT.INTERPOLATION not in INTERPOLATION_MODES:
        known = ", ".join(INTERPOLATION_MODES)
        raise ValueError(f"INPUT.INTERPOLATION is {cfg.INPUT.INTERPOLATION!r}: choose one of {known}")
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        if choice not in AVAI_CHOICES:
            raise AssertionError(f"unknown transform {choice!r} in INPUT.TRANSFORMS: choose among {AVAI_CHOICES}")
    steps = _train_steps(cfg, choices) if is_train else _test_steps(cfg, choices)
    if cfg.VERBOSE:
        print(f"Building transform_{'train' if is_train else 'test'}")
        for step in steps:
            print(f"+ {step if type(step).__module__.startswith('torchvision') else type(step).__name__}")
    return T.Compose(steps)


def _train_steps(cfg: Any, choices: list[str]) -> list[Callable]:
    node, size = cfg.INPUT, tuple(cfg.INPUT.SIZE)
    mode = INTERPOLATION_MODES[node.INTERPOLATION]
    steps: list[Callable] = []

    def add(name: str, *new: Callable) -> None:
        if name in choices:
            steps.extend(new)

    if "random_crop" not in choices and "random_resized_crop" not in choices:
        steps.append(T.Resize(size, interpolation=mode))
    add("random_translation", Random2DTranslation(*size, interpolation=mode))
    add("random_crop", T.RandomCrop(size, padding=node.CROP_PADDING))
    add("random_resized_crop", T.RandomResizedCrop(size, scale=tuple(node.RRCROP_SCALE), interpolation=mode))
    add("random_flip", T.RandomHorizontalFlip())
    for name, policy in POLICIES.items():
        add(name, T.AutoAugment(policy))
    for name in ("randaugment", "randaugment_fixmatch", "randaugment2"):
        add(name, T.RandAugment(node.RANDAUGMENT_N, node.RANDAUGMENT_M))
    jitter = (node.COLORJITTER_B, node.COLORJITTER_C, node.COLORJITTER_S, node.COLORJITTER_H)
    add("colorjitter", T.ColorJitter(*jitter))
    add("randomgrayscale", T.RandomGrayscale(p=node.RGS_P))
    add("gaussian_blur", T.RandomApply([T.GaussianBlur(node.GB_K + 1 - node.GB_K % 2)], p=node.GB_P))
    steps.append(T.ToTensor())
    add("cutout", Cutout(node.CUTOUT_N, node.CUTOUT_LEN))
    add("normalize", T.Normalize(mean=node.PIXEL_MEAN, std=node.PIXEL_STD))
    add("gaussian_noise", GaussianNoise(node.GN_MEAN, node.GN_STD))
    add("instance_norm", InstanceNormalization())
    return steps


def _test_steps(cfg: Any, choices: list[str]) -> list[Callable]:
    node, size = cfg.INPUT, tuple(cfg.INPUT.SIZE)
    steps: list[Callable] = [
        T.Resize(max(size), interpolation=INTERPOLATION_MODES[node.INTERPOLATION]),
        T.CenterCrop(size),
        T.ToTensor(),
    ]
    if "normalize" in choices:
        steps.append(T.Normalize(mean=node.PIXEL_MEAN, std=node.PIXEL_STD))
    if "instance_norm" in choices:
        steps.append(InstanceNormalization())
    return steps
