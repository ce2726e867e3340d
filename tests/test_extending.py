"""EXTENDING.md's learner and generator, run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from dassl.engine import TRAINER_REGISTRY

import train
from tests.runs import run
from trainers.learners import COOPS_OWN, LEARNERS
from trainers.prompting.trainer import trainer_of
from trainers.ship.generator import GENERATORS

TEXT = (Path(__file__).parents[1] / "EXTENDING.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
LEARNER, OVERLAY, GENERATOR = BLOCKS


@pytest.fixture(scope="module", autouse=True)
def _added() -> Iterator[None]:
    """As importing trainers.learners and trainers.ship.generators would, were the files there; gone afterwards."""
    registries = (LEARNERS, GENERATORS, TRAINER_REGISTRY)
    before = [{key: dict(value) for key, value in vars(r).items() if isinstance(value, dict)} for r in registries]
    with pytest.MonkeyPatch.context() as patch:
        for path in (LEARNER, GENERATOR):
            exec(compile(BLOCKS[path], path, "exec"), {"__name__": path.removesuffix(".py").replace("/", ".")})
        assert "NearestMean" not in COOPS_OWN
        TRAINER_REGISTRY.register(trainer_of(LEARNERS.get("NearestMean")))
        patch.setitem(train.DEFAULT_CONFIGS, "NearestMean", "miniclip")
        yield
    for registry, content in zip(registries, before, strict=True):
        vars(registry).update(content)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The two configs."""
    own = Path("configs/trainers/TipAdapter/miniclip.yaml").read_text()
    content = yaml.safe_load(own) | {"TRAINER": {"NEARESTMEAN": {"PREC": "fp32"}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "overlay.yaml").write_text(BLOCKS[OVERLAY])
    return {"own": str(tmp_path / "own.yaml"), "overlay": str(tmp_path / "overlay.yaml")}


def test_each_example_is_one_short_file():
    assert Path(LEARNER).parent == Path("trainers/learners") and Path(LEARNER).parent.is_dir()
    assert Path(GENERATOR).parent == Path("trainers/ship/generators") and Path(GENERATOR).parent.is_dir()
    assert all(len(body.splitlines()) < 40 for body in BLOCKS.values())


def test_the_learner_is_a_trainer(data: Path, tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    command = ["--trainer", "NearestMean", "--config-file", files["own"], "--seed", "1", "--root", str(data)]
    command += ["--output-dir", str(tmp_path / "a"), "DATASET.NUM_SHOTS", "2", "FEATURES.VIEWS", "2"]
    assert train.main([*command, "DATASET.SUBSAMPLE_CLASSES", "gzsl"]) == 0
    state = torch.load(tmp_path / "a" / "prompt_learner" / "model.pth.tar-1", weights_only=True)["state_dict"]
    assert state["means"].shape == (20, 128)


def test_the_learner_is_ships_second_stage(data: Path, tmp_path: Path, files: dict[str, str]):
    flags = ("--config-file", files["overlay"])
    run(data, tmp_path / "a", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", flags=flags)
    state = torch.load(tmp_path / "a" / "prompt_learner" / "model.pth.tar-1", weights_only=True)["state_dict"]
    assert state["means"].shape == (40, 128)  # new classes have means of synthetic features


def test_the_generator_serves_ship(data: Path, tmp_path: Path):
    options = ("TRAINER.SHIP.GENERATOR.NAME", "Shift", "TRAINER.SHIP.GENERATOR.EPOCHS", "1")
    result = run(data, tmp_path / "a", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", *options)
    assert "Shift" in GENERATORS.registered_names() and result["figures"]["synthetic"]["new"]["mean_cosine"] > 0.5


def test_files_in_the_two_folders_are_found_by_themselves():
    """Every module there is imported, so that its class is registered."""
    for folder, registry in (("trainers/learners", LEARNERS), ("trainers/ship/generators", GENERATORS)):
        for file in Path(folder).glob("[!_]*.py"):
            names = re.findall(r"register\(\)\nclass (\w+)", file.read_text())
            assert names and set(names) <= set(registry.registered_names()), file


def test_a_new_learner_leaves_finished_runs_alone(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run from before the learner's file was there is still the same run."""
    with monkeypatch.context() as patch:
        patch.setattr(LEARNERS, "registered_names", lambda: ["CoOp"])
        before = run(data, tmp_path / "a", "CoOp")
    assert "NEARESTMEAN" not in before["cfg"]["TRAINER"]
    file = tmp_path / "a" / "results.json"
    stamp = file.stat().st_mtime_ns
    assert run(data, tmp_path / "a", "CoOp") == before and file.stat().st_mtime_ns == stamp
