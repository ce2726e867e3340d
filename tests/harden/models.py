"""Files that the program writes itself and reads again: checkpoints, runs' folders, saved models, weights."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import shipclip
import train
from shipclip import checkpoints
from shipclip.backbones.weights import read_weights
from shipclip.errors import UserError
from shipclip.features.store import Store
from shipclip.files import digest_of
from shipclip.miniclip import weights

from . import mutate
from .fuzz import Kind, check_sentence
from .options import command, photos, without_network

TRAINED = ("CoOp", "LinearProbe", "TipAdapterF", "GDA", "SHIP")


def run_of(method: str, place: Path) -> Path:
    """A run of two epochs of which one is done, made once."""
    folder = place.parent / f"run-{method}"
    if not folder.exists():
        epochs = {"OPTIM.MAX_EPOCH": 2, "TRAIN.CHECKPOINT_FREQ": 1}
        with without_network(), contextlib.redirect_stdout(io.StringIO()):
            words = command(method, epochs, place)
            words[words.index("--output-dir") + 1] = str(folder)
            assert train.main(words) == 0
    return folder


def model_of(method: str, place: Path) -> Path:
    """A saved model, made once."""
    folder = place.parent / f"model-{method}"
    if not folder.exists():
        learner = "CoOp" if method == "SHIP" else method
        options = {"OPTIM.MAX_EPOCH": 1, "TRAINER.SHIP.GENERATOR.EPOCHS": 1, "FEATURES.VIEWS": 1}
        with without_network(), contextlib.redirect_stdout(io.StringIO()):
            shipclip.fit(photos(place), backbone="MiniCLIP", learner=learner, reject=0.1, options=options).save(folder)
    return folder


def of_a_run(example: tuple[str, Random, Any], place: Path) -> None:
    """A run that was broken off, with one of its files damaged, goes on, or says what is wrong."""
    method, rng, value = example
    folder = place / "out"
    shutil.copytree(run_of(method, place), folder)
    files = [folder / name for name in ("config.json", "results.json")]
    files += [file for part in ("prompt_learner", "generator") for file in sorted((folder / part).glob("model*"))]
    file = rng.choice(files)
    if file.name != "results.json":  # else it is finished, and nothing else is looked at
        (folder / "results.json").unlink()
    if file.suffix == ".json" and rng.random() < 0.6:
        file.write_text(json.dumps(mutate.changed(json.loads(file.read_text()), rng, value)))
    elif file.suffix != ".json" and rng.random() < 0.6:
        content = torch.load(file, weights_only=True)
        if rng.random() < 0.6:
            content["state_dict"] = mutate.changed_tensors(content["state_dict"], rng)
        else:
            content = mutate.changed(content, rng, value)
        torch.save(content, file)
    else:
        file.write_bytes(mutate.damaged(file.read_bytes(), rng))
    for later in files:  # the damaged one is the newest
        if later.parent == file.parent and later.suffix != ".json" and later > file:
            later.unlink()
    told = io.StringIO()
    with without_network(), contextlib.redirect_stderr(told):
        status = train.main(command(method, {"OPTIM.MAX_EPOCH": 2, "TRAIN.CHECKPOINT_FREQ": 1}, place))
    lines = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
    assert status == 2 * bool(lines) and len(lines) <= 1, told.getvalue()
    if lines:
        raise UserError(check_sentence(lines[0].removeprefix("error: ")))


def saved(example: tuple[str, Random, Any], place: Path) -> None:
    """A saved model with one of its files damaged opens and predicts, or says what is wrong."""
    method, rng, value = example
    folder = place / "model"
    shutil.copytree(model_of(method, place), folder)
    file = folder / rng.choice(["config.json", "classes.json", "head.safetensors", "training.safetensors"])
    if file.suffix == ".json" and rng.random() < 0.7:
        file.write_text(json.dumps(mutate.changed(json.loads(file.read_text()), rng, value)))
    elif file.suffix != ".json" and rng.random() < 0.7:
        state = mutate.changed_tensors(load_file(file), rng)
        save_file({k: v.contiguous() for k, v in state.items() if isinstance(v, torch.Tensor) and k}, file)
        if file.name == "head.safetensors":
            config = json.loads((folder / "config.json").read_text())
            config["head_sha256"] = digest_of(file)  # by somebody who knows how
            (folder / "config.json").write_text(json.dumps(config))
    else:
        file.write_bytes(mutate.damaged(file.read_bytes(), rng))
    with without_network():
        model = shipclip.load(folder)
    found = model.predict([Image.new("RGB", (8, 8), "red")], top=2)
    assert len(found) == 1 and 0 <= found[0].probability <= 1


def any_checkpoint(rng: Random, place: Path) -> None:
    """Files that only look like one."""
    file = place / "model.pth.tar-1"
    file.write_bytes(mutate.hostile(rng, str(place)))
    checkpoints.read(file)


def of_a_backbone(rng: Random, place: Path) -> None:
    bytes_ = mutate.damaged(weights.FILE.read_bytes(), rng)
    file = place / f"weights.{rng.choice(['pt', 'safetensors', 'bin'])}"
    file.write_bytes(bytes_)
    read_weights(file)


def cached(rng: Random, place: Path) -> None:
    """Features that were kept, damaged since, are made anew and never used."""
    whole, images = torch.randn(2, 3, 8).numpy(), np.arange(6, dtype=np.uint64).reshape(3, 2)
    Store(place, "float32").add(images, 0, whole)
    (file,) = place.glob("*.safetensors")
    file.write_bytes(mutate.damaged(file.read_bytes(), rng))
    store, found = Store(place, "float32"), np.empty_like(whole)
    store.refresh()
    places = store.find(images, 0, 2)
    assert places.missing.all() or not places.missing.any()
    if not places.missing.any():
        store.read(places, 0, found)
        assert np.array_equal(found, whole)


example = st.tuples(st.sampled_from(TRAINED), mutate.randoms, mutate.values)
KINDS = [
    Kind("checkpoints and runs", example, of_a_run, 0.05),
    Kind("saved models", example, saved, 0.05),
    Kind("hostile checkpoints", mutate.randoms, any_checkpoint, 0.02),
    Kind("weight files", mutate.randoms, of_a_backbone, 0.02),
    Kind("kept features", mutate.randoms, cached, 0.01),
]
