from __future__ import annotations

from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from yacs.config import CfgNode as CN

import datasets.base


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests leave the user's cache folder alone."""
    monkeypatch.setattr(datasets.base, "CACHE", tmp_path_factory.mktemp("cache"))


def config(root: Path, shots: int = -1, subset: str = "all", seed: int = 1, name: str = "Test") -> CN:
    cfg = get_cfg_default()
    cfg.DATASET.ROOT, cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES = str(root), name, subset
    cfg.DATASET.NUM_SHOTS, cfg.SEED = shots, seed
    return cfg


def touch(folder: Path, count: int, pattern: str = "image_{:04d}.jpg") -> list[Path]:
    """That many empty files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / pattern.format(i) for i in range(count)]
    for file in files:
        file.touch()
    return files
