from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dassl.utils import read_image
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset

from . import transforms
from .datasets import build_dataset
from .samplers import build_sampler


class DatasetWrapper(Dataset):
    """Data as torch wants it: a dict of label, domain, impath, index and img (see `__getitem__`)."""

    def __init__(self, cfg: Any, data_source: list, transform: Any = None, is_train: bool = False):
        from torchvision import transforms as T  # slow to import

        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        if self.k_tfm > 1 and transform is None:
            raise ValueError("DATALOADER.K_TRANSFORMS above 1 needs a transform")
        mode = transforms.INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
        steps = [T.Resize(tuple(cfg.INPUT.SIZE), interpolation=mode)]
        steps.append(T.ToTensor())
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        """One item; a list of transforms gives img, img2, ..., K_TRANSFORMS a list, RETURN_IMG0 also img0."""
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        image = read_image(item.impath)
        if self.transform is None:
            output["img"] = image
            return output
        several = self.transform if isinstance(self.transform, (list, tuple)) else [self.transform]
        for i, transform in enumerate(several):
            output["img" if i == 0 else f"img{i + 1}"] = self._transform_image(transform, image)
        if self.return_img0:
            output["img0"] = self.to_tensor(image)
        return output

    def _transform_image(self, transform: Callable, image: Any) -> Any:
        images = [transform(image) for _ in range(self.k_tfm)]
        return images[0] if len(images) == 1 else images


def build_data_loader(
    cfg: Any,
    sampler_type: str = "SequentialSampler",
    data_source: list | None = None,
    batch_size: int = 64,
    n_domain: int = 0,
    n_ins: int = 2,
    tfm: Any = None,
    is_train: bool = True,
    dataset_wrapper: Any = None,
) -> DataLoader:
    """A loader; a training loader drops its last, smaller batch unless that is its only one."""
    sampler = build_sampler(
        sampler_type, cfg=cfg, data_source=data_source, batch_size=batch_size, n_domain=n_domain, n_ins=n_ins
    )
    loader = DataLoader(
        (dataset_wrapper or DatasetWrapper)(cfg, data_source, transform=tfm, is_train=is_train),
        batch_size=batch_size,
        sampler=sampler,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        drop_last=is_train and len(data_source) >= batch_size,
        pin_memory=torch.cuda.is_available() and cfg.USE_CUDA,
    )
    if len(loader) == 0:
        raise AssertionError("a data loader is empty: the split has no images")
    return loader


class DataManager:
    """Data set, transforms and loaders of a config."""

    def __init__(
        self, cfg: Any, custom_tfm_train: Any = None, custom_tfm_test: Any = None, dataset_wrapper: Any = None
    ):
        dataset = build_dataset(cfg)
        tfm_train = transforms.build_transform(cfg, is_train=True) if custom_tfm_train is None else custom_tfm_train
        tfm_test = transforms.build_transform(cfg, is_train=False) if custom_tfm_test is None else custom_tfm_test
        loader = cfg.DATALOADER

        def training(node: Any, source: list) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=node.SAMPLER,
                data_source=source,
                batch_size=node.BATCH_SIZE,
                n_domain=node.N_DOMAIN,
                n_ins=node.N_INS,
                tfm=tfm_train,
                is_train=True,
                dataset_wrapper=dataset_wrapper,
            )

        def testing(source: list) -> DataLoader:
            return build_data_loader(
                cfg,
                sampler_type=loader.TEST.SAMPLER,
                data_source=source,
                batch_size=loader.TEST.BATCH_SIZE,
                tfm=tfm_test,
                is_train=False,
                dataset_wrapper=dataset_wrapper,
            )

        self.dataset = dataset
        self.train_loader_x = training(loader.TRAIN_X, dataset.train_x)
        unlabelled = loader.TRAIN_X if loader.TRAIN_U.SAME_AS_X else loader.TRAIN_U
        self.train_loader_u = training(unlabelled, dataset.train_u) if dataset.train_u else None
        self.val_loader = testing(dataset.val) if dataset.val else None
        self.test_loader = testing(dataset.test)
        self._num_classes = dataset.num_classes
        self._num_source_domains = len(cfg.DATASET.SOURCE_DOMAINS)
        self._lab2cname = dataset.lab2cname
        if cfg.VERBOSE:
            self.show_dataset_summary(cfg)

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @property
    def num_source_domains(self) -> int:
        return self._num_source_domains

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    def show_dataset_summary(self, cfg: Any) -> None:
        rows: list[list[Any]] = [["Dataset", cfg.DATASET.NAME]]
        if cfg.DATASET.SOURCE_DOMAINS:
            rows.append(["Source", cfg.DATASET.SOURCE_DOMAINS])
        if cfg.DATASET.TARGET_DOMAINS:
            rows.append(["Target", cfg.DATASET.TARGET_DOMAINS])
        rows.append(["# classes", f"{self.num_classes:,}"])
        rows.append(["# train_x", f"{len(self.dataset.train_x):,}"])
        if self.dataset.train_u:
            rows.append(["# train_u", f"{len(self.dataset.train_u):,}"])
        if self.dataset.val:
            rows.append(["# val", f"{len(self.dataset.val):,}"])
        rows.append(["# test", f"{len(self.dataset.test):,}"])
        print(tabulate(rows))
