"""The shell scripts: what each of them asks `shipclip run` for, and one carried out with a stub for train.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted(REPOSITORY.glob("scripts/*/*.sh"))

STUB = """
import json, os, pathlib, sys
KEYS = ["TEST.BASE_PENALTY", "TRAINER.SHIP.GENERATOR.ONLY", "TRAINER.SHIP.REAL", "TRAINER.SHIP.GENERATOR.FROM",
        "TRAINER.SHIP.GENERATOR.NAME", "TRAINER.SHIP.GENERATOR.CTX_INIT", "TRAINER.SHIP.CTX_INIT"]
a = sys.argv
value = lambda key: a[a.index(key) + 1]
out = pathlib.Path(value("--output-dir"))
with open("calls.txt", "a") as file:
    words = [value("--trainer"), value("--seed"), value("DATASET.SUBSAMPLE_CLASSES")]
    words += ["eval"] if "--eval-only" in a else []
    words += ["load", value("--load-epoch")] if "--load-epoch" in a else []
    words += ["with", a[len(a) - a[::-1].index("--config-file")].split("with_")[1]] if "with_" in " ".join(a) else []
    words += [word for key in KEYS if key in a for word in (key.split(".")[-1], value(key))]
    print(*words, file=file)
if os.environ.get("FAIL") == f'{value("--trainer")} {value("--seed")}':
    sys.exit("error: it failed")
out.mkdir(parents=True, exist_ok=True)
if "--eval-only" not in a:
    (out / "prompt_learner").mkdir()
    for epoch in (5, 50, 10):
        (out / "prompt_learner" / f"model.pth.tar-{epoch}").touch()
(out / "log.txt").write_text("=> result\\n* accuracy: 50.00%\\n")
figures = {"accuracy": 50.0, "base_accuracy": 40.0, "new_accuracy": 40.0, "h": 40.0, "best_penalty": 1.5}
figures |= {f"{half}_mean_class_accuracy": 40.0 for half in ("base", "new")} | {"mean_class_h": 40.0}
(out / "results.json").write_text(json.dumps({"figures": figures, "time": {"train_s": 1.0}}))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of CoOp's kind with the scripts in it; its train.py only notes its calls."""
    folder = tmp_path / "a folder with spaces"
    for name in ("scripts", "configs"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "train.py").write_text(STUB)
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A Python that only notes what it is asked for, a word a line."""
    file = tmp_path / "python that notes"
    file.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done >>calls.txt\n')
    file.chmod(0o755)
    return file


def bash(checkout: Path, script: str, *args: str, **environment: str) -> subprocess.CompletedProcess:
    places = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(filter(None, places)), **environment}
    env.pop("DATA", None) if "DATA" not in environment else None
    return subprocess.run(["bash", checkout / script, *args], env=env, capture_output=True, text=True)


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls.txt").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_script_parses(script: Path):
    assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.mark.parametrize(
    ("script", "environment", "words"),
    [
        ("ship/base2new.sh", {}, "base2new miniworld --output output"),
        (
            "ship/base2new.sh caltech101 7 8",
            {"DATA": "/a b"},
            "base2new caltech101 --output output --data /a|b --seeds 7 8",
        ),
        (
            "ship/base2new.sh",
            {"METHODS": "CoOp SHIP:vit_b32", "SHOTS": "4", "CFG": "rn50", "OUTPUT": "/o", "FEATURE_CACHE": "/f"},
            "base2new miniworld --output /o --config rn50 --cache /f --methods CoOp SHIP:vit_b32 --shots 4",
        ),
        (
            "ship/base2new.sh",
            {"JOBS": "3", "VERBOSE": "1", "OPTS": "OPTIM.LR 0.1 TEST.NO_TEST True"},
            "base2new miniworld --output output --jobs 3 --verbose --opts OPTIM.LR 0.1 TEST.NO_TEST True",
        ),
        ("ship/learners.sh cub", {"SUBSET": "dev"}, "learners cub --output output --subset dev"),
        ("ship/few_shot.sh", {"ALL_SHOTS": "1 4"}, "few_shot miniworld --output output --shots 1 4"),
        ("ship/few_shot.sh", {}, "few_shot miniworld --output output --shots 1 2 4 8 16"),
        ("ship/gzsl.sh cub 2", {}, "gzsl cub --output output --seeds 2"),
        ("ship/ablation.sh", {"ROWS": "SHIP GAN"}, "ablation miniworld --output output --rows SHIP GAN"),
        (
            "ship/cross_dataset.sh imagenet dtd",
            {"SEEDS": "1 2"},
            "cross_dataset imagenet dtd --output output --seeds 1 2",
        ),
        ("ship/cross_dataset.sh", {}, "cross_dataset --output output"),
        ("ship/figures.sh", {}, "figures --output output"),
        ("ship/experiments.sh 4 5", {}, "experiments --output output --seeds 4 5"),
        *(
            (
                f"{folder}/base2new_train.sh dtd 3",
                {},
                f"base2new dtd --parts train --verbose --output output --methods {method} --seeds 3",
            )
            for folder, method in (("ship", "SHIP"), ("coop", "CoOp"), ("cocoop", "CoCoOp"))
        ),
        *(
            (
                f"{folder}/base2new_test.sh dtd 3",
                {"LOADEP": "10", "SUB": "all"},
                f"base2new dtd --parts all --load-epoch 10 --verbose --output output --methods {method} --seeds 3",
            )
            for folder, method in (("ship", "SHIP"), ("coop", "CoOp"), ("cocoop", "CoCoOp"))
        ),
        (
            "zsclip/base2new_test.sh dtd",
            {},
            "base2new dtd --parts new --verbose --output output --methods ZeroshotCLIP --seeds 1",
        ),
        (
            "zsclip/zeroshot.sh dtd ZeroshotCLIP2 rn50",
            {},
            "one ZeroshotCLIP2 dtd --folder output/ZeroshotCLIP2/rn50/dtd --verbose --output output --config rn50 "
            "--seeds -1 --shots -1",
        ),
        (
            "coop/main.sh dtd rn50 middle 4 8 True",
            {},
            "one CoOp dtd --folder output/dtd/CoOp/rn50_8shots/nctx4_cscTrue_ctpmiddle/seed{seed} --verbose "
            "--output output --config rn50 --shots 8 "
            "--opts TRAINER.COOP.N_CTX 4 TRAINER.COOP.CSC True TRAINER.COOP.CLASS_TOKEN_POSITION middle",
        ),
        (
            "coop/eval.sh dtd rn50 end 16 16 False",
            {},
            "one CoOp dtd --folder output/evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/dtd/seed{seed} "
            "--model-dir output/imagenet/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed{seed} --verbose "
            "--output output --config rn50 --shots -1 "
            "--opts TRAINER.COOP.N_CTX 16 TRAINER.COOP.CSC False TRAINER.COOP.CLASS_TOKEN_POSITION end",
        ),
        (
            "cocoop/xd_train.sh dtd 2",
            {},
            "one CoCoOp dtd --folder output/dtd/CoCoOp/{config}_16shots/seed{seed} --verbose --output output --seeds 2",
        ),
        (
            "cocoop/xd_test.sh dtd 2 imagenet",
            {"SHOTS": "8"},
            "one CoCoOp dtd --folder output/evaluation/CoCoOp/{config}_8shots/dtd/seed{seed} "
            "--model-dir output/imagenet/CoCoOp/{config}_8shots/seed{seed} --source imagenet --verbose "
            "--output output --seeds 2 --shots 8",
        ),
    ],
)
def test_a_script_asks_for(script: str, environment: dict, words: str, checkout: Path, asked: Path):
    name, *args = script.split()
    done = bash(checkout, f"scripts/{name}", *args, PYTHON=str(asked), **environment)
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == ["-m", "shipclip", "run", *(word.replace("|", " ") for word in words.split())]


def test_what_a_script_asks_for_is_understood(checkout: Path, asked: Path, monkeypatch: pytest.MonkeyPatch):
    """All of them, by shipclip's own command line, down to the plan."""
    from shipclip.cli import parser
    from shipclip.commands.run import plans_of, shown_words

    (checkout / "shipclip").mkdir()
    (checkout / "datasets").mkdir()
    monkeypatch.chdir(checkout)
    arguments = {"base2new_train": "dtd 1", "base2new_test": "dtd 1", "zeroshot": "dtd ZeroshotCLIP2 rn50"}
    arguments |= {"main": "dtd rn50 end 4 8 True", "eval": "dtd rn50 end 4 8 True", "xd_train": "dtd 1"}
    arguments |= {"xd_test": "dtd 1 imagenet"}
    for script in (script for script in SCRIPTS if script.stem not in ("_run", "install_into")):
        (checkout / "calls.txt").unlink(missing_ok=True)
        words = arguments.get(script.stem, "").split()
        bash(checkout, str(script.relative_to(REPOSITORY)), *words, PYTHON=str(asked), DATA="/d")
        plans, _ = plans_of(parser().parse_args(calls(checkout)[2:]))
        jobs = [job for _, chains in plans for chain in chains for job in chain.jobs]
        assert jobs and all(shown_words(job) for job in jobs), script


