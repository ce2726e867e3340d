from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import ModuleType

import pytest

from shipclip import locks
from shipclip.data.miniworld import MiniWorld
from shipclip.miniclip import world
from tests.data.conftest import names, task


def test_the_published_sizes():
    assert world.SPLITS.keys() == {"train", "val", "test"}
    assert len(world.downstream_classes()) == 72


@pytest.mark.parametrize(("subset", "classes"), [("all", 72), ("base", 36), ("new", 36)])
def test_every_class_has_its_images(data: Path, subset: str, classes: int):
    dataset = task(MiniWorld, data, subset=subset)
    assert len(names(dataset)) == classes
    found = (len(dataset.train), len(dataset.val), len(dataset.test))
    assert found == tuple(classes * n for n in world.SPLITS.values())


def render(root: Path) -> None:
    world.SPLITS = {"train": 1, "val": 1, "test": 1}
    world.render_dataset(root)


def test_two_processes_that_start_at_once_leave_whole_images(tmp_path: Path):
    """Without a lock, as on a file system that has none."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=render, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["images"]
    assert len(list((tmp_path / "images").rglob("*.png"))) == 3 * 72


@pytest.mark.parametrize("fcntl", [locks.fcntl, None])
def test_half_a_data_set_is_removed_where_a_lock_says_that_nobody_renders_it(
    fcntl: ModuleType | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(world, "SPLITS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(locks, "fcntl", fcntl)
    half = tmp_path / "miniworld" / ".rendering-half"
    half.mkdir(parents=True)
    task(MiniWorld, tmp_path)
    assert half.exists() == (fcntl is None)
    assert len(list((tmp_path / "miniworld" / "images").rglob("*.png"))) == 3 * 72
