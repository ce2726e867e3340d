"""The library's data sets as Dassl sees them."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, Datum, build_dataset
from yacs.config import CfgNode as CN

from datasets import REGISTERED
from shipclip.data import DATASETS, base
from tests.data.layouts import LAYOUTS


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests leave the user's cache folder alone."""
    monkeypatch.setattr(base, "CACHE", tmp_path_factory.mktemp("cache"))


def config(root: Path, shots: int = -1, subset: str = "all", seed: int = 1, name: str = "Test") -> CN:
    """Dassl's defaults alone: a train.py that knows no key of the library."""
    cfg = get_cfg_default()
    cfg.DATASET.ROOT, cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES = str(root), name, subset
    cfg.DATASET.NUM_SHOTS, cfg.SEED = shots, seed
    return cfg


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    LAYOUTS[request.param][0](tmp_path)
    return request.param, tmp_path


def test_every_data_set_of_the_library_is_registered_under_its_name():
    assert set(REGISTERED) == set(DATASETS.names()) <= set(DATASET_REGISTRY.registered_names())


def test_dassl_has_the_librarys_images_and_classes(layout: tuple[str, Path]):
    name, root = layout
    _, counts, names = LAYOUTS[name]
    dataset = build_dataset(config(root, name=name))
    assert (len(dataset.task.train), len(dataset.val), len(dataset.test)) == counts
    assert dataset.classnames == names == list(dataset.lab2cname.values())
    assert dataset.num_classes == len(names)
    for item in (*dataset.train_x, *dataset.val, *dataset.test):
        assert Path(item.impath).is_file() and names[item.label] == item.classname


def test_without_training_images_dassl_is_shown_the_test_images(layout: tuple[str, Path]):
    name, root = layout
    dataset = build_dataset(config(root, name=name))
    assert dataset.train_x == (dataset.task.train or dataset.test)


def test_subset_shots_and_seed_come_from_the_config(tmp_path: Path):
    LAYOUTS["Caltech101"][0](tmp_path)
    cfg = config(tmp_path, shots=2, subset="new", seed=3, name="Caltech101")
    dataset = build_dataset(cfg)
    assert dataset.classnames == ["ant"] and len(dataset.train_x) == 2
    assert (dataset.task.subset, dataset.task.shots) == ("new", 2)
    assert [i.impath for i in build_dataset(cfg).train_x] == [i.impath for i in dataset.train_x]


def test_an_item_has_what_a_datum_has(tmp_path: Path):
    LAYOUTS["Caltech101"][0](tmp_path)
    item = build_dataset(config(tmp_path, subset="new", name="Caltech101")).train_x[0]
    known = Datum(item.impath, item.label, item.domain, item.classname)
    for key in ("impath", "label", "domain", "classname"):
        assert getattr(item, key) == getattr(known, key)
    assert pickle.loads(pickle.dumps(item)).impath == item.impath


def test_a_mistake_is_the_librarys_sentence(tmp_path: Path):
    LAYOUTS["Caltech101"][0](tmp_path)
    build_dataset(config(tmp_path, name="Caltech101"))
    file = tmp_path / "caltech-101" / "split_zhou_Caltech101.json"
    file.write_text(json.dumps({"train": []}))
    with pytest.raises(ValueError, match="is not a split file"):
        build_dataset(config(tmp_path, name="Caltech101"))


ROOT = Path(__file__).parents[2]
# Each in a process of its own, forked from one that has imported torch and nothing of ours.
FORKS = """
import os, runpy, sys, torch

def tool(name):
    sys.argv = [name, "nothing", "--root", sys.argv[1]]
    runpy.run_module(name, run_name="__main__", alter_sys=True)

CODES = {
    "import datasets": lambda: __import__("datasets"),
    "import trainers.ship": lambda: __import__("trainers.ship"),
    "datasets.check": lambda: tool("datasets.check"),
    "datasets.prepare": lambda: tool("datasets.prepare"),
}
for number, (name, code) in enumerate(CODES.items()):
    child = os.fork()
    if not child:
        os.dup2(os.open(f"{sys.argv[1]}/{number}", os.O_CREAT | os.O_WRONLY), 2)
        code()
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(name, status, " ".join(open(f"{sys.argv[1]}/{number}").read().split()), sep="\t", flush=True)
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and last words of each."""
    command = [sys.executable, "-c", FORKS, str(tmp_path_factory.mktemp("forks"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = (line.split("\t") for line in done.stdout.splitlines())
    return {name: (int(status), words) for name, status, words in told}


@pytest.mark.parametrize("module", ["datasets", "trainers.ship"])
def test_the_embedded_dassl_is_found_whichever_module_comes_first(module: str, forks: dict[str, tuple[int, str]]):
    assert forks[f"import {module}"] == (0, "")


@pytest.mark.parametrize(("tool", "what"), [("check", "data set"), ("prepare", "download for the data set")])
def test_the_tools_start_as_modules(tool: str, what: str, forks: dict[str, tuple[int, str]]):
    status, words = forks[f"datasets.{tool}"]
    assert status == 2 and f"error: there is no {what} nothing; known: " in words
