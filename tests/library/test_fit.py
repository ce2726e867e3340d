"""fit, predict, save, load and add_classes: a model that one can open."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import shipclip
from shipclip import cli
from shipclip.errors import MissingFile, UserError
from shipclip.miniclip import world
from tests.runs import run

BASE = ("red plain circle", "blue striped star", "green dotted heart")
NEW = ("magenta wavy ring",)
SHORT = {"OPTIM.MAX_EPOCH": 3, "TRAINER.SHIP.GENERATOR.EPOCHS": 3}
LEARNERS = ("CoOp", "CoCoOp", "CLIPAdapter", "TipAdapter", "TipAdapterF", "LinearProbe", "GDA", "ZeroshotCLIP")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with images, one by name: ImageFolder's layout."""
    root = tmp_path_factory.mktemp("photos")
    for part, names, count in (("train", BASE, 4), ("test", (*BASE, *NEW), 2)):
        for name in names:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                rng = world.image_rng(1 if part == "test" else 0, name, number)
                Image.fromarray(world.render(name, rng)).save(folder / f"{number}.png")
    (root / "classnames.txt").write_text("\n".join(NEW) + "\n")
    return root


@pytest.fixture(scope="module")
def model(photos: Path) -> shipclip.Classifier:
    return shipclip.fit(photos, backbone="MiniCLIP", learner="CoOp", seed=1, options=SHORT)


def images(photos: Path) -> list[Path]:
    return sorted((photos / "test").rglob("*.png"))


def test_names_without_images_make_it_ship(model: shipclip.Classifier):
    assert model.tree["TRAINER"]["NAME"] == "SHIP" and model.generator is not None
    assert model.classes == [*sorted(BASE), *NEW]
    assert model.images["red plain circle"] == 4 and model.images.get(NEW[0], 0) == 0


def test_its_test_is_measured(model: shipclip.Classifier):
    assert model.figures["base_total"] == 6 and model.figures["new_total"] == 2
    assert model.figures["accuracy"] > 50  # clean images, which MiniCLIP knows well


def test_predictions_have_name_probability_and_the_best(model: shipclip.Classifier, photos: Path):
    found = model.predict(images(photos), top=2)
    assert len(found) == 8 and all(len(p.top) == 2 and p.top[0] == (p.name, p.probability) for p in found)
    assert [p.path for p in found] == [str(path) for path in images(photos)]
    right = sum(p.name == Path(p.path).parent.name for p in found)
    assert 100 * right / 8 == pytest.approx(model.figures["accuracy"])
    assert sum(chance for _, chance in model.predict(images(photos)[0], top=9)[0].top) == pytest.approx(1, abs=1e-4)


def test_paths_folders_pil_images_and_tensors_are_the_same_images(model: shipclip.Classifier, photos: Path):
    paths = images(photos)
    wanted = [p.probability for p in model.predict(paths)]
    assert [p.probability for p in model.predict(photos / "test")] == wanted
    opened = [Image.open(path) for path in paths]
    assert [p.probability for p in model.predict(opened)] == pytest.approx(wanted)
    assert all(p.path == "" for p in model.predict(opened))
    from shipclip.features.transforms import plain_transform

    tensor = torch.stack([plain_transform(model.input, model.backbone.preprocessing)(i.convert("RGB")) for i in opened])
    assert [p.probability for p in model.predict(tensor)] == pytest.approx(wanted)


