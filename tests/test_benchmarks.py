"""The speed comparison compares equal things: a plain loop makes the same updates."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
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
    told = ship_vit_b16.measure(Namespace(epochs=1, shots=2, root=str(data), bf16=True), weights)
    assert "72 images of 36 base classes" in told and "stage 1, 50 epochs" in told
    plain, *ours = told.splitlines()[-3:]
    assert plain.split()[-1] == "1.0" and all(float(row.split()[-1]) > 0 for row in ours)
    assert [row.split()[:2] for row in ours] == [["SHIP,", "fp32"], ["SHIP,", "bf16"]]


TICKS = """
import pathlib, sys, time
folder, number, status = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
folder.mkdir(parents=True)
for tick in range(number):
    with open(folder / "ticks", "a") as file:
        print(time.time(), file=file)
    time.sleep(0.01)
(folder / "results.json").touch()
sys.exit(status)
"""


def side(folder: Path, name: str, ticks: int, status: int = 0):
    from benchmarks.whole_study import Side

    words = [sys.executable, "-c", TICKS, str(folder / name), str(ticks), str(status)]
    return Side(name, words, dict(os.environ), folder / name)


def test_two_studies_take_turns(tmp_path: Path):
    from benchmarks.whole_study import in_turns

    sides = [side(tmp_path, name, ticks=60) for name in ("before", "now")]
    began = time.perf_counter()
    in_turns(sides, 0.2)
    assert (
        sum(one.seconds for one in sides) <= time.perf_counter() - began
    )  # no clock goes on while its side is stopped
    assert [one.finished_runs for one in sides] == [1, 1] and all(one.is_over for one in sides)
    times = {name: [float(x) for x in (tmp_path / name / "ticks").read_text().split()] for name in ("before", "now")}
    names = [name for _, name in sorted((x, name) for name, all_of_it in times.items() for x in all_of_it)]
    turns = 1 + sum(a != b for a, b in itertools.pairwise(names))
    assert 2 < turns < 20  # side by side they would take 120


def test_a_study_that_fails_is_named_and_ends_the_other(tmp_path: Path):
    from benchmarks.whole_study import in_turns

    sides = [side(tmp_path, "before", ticks=1000), side(tmp_path, "now", ticks=1, status=3)]
    with pytest.raises(SystemExit, match=r"(?s)now: .* ended with status 3"):
        in_turns(sides, 0.3)
    assert sides[0].process.returncode == -signal.SIGKILL and not (tmp_path / "before" / "results.json").exists()
