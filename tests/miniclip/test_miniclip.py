from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shipclip.backbones import load_backbone
from shipclip.backbones.openai import package
from shipclip.miniclip import train
from shipclip.miniclip import weights as miniclip
from shipclip.miniclip.world import CLEAN, COLOURS, SHAPES, TEXTURES, downstream_classes, image_rng, render


def test_the_weights_load_through_openais_own_builder():
    model = package().model.build_model(miniclip.load_state_dict()).float()
    assert model.visual.input_resolution == 64
    assert model.vocab_size == miniclip.TOKENS and model.context_length == miniclip.POSITIONS


def test_the_file_is_small_and_holds_only_trained_tokens():
    assert miniclip.FILE.stat().st_size < 4 * 2**20
    stored = torch.load(miniclip.FILE, weights_only=True)
    assert stored["token_ids"].tolist() == train.vocabulary()


def test_rows_of_untrained_tokens_come_back_as_they_were_initialised():
    table = miniclip.load_state_dict()["token_embedding.weight"]
    untrained = torch.ones(miniclip.TOKENS, dtype=torch.bool)
    untrained[train.vocabulary()] = False
    assert torch.equal(table[untrained], miniclip.initial_rows(table.shape[1]).half()[untrained])
    assert miniclip.initial_rows(128)[0, 0].item() == pytest.approx(0.03528105, abs=1e-7)  # with every NumPy


def test_held_out_classes_are_recognised_by_name():
    """Chance is 2.5 %; the model card tells the accuracy on ten images a class."""
    clip = load_backbone("MiniCLIP")
    names = downstream_classes()
    images = np.stack([render(name, image_rng(900, name, i), CLEAN) for name in names for i in range(2)])
    pixels = train.normalise_pixels(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    text = clip.encode_texts([f"a photo of a {name}." for name in names])
    right = (clip.encode_image(pixels) @ text.T).argmax(dim=1) == torch.arange(40).repeat_interleave(2)
    assert right.float().mean() > 0.85


def test_downstream_classes_are_never_shown_in_training():
    shown = {f"{list(COLOURS)[c]} {TEXTURES[t]} {SHAPES[s]}" for c, t, s in train.attributes().tolist()}
    assert len(shown) == 680
    assert not shown & set(downstream_classes())


def test_captions_mention_what_they_say_they_mention():
    rng = np.random.default_rng(0)
    for _ in range(200):
        text, said = train.caption([0, 1, 2], rng)
        assert [word in text for word in ("red", "striped", "triangle")] == said
        assert set(train.tokenizer.encode(text)) <= set(train.vocabulary())


def test_the_log_belongs_to_the_weights():
    with open(miniclip.FILE.with_name("train_log.csv")) as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["step"]) == 2400
    assert float(rows[-1]["held-out accuracy (%)"]) > 90


def test_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def options(work: str, stop: int) -> list[str]:
        place = ["--work", str(tmp_path / work), "--out", str(tmp_path / work / "m.pt")]
        return ["--steps", "4", "--stop", str(stop), "--images", "680", "--batch", "8", "--every", "2", *place]

    command = [sys.executable, "-m", "shipclip.miniclip.train", *options("a", 4)]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "pool680.npy", tmp_path / "b")  # need not be rendered anew
    for stop in (2, 4):
        monkeypatch.setattr(sys, "argv", ["train", *options("b", stop)])
        train.main()
    whole, resumed = (torch.load(tmp_path / work / "m.pt", weights_only=True) for work in "ab")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
