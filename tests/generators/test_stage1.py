"""A generator that was trained before is taken in place of the same training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from shipclip import method, quality
from shipclip.generators.vae import VAE
from tests.runs import run, status


class Trained(Exception):
    pass


def cache_at(folder: Path) -> tuple[str, ...]:
    return "FEATURES.CACHE_DIR", str(folder), "DATASET.SUBSAMPLE_CLASSES", "gzsl"


@pytest.fixture
def cached(tmp_path: Path) -> tuple[str, ...]:
    return cache_at(tmp_path / "cache")


def refuse_training(patch: pytest.MonkeyPatch) -> None:
    def step(*args: Any, **kwargs: Any) -> None:
        raise Trained

    patch.setattr(VAE, "step", step)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "generator" / "model.pth.tar-4", weights_only=True)["state_dict"]


def test_runs_that_differ_in_stage_2_share_a_generator(data: Path, tmp_path: Path, cached, monkeypatch):
    other = ("TRAINER.SHIP.OWN_WEIGHT", 1.0)
    alone = run(data, tmp_path / "alone", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", *other)
    run(data, tmp_path / "first", "SHIP", *cached)
    (file,) = (tmp_path / "cache" / "generators").rglob("model.pth.tar-4")
    saved = torch.load(file, weights_only=True)
    assert 0 < saved["seconds"] < 60
    torch.save({**saved, "seconds": 100.0}, file)
    refuse_training(monkeypatch)
    second = run(data, tmp_path / "second", "SHIP", *cached, *other)
    assert second["figures"] == alone["figures"]  # to the bit
    assert second["time"]["train_s"] > 100  # what training takes, not what was saved
    taken, trained = weights(tmp_path / "second"), weights(tmp_path / "alone")
    assert taken.keys() == trained.keys() and all(torch.equal(taken[name], trained[name]) for name in taken)

    def epochs(name: str) -> list[str]:
        lines = (tmp_path / name / "log.txt").read_text().splitlines()
        return [line.partition(" loss ")[2] for line in lines if line.startswith("generator epoch")]

    assert epochs("second") == epochs("alone") and len(epochs("second")) == 4  # for the pictures of its curves


def test_runs_that_share_a_generator_measure_it_once(data: Path, tmp_path: Path, cached, monkeypatch):
    def figures(name: str, *options: Any) -> dict[str, Any]:
        measured.clear()
        return run(data, tmp_path / name, "SHIP", *options)["figures"]["synthetic"]

    measured: list[int] = []
    measure = quality.measure
    monkeypatch.setattr(quality, "measure", lambda *given: measured.append(1) or measure(*given))
    alone = figures("alone", "DATASET.SUBSAMPLE_CLASSES", "gzsl")
    assert figures("first", *cached) == alone and len(measured) == 2  # base and new classes
    assert figures("second", *cached, "OPTIM.LR", 0.01) == alone and not measured  # to the bit
    one, other = sorted((tmp_path / "cache" / "quality").glob("*.json"))
    one.write_text("{")
    assert figures("damaged", *cached, "OPTIM.LR", 0.02) == alone and len(measured) == 1
    other.write_text("[]")
    assert figures("no figures", *cached, "OPTIM.LR", 0.03) == alone and len(measured) == 1
    assert figures("of others", *cached, "TRAINER.SHIP.GENERATOR.KL_WEIGHT", 0.5) != alone and len(measured) == 2
    assert len(list((tmp_path / "cache" / "quality").iterdir())) == 4


def test_a_cache_below_the_home_folder_lies_in_one_place(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    run(data, tmp_path / "o", "SHIP", *cache_at(Path("~/cache")))
    assert sorted(p.name for p in (tmp_path / "home" / "cache").iterdir()) == ["encoded", "generators", "quality"]
    assert not (tmp_path / "~").exists()


def test_figures_that_cannot_be_kept_are_no_mistake(data: Path, tmp_path: Path, cached):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "quality").write_text("")
    assert "synthetic" in run(data, tmp_path / "o", "SHIP", *cached)["figures"]
    assert "could not be kept" in (tmp_path / "o" / "log.txt").read_text()


@pytest.fixture(scope="module")
def filled(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a generator of a whole run."""
    folder = tmp_path_factory.mktemp("filled")
    run(data, folder / "first", "SHIP", *cache_at(folder / "cache"))
    return folder / "cache"


