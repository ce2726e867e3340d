"""DATASETS.md's example of a new data set, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from dassl.data.datasets import DATASET_REGISTRY

from datasets import registered
from shipclip.data import DATASETS
from tests.data.conftest import names, task, touch
from tests.datasets.test_registration import config

TEXT = (Path(__file__).parents[2] / "DATASETS.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.search(rf"^## Adding one$.*?^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE).group(1)


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example's name, as if its file were in its place; gone afterwards."""
    for bird in ("Blackbird", "Great tit", "Robin", "Wren"):
        touch(tmp_path / "my_birds" / "photos" / bird, 10)
    for registry in (DATASETS, DATASET_REGISTRY):
        for key, value in list(vars(registry).items()):
            if isinstance(value, dict):
                monkeypatch.setattr(registry, key, dict(value))
    place = {"__name__": "shipclip.data.my_birds", "__package__": "shipclip.data"}
    exec(compile(block("python"), "DATASETS.md", "exec"), place)
    return yaml.safe_load(block("yaml"))["DATASET"]["NAME"]


def test_the_example_is_a_data_set(name: str, tmp_path: Path):
    assert len(block("python").splitlines()) < 30
    source = DATASETS.get(name)
    base = task(source, tmp_path, shots=2, subset="base")
    assert names(base) == ["Blackbird", "Great tit"] and len(base.train) == 4
    new = task(source, tmp_path, shots=2, subset="new")
    assert {item.classname for item in new.test} == {"Robin", "Wren"}
    assert (tmp_path / "my_birds" / "split_zhou_MyBirds.json").is_file()


def test_the_example_is_dassls_as_well(name: str, tmp_path: Path):
    registered(DATASETS.get(name))
    DataSet = DATASET_REGISTRY.get(name)
    base = DataSet(config(tmp_path, shots=2, subset="base"))
    assert base.classnames == ["Blackbird", "Great tit"] and len(base.train_x) == 4
    new = DataSet(config(tmp_path, shots=2, subset="new"))
    assert {item.classname for item in new.test} == {"Robin", "Wren"}
