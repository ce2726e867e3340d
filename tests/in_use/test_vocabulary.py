"""shipclip classes: added, removed, renamed and described, without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shipclip
from shipclip import cli
from shipclip.errors import UserError
from tests.in_use.conftest import SHORT, names

LEARNERS = ("CoOp", "TipAdapter", "GDA", "LinearProbe", "CLIPAdapter")


@pytest.fixture(scope="module")
def folders(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        learner: shipclip.fit(photos, backbone="MiniCLIP", learner=learner, calibrate=False, options=SHORT).save(
            root / learner
        )
        for learner in LEARNERS
    }


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_class_that_is_taken_out_comes_back_as_it_was(learner: str, folders: dict[str, Path], photos: Path):
    model = shipclip.load(folders[learner])
    before = {p.path: dict(p.top) for p in model.predict(photos / "test", top=99)}
    first = model.classes[0]
    model.remove_classes([first])
    assert first not in model.classes and all(p.name != first for p in model.predict(photos / "test"))
    model.add_classes([first])
    assert model.classes[-1] == first and model.images[first] > 0
    for p in model.predict(photos / "test", top=99):
        assert {name: pytest.approx(chance, abs=1e-5) for name, chance in before[p.path].items()} == dict(p.top)


@pytest.mark.parametrize("learner", ["TipAdapter", "GDA", "LinearProbe"])
def test_a_renamed_class_keeps_what_its_images_taught(learner: str, folders: dict[str, Path], photos: Path):
    model = shipclip.load(folders[learner])
    old = model.classes[1]
    model.rename_class(old, "thing of mine")
    assert model.classes[1] == "thing of mine" and model.images["thing of mine"] and old not in model.images
    assert model.learner.places(["thing of mine"]).item() >= 0
    assert model.records["test"]["thing of mine"][1] == 4
    assert "thing of mine" in model.gallery.classes


def test_a_prompt_learner_reads_the_new_name(folders: dict[str, Path], photos: Path):
    model, fresh = shipclip.load(folders["CoOp"]), shipclip.load(folders["CoOp"])
    model.rename_class(names()[6], "octopus")
    fresh.remove_classes([names()[6]])
    fresh.add_classes(["octopus"])
    one = {p.path: dict(p.top) for p in fresh.predict(photos / "test", top=99)}
    for p in model.predict(photos / "test", top=99):
        assert dict(p.top) == {name: pytest.approx(chance, abs=1e-5) for name, chance in one[p.path].items()}


def test_texts_describe_a_class(folders: dict[str, Path], photos: Path):
    model = shipclip.load(folders["CLIPAdapter"])
    before = model.predict(photos / "test", top=99)
    name = model.classes[0]
    assert model.set_texts({name: ["a photo of an octopus.", "an octopus."]}) == []
    assert model.predict(photos / "test", top=99) != before
    assert model.learner.texts.of(name) == ("a photo of an octopus.", "an octopus.")


def test_texts_that_change_nothing_are_told(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "texts.json"
    file.write_text(json.dumps({names()[6]: ["a thing"]}))
    assert cli.main(["classes", str(folders["CoOp"]), "--texts", str(file), "-o", str(tmp_path / "m")]) == 0
    assert "change no prediction: CoOp goes by the name" in capsys.readouterr().out


def test_the_command_line_changes_a_models_folder(folders: dict[str, Path], tmp_path: Path, capsys):
    before = {file.name: file.read_bytes() for file in folders["TipAdapter"].iterdir()}
    shown, by_name = names()[0], names()[6]
    command = ["classes", folders["TipAdapter"], "-o", tmp_path / "m", "--add", "octopus", "--remove", shown]
    assert cli.main([str(word) for word in (*command, "--rename", by_name, "polyp")]) == 0
    assert {file.name: file.read_bytes() for file in folders["TipAdapter"].iterdir()} == before
    out = capsys.readouterr().out
    assert "octopus" in out and "polyp" in out and shown not in out
    model = shipclip.load(tmp_path / "m")
    assert model.classes == [*names()[1:6], "polyp", names()[7], "octopus"] and model.hidden == (shown,)
    rows = {row["name"]: row for row in json.loads((tmp_path / "m" / "classes.json").read_text())}
    assert rows[shown]["removed"] is True and rows["octopus"]["images"] == 0 and rows[names()[1]]["test"][1] == 4
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| octopus" in card and f"| {shown} " not in card
    assert cli.main(["classes", str(tmp_path / "m"), "--add", shown]) == 0
    assert shipclip.load(tmp_path / "m").classes[-1] == shown


def test_the_card_says_what_is_known_of_each_class(chosen: shipclip.Classifier, chosen_folder: Path):
    lines = (chosen_folder / "README.md").read_text().splitlines()
    rows = {cells[1].strip(): [c.strip() for c in cells[2:-1]] for line in lines if len(cells := line.split("|")) == 6}
    shown, by_name = names()[0], names()[6]
    right, of = chosen.records["test"][shown]
    assert rows[shown][0] == str(chosen.images[shown]) and rows[shown][2] == f"{right} of {of}"
    assert rows[by_name][:2] == ["none, by name", ""] and rows[by_name][2].endswith("of 4")
    held = chosen.records["held out"]
    assert sum(of for _, of in held.values()) == chosen.figures["held_out"]["unknown"]["images"]["shown"]


MISTAKES = {
    "remove": ("remove_classes", (["nothing"],), "there is no class 'nothing': the classes are"),
    "all": ("remove_classes", (None,), "a classifier needs a class"),
    "rename": ("rename_class", ("nothing", "x"), "there is no class 'nothing'"),
    "twin": ("rename_class", (0, 1), "have the same name"),
    "empty": ("rename_class", (0, "  "), "empty class name"),
    "texts": ("set_texts", ({"nothing": ["a"]},), "there are texts of 'nothing', which is no class"),
    "a sentence": ("set_texts", ({0: "a thing"},), "must be a list of sentences"),
    "long": ("set_texts", ({0: ["very " * 90]},), "shorten the text"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_changes_nothing(mistake: str, folders: dict[str, Path]):
    model = shipclip.load(folders["TipAdapter"])
    method, arguments, sentence = MISTAKES[mistake]

    def meant(given):
        if given is None:
            return model.classes
        if isinstance(given, dict):
            return {meant(key): value for key, value in given.items()}
        return model.classes[given] if isinstance(given, int) else given

    before = (model.classes, dict(model.images), model.learner.names, model.learner.texts)
    with pytest.raises(UserError, match=sentence):
        getattr(model, method)(*map(meant, arguments))
    assert (model.classes, dict(model.images), model.learner.names, model.learner.texts) == before


def test_contexts_of_each_class_stay_together(photos: Path):
    files = sorted((photos / "train").rglob("*.png"))
    own = {**SHORT, "TRAINER.COOP.CSC": True, "TRAINER.COOP.CTX_INIT": ""}
    labels = [file.parent.name for file in files]
    model = shipclip.fit(images=files, labels=labels, backbone="MiniCLIP", learner="CoOp", calibrate=False, options=own)
    with pytest.raises(UserError, match="so TRAINER.COOP.CSC cannot give them a context"):
        model.add_classes(["octopus"])
    assert model.classes == sorted(names()[:6])
    before = {p.path: dict(p.top) for p in model.predict(photos / "test", top=99)}
    first = model.classes[0]
    model.remove_classes([first])
    model.add_classes([first])
    for p in model.predict(photos / "test", top=99):
        assert dict(p.top) == {name: pytest.approx(chance, abs=1e-5) for name, chance in before[p.path].items()}
    context = model.learner.ctx[0]
    model.rename_class(first, "octopus")
    assert model.learner.names[0] == "octopus"
    assert model.learner.ctx[model.learner._places(["octopus"])[0]].equal(context)


def test_a_class_that_was_taken_out_is_still_told_apart(folders: dict[str, Path], photos: Path, tmp_path: Path):
    """Both would stand in the folder, which then could not be opened."""
    model = shipclip.load(folders["TipAdapter"])
    first = model.classes[0]
    model.remove_classes([first])
    for change in (lambda: model.add_classes([first.upper()]), lambda: model.rename_class(model.classes[0], first)):
        with pytest.raises(UserError, match="have the same name"):
            change()
    assert shipclip.load(model.save(tmp_path / "m")).hidden == (first,)