def test_runs_of_a_coop_checkout_are_its_train_pys(checkout: Path):
    """Every method is trained and tested; a failed run stops no other and is named; finished runs are skipped."""
    environment = {"METHODS": "CoOp SHIP", "JOBS": "2", "FAIL": "CoOp 1"}
    done = bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1", "2", **environment)
    assert done.returncode == 1, done.stderr
    made = sorted(calls(checkout))
    assert made == [
        *("CoOp 1 base", "CoOp 2 base", "CoOp 2 new eval load 50"),
        *(f"SHIP {seed} {rest}" for seed in (1, 2) for rest in ("all eval load 50", "base", "new eval load 50")),
    ]
    assert "error: it failed" in done.stderr
    assert "\n1 failed:\n  CoOp seed 1, training: output/base2new/train_base/miniworld" in done.stderr
    assert "MISSING: CoOp, base: seeds 1" in done.stdout  # the table all the same
    assert (checkout / "output" / "base2new" / "miniworld_shots_16.md").is_file()
    again = bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1", "2", METHODS="CoOp SHIP")
    assert again.returncode == 0, again.stderr
    assert sorted(calls(checkout)) == sorted([*made, "CoOp 1 base", "CoOp 1 new eval load 50"])
    assert "SHIP seed 1, joint: finished before" in again.stdout and "joint H" in again.stdout


def test_what_is_missing_is_said_before_anything_runs(checkout: Path):
    done = bash(checkout, "scripts/ship/base2new.sh", "caltech101")
    assert done.returncode == 2 and "DATA=/path/to/data" in done.stderr and done.stderr.count("\n") == 1
    untrained = bash(checkout, "scripts/coop/base2new_test.sh", "miniworld", "3")
    assert untrained.returncode == 1 and "there is no trained model in output/base2new/train_base" in untrained.stderr
    assert not (checkout / "calls.txt").exists()
    done = bash(checkout, "scripts/ship/learners.sh", "miniworld")
    assert done.returncode == 2 and "learners needs this project's own data sets" in done.stderr
