"""--profile: where a run's time goes, and that looking changes no figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from shipclip import profiling
from shipclip.backbones.openai import random_clip
from shipclip.cli import main
from shipclip.errors import Unwritable
from shipclip.experiments import local, work
from shipclip.experiments.job import Chain
from shipclip.experiments.outcome import Outcome
from tests.experiments.test_work import KEYS
from tests.runs import run, same_weights


@pytest.fixture(scope="module", autouse=True)
def peak() -> Iterator[None]:
    """The machine's matrix peak, measured once: that takes longer than most of the runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "matrix_peak", cache(profiling.matrix_peak))
        yield


def read(folder: Path) -> dict:
    return json.loads((folder / "profile.json").read_text())


def test_a_profiled_run_is_the_same_run_and_tells_its_parts(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    plain = run(data, tmp_path / "plain", "SHIP")
    capsys.readouterr()
    looked_at = run(data, tmp_path / "seen", "SHIP", flags=("--profile",), anew=True)
    out = capsys.readouterr().out
    assert looked_at["figures"] == plain["figures"]
    assert same_weights(tmp_path / "plain", tmp_path / "seen", "prompt_learner/model.pth.tar-3")
    folder = tmp_path / "seen" / "profile"
    figures = read(folder)
    parts, stages = figures["parts"], figures["stages"]
    assert list(parts) == ["decoding", "encoding", "synthesis", "text", "backward", "optimiser", "other"]
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(figures["seconds"])
    assert parts["decoding"]["images"] == parts["encoding"]["images"] > 0 and parts["text"]["prompts"] > 0
    assert parts["synthesis"]["samples"] > 0
    assert parts["backward"]["steps"] == parts["optimiser"]["steps"] == sum(s["steps"] for s in stages.values())
    assert set(stages) == {"stage1", "train"} and figures["peak_memory_mib"] > 100
    assert 0 < parts["encoding"]["of_peak"] < 1 and figures["matrix_peak_gflops"] > 1
    assert "of the matrix peak" in out and str(folder) in out
    assert "of the matrix peak" in (tmp_path / "seen" / "log.txt").read_text()
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    steps = [event for event in events if event["name"] == "train step"]
    assert len(steps) == stages["train"]["steps"] and all(event["dur"] > 0 for event in events)
    operators = json.loads((folder / "operators_train.json").read_text())["traceEvents"]
    assert any(event["name"] == "aten::mm" or event["name"] == "aten::addmm" for event in operators)
    assert not (tmp_path / "plain" / "profile").exists()


def test_a_plan_profiles_each_of_its_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def here(chains: list[Chain], jobs: int, bench: dict[str, Any]) -> Iterator[Outcome]:  # not in workers
        return (outcome for chain in chains for outcome in work.do(chain, work.Bench(**bench)))

    monkeypatch.setattr(local, "run", here)
    words = ["run", "base2new", "--data", str(data), "--output", str(tmp_path), "--seeds", "1", "--methods", "CoOp"]
    words += ["--shots", "2", "--jobs", "1", "--parts", "train", "new", "--profile"]
    assert main([*words, "--opts", *(word for pair in KEYS.items() for word in pair if "SHIP" not in pair[0])]) == 0
    seen = {str(file.relative_to(tmp_path)).split("/")[1]: read(file.parent) for file in tmp_path.rglob("profile.json")}
    assert set(seen) == {"train_base", "test_new"}
    assert "train" in seen["train_base"]["stages"] and not seen["test_new"]["stages"]


def photographs(folder: Path) -> Path:
    for name, place in (("cat", 0), ("dog", 90)):
        for i in range(2):
            file = folder / "photos" / "train" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (place, 100, 50 * i)).save(file)
    return folder / "photos"


def test_fit_leaves_its_profile_where_it_is_told(data: Path, tmp_path: Path):
    words = ["fit", str(photographs(tmp_path)), "-o", str(tmp_path / "model"), "--backbone", "MiniCLIP", "--alone"]
    words += ["--learner", "TipAdapter", "--no-calibration", "--profile", str(tmp_path / "where")]
    assert main(words) == 0
    assert read(tmp_path / "where")["parts"]["decoding"]["images"] > 0
    assert not (tmp_path / "model" / "profile").exists()


