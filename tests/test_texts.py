"""Hand-written texts of the classes, as a run's config names them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import train
from shipclip.miniclip import world
from shipclip.presets import CONFIGS
from tests.runs import run, status

ALL = ("DATASET.SUBSAMPLE_CLASSES", "all")
ONE, TWO = "circle {} circle", ["a drawing of a {}.", "circle {} circle"]


def zero_shot(data: Path, output: Path, *options: Any) -> dict[str, Any]:
    """Figures of zero-shot CLIP, and the predictions' chances, which any other text changes."""
    figures = run(data, output, "ZeroshotCLIP", "TEST.PREDICTIONS", True, *ALL, *options)["figures"]
    return {**figures, "predictions": (output / "predictions.csv").read_text()}


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return zero_shot(data, tmp_path_factory.mktemp("plain"))


def prompts(file: Path, text: str, names: list[str] | None = None) -> Path:
    """A file of one text a class."""
    names = names or world.downstream_classes()
    file.write_text(json.dumps({name: [text.format(name)] for name in names}))
    return file


def test_a_template_changes_zero_shots_figures(plain: dict[str, Any], data: Path, tmp_path: Path):
    one = zero_shot(data, tmp_path / "one", "DATASET.TEMPLATE", ONE)
    two = zero_shot(data, tmp_path / "two", "DATASET.TEMPLATE", TWO)
    assert len({result["predictions"] for result in (plain, one, two)}) == 3
    assert one["accuracy"] != plain["accuracy"]


def test_the_shortest_template_is_the_name_itself(plain: dict[str, Any], data: Path, tmp_path: Path):
    short = zero_shot(data, tmp_path / "short", "DATASET.TEMPLATE", "{}")
    assert short == zero_shot(data, tmp_path / "list", "DATASET.TEMPLATE", ["{}"]) != plain


def test_a_list_of_one_template_is_that_template(data: Path, tmp_path: Path):
    one = zero_shot(data, tmp_path / "one", "DATASET.TEMPLATE", ONE)
    assert zero_shot(data, tmp_path / "list", "DATASET.TEMPLATE", [ONE]) == one


def test_texts_of_each_class_take_the_templates_place(plain: dict[str, Any], data: Path, tmp_path: Path):
    file = prompts(tmp_path / "cupl.json", ONE)
    found = zero_shot(data, tmp_path / "o", "DATASET.PROMPTS", file)
    assert found == zero_shot(data, tmp_path / "t", "DATASET.TEMPLATE", ONE) != plain


def test_classes_without_texts_of_their_own_get_the_template_and_are_told(data: Path, tmp_path: Path, capsys):
    file = prompts(tmp_path / "cupl.json", ONE, world.downstream_classes()[1:])
    zero_shot(data, tmp_path / "o", "DATASET.PROMPTS", file)
    assert f"Note: {file} has no texts of 1 classes" in capsys.readouterr().out


@pytest.mark.parametrize("trainer", ["SHIP", "CoOp"])
def test_a_template_is_one_of_zero_shots_keys_that_every_trainer_takes(trainer: str, data: Path, tmp_path: Path):
    assert run(data, tmp_path / "o", trainer, "DATASET.TEMPLATE", ONE)["cfg"]["DATASET"]["TEMPLATE"] == ONE


MISTAKES = {
    "no place for the name": (("DATASET.TEMPLATE", "a photo."), "DATASET.TEMPLATE has 'a photo.': write {} once"),
    "no text": (("DATASET.TEMPLATE", "[{}]"), "DATASET.TEMPLATE has {}: write {} once"),
    "no file": (("DATASET.PROMPTS", "nowhere.json"), "there is no nowhere.json: write"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_texts_is_one_sentence(mistake: str, data: Path, tmp_path: Path, capsys):
    options, sentence = MISTAKES[mistake]
    assert status(data, tmp_path / "o", "ZeroshotCLIP", *options) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_a_folders_own_prompts_are_used(data: Path, tmp_path: Path):
    """An ImageFolder with and without prompts.json."""
    names = world.downstream_classes()[:4]
    for name in names:
        for part in ("train", "test"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for file in (data / "miniworld" / "images" / name.replace(" ", "_")).glob(f"{part}_*.png"):
                shutil.copy(file, tmp_path / "photos" / part / name)

    def predictions(output: str, *options: str) -> str:
        command = ["--root", str(tmp_path / "photos"), "--output-dir", str(tmp_path / output)]
        command += ["--trainer", "ZeroshotCLIP", "--config-file", str(CONFIGS / "trainers/ZeroshotCLIP/miniclip.yaml")]
        assert train.main([*command, "DATASET.NAME", "ImageFolder", "TEST.PREDICTIONS", "True", *options]) == 0
        return (tmp_path / output / "predictions.csv").read_text()

    plain, drawing = predictions("plain"), predictions("drawing", "DATASET.TEMPLATE", ONE)
    prompts(tmp_path / "photos" / "prompts.json", ONE, names)
    assert predictions("own") == drawing != plain
