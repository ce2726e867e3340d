"""The shell scripts, with a stub in train.py's place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train

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
    """A copy of the repository's scripts, with a train.py that only notes its calls."""
    folder = tmp_path / "a folder with spaces"
    for name in ("scripts", "configs", "shipclip", "datasets"):
        ignore = shutil.ignore_patterns("__pycache__", "*.pt")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignore)
    (folder / "train.py").write_text(STUB)
    return folder


def bash(checkout: Path, script: str, *args: str, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHON": sys.executable, "JOBS": "1", **environment}
    env.pop("DATA", None) if "DATA" not in environment else None
    return subprocess.run(["bash", checkout / script, *args], env=env, capture_output=True, text=True)


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls.txt").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_script_parses(script: Path):
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_every_method_trains_on_base_and_is_tested_on_new_and_jointly(checkout: Path):
    done = bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1")
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [
        *(f"ZeroshotCLIP 1 {subset} eval" for subset in ("base", "new", "all")),
        *("CoOp 1 base", "CoOp 1 new eval load 50", "CoOp 1 all eval load 50"),
        *("CoCoOp 1 base", "CoCoOp 1 new eval load 50", "CoCoOp 1 all eval load 50"),
        *(3 * ["SHIP 1 base", "SHIP 1 new eval load 50", "SHIP 1 all eval load 50"]),  # text features, and tuned
        *("CoOp 1 all", "CoOp 1 base eval load 50", "CoOp 1 new eval load 50", "CoOp 1 all eval load 50"),
    ]
    assert "upper bound" in done.stdout and "joint H" in done.stdout
    assert "miniclip_textpoint" in done.stdout and "miniclip_tuned" in done.stdout
    assert (checkout / "output" / "base2new" / "miniworld_shots_16.md").is_file()


def test_finished_runs_are_skipped(checkout: Path):
    bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1", METHODS="CoOp")
    before = calls(checkout)
    done = bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1", METHODS="CoOp")
    assert done.returncode == 0 and calls(checkout) == before
    assert "finished before" in done.stdout


def test_a_failed_run_stops_no_other_and_is_named(checkout: Path):
    done = bash(checkout, "scripts/ship/base2new.sh", "miniworld", "1", "2", METHODS="CoOp SHIP", FAIL="CoOp 1")
    assert done.returncode == 1
    of_seed_1 = [call for call in calls(checkout) if call.split()[1] == "1"]  # seeds run side by side
    assert of_seed_1[:2] == ["CoOp 1 base", "SHIP 1 base"] and "CoOp 2 base" in calls(checkout)
    assert "error: it failed" in done.stderr
    assert "1 failed:\n  CoOp seed 1, training: output/base2new/train_base/miniworld" in done.stderr
    assert "MISSING: CoOp, base: seeds 1" in done.stdout  # the table all the same


def test_the_environment_chooses_methods_shots_and_config(checkout: Path):
    environment = {"METHODS": "SHIP", "SHOTS": "4", "CFG": "vit_b32", "DATA": "/some/where"}
    assert bash(checkout, "scripts/ship/base2new.sh", "caltech101", "7", **environment).returncode == 0
    folder = checkout / "output/base2new/train_base/caltech101/shots_4/SHIP/vit_b32/seed7"
    assert (folder / "results.json").is_file()


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [("caltech101", "DATA=/path/to/data"), ("nothing", "no data set nothing; known: awa2 caltech101")],
)
def test_what_is_missing_is_said_before_anything_runs(checkout: Path, dataset: str, sentence: str):
    done = bash(checkout, "scripts/ship/base2new.sh", dataset)
    assert done.returncode == 2 and sentence in done.stderr
    assert not (checkout / "calls.txt").exists()


@pytest.mark.parametrize(("folder", "trainer"), [("ship", "SHIP"), ("coop", "CoOp"), ("cocoop", "CoCoOp")])
def test_the_two_steps_of_coops_users_work_for_every_method(checkout: Path, folder: str, trainer: str):
    assert bash(checkout, f"scripts/{folder}/base2new_test.sh", "miniworld", "3").returncode == 2
    assert bash(checkout, f"scripts/{folder}/base2new_train.sh", "miniworld", "3").returncode == 0
    done = bash(checkout, f"scripts/{folder}/base2new_test.sh", "miniworld", "3", LOADEP="10")
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [f"{trainer} 3 base", f"{trainer} 3 new eval load 10"]


# -- the experiments ------------------------------------------------------------------------------------------


def test_learners_run_alone_and_with_ship(checkout: Path):
    done = bash(checkout, "scripts/ship/learners.sh", "miniworld", "2", METHODS="ZeroshotCLIP GDA SHIP SHIP+GDA")
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [
        *("ZeroshotCLIP 2 gzsl eval", "GDA 2 gzsl", "SHIP 2 gzsl", "SHIP 2 gzsl with GDA.yaml"),
    ]
    assert (checkout / "output/learners/miniworld/shots_16/SHIP+GDA/miniclip/seed2/results.json").is_file()


