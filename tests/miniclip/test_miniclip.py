from __future__ import annotations

import csv
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shipclip.backbones import load_backbone
from shipclip.backbones.openai import package
from shipclip.miniclip import towers, train
from shipclip.miniclip import weights as miniclip
from shipclip.miniclip.images import rendered
from shipclip.miniclip.scene import WEB, draw
from shipclip.miniclip.world import (
    COLOURS,
    SHAPES,
    TEXTURES,
    attributes,
    classnames,
    downstream_classes,
    image_rng,
    picture,
    render,
)


def test_the_weights_load_through_openais_own_builder():
    model = package().model.build_model(miniclip.load()[0]).float()
    assert model.visual.input_resolution == 64
    assert model.vocab_size == miniclip.TOKENS and model.context_length == miniclip.POSITIONS


def test_the_file_is_small_and_holds_only_trained_tokens():
    assert miniclip.FILE.stat().st_size < 4 * 2**20
    stored = torch.load(miniclip.FILE, weights_only=True)
    assert stored["token_ids"].tolist() == train.vocabulary()


def test_rows_of_untrained_tokens_come_back_as_they_were_initialised():
    table = miniclip.load()[0]["token_embedding.weight"]
    untrained = torch.ones(miniclip.TOKENS, dtype=torch.bool)
    untrained[train.vocabulary()] = False
    assert torch.equal(table[untrained], miniclip.initial_rows(table.shape[1]).half()[untrained])
    assert miniclip.initial_rows(128)[0, 0].item() == pytest.approx(0.03528105, abs=1e-7)  # with every NumPy


def test_weights_that_were_written_to_are_read_anew_as_they_were():
    first, second = miniclip.load()[0], miniclip.load()[0]
    for value in first.values():
        value.zero_()
    assert second["token_embedding.weight"].any(dim=1).all()
    again = miniclip.load()[0]
    assert all(torch.equal(value, again[name]) for name, value in second.items())


def test_classes_are_recognised_by_name_and_by_description():
    """Chance is 1.4 %; the model card tells the accuracy on ten images a class."""
    clip = load_backbone("MiniCLIP")
    names = downstream_classes()
    images = np.stack([render(name, image_rng(900, name, i), WEB) for name in names for i in range(2)])
    pixels = train.normalise_pixels(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    looks = [f"{list(COLOURS)[c]} {TEXTURES[t]} {SHAPES[s]}" for c, t, s in map(attributes, names)]
    for called, least in ((names, 0.95), (looks, 0.9)):
        text = clip.encode_texts([f"a photo of a {name}." for name in called])
        right = (clip.encode_image(pixels) @ text.T).argmax(dim=1) == torch.arange(72).repeat_interleave(2)
        assert right.float().mean() > least, called[0]


def test_a_scene_is_told_from_its_opposite():
    """What captions say of nuisance can be read off the images: a word of each side, on images of one class."""
    clip = load_backbone("MiniCLIP")
    rng = np.random.default_rng(901)
    for field, values, words in (
        ("tone", (0.1, 0.9), ("dark background", "pale background")),
        ("light", (0.68, 1.2), ("dim", "bright")),
        ("noise", (0.0, 0.08), ("clean", "grainy")),
    ):
        scenes = [replace(draw(rng, WEB), **{field: value}) for value in values for _ in range(20)]
        images = np.stack([picture("red lep", scene, rng) for scene in scenes])
        pixels = train.normalise_pixels(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        text = clip.encode_texts([f"a {word} photo of a red lep." for word in words])
        right = (clip.encode_image(pixels) @ text.T).argmax(dim=1) == torch.arange(2).repeat_interleave(20)
        assert right.float().mean() > 0.8, field


def test_the_log_belongs_to_the_weights():
    with open(miniclip.FILE.with_name("train_log.csv")) as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == train.LOG_COLUMNS
    assert int(rows[-1]["step"]) == 7000
    assert float(rows[-1]["accuracy (%)"]) > 95


def options(work: Path, stop: int) -> list[str]:
    place = ["--work", str(work), "--out", str(work / "m.pt")]
    return ["--naming", "2", "--pairs", "2", "--stop", str(stop), "--images", "540", "--every", "1", *place]


def test_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed in the first stage, between the stages and in the second one."""
    for small in ("NAMING_BATCH", "PAIRS_BATCH"):
        monkeypatch.setattr(train, small, 8)
    monkeypatch.setattr(train, "validation_images", lambda style: rendered([("red lep", 500, 0)], style))
    (tmp_path / "b").mkdir()
    for work, stops in (("a", (4,)), ("b", (1, 2, 3, 4))):
        for stop in stops:
            monkeypatch.setattr(sys, "argv", ["train", *options(tmp_path / work, stop)])
            train.main()
        shutil.copy(tmp_path / "a" / "pool540.npz", tmp_path / "b")  # need not be rendered anew
    whole, resumed = (torch.load(tmp_path / work / "m.pt", weights_only=True) for work in "ab")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("kind", train.KINDS)
def test_each_kind_of_batch_has_the_classes_that_it_is_for(kind: str):
    classes = np.array(sorted({attributes(name) for name in classnames()}))
    of_class = [np.array([10 * i, 10 * i + 1]) for i in range(len(classes))]
    rng = np.random.default_rng(3)
    for _ in range(20):
        drawn = classes[train.draw_batch(of_class, classes, kind, 64, rng) // 10]
        colours, textures = len(set(drawn[:, 0])), len(set(drawn[:, 1]))
        if kind == "any":
            assert colours == 6 and textures == 6
        if kind == "alike":
            assert colours <= 3 and textures <= 3
        if kind == "few":
            assert len({tuple(row) for row in drawn}) <= 4


def test_the_fast_towers_are_openais():
    """The same features as the model's own forward pass, within what bfloat16 can tell."""
    model = train.build(train.vocabulary())
    pixels = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours = towers.image_features(model.visual, pixels).float()
    with torch.no_grad():
        theirs = model.encode_image(pixels)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.999
