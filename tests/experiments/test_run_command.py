"""shipclip run: what is asked for, down to the plan, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shipclip.cli import main, parser
from shipclip.commands.run import plans_of
from tests.experiments.test_work import KEYS
from tests.runs import small_elsewhere

ROOT = Path(__file__).parents[2]


def test_a_dry_run_shows_the_runs_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["run", "base2new", "dtd", "--data", "/d", "--seeds", "1", "--methods", "CoOp", "--output", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "base2new: 3 runs in 1 chains" and lines[1] == "  CoOp seed 1, training"
    assert lines[2].startswith("    python train.py --root /d --seed 1 --trainer CoOp --dataset-config-file")
    assert "--model-dir" in lines[4] and "--load-epoch" not in lines[4]
    assert not list(tmp_path.iterdir())


def test_all_are_the_eleven(tmp_path: Path):
    args = parser().parse_args(["run", "base2new", "all", "--data", "/d", "--methods", "SHIP"])
    (_, chains), *_ = plans_of(args)[0]
    assert len({chain.jobs[0].dataset for chain in chains}) == 11 and len(chains) == 33


def test_everything_is_five_experiments():
    plans, _ = plans_of(parser().parse_args(["run", "experiments"]))
    assert [name for name, _ in plans] == ["learners", "gzsl", "few_shot", "ablation", "cross_dataset"]
    assert [name for name, _ in plans_of(parser().parse_args(["run", "figures"]))[0]] == ["learners", "few_shot"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("base2new nothing", "there is no data set nothing; known: awa2"),
        ("base2new dtd", "say where the data sets lie"),
        ("learners --opts OPTIM.LR", "--opts takes KEY VALUE pairs, and 'OPTIM.LR' stands alone"),
        ("learners --shots 1 2", "--shots takes one number, and 2 are given"),
        ("figures miniworld", "figures is of the embedded data sets: leave out miniworld"),
        ("one CoOp miniworld", "one needs a method, a data set and --folder"),
        ("ablation --rows Gan", "there is no row of the ablation Gan; known: "),
        ("base2new --methods CoOpp", "there is no method CoOpp; known: CLIPAdapter CLIPLoRA "),
        ("base2new --methods coop", "did you mean CoOp?"),
        ("base2new --methods SHIP+GDAA", "there is no learner for SHIP GDAA; known: CLIPAdapter "),
        ("base2new --methods CoOp+GDA", "CoOp takes no +GDA: SHIP alone tunes other learners"),
        ("base2new --methods CoOp:miniclp", "there is no config of CoOp miniclp; known: miniclip "),
        ("base2new --opts OPTIM.LX 3", "unknown config key OPTIM.LX; did you mean OPTIM.LR?"),
        ("base2new --opts OPTIM.LR -1", "OPTIM.LR is -1"),
        ("base2new --executor ray --profile", "--profile is for --executor local"),
        ("learners --slurm partition", "--slurm takes KEY=VALUE, not 'partition'"),
        ("learners --slurm a=b", "--slurm is for --executor slurm"),
        ("learners --executor ray --jobs 2", "--jobs is for --executor local"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: str, sentence: str, capsys: pytest.CaptureFixture):
    assert main(["run", *words.split()]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_settings_by_validation_are_a_plan(data: Path, tmp_path: Path):
    """The script's table, best first; a value that cannot be is told, and ends with status 2."""
    keys = [f"{key}={value}" for key, value in KEYS.items() if not key.startswith("TRAINER.SHIP")]
    command = [sys.executable, "scripts/ship/validate.py", "CoOp", *keys, "OPTIM.LR=0.002,-1", "--seeds", "1"]
    command += ["--root", str(data), "--out", str(tmp_path), "--shots", "2", "--jobs", "1"]
    env = {**os.environ, "PYTHONPATH": small_elsewhere(tmp_path / "site")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "OPTIM.LR is -1" in done.stderr, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(table) == 2 and "LR 0.002" in table[1] and "joint H" in table[0]
    (results,) = tmp_path.rglob("results.json")
    assert json.loads(results.read_text())["subset"] == "dev"


@pytest.mark.parametrize(("words", "told"), [(["nosuch"], "there is no data set nosuch"), (["dtd"], "--data, for dtd")])
def test_a_mistake_in_a_plan_is_told_before_anything_slow_is_imported(words: list[str], told: str):
    code = "import sys; from shipclip.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "run", "base2new", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and told in done.stderr and done.stderr.count("\n") == 1