def test_the_same_seed_gives_the_same_model(model: shipclip.Classifier, photos: Path):
    again = shipclip.fit(photos, backbone="MiniCLIP", learner="CoOp", seed=1, options=SHORT)
    assert torch.equal(again.learner.ctx, model.learner.ctx)
    other = shipclip.fit(photos, backbone="MiniCLIP", learner="CoOp", seed=2, options=SHORT)
    assert not torch.equal(other.learner.ctx, model.learner.ctx)


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_is_saved_and_opened_as_it_was(learner: str, photos: Path, tmp_path: Path):
    fitted = shipclip.fit(photos, backbone="MiniCLIP", learner=learner, seed=1, options=SHORT)
    fitted.save(tmp_path / "m")
    opened = shipclip.load(tmp_path / "m")
    assert opened.predict(images(photos)) == fitted.predict(images(photos))
    assert opened.classes == fitted.classes and opened.figures == fitted.figures
    for m in (fitted, opened):
        m.add_classes(["octopus"])
    assert opened.predict(images(photos)) == fitted.predict(images(photos))
    assert opened.classes[-1] == "octopus"
    opened.save(tmp_path / "m")
    assert shipclip.load(tmp_path / "m").predict(images(photos)) == fitted.predict(images(photos))


@pytest.mark.parametrize("learner", ["MaPLe", "CLIPLoRA"])
def test_learners_on_images_are_saved_and_opened_too(learner: str, photos: Path, tmp_path: Path):
    fitted = shipclip.fit(photos, backbone="MiniCLIP", learner=learner, seed=1, options={"OPTIM.MAX_EPOCH": 1})
    assert fitted.generator is None and fitted.tree["TRAINER"]["NAME"] == learner
    fitted.save(tmp_path / "m")
    assert shipclip.load(tmp_path / "m").predict(images(photos)) == fitted.predict(images(photos))


def test_a_saved_model_has_no_pickle_in_it(model: shipclip.Classifier, tmp_path: Path):
    model.save(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        *("README.md", "classes.json", "config.json", "head.safetensors", "training.safetensors")
    ]
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["backbone"] == {"name": "MiniCLIP", "digest": model.backbone.digest}
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"{model.figures['accuracy']:.1f} %" in card and "none, by name" in card


