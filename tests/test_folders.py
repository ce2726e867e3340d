"""Whose an output folder is, and when its run is finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs import run, status


def test_a_finished_run_is_not_repeated(trained: Path, data: Path, capsys: pytest.CaptureFixture):
    before = (trained / "results.json").stat().st_mtime_ns
    assert status(data, trained, "SHIP") == 0
    assert "finished results" in capsys.readouterr().out
    assert (trained / "results.json").stat().st_mtime_ns == before


def test_a_folder_of_another_config_is_left_alone(trained: Path, data: Path, capsys: pytest.CaptureFixture):
    before = (trained / "results.json").read_bytes()
    assert status(data, trained, "SHIP", "OPTIM.LR", "0.01") == 2
    assert "OPTIM.LR 0.01 here, 0.1 there" in capsys.readouterr().err
    assert (trained / "results.json").read_bytes() == before


def test_an_evaluation_is_repeated_after_a_new_training(trained: Path, data: Path, tmp_path: Path):
    flags = ("--eval-only", "--model-dir", str(trained))
    run(data, tmp_path / "o", "SHIP", flags=flags)
    stamp = (tmp_path / "o" / "results.json").stat().st_mtime_ns
    (trained / "prompt_learner" / "model.pth.tar-3").touch()
    run(data, tmp_path / "o", "SHIP", flags=flags)
    assert (tmp_path / "o" / "results.json").stat().st_mtime_ns > stamp


def test_an_evaluation_of_the_best_model_is_recognised_as_finished(data: Path, tmp_path: Path, capsys):
    best = ("TEST.FINAL_MODEL", "best_val")
    run(data, tmp_path / "o", "CoOp", *best)
    flags = ("--eval-only", "--model-dir", str(tmp_path / "o"))
    first = run(data, tmp_path / "e", "CoOp", *best, flags=flags)
    assert first["weights"].endswith("prompt_learner/model-best.pth.tar")
    stamp = (tmp_path / "e" / "results.json").stat().st_mtime_ns
    assert run(data, tmp_path / "e", "CoOp", *best, flags=flags) == first
    assert "finished results" in capsys.readouterr().out
    assert (tmp_path / "e" / "results.json").stat().st_mtime_ns == stamp


def test_an_evaluation_of_seed1_is_not_one_of_seed10(data: Path, tmp_path: Path):
    """The one folder's name begins as the other's."""
    evaluations = {}
    for seed in ("seed10", "seed1"):
        run(data, tmp_path / seed, "CoOp")
        flags = ("--eval-only", "--model-dir", str(tmp_path / seed))
        evaluations[seed] = run(data, tmp_path / "e", "CoOp", flags=flags)["weights"]
    assert evaluations == {seed: f"{tmp_path / seed}/prompt_learner/model.pth.tar-3" for seed in evaluations}


def test_a_mistake_does_not_claim_the_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert status(data, tmp_path / "o", "CoOp", "OPTIM.NAME", "foo") == 2
    error = capsys.readouterr().err
    assert "OPTIM.NAME is 'foo': choose one of adam" in error and error.count("\n") == 1
    assert not (tmp_path / "o" / "config.json").exists()
    assert run(data, tmp_path / "o", "CoOp")["figures"]


# -- folders of runs before the library ---------------------------------------------------------------------------


def make_old(folder: Path) -> None:
    """As they were: the images' size said, nothing of the newer keys, no `checkpoint` beside the generator's files."""
    size = {"SIZE": [64, 64], "INTERPOLATION": "bicubic", "PIXEL_MEAN": [0.48145466, 0.4578275, 0.40821073]}
    size["PIXEL_STD"] = [0.26862954, 0.26130258, 0.27577711]

    def aged(cfg: dict) -> dict:
        for node, key in (("DATASET", "TEMPLATE"), ("DATASET", "PROMPTS"), ("TEST", "PREDICTIONS")):
            del cfg[node][key]
        del cfg["MODEL"]["BACKBONE"]["ACTIVATION"]
        cfg["INPUT"] |= size
        return cfg

    claim = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(aged(claim)))
    result = json.loads((folder / "results.json").read_text())
    for key in ("method", "config", "experiment", "classnames", "new_classnames"):
        del result[key]
    (folder / "results.json").write_text(json.dumps({**result, "cfg": aged(result["cfg"])}))
    (folder / "generator" / "checkpoint").unlink()


@pytest.fixture(scope="module")
def old(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    run(data, folder, "SHIP")
    make_old(folder)
    return folder


def test_an_old_folder_is_recognised_as_finished(old: Path, data: Path, capsys: pytest.CaptureFixture):
    before = (old / "results.json").stat().st_mtime_ns
    assert status(data, old, "SHIP") == 0
    assert "finished results" in capsys.readouterr().out
    assert (old / "results.json").stat().st_mtime_ns == before


def test_an_old_folder_of_another_config_is_left_alone(old: Path, data: Path, capsys: pytest.CaptureFixture):
    assert status(data, old, "SHIP", "DATASET.TEMPLATE", "a {}.") == 2
    assert "DATASET.TEMPLATE 'a {}.' here, None there" in capsys.readouterr().err


def test_an_old_folder_can_be_evaluated(old: Path, data: Path, tmp_path: Path):
    flags = ("--eval-only", "--model-dir", str(old))
    found = run(data, tmp_path / "o", "SHIP", flags=flags)["figures"]
    assert found == json.loads((old / "results.json").read_text())["figures"]


def test_an_old_folders_generator_can_be_taken_over(old: Path, data: Path, tmp_path: Path):
    taken = run(data, tmp_path / "o", "SHIP", "TRAINER.SHIP.GENERATOR.FROM", old)["figures"]
    assert taken == json.loads((old / "results.json").read_text())["figures"]
