"""A tiny data set of drawn images and a config that reads it."""

from __future__ import annotations

import dassl
import pytest
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from PIL import Image
from yacs.config import CfgNode

if not dassl.__version__.endswith("+embedded"):  # another one is installed, and is not ours to test
    collect_ignore_glob = ["test_*.py", "*/test_*.py"]

CLASSES = ["fox", "owl", "bee", "elk"]


@DATASET_REGISTRY.register()
class Drawn(DatasetBase):
    """Four classes, told apart by colour; ten training, three validation and five test images of each."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(**{part: self.items(cfg, part, n) for part, n in (("train_x", 10), ("val", 3), ("test", 5))})

    @staticmethod
    def items(cfg: CfgNode, part: str, count: int) -> list[Datum]:
        return [
            Datum(f"{cfg.DATASET.ROOT}/{part}_{label}_{i}.png", label, label % 2, name)
            for label, name in enumerate(CLASSES)
            for i in range(count)
        ]


@pytest.fixture(scope="session")
def image_root(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("images")
    for part, count in (("train_x", 10), ("val", 3), ("test", 5)):
        for label in range(len(CLASSES)):
            for i in range(count):
                colour = (60 * label, 255 - 60 * label, 20 * i)
                Image.new("RGB", (12, 10), colour).save(folder / f"{part}_{label}_{i}.png")
    return str(folder)


@pytest.fixture
def cfg(image_root, tmp_path) -> CfgNode:
    cfg = get_cfg_default()
    cfg.merge_from_list(
        [
            *("DATASET.NAME", "Drawn", "DATASET.ROOT", image_root, "OUTPUT_DIR", str(tmp_path / "out")),
            *("DATALOADER.NUM_WORKERS", 0, "INPUT.SIZE", "(8, 8)", "USE_CUDA", False),
            *("INPUT.TRANSFORMS", "('normalize',)", "OPTIM.MAX_EPOCH", 3, "OPTIM.NAME", "sgd"),
            *("OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", 1, "OPTIM.WARMUP_TYPE", "constant"),
        ]
    )
    return cfg
