"""EXTENDING.md's learners, generator and backbone, run as they stand there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from dassl.engine import TRAINER_REGISTRY

from shipclip.generators import GENERATORS
from shipclip.learners import LEARNERS
from shipclip.precision import Precision
from tests.runs import run
from trainers.ship.base import register

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "EXTENDING.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
LEARNER, OVERLAY, ON_IMAGES, GENERATOR, BACKBONE = BLOCKS


def executed(path: str) -> dict:
    """As if the file were there and imported."""
    module = ModuleType(f"extending_{Path(path).stem}")
    sys.modules[module.__name__] = module  # dataclasses look for it
    exec(compile(BLOCKS[path], path, "exec", dont_inherit=True), vars(module))
    return vars(module)


@pytest.fixture(scope="module", autouse=True)
def _added() -> Iterator[None]:
    """As importing the two folders would, were the files there; gone afterwards."""
    registries = (LEARNERS, GENERATORS, TRAINER_REGISTRY)
    before = [{key: dict(value) for key, value in vars(r).items() if isinstance(value, dict)} for r in registries]
    for path in (LEARNER, ON_IMAGES, GENERATOR):
        executed(path)
    for name in ("NearestMean", "VPT"):
        register(LEARNERS.get(name))
    yield
    for registry, content in zip(registries, before, strict=True):
        vars(registry).update(content)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The configs: each learner's own, and SHIP's overlay."""
    own = Path("configs/trainers/TipAdapter/miniclip.yaml").read_text()
    trained = Path("configs/trainers/CoOp/miniclip.yaml").read_text()
    content = yaml.safe_load(own) | {"TRAINER": {"NEARESTMEAN": {"PREC": "fp32", "WEIGHT": 0.25}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    content = yaml.safe_load(trained) | {"TRAINER": {"VPT": {"PREC": "fp32", "N_CTX": 3}}}
    (tmp_path / "vpt.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "overlay.yaml").write_text(BLOCKS[OVERLAY])
    return {name: str(tmp_path / f"{name}.yaml") for name in ("own", "vpt", "overlay")}


def state_of(folder: Path, epoch: int = 1) -> dict:
    return torch.load(folder / "prompt_learner" / f"model.pth.tar-{epoch}", weights_only=True)["state_dict"]


def test_each_example_is_one_short_file_in_a_folder_that_is_searched():
    assert Path(LEARNER).parent == Path(ON_IMAGES).parent == Path("shipclip/learners")
    assert Path(GENERATOR).parent == Path("shipclip/generators")
    assert all(len(body.splitlines()) < 45 for body in BLOCKS.values())


def test_the_learner_is_a_trainer(data: Path, tmp_path: Path, files: dict[str, str]):
    options = ("DATASET.SUBSAMPLE_CLASSES", "gzsl")
    run(data, tmp_path / "a", "NearestMean", *options, config=files["own"])
    assert state_of(tmp_path / "a")["means"].shape == (36, 128)


def test_its_options_are_config_keys(data: Path, tmp_path: Path, files: dict[str, str]):
    result = run(data, tmp_path / "a", "NearestMean", "TRAINER.NEARESTMEAN.WEIGHT", "0.75", config=files["own"])
    assert result["cfg"]["TRAINER"]["NEARESTMEAN"] == {"PREC": "fp32", "WEIGHT": 0.75}


def test_the_learner_is_ships_second_stage(data: Path, tmp_path: Path, files: dict[str, str]):
    flags = ("--config-file", files["overlay"])
    run(data, tmp_path / "a", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", flags=flags)
    assert state_of(tmp_path / "a")["means"].shape == (72, 128)  # new classes have means of synthetic features


def test_the_learner_on_images_is_a_trainer_with_joint_figures(data: Path, tmp_path: Path, files: dict[str, str]):
    options = ("DATASET.SUBSAMPLE_CLASSES", "gzsl", "OPTIM.MAX_EPOCH", "1")
    figures = run(data, tmp_path / "a", "VPT", *options, config=files["vpt"])["figures"]
    assert state_of(tmp_path / "a")["ctx"].shape == (3, 128)
    assert 0 < figures["h"] <= 100


def test_the_generator_serves_ship_with_an_option_of_its_own(data: Path, tmp_path: Path):
    name, noise = "TRAINER.SHIP.GENERATOR.NAME", "TRAINER.SHIP.GENERATOR.NOISE"
    options = ("DATASET.SUBSAMPLE_CLASSES", "gzsl", name, "Shift", "TRAINER.SHIP.GENERATOR.EPOCHS", "1")
    figures = [
        run(data, tmp_path / value, "SHIP", *options, noise, value)["figures"]["synthetic"]["new"]
        for value in ("0.0", "1.0")
    ]
    assert figures[0]["cosine"] > figures[1]["cosine"] > 0.3  # noise moves features away from each other


def test_the_backbone_encodes_images_and_texts():
    backbone = executed(BACKBONE)["my_backbone"](Precision("fp32"))
    image = backbone.encode_image(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    text = backbone.encode_texts(["a photo of a cat.", "a dog"])
    assert image.shape == text.shape == (2, 64)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))


def test_files_in_the_two_folders_are_found_by_themselves():
    """Every module there is imported, so that its class is registered."""
    for folder, registry in (("shipclip/learners", LEARNERS), ("shipclip/generators", GENERATORS)):
        for file in (ROOT / folder).glob("[!_]*.py"):
            names = re.findall(r"^@\w+\.register\nclass (\w+)", file.read_text(), re.MULTILINE)
            assert set(names) <= set(registry.names()), file
            assert names or file.stem in ("base", "prompt_decoder"), file


def test_a_new_learner_leaves_finished_runs_alone(data: Path, tmp_path: Path):
    """A run knows the nodes that its trainer reads and no others."""
    before = run(data, tmp_path / "a", "CoOp")
    assert "NEARESTMEAN" not in before["cfg"]["TRAINER"] and "COOP" in before["cfg"]["TRAINER"]
    file = tmp_path / "a" / "results.json"
    stamp = file.stat().st_mtime_ns
    assert run(data, tmp_path / "a", "CoOp") == before and file.stat().st_mtime_ns == stamp
