"""With Caltech-101's whole split file, few-shot sampling picks the very images that CoOp picks."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from dassl.config import get_cfg_default

from datasets.caltech101 import Caltech101

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
    cfg = get_cfg_default()
    cfg.DATASET.ROOT, cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES = str(root), "Caltech101", subset
    cfg.DATASET.NUM_SHOTS, cfg.SEED = int(shots), int(seed)
    dataset = Caltech101(cfg)
    images = root / "caltech-101" / "101_ObjectCategories"
    lines = {
        part: [f"{Path(i.impath).relative_to(images)}:{i.label}:{i.classname}" for i in items]
        for part, items in (("train", dataset.train_x), ("val", dataset.val), ("test", dataset.test))
    }
    wanted = PICKS[key]
    assert [len(part) for part in lines.values()] == wanted["n"]
    assert lines["train"][:3] == wanted["first_train"]
    assert dataset.num_classes == wanted["n_classes"]
    for part, text in lines.items():
        assert hashlib.sha256("\n".join(text).encode()).hexdigest() == wanted[part], part
