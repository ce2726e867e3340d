"""With Caltech-101's whole split file, few-shot sampling picks the very images that CoOp picks."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from shipclip.data.caltech101 import Caltech101
from tests.data.conftest import names, task

GOLDEN = Path(__file__).parents[1] / "golden"
PICKS = json.loads((GOLDEN / "caltech101_picks.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty files at the split's paths: no image is read for this."""
    root = tmp_path_factory.mktemp("root")
    split = gzip.decompress((GOLDEN / "split_zhou_Caltech101.json.gz").read_bytes())
    images = root / "caltech-101" / "101_ObjectCategories"
    for folder in {path.partition("/")[0] for part in json.loads(split).values() for path, _, _ in part}:
        (images / folder).mkdir(parents=True)
    for part in json.loads(split).values():
        for path, _, _ in part:
            (images / path).touch()
    (root / "caltech-101" / "split_zhou_Caltech101.json").write_bytes(split)
    return root


@pytest.mark.parametrize("key", PICKS)
def test_the_picks_are_coops(key: str, root: Path):
    shots, seed, subset = re.fullmatch(r"shots(\d+)-seed(\d+)-(\w+)", key).groups()
    dataset = task(Caltech101, root, int(shots), subset, int(seed))
    images = root / "caltech-101" / "101_ObjectCategories"
    lines = {
        part: [f"{Path(i.impath).relative_to(images)}:{i.label}:{i.classname}" for i in items]
        for part, items in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test))
    }
    wanted = PICKS[key]
    assert [len(part) for part in lines.values()] == wanted["n"]
    assert lines["train"][:3] == wanted["first_train"]
    assert len(names(dataset)) == wanted["n_classes"]
    for part, text in lines.items():
        assert hashlib.sha256("\n".join(text).encode()).hexdigest() == wanted[part], part
