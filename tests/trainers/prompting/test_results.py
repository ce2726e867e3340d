from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dassl.config import get_cfg_default

from trainers.prompting import results
from trainers.prompting.files import replacing, write_json


def test_joint_figures_by_hand():
    labels = torch.tensor([0, 1, 2, 2, 3, 4])  # five classes: 0, 1, 2 are base
    predictions = torch.tensor([0, 4, 2, 2, 3, 0])
    found = results.figures(predictions, labels, 5)
    assert found["accuracy"] == pytest.approx(100 * 4 / 6)
    assert (found["base_correct"], found["base_total"]) == (3, 4)
    assert (found["new_correct"], found["new_total"]) == (1, 2)
    assert found["h"] == pytest.approx(2 * 75 * 50 / 125)


@pytest.mark.parametrize(("base", "new", "h"), [(80, 60, 68.5714), (0, 50, 0), (0, 0, 0)])
def test_the_harmonic_mean(base: float, new: float, h: float):
    assert results.harmonic_mean(base, new) == pytest.approx(h, abs=1e-3)


@pytest.mark.parametrize(("classes", "base"), [(100, 50), (37, 19), (10, 5), (47, 24), (397, 199)])
def test_base_is_the_larger_half(classes: int, base: int):
    assert results.base_count(classes) == base


def test_differences_name_keys_and_skip_what_changes_no_figure():
    cfg = get_cfg_default()
    other = results.as_dict(cfg)
    other["OUTPUT_DIR"], other["DATALOADER"]["NUM_WORKERS"] = "elsewhere", 0
    assert results.differences(cfg, other) == []
    other["OPTIM"]["LR"] = 1.0
    assert results.differences(cfg, other) == ["OPTIM.LR 0.0003 here, 1.0 there"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert "old" in (tmp_path / "a.json").read_text()