@pytest.mark.parametrize(
    "change",
    [
        ("TRAINER.SHIP.GENERATOR.KL_WEIGHT", 0.5),
        ("DATASET.NUM_SHOTS", 1),
        ("SEED", 2),
        ("INPUT.RRCROP_SCALE", "(0.9, 1.0)"),
        ("DATASET.SUBSAMPLE_CLASSES", "dev"),
    ],
)
def test_whatever_stage_1_depends_on_trains_it_anew(
    change: tuple, data: Path, filled: Path, tmp_path: Path, monkeypatch
):
    assert list((filled / "generators").rglob("model.pth.tar-4"))
    refuse_training(monkeypatch)
    with pytest.raises(Trained):
        status(data, tmp_path / "second", "SHIP", *cache_at(filled), *change)


@pytest.mark.parametrize("it", ["is made", "is killed"])
def test_what_another_run_trains_is_waited_for(it: str, data: Path, filled: Path, tmp_path: Path, monkeypatch):
    whole = json.loads((filled.parent / "first" / "results.json").read_text())
    shutil.copytree(filled, tmp_path / "cache")
    (file,) = (tmp_path / "cache" / "generators").rglob("model.pth.tar-4")
    torch.save({**torch.load(file, weights_only=True), "seconds": 0.0}, file)
    made, log, trained = file.read_bytes(), tmp_path / "o" / "log.txt", VAE.step
    file.unlink()
    code = "import sys; from shipclip.locks import Lock; l = Lock(sys.argv[1]); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code, str(file.parent)], stdin=-1, stdout=-1, text=True)
    assert other.stdout.readline() == "held\n"
    steps: list[str] = []

    def end() -> None:
        began = time.time()
        while time.time() < began + 60 and not (log.is_file() and "waiting for it" in log.read_text()):
            time.sleep(0.05)
        time.sleep(0.5)
        if it == "is made":
            file.write_bytes(made)
        steps.append("the other is gone")
        other.kill()

    monkeypatch.setattr(VAE, "step", lambda *given, **named: steps.append("trained") or trained(*given, **named))
    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    result = run(data, tmp_path / "o", "SHIP", *cache_at(tmp_path / "cache"))
    ending.join()
    other.communicate()
    assert "waiting for it" in log.read_text()
    assert steps[0] == "the other is gone" and ("trained" in steps) == (it == "is killed")
    assert ("Stage 1 was run before" in log.read_text()) == (it == "is made")
    assert result["figures"] == whole["figures"]
    assert result["time"]["train_s"] < result["time"]["total_s"] - 0.5  # to wait is no training
    assert file.read_bytes() == made or it == "is killed"
    assert file.is_file() and not (file.parent / "run.lock").exists()


def test_a_run_without_a_seed_keeps_none(data: Path, tmp_path: Path, cached):
    run(data, tmp_path / "first", "SHIP", *cached, "SEED", -1)
    assert not (tmp_path / "cache" / "generators").exists()


def test_a_run_that_is_killed_after_taking_one_goes_on(data: Path, tmp_path: Path, cached, monkeypatch):
    whole = run(data, tmp_path / "whole", "SHIP", *cached)

    def killed(*args: Any) -> None:
        raise Trained

    with monkeypatch.context() as patch:
        patch.setattr(method, "tune", killed)
        with pytest.raises(Trained):
            status(data, tmp_path / "o", "SHIP", *cached)
    refuse_training(monkeypatch)
    assert run(data, tmp_path / "o", "SHIP", *cached)["figures"] == whole["figures"]
