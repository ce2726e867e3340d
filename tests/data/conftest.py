from __future__ import annotations

from pathlib import Path

import pytest
from dassl.data.datasets import Datum

from shipclip.data import Dataset, DatasetOptions, base, task_of
from shipclip.task import Item, Task


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests leave the user's cache folder alone."""
    monkeypatch.setattr(base, "CACHE", tmp_path_factory.mktemp("cache"))


def task(source: type[Dataset], root: Path, shots: int = -1, subset: str = "all", seed: int = 1) -> Task:
    """What a run on a data set is about."""
    return task_of(source(root), DatasetOptions(num_shots=shots, subsample_classes=subset), seed)


def names(of: Task) -> list[str]:
    return list(of.labels.names)


def datums(items: list[Item]) -> list[Datum]:
    """As CoOp's pickles hold them."""
    return [Datum(item.impath, item.label, item.domain, item.classname) for item in items]


def touch(folder: Path, count: int, pattern: str = "image_{:04d}.jpg") -> list[Path]:
    """That many empty files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / pattern.format(i) for i in range(count)]
    for file in files:
        file.touch()
    return files
