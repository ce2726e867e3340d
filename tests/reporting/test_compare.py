"""The paired bootstrap over seeds and classes, against what can be told without it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from shipclip import evaluate
from shipclip.errors import UserError
from shipclip.reporting import compare
from shipclip.reporting.compare import COLUMNS, Counts
from shipclip.reporting.tree import runs_below

N_BASE, C, PER_CLASS = 6, 12, 50


def counts(seed: int, seeds: tuple[int, ...] = (1, 2, 3), better: int = 0) -> Counts:
    """Random counts, joint below own, with so many more right in every class."""
    rng = np.random.default_rng(seed)
    joint = rng.integers(10, 30, (len(seeds), C))
    return Counts(seeds, joint + 5 + better, joint + better, np.full(C, PER_CLASS), N_BASE)


def test_figures_of_one_draw_of_everything_are_the_tables():
    rng = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, C, generator=rng), torch.randint(C, (300,), generator=rng)
    logits[torch.arange(300), labels] += 1.5
    found = evaluate.figures(logits, labels, N_BASE)
    per_class = found["per_class"]
    assert sum(per_class["total"]) == 300 and sum(per_class["joint"]) == found["correct"]
    own, joint = (np.array([per_class[kind]]) for kind in ("own", "joint"))
    one = Counts((1,), own, joint, np.array(per_class["total"]), N_BASE)
    figures = one.figures(np.ones((1, 1)), np.ones((1, C)))
    names = ("own_base_accuracy", "own_new_accuracy", "own_h", "base_accuracy", "new_accuracy", "h")
    for column, name in zip(COLUMNS, names, strict=True):
        assert figures[column][0] == pytest.approx(found[name])


def test_a_method_differs_from_itself_by_nothing():
    one = counts(0)
    assert all((d.value, d.low, d.high, d.real) == (0, 0, 0, False) for d in compare.compare(one, one).values())


def test_what_is_better_everywhere_is_really_better():
    found = compare.compare(counts(0, better=2), counts(0))
    for column in ("base", "new", "joint_base", "joint_new"):
        d = found[column]
        assert d.value == pytest.approx(4) and d.low == pytest.approx(4) and d.real  # 2 of 50, in every draw


def test_the_interval_is_that_of_a_mean_of_class_differences():
    one, other = counts(0, seeds=(1,)), counts(1, seeds=(1,))
    d = compare.compare(one, other)["base"]
    differences = 100 * (one.own - other.own)[0, :N_BASE] / PER_CLASS
    assert d.value == pytest.approx(differences.mean())
    assert (d.high - d.low) / 2 == pytest.approx(1.96 * differences.std() / N_BASE**0.5, rel=0.1)


def test_only_the_same_seeds_and_classes_are_compared():
    assert (
        compare.compare(counts(0, seeds=(1, 2)), counts(1, seeds=(2, 3)))["new"]
        == compare.compare(counts(0, seeds=(1, 2)).of_seeds([2]), counts(1, seeds=(2, 3)).of_seeds([2]))["new"]
    )
    for other in (counts(0, seeds=(7,)), Counts((1, 2, 3), *(np.zeros((3, C)),) * 2, np.full(C, 9), N_BASE)):
        with pytest.raises(UserError, match="same seeds on the same test images"):
            compare.compare(counts(0), other)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Results of two methods and three seeds."""
    for method, better in (("CoOp", 0), ("SHIP", 3)):
        made = counts(0, better=better)
        for i, seed in enumerate(made.seeds):
            folder = tmp_path / f"learners/miniworld/shots_16/{method}/miniclip/seed{seed}"
            folder.mkdir(parents=True)
            per_class = {"n_base": N_BASE, "total": made.total.tolist()}
            per_class |= {"own": made.own[i].tolist(), "joint": made.joint[i].tolist()}
            figures = {"accuracy": 50.0, "per_class": per_class}
            (folder / "results.json").write_text(json.dumps({"figures": figures, "seed": seed, "subset": "gzsl"}))
    return tmp_path


def test_the_table_names_methods_and_real_differences(tree: Path, capsys: pytest.CaptureFixture[str]):
    assert compare.main([str(tree)]) == 0
    printed = capsys.readouterr().out
    assert "# learners, miniworld, shots 16: minus CoOp" in printed
    assert "| SHIP     | +6.0 (+6.0 to +6.0) * |" in printed
    assert "minus SHIP" in compare.table(runs_below(tree), "SHIP:miniclip")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["--against", "GDA"], "no experiment there has runs of GDA"),
        (["--against", "SHIP:other"], "no experiment there has runs of SHIP:other"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], sentence: str, tree: Path, capsys):
    folder = [] if arguments == ["nowhere"] else [str(tree)]
    assert compare.main([*folder, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {sentence}") and not captured.out
