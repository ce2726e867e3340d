"""The library's data sets in Dassl's registry, each under its own name. Importing this package registers them."""

from __future__ import annotations

from typing import Any

import embedded  # noqa: F401  an installed Dassl wins over the embedded one

# isort: split
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

from shipclip.data import DATASETS, Dataset, DatasetOptions, task_of
from shipclip.options import read


class RegisteredDataset(DatasetBase):
    """A data set of the library as Dassl sees it.

    Attributes:
        Source: the library's class.
        task: what the library makes of the config.
    """

    Source: type[Dataset]

    def __init__(self, cfg: Any):
        source = self.Source(cfg.DATASET.ROOT)
        self.dataset_dir = source.dataset_dir
        self.task = task = task_of(source, read(DatasetOptions, cfg.DATASET, "DATASET."), cfg.SEED)
        # Without training images Dassl sees the test images as such, as in CoOp.
        super().__init__(train_x=task.train or task.test, val=task.val, test=task.test)

    # Dassl takes the classes from the training images; here some classes have names alone.
    @property
    def classnames(self) -> list[str]:
        return list(self.task.labels.names)

    @property
    def num_classes(self) -> int:
        return len(self.task.labels.names)

    @property
    def lab2cname(self) -> dict[int, str]:
        return dict(enumerate(self.task.labels.names))


def registered(source: type[Dataset]) -> type[RegisteredDataset]:
    """The Dassl data set of one of the library's, entered in Dassl's registry."""
    cls = type(source.__name__, (RegisteredDataset,), {"Source": source, "__doc__": source.__doc__})
    DATASET_REGISTRY.register(cls)
    return cls


REGISTERED = {source.__name__: registered(source) for source in DATASETS}