def test_a_method_may_name_its_config(checkout: Path):
    methods = "CoOp:vit_b32 SHIP+GDA:vit_b32"
    done = bash(checkout, "scripts/ship/learners.sh", "miniworld", "2", METHODS=methods)
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == ["CoOp 2 gzsl", "SHIP 2 gzsl with GDA.yaml"]
    for method in ("CoOp", "SHIP+GDA"):
        assert (checkout / f"output/learners/miniworld/shots_16/{method}/vit_b32/seed2/results.json").is_file()


def test_every_experiment_takes_the_tuned_config_where_there_is_one(checkout: Path):
    scripts = {"learners": {}, "gzsl": {}, "few_shot": {"ALL_SHOTS": "1"}, "ablation": {"ROWS": "SHIP tuned"}}
    for name, environment in scripts.items():
        for dataset, config in (("miniworld", "miniclip_tuned"), ("cub", "vit_b16_tuned")):
            done = bash(checkout, f"scripts/ship/{name}.sh", dataset, "1", DATA="/data", **environment)
            assert done.returncode == 0, done.stderr
            found = list((checkout / f"output/{name}/{dataset}").rglob(f"{config}/seed1/results.json"))
            assert any(file.parts[-4] in ("SHIP", "tuned") for file in found), (name, dataset)
            assert not list((checkout / f"output/{name}").rglob("*:*"))
    done = bash(checkout, "scripts/ship/ablation.sh", "cub", "1", DATA="/data", ROWS="SHIP tuned", CFG="vit_b32")
    assert done.returncode == 0 and "tuned seed" not in done.stdout


def test_every_learner_has_its_overlay_in_the_default_list():
    text = (REPOSITORY / "scripts/ship/learners.sh").read_text()
    overlays = {file.stem.removeprefix("with_") for file in REPOSITORY.glob("configs/trainers/SHIP/with_*.yaml")}
    assert overlays and all(f"SHIP+{name}" in text for name in overlays)


def test_gzsl_chooses_the_penalty_within_seen_classes_first(checkout: Path):
    done = bash(checkout, "scripts/ship/gzsl.sh", "miniworld", "1", METHODS="ZeroshotCLIP SHIP")
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [
        *("ZeroshotCLIP 1 dev eval", "ZeroshotCLIP 1 gzsl eval BASE_PENALTY 1.5"),
        *("SHIP 1 dev", "SHIP 1 gzsl BASE_PENALTY 1.5"),
    ]
    assert (checkout / "output/gzsl/miniworld/shots_-1/SHIP/miniclip/seed1/results.json").is_file()


def test_cross_dataset_trains_on_the_source_alone(checkout: Path):
    done = bash(checkout, "scripts/ship/cross_dataset.sh", "minisource", "miniworld", SEEDS="1", METHODS="CoOp SHIP")
    assert done.returncode == 0, done.stderr
    place = "output/cross_dataset/minisource/minisource/shots_16"
    assert calls(checkout) == [
        *("CoOp 1 all", "CoOp 1 all eval"),
        "SHIP 1 all ONLY True",
        f"SHIP 1 all REAL False FROM {place}/SHIP/miniclip/seed1",
    ]
    assert "cross dataset/minisource" in done.stdout


def test_ablations_change_one_thing_at_a_time(checkout: Path):
    done = bash(
        checkout, "scripts/ship/ablation.sh", "miniworld", "1", ROWS="SHIP GAN generator-words learner-random tuned"
    )
    assert done.returncode == 0, done.stderr
    assert calls(checkout) == [
        *("SHIP 1 gzsl", "SHIP 1 gzsl NAME GAN"),
        *("SHIP 1 gzsl CTX_INIT a_photo_of_a", "SHIP 1 gzsl CTX_INIT ", "SHIP 1 gzsl"),
    ]
    assert (checkout / "output/ablation/miniworld/shots_16/tuned/miniclip_tuned/seed1/results.json").is_file()


def test_every_ablation_is_a_setting_of_ship():
    """Names, values and kinds of the rows' options, as train.py takes them."""
    text = (REPOSITORY / "scripts/ship/ablation.sh").read_text()
    table = text.split("<<END\n")[1].split("\nEND\n")[0]
    names = []
    for name, *words in (line.replace("$hard", "5.0").replace('""', "''").split() for line in table.splitlines()):
        options = [word if i % 2 else f"TRAINER.{word}" for i, word in enumerate(words)]
        config = f"configs/trainers/SHIP/miniclip{'_tuned' if name.startswith('tuned') else ''}.yaml"
        plain, changed = (
            train.setup_cfg(train.parse_args(["--trainer", "SHIP", "--config-file", config, *given]))
            for given in ([], options)
        )
        assert (plain != changed) == bool(options), name
        names.append(name)
    assert len(names) == len(set(names)) > 20
    chosen = re.search(r"ROWS:-(.*?)\}", (REPOSITORY / "scripts/ship/experiments.sh").read_text(), re.DOTALL)[1]
    assert set(chosen.replace("\\", " ").split()) < set(names)


def test_few_shot_runs_every_number_of_shots(checkout: Path):
    done = bash(checkout, "scripts/ship/few_shot.sh", "miniworld", "1", METHODS="SHIP", ALL_SHOTS="1 4")
    assert done.returncode == 0, done.stderr
    assert all((checkout / f"output/few_shot/miniworld/shots_{k}/SHIP").is_dir() for k in (1, 4))
