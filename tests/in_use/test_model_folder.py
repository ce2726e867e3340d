"""A model's folder: other versions, edits, damage, hostile files, an interrupted save."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import shipclip
from shipclip import cli, saving
from shipclip.errors import MissingFile, UserError


@pytest.fixture
def folder(chosen_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chosen_folder, tmp_path / "model"))


def test_it_opens_as_it_was_saved(chosen: shipclip.Classifier, folder: Path, photos: Path):
    opened = shipclip.load(folder)
    for name in ("classes", "images", "figures", "calibration", "rejection", "chosen", "records", "hidden"):
        assert getattr(opened, name) == getattr(chosen, name), name
    assert opened.predict(photos / "test") == chosen.predict(photos / "test")
    assert opened.gallery.features.equal(chosen.gallery.features) and opened.gallery.paths == chosen.gallery.paths


def test_training_images_are_named_below_the_photographs_folder(chosen: shipclip.Classifier, photos: Path):
    assert all((photos / path).is_file() for path in chosen.gallery.paths)
    assert not any(str(photos) in path for path in chosen.gallery.paths)


def test_a_readme_of_the_users_own_is_not_lost(chosen: shipclip.Classifier, tmp_path: Path):
    (tmp_path / "README.md").write_text("# My photographs\n")
    with pytest.raises(UserError, match=r"README.md that is no model's, and would be lost"):
        chosen.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    (tmp_path / "README.md").unlink()
    (chosen.save(tmp_path) / "config.json").unlink()  # as after a save that was interrupted
    assert shipclip.load(chosen.save(tmp_path)).classes == chosen.classes


def test_a_model_of_version_1_opens_as_it_was(folder: Path, photos: Path):
    """Without confidence, training images or digests."""
    config = json.loads((folder / "config.json").read_text())
    for key in ("calibration", "rejection", "chosen", "head_sha256"):
        del config[key]
    (folder / "config.json").write_text(json.dumps({**config, "version": 1}))
    rows = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(json.dumps([{k: row[k] for k in ("name", "images")} for row in rows]))
    (folder / "training.safetensors").unlink()
    opened = shipclip.load(folder)
    assert opened.calibration.temperature == 1 and opened.rejection is None and opened.gallery is None
    assert len(opened.predict(photos / "test")) == 32
    opened.save(folder)
    assert json.loads((folder / "config.json").read_text())["version"] == 2


def edit(**changes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def classes(content) -> Callable[[Path], None]:
    return lambda folder: (folder / "classes.json").write_text(json.dumps(content)) and None


def another(name: str) -> Callable[[Path], None]:
    """A sound file of other tensors in its place (auto may choose a learner that keeps none)."""
    return lambda folder: save_file({"x": torch.zeros(1)}, folder / name)


class Boom:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def hostile(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(pickle.dumps(Boom())) and None


DAMAGE = {
    "version": (edit(version=9), "is a model of version 9"),
    "another kind of file": (edit(format="x"), "is not a model's"),
    "temperature 0": (edit(calibration={"temperature": 0}), "has the temperature 0"),
    "temperature nan": (edit(calibration={"temperature": float("nan")}), "has the temperature nan"),
    "temperature text": (edit(calibration={"temperature": "hot"}), "config.json is damaged"),
    "calibration": (edit(calibration={"warmth": 1}), "config.json is damaged"),
    "calibration list": (edit(calibration=[1]), "config.json is damaged"),
    "rejection score": (
        edit(
            rejection={"rate": 0.1, "shown": {"score": "x", "threshold": 0}, "by_name": {"score": "x", "threshold": 0}}
        ),
        "a rule for unknown images that cannot be",
    ),
    "rejection": (edit(rejection={"rate": 0.1}), "config.json is damaged"),
    "settings": (edit(settings={}), "settings|TRAINER"),
    "settings list": (edit(settings=[]), "config.json is damaged"),
    "texts": (edit(texts=3), "config.json is damaged"),
    "config truncated": (lambda f: (f / "config.json").write_text('{"format": "shipc'), "is no JSON"),
    "config list": (lambda f: (f / "config.json").write_text("[]"), "holds no object"),
    "no classes": (classes([]), "must be a list of objects"),
    "classes of another kind": (classes({"a": 1}), "must be a list of objects"),
    "a class without name": (classes([{"images": 3}]), "must be a list of objects"),
    "a class that is a number": (classes([{"name": 3}]), "must be a list of objects"),
    "all classes removed": (classes([{"name": "a cat", "removed": True}]), "has no class that is not removed"),
    "no digest": (edit(head_sha256=None), "config.json is damaged"),
    "twins": (classes([{"name": "a cat"}, {"name": "A_cat"}]), "have the same name"),
    "counts": (classes([{"name": "a cat", "images": "many"}]), "must be a list of objects"),
    "classes gone": (lambda f: (f / "classes.json").unlink(), "there is no .*classes.json"),
    "head gone": (lambda f: (f / "head.safetensors").unlink(), "there is no .*head.safetensors"),
    "head edited": (another("head.safetensors"), "is not the one that config.json was written with"),
    "head truncated": (lambda f: _truncate(f / "head.safetensors"), "head.safetensors cannot be read"),
    "head a pickle": (hostile("head.safetensors"), "head.safetensors cannot be read"),
    "config a pickle": (hostile("config.json"), "not in UTF-8|no JSON"),
    "training a pickle": (hostile("training.safetensors"), "training.safetensors cannot be read"),
    "training truncated": (lambda f: _truncate(f / "training.safetensors"), "training.safetensors cannot be read"),
}


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence_and_nothing_is_executed(damage: str, folder: Path, capsys: pytest.CaptureFixture):
    change, sentence = DAMAGE[damage]
    change(folder)
    with pytest.raises(UserError, match=sentence):
        shipclip.load(folder)
    assert cli.main(["predict", str(folder), str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_a_backbone_that_is_not_here_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["MODEL"]["BACKBONE"] |= {"NAME": "ViT-B/16", "PATH": str(tmp_path / "gone.pt")}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingFile, match=r"gone\.pt"):
        shipclip.load(folder)


def test_a_save_that_dies_on_the_way_leaves_the_model_that_was_there(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    before = shipclip.load(folder).predict(photos / "test")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    model = shipclip.load(folder)
    model.add_classes(["octopus"])
    for name in ("card", "_as_json", "_config"):
        with monkeypatch.context() as patch:
            patch.setattr(saving, name, _die)
            with pytest.raises(KeyboardInterrupt):
                model.save(folder)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
    assert shipclip.load(folder).predict(photos / "test") == before


def _die(*_):
    raise KeyboardInterrupt


def test_the_gallery_knows_the_nearest_training_images(chosen: shipclip.Classifier, photos: Path):
    image = photos / chosen.gallery.paths[3]
    ((_, said),) = list(chosen.said(image))
    nearest = chosen.gallery.nearest(said.features, chosen.classes, 3)
    assert nearest[0][1] == chosen.gallery.paths[3] and nearest[0][2] == pytest.approx(1, abs=1e-3)
    similarity = chosen.gallery.features @ said.features
    assert [round(s, 5) for *_, s in nearest] == [
        round(float(s), 5) for s in similarity.sort(descending=True).values[:3]
    ]
