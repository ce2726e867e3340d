"""The speed comparison compares equal things: a plain loop makes the same updates."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch


def test_the_plain_loop_has_the_same_losses(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    from benchmarks import ship_end_to_end

    (_, curves), (_, plain) = ship_end_to_end.both(Namespace(epochs=2, root=str(data)))
    assert set(plain) == {"generator/reconstruction", "generator/kl", "train/loss"}
    for tag, values in plain.items():
        assert curves[tag] == pytest.approx(values, rel=1e-3), tag


def test_the_text_towers_passes_agree():
    from benchmarks import text_tower
    from tests.clips import small_clip

    *_, features, gradient = text_tower.compare(small_clip(), "", ["cat", "sea or lake"], repeats=1)
    assert max(features, gradient) < 1e-4


def test_a_tree_like_imagenets_is_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from benchmarks import imagenet_index

    monkeypatch.setattr(imagenet_index, "CLASSES", 10)
    imagenet_index.make_tree(tmp_path / "imagenet", 20)
    assert imagenet_index.measure(tmp_path, "")[1] == 20


def test_the_steps_run_and_are_measured(monkeypatch: pytest.MonkeyPatch):
    from benchmarks import steps
    from tests.clips import small_clip

    clip = small_clip()
    monkeypatch.setattr(steps, "PLAIN", 2)
    for make in (steps.plain_step, steps.coop(4, 2), steps.cocoop):
        seconds, _, work = steps.measure(make(clip), clip, repeats=1)
        assert seconds > 0 and work > 0


def test_products_in_place_are_counted():
    from benchmarks import steps

    a, b, c = torch.ones(3, 4), torch.ones(4, 5), torch.ones(3, 5)
    assert steps.flops(lambda: c.addmm_(a, b)) == steps.flops(lambda: a @ b) == 2 * 3 * 4 * 5


def test_costs_are_measured_over_sizes_and_drawn(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from benchmarks import scaling

    assert scaling.exponents({10: 1.0, 100: 10.0, 1000: 1000.0}) == (pytest.approx(1.5), pytest.approx(2.0))
    monkeypatch.setattr(scaling, "SHAPE", (32, 32, 1, 64, 32, 77, 49408, 64, 1, 2))
    acts = {"write": scaling.feature_store.write, "open": scaling.feature_store.open_}

    def here(given: Namespace, what: str, folder: str, count: int) -> dict[str, float]:  # not in a process of its own
        return acts[what](given, folder, str(count))

    monkeypatch.setattr(scaling.feature_store, "apart", here)
    words = ["scaling", "--only", "classes", "images", "--classes", "4", "8", "--images", "100", "1000"]
    monkeypatch.setattr("sys.argv", [*words, "--root", str(data), "--out", str(tmp_path)])
    scaling.main()
    table = (tmp_path / "scaling.md").read_text()
    assert "| CoOp, a step " in table and "| join and open " in table and (tmp_path / "scaling.png").is_file()


def test_the_published_shape_is_measured(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from benchmarks import ship_vit_b16

    monkeypatch.setattr(ship_vit_b16, "VIT_B16", (64, 64, 2, 64, 32, 77, 49408, 64, 1, 2))
    monkeypatch.chdir(Path(__file__).parents[1])
    weights = tmp_path / "clip.pt"
    torch.save(ship_vit_b16.random_clip(*ship_vit_b16.VIT_B16).state_dict(), weights)
    told = ship_vit_b16.measure(Namespace(epochs=1, shots=2, root=str(data)), weights)
    assert "72 images of 36 base classes" in told and "stage 1, 50 epochs" in told
    plain, *ours = told.splitlines()[-3:]
    assert plain.split()[-1] == "1.0" and all(float(row.split()[-1]) > 0 for row in ours)
    assert [row.split()[:2] for row in ours] == [["SHIP,", "fp32"], ["SHIP,", "bf16"]]
