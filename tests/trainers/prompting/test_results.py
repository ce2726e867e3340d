from __future__ import annotations

from pathlib import Path

import pytest
import torch
from dassl.config import get_cfg_default
from yacs.config import CfgNode as CN

from trainers.prompting import results
from trainers.prompting.files import replacing, write_json


def test_joint_figures_by_hand():
    labels = torch.tensor([0, 1, 2, 2, 3, 4])  # five classes: 0, 1, 2 are base
    logits = torch.tensor(
        [
            [9.0, 0, 0, 1, 2],
            [0, 5, 1, 2, 7],  # taken for class 4; among base classes rightly for 1
            [0, 1, 5, 0, 4],
            [0, 0, 8, 1, 1],
            [0, 0, 1, 6, 3],
            [8, 0, 0, 7, 1],  # taken for class 0; among new classes for 3
        ]
    )
    found = results.figures(logits, labels, 3)
    assert found["accuracy"] == pytest.approx(100 * 4 / 6)
    assert (found["base_correct"], found["base_total"]) == (3, 4)
    assert (found["new_correct"], found["new_total"]) == (1, 2)
    assert found["h"] == pytest.approx(2 * 75 * 50 / 125)
    assert (found["own_base_accuracy"], found["own_new_accuracy"]) == (100, 50)
    # Mean over classes: S of classes 0, 1, 2 is (1 + 0 + 1) / 3, U of 3, 4 is (1 + 0) / 2.
    S, U = 200 / 3, 50.0
    assert found["base_mean_class_accuracy"] == pytest.approx(S) and found["new_mean_class_accuracy"] == pytest.approx(
        U
    )
    assert found["mean_class_h"] == pytest.approx(2 * S * U / (S + U))
    last = results.summary(found, mean_over_classes=True).splitlines()[-1]
    assert last == "S 66.7%, U 50.0%, H 57.1% (among all classes, mean over classes)"


def test_a_half_without_test_images_has_no_figure():
    found = results.figures(torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([0, 1]), 2)
    assert found["base_accuracy"] == 100 and found["new_total"] == 0
    assert "new_accuracy" not in found and "h" not in found and "own_h" not in found
    assert results.summary(found) == "base 100.0% (each among its own classes)\nbase 100.0% (among all classes)\n"


def test_a_penalty_on_base_classes_by_hand():
    """Gaps between the best base and the best new logit: 3, 1 (base images), 2, -1 (new images)."""
    logits = torch.tensor([[5.0, 0, 2, 0], [0, 4, 0, 3], [4, 0, 2, 0], [0, 1, 0, 2]])
    labels = torch.tensor([0, 1, 2, 3])
    assert results.figures(logits, labels, 2)["mean_class_h"] == pytest.approx(2 * 100 * 50 / 150)
    found = results.calibrated(logits, labels, 2, 2.5)  # image 1 goes to the new classes, image 2 rightly so
    assert (found["calibrated_base_accuracy"], found["calibrated_new_accuracy"]) == (50, 100)
    assert found["calibrated_mean_class_h"] == pytest.approx(2 * 50 * 100 / 150)
    assert results.calibrated(logits, labels, 2, 0.0)["calibrated_h"] == results.figures(logits, labels, 2)["h"]


def test_the_best_penalty_is_between_the_gaps_and_the_smallest_of_equals():
    logits = torch.tensor([[5.0, 0, 2, 0], [0, 4, 0, 0], [4, 0, 2, 0], [0, 1, 0, 2]])  # gaps 3, 4, 2, -1
    labels = torch.tensor([0, 1, 2, 3])
    assert results.best_penalty(logits, labels, 2) == pytest.approx(2.5)
    assert results.figures(results.penalised(logits, 2, 2.5), labels, 2)["h"] == 100
    separable = logits - torch.tensor([3.0, 3, 0, 0])  # right as it is
    assert results.best_penalty(separable, labels, 2) == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_best_penalty_is_that_of_trying_each(seed: int):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 5, generator=rng, dtype=torch.float64)
    logits[:, :3] += 1.0
    labels = torch.randint(0, 5, (40,), generator=rng)

    def h(penalty: float) -> float:
        return results.calibrated(logits, labels, 3, penalty).get("calibrated_mean_class_h", 0.0)

    found = results.best_penalty(logits, labels, 3)
    gaps = (logits[:, :3].amax(dim=1) - logits[:, 3:].amax(dim=1)).sort().values
    tried = [0.0, *((gaps[1:] + gaps[:-1]) / 2).tolist(), float(gaps[0]) - 1, float(gaps[-1]) + 1]
    assert h(found) == pytest.approx(max(map(h, tried)))
    assert abs(found) <= min(abs(p) for p in tried if h(p) == pytest.approx(max(map(h, tried)))) + 1e-12


@pytest.mark.parametrize("content", ["[]", "3", "{", '{"figures": []}', '{"cfg": null}', '{"seed": "one"}', "\ud800"])
def test_damaged_results_are_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "results.json").write_bytes(
        content.encode("utf-16" if content == "\ud800" else "utf-8", "surrogatepass")
    )
    with pytest.raises(ValueError, match=r"results.json .*: remove it and run again") as found:
        results.read(tmp_path / "results.json")
    assert "\n" not in str(found.value)


def test_predictions_among_own_classes():
    logits = torch.tensor([[1.0, 0, 5, 0], [0, 2, 9, 1], [7, 0, 0, 1]])
    assert results.predict_among_own(logits, torch.tensor([0, 1, 3]), 2).tolist() == [0, 1, 3]
    assert results.predict_among_own(logits, torch.tensor([0, 1, 3]), 0).tolist() == [2, 2, 0]


@pytest.mark.parametrize(("base", "new", "h"), [(80, 60, 68.5714), (0, 50, 0), (0, 0, 0)])
def test_the_harmonic_mean(base: float, new: float, h: float):
    assert results.harmonic_mean(base, new) == pytest.approx(h, abs=1e-3)


@pytest.mark.parametrize(("classes", "base"), [(100, 50), (37, 19), (10, 5), (47, 24), (397, 199)])
def test_base_is_the_larger_half(classes: int, base: int):
    assert results.base_count(classes) == base


def test_differences_name_keys_and_skip_what_changes_no_figure():
    cfg = get_cfg_default()
    other = results.as_dict(cfg, set())
    other["OUTPUT_DIR"], other["DATALOADER"]["NUM_WORKERS"] = "elsewhere", 0
    assert results.differences(cfg, set(), other) == []
    other["OPTIM"]["LR"] = 1.0
    assert results.differences(cfg, set(), other) == ["OPTIM.LR 0.0003 here, 1.0 there"]


def test_other_trainers_nodes_make_no_difference():
    """A learner that is added later must not lock the folders of runs that know nothing of it."""
    cfg = get_cfg_default()
    cfg.TRAINER.OWN, cfg.TRAINER.OTHER = CN({"A": 1}), CN({"B": 2})
    saved = results.as_dict(cfg, {"OWN"})
    assert saved["TRAINER"] == {"NAME": "", "OWN": {"A": 1}}
    cfg.TRAINER.LATER, cfg.TRAINER.OTHER.B = CN({"C": 3}), 4
    assert results.differences(cfg, {"OWN"}, saved) == []
    cfg.TRAINER.OWN.A = 5
    assert results.differences(cfg, {"OWN"}, saved) == ["TRAINER.OWN.A 5 here, 1 there"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert "old" in (tmp_path / "a.json").read_text()