def test_a_fresh_process_opens_it_after_the_photographs_are_gone(
    model: shipclip.Classifier, photos: Path, tmp_path: Path
):
    model.save(tmp_path / "m")
    shutil.copy(images(photos)[0], tmp_path / "one.png")
    code = "import shipclip, sys; print(shipclip.load(sys.argv[1]).predict(sys.argv[2])[0].probability)"
    command = [sys.executable, "-c", code, tmp_path / "m", tmp_path / "one.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert float(done.stdout) == pytest.approx(model.predict(images(photos)[0])[0].probability, abs=1e-6)


def test_lists_of_images_and_labels_do_as_well_as_a_folder(photos: Path):
    paths = sorted((photos / "train").rglob("*.png"))
    labels = [path.parent.name for path in paths]
    listed = shipclip.fit(
        images=paths, labels=labels, new_names=list(NEW), backbone="MiniCLIP", learner="GDA", seed=1, options=SHORT
    )
    assert listed.classes == [*sorted(BASE), *NEW]
    folder = shipclip.fit(photos, backbone="MiniCLIP", learner="GDA", seed=1, options=SHORT)
    assert listed.predict(images(photos)) == folder.predict(images(photos))
    opened = [Image.open(path) for path in paths]
    of_pil = shipclip.fit(images=opened, labels=labels, backbone="MiniCLIP", learner="TipAdapter")
    assert of_pil.generator is None and of_pil.classes == sorted(BASE)


def test_added_classes_get_synthesized_features_where_the_learner_keeps_some(photos: Path):
    tip = shipclip.fit(photos, backbone="MiniCLIP", learner="TipAdapter", seed=1, options=SHORT)
    before = len(tip.learner.keys)
    tip.add_classes(["orange checkered arrow"])
    assert len(tip.learner.keys) > before and tip.learner.names[-1] == "orange checkered arrow"


def test_a_run_of_train_py_opens_in_the_same_way(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    result = run(data, tmp_path / "run", "SHIP")
    tests = sorted((data / "miniworld" / "images").rglob("test_*.png"))[:4]
    moved = tmp_path / "gone"
    monkeypatch.setattr("shipclip.data.DATASETS.get", lambda *_: pytest.fail("the data set was asked for"))
    opened = shipclip.load(tmp_path / "run")
    assert len(opened.classes) == 72 and opened.figures["accuracy"] == result["figures"]["accuracy"]
    wanted = [p.name for p in opened.predict(tests)]
    opened.save(moved)
    assert [p.name for p in shipclip.load(moved).predict(tests)] == wanted


MISTAKES = {
    "no images": ({}, "give either a folder of images, or images= with labels="),
    "labels": ({"images": ["a.png"], "labels": []}, "there are 1 images and 0 labels"),
    "precision": ({"folder": "f", "precision": "bf61"}, "there is no precision bf61; known: .*; did you mean bf16"),
    "learner": ({"folder": "f", "learner": "CoUp"}, "learner is 'CoUp': choose one of .*; did you mean CoOp"),
    "option": ({"folder": "f", "options": {"OPTIM.LT": 1.0}}, "unknown config key OPTIM.LT; did you mean OPTIM.LR"),
    "kind": ({"folder": "f", "options": {"OPTIM.LR": "fast"}}, "OPTIM.LR is 'fast': give a number"),
    "folder": ({"folder": "nowhere"}, "there is no folder nowhere: give one with your images"),
    "twins": ({"images": ["a.png", "b.png"], "labels": ["a cat", "A_cat"]}, "'A_cat' and 'a cat' in labels"),
    "dead path": ({"images": ["nowhere/a.png"], "labels": ["cat"]}, "nowhere/a.png cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str):
    arguments, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence):
        shipclip.fit(**arguments, backbone="MiniCLIP")


def test_a_damaged_or_foreign_model_is_one_sentence(model: shipclip.Classifier, tmp_path: Path):
    model.save(tmp_path / "m")
    whole = (tmp_path / "m" / "head.safetensors").read_bytes()
    (tmp_path / "m" / "head.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="head.safetensors cannot be read"):
        shipclip.load(tmp_path / "m")
    (tmp_path / "m" / "head.safetensors").write_bytes(whole)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    other = {**config, "backbone": {"name": "MiniCLIP", "digest": "0" * 64}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="made with other weights of MiniCLIP"):
        shipclip.load(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "version": 9}))
    with pytest.raises(UserError, match="a model of version 9"):
        shipclip.load(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is not a model's"):
        shipclip.load(tmp_path / "m")
    with pytest.raises(UserError, match="holds something else"):
        model.save(tmp_path / "m")
    with pytest.raises(MissingFile, match="there is no model in"):
        shipclip.load(tmp_path / "nowhere")


def test_a_class_that_is_there_cannot_be_added(model: shipclip.Classifier):
    before = list(model.classes)
    with pytest.raises(UserError, match="'red plain circle' and 'Red_plain circle' in add_classes"):
        model.add_classes(["Red_plain circle"])
    with pytest.raises(UserError, match="shorten the name"):
        model.add_classes(["very " * 90 + "long"])
    assert model.classes == before


# -- the command line -------------------------------------------------------------------------------------------


def shell(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "shipclip", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])


def test_fit_and_predict_on_the_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    short = [word for key, value in SHORT.items() for word in ("--set", key, value)]
    command = ["fit", photos, "-o", tmp_path / "m", "--backbone", "MiniCLIP", "--learner", "CoOp", "--seed", 1, *short]
    assert cli.main([str(word) for word in command]) == 0
    out = capsys.readouterr().out
    assert "3 classes with images, 1 by name" in out and "test accuracy" in out
    done = shell("predict", tmp_path / "m", photos / "test", "--top", 3, "--csv", tmp_path / "out.csv")
    assert done.returncode == 0 and "8 predictions are in" in done.stdout, done.stderr
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "path,prediction,probability,top" and len(lines) == 9
    model = shipclip.load(tmp_path / "m")
    assert lines[1].split(",")[1] == model.predict(photos / "test")[0].name
    assert cli.main(["predict", str(tmp_path / "m"), str(tmp_path / "nothing.png")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nothing.png" in error


def test_help_imports_no_torch():
    code = "import sys; from shipclip.cli import parser; parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    assert "fit" in shell("--help").stdout
