"""DATASETS.md's example of a new data set, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from dassl.data.datasets import DATASET_REGISTRY

from tests.datasets.conftest import config, touch

TEXT = (Path(__file__).parents[2] / "DATASETS.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.search(rf"^## Adding one$.*?^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE).group(1)


def test_the_example_is_a_data_set(tmp_path: Path):
    code, name = block("python"), yaml.safe_load(block("yaml"))["DATASET"]["NAME"]
    assert len(code.splitlines()) < 30
    for bird in ("Blackbird", "Great tit", "Robin", "Wren"):
        touch(tmp_path / "my_birds" / "photos" / bird, 10)
    exec(compile(code, "DATASETS.md", "exec"), {"__name__": "datasets.my_birds", "__package__": "datasets"})
    DataSet = DATASET_REGISTRY.get(name)
    base = DataSet(config(tmp_path, shots=2, subset="base"))
    assert base.classnames == ["Blackbird", "Great tit"] and len(base.train_x) == 4
    new = DataSet(config(tmp_path, shots=2, subset="new"))
    assert {item.classname for item in new.test} == {"Robin", "Wren"}
    assert (tmp_path / "my_birds" / "split_zhou_MyBirds.json").is_file()
