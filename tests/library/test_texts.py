"""The hand-written texts of each class, and their features."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shipclip import texts as texts_module
from shipclip.backbones.base import Backbone, normalise
from shipclip.errors import MissingFile, UserError
from shipclip.texts import DEFAULT, Texts, checked_templates, read_texts, tell_missing

NAMES = ["cat", "sea_or_lake"]


def test_one_template_gives_the_features_of_the_sentences(clip: Backbone):
    found = Texts().features(clip, NAMES)
    torch.testing.assert_close(found, clip.encode_texts(["a photo of a cat.", "a photo of a sea or lake."]))


def test_features_of_several_templates_are_averaged_at_unit_length(clip: Backbone):
    found = Texts(("a {}.", "itap of a {}.", "art of the {}.")).features(clip, NAMES)
    for row, name in zip(found, ("cat", "sea or lake"), strict=True):
        one = clip.encode_texts([f"a {name}.", f"itap of a {name}.", f"art of the {name}."])
        torch.testing.assert_close(row, normalise(one.mean(dim=0)))


def test_a_class_of_its_own_texts_has_no_template(clip: Backbone):
    texts = Texts((DEFAULT,), {"sea or lake": ("open water.", "a shore from above.")})
    assert texts.of("Sea_or_Lake") == ("open water.", "a shore from above.")
    assert texts.of("cat") == ("a photo of a cat.",)
    wanted = normalise(clip.encode_texts(["open water.", "a shore from above."]).mean(dim=0))
    torch.testing.assert_close(texts.features(clip, NAMES)[1], wanted)


def test_many_texts_are_encoded_in_parts(clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    texts = Texts(("a {}.", "the {}."))
    whole = texts.features(clip, [*NAMES, "dog"])
    monkeypatch.setattr(texts_module, "TEXTS_AT_ONCE", 2)
    torch.testing.assert_close(texts.features(clip, [*NAMES, "dog"]), whole)


@pytest.mark.parametrize("template", ["a photo.", "a {} {}.", "a {name}.", "a {0}.", "a {", ""])
def test_a_template_has_one_place_for_the_name(template: str):
    with pytest.raises(UserError, match="DATASET.TEMPLATE has .*: write {} once, where the class name stands"):
        checked_templates(["a {}.", template], "DATASET.TEMPLATE")


def test_one_template_is_a_list_of_one():
    assert checked_templates("a {}.", "DATASET.TEMPLATE") == ("a {}.",)


def test_texts_are_read_as_cupl_writes_them(tmp_path: Path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"Sea or Lake": ["open water.", "a lake."], "cat": ["a cat."]}))
    found = read_texts(file)
    assert Texts(of_class=found).of("sea_or_lake") == ("open water.", "a lake.")
    assert Texts(of_class=found).of("cat") == ("a cat.",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", r"prompts\.json is no JSON"),
        ("[]", "must hold an object"),
        ("{}", "must hold an object"),
        ('{"cat": "a cat."}', "texts of 'cat' must be a list of sentences, at least one"),
        ('{"cat": []}', "texts of 'cat' must be a list"),
        ('{"cat": ["a cat.", 3]}', "texts of 'cat' must be a list"),
        ('{"cat": [" "]}', "texts of 'cat' must be a list"),
        ('{"sea lake": ["a."], "Sea_Lake": ["b."]}', "has texts of 'Sea_Lake' twice: keep one"),
    ],
)
def test_a_bad_file_is_one_sentence(content: str, sentence: str, tmp_path: Path):
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(UserError, match=sentence) as found:
        read_texts(tmp_path / "prompts.json")
    assert "\n" not in str(found.value) and "prompts.json" in str(found.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(MissingFile, match=r"there is no .*prompts\.json: write"):
        read_texts(tmp_path / "prompts.json")


def test_classes_without_texts_are_told(capsys: pytest.CaptureFixture):
    texts, file = Texts(of_class={"cat": ("a cat.",)}), Path("prompts.json")
    tell_missing(texts, ["cat", "dog", "goat"], file)
    assert "prompts.json has no texts of 2 classes ('dog' first): they get the template" in capsys.readouterr().out
    tell_missing(texts, ["cat"], file)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="has texts of none of the classes, the first of which is 'dog'"):
        tell_missing(texts, ["dog"], file)


def test_a_text_that_is_too_long_is_refused_by_its_words(clip: Backbone):
    with pytest.raises(UserError, match=r"the text 'word word .*' needs 82 tokens, and small reads 77: shorten"):
        Texts(of_class={"cat": ("word " * 80,)}).features(clip, ["cat"])
