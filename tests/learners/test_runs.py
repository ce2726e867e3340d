"""Learners in whole runs, alone and as SHIP's second stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.runs import run


@pytest.mark.parametrize("name", ["CLIPAdapter", "TipAdapter", "TipAdapterF", "LinearProbe", "GDA"])
def test_a_whole_run_alone_and_its_evaluation_agree(name: str, data: Path, tmp_path: Path):
    trained = run(data, tmp_path / "a", name, "DATASET.SUBSAMPLE_CLASSES", "gzsl")
    flags = ("--eval-only", "--model-dir", str(tmp_path / "a"))
    again = run(data, tmp_path / "b", name, "DATASET.SUBSAMPLE_CLASSES", "gzsl", flags=flags)
    assert trained["figures"] == again["figures"] and trained["figures"]["own_h"] > 20
    new = run(data, tmp_path / "c", name, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags)
    if name != "GDA":  # whose borrowed means are the same too, but ties may fall otherwise
        assert new["figures"]["accuracy"] == pytest.approx(trained["figures"]["own_new_accuracy"])


@pytest.mark.parametrize("name", ["CLIPAdapter", "TipAdapter", "TipAdapterF", "LinearProbe", "GDA", "CoCoOp"])
def test_ship_tunes_any_learner(name: str, data: Path, tmp_path: Path):
    flags = ("--config-file", f"configs/trainers/SHIP/with_{name}.yaml")
    options = ("DATASET.SUBSAMPLE_CLASSES", "gzsl", "OPTIM.MAX_EPOCH", "1")
    result = run(data, tmp_path / "a", "SHIP", *options, flags=flags)
    assert result["cfg"]["TRAINER"]["SHIP"]["LEARNER"] == name
    assert 0 < result["figures"]["h"] <= 100 and set(result["figures"]["synthetic"]) == {"base", "new"}


def test_tip_adapters_cache_holds_synthetic_features_of_new_classes(data: Path, tmp_path: Path):
    flags = ("--config-file", "configs/trainers/SHIP/with_TipAdapter.yaml")
    run(data, tmp_path / "a", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", flags=flags)
    state = torch.load(tmp_path / "a" / "prompt_learner" / "model.pth.tar-1", weights_only=True)["state_dict"]
    counts = torch.bincount(state["labels"])
    assert counts.tolist() == [2] * 72  # two shots of each base class, as many of each new one
    torch.testing.assert_close(state["keys"].norm(dim=1), torch.ones(144))