def test_parts_do_not_overlap(tmp_path: Path):
    with profiling.profiled(tmp_path):
        with profiling.part("backward", 1), profiling.part("text", 5):
            pass
        with profiling.part("text", 2):
            pass
        list(profiling.each("decoding", iter([[1, 2], [3]]), len))
    parts = read(tmp_path)["parts"]
    assert parts["text"]["prompts"] == 2 and parts["backward"]["steps"] == 1 and parts["decoding"]["images"] == 3


def test_an_error_within_is_raised_and_what_was_seen_is_told(tmp_path: Path):
    with pytest.raises(KeyError, match="mine"), profiling.profiled(tmp_path), profiling.part("text", 1):
        raise KeyError("mine")
    assert read(tmp_path)["parts"]["text"]["prompts"] == 1
    with profiling.part("text", 1):  # nobody looks any more
        pass
    assert read(tmp_path)["parts"]["text"]["prompts"] == 1


def test_operations_are_counted_and_move_no_bit():
    a, out = torch.randn(3, 4), torch.zeros(3, 5)
    with profiling.counted() as found:
        out.addmm_(a, torch.randn(4, 5))
    assert found == [2 * 3 * 4 * 5]
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7, 7))
    with profiling.counted() as found:
        y = F.scaled_dot_product_attention(q, k, v)
    forward = 2 * 2 * (2 * 3 * 5 * 7 * 8)
    assert found == [forward]
    with profiling.counted() as found:
        y.sum().backward()
    assert found == [5 * forward // 2]
    tower, images = random_clip(32, 32, 2, 64, 16, 77, 100, 64, 1, 2).eval(), torch.randn(2, 3, 32, 32)
    plain = tower.encode_image(images)
    with profiling.counted() as found:
        assert torch.equal(tower.encode_image(images), plain)
    with FlopCounterMode(display=False) as torchs:
        tower.encode_image(images)
    attention = 2 * 2 * 2 * 64 * 5 * 5 * 2  # layers, products, 2 FLOP, w, positions, images: not torch's on CPUs
    assert found[0] in (torchs.get_total_flops(), torchs.get_total_flops() + attention)


@pytest.mark.parametrize("short", [2, 4, 9])
def test_each_stage_has_its_operators_however_short_it_is(short: int, tmp_path: Path):
    a = torch.randn(64, 64)
    with profiling.profiled(tmp_path):
        for name, steps in (("stage1", short), ("train", 7)):
            with profiling.stage(name):
                for _ in range(steps):
                    with profiling.step(32), profiling.part("encoding", 1, key=3):
                        a @ a
    stages = read(tmp_path)["stages"]
    assert stages["train"]["steps"] == 7 and stages["stage1"]["steps"] == short
    assert all(stage["of_peak"] > 0 for stage in stages.values())
    found = {file.name for file in tmp_path.glob("operators_*")}
    assert found == {"operators_train.json"} | ({"operators_stage1.json"} if short >= profiling.FIRST else set())
    products = json.loads((tmp_path / "operators_train.json").read_text())["traceEvents"]
    assert sum(event["name"] == "aten::mm" for event in products) == profiling.LAST - profiling.FIRST + 1


def test_a_profile_that_cannot_be_written_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable), profiling.profiled(tmp_path / "file" / "x"):
        pytest.fail("it was begun")

    def full(*args: object) -> None:
        raise OSError("no room")

    with profiling.profiled(tmp_path / "y"):
        monkeypatch.setattr(profiling, "write_text", full)
    assert "Note: where the time went cannot be told (no room)" in capsys.readouterr().out


def test_memory_that_nobody_tells_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(profiling, "peak_memory", lambda device, reset=False: float("nan"))
    with profiling.profiled(tmp_path):
        pass
    assert read(tmp_path)["peak_memory_mib"] is None
