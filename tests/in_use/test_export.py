"""Exported models: they do what the model does, without shipclip."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import shipclip
from shipclip import cli
from shipclip import export as exporting
from shipclip.errors import UserError
from shipclip.export import Exported, export
from shipclip.learners import tip_adapter
from shipclip.miniclip import weights as miniclip
from shipclip.precision import Precision
from tests.in_use.conftest import SHORT, needs_exporter

LEARNERS = ("CoOp", "CLIPAdapter", "TipAdapterF", "GDA")
OPTIONS = SHORT | {"MODEL.BACKBONE.ACTIVATION": "quickgelu", "DATALOADER.NUM_WORKERS": 0}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """MiniCLIP's first two layers: exporting takes the longer the more there are."""
    tensors = miniclip.load()[0]
    deeper = [key for key in tensors if "resblocks." in key and int(key.split("resblocks.")[1].split(".")[0]) > 1]
    file = tmp_path_factory.mktemp("backbone") / "two_layers.pt"
    torch.save({key: value for key, value in tensors.items() if key not in deeper}, file)
    return {"backbone": "two layers", "backbone_path": str(file)}


@pytest.fixture(scope="module")
def models(photos: Path, backbone: dict[str, Any]) -> dict[str, shipclip.Classifier]:
    return {
        learner: shipclip.fit(photos, **backbone, learner=learner, reject=0.1, options=OPTIONS) for learner in LEARNERS
    }


@pytest.fixture(scope="module")
def onnx(models: dict[str, shipclip.Classifier], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Each of them as ONNX."""
    root = tmp_path_factory.mktemp("onnx")
    return {learner: export(models[learner], root / learner) for learner in ("CLIPAdapter", "TipAdapterF")}


def images(model: shipclip.Classifier, photos: Path) -> torch.Tensor:
    return torch.cat([batch for _, batch in model.batches(photos / "test")])


def wanted(model: shipclip.Classifier, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        said = model.frozen()(x)
    return said.probabilities.numpy(), said.unknown.numpy()


@needs_exporter
@pytest.mark.parametrize("learner", ["CLIPAdapter", "TipAdapterF"])
def test_onnx_says_what_the_model_says_for_any_number_of_images(learner: str, models, onnx, photos: Path):
    import onnxruntime

    model, found = models[learner], onnx[learner]
    assert found.difference < 1e-4 and found.disagree == 0 and found.kind == "training images"
    folder = found.file.parent
    assert sorted(file.name for file in folder.iterdir()) == ["labels.txt", "model.onnx", "preprocess.json"]
    session = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    x = images(model, photos)
    for batch in (x[:1], x[:7], x):
        _, probabilities, unknown = session.run(None, {"images": batch.numpy()})
        chances, flags = wanted(model, batch)
        assert np.abs(probabilities - chances).max() < 1e-4 and (unknown == flags).all()
    assert (folder / "labels.txt").read_text().splitlines() == model.classes


@needs_exporter
@pytest.mark.parametrize("format", ["onnx", "safetensors"])
def test_a_cache_of_many_classes_is_exported_too(format: str, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tip_adapter, "ONE_HOT", (0, 0))
    found = export(models["TipAdapterF"], tmp_path / "x", format)
    assert found.difference < 1e-4 and found.disagree == 0


def test_a_torch_program_does_too(models, photos: Path, tmp_path: Path):
    model = models["CoOp"]
    found = export(model, tmp_path / "x", "torch")
    program = torch.export.load(found.file).module()
    x = images(model, photos)
    logits, probabilities, unknown = program(x)
    assert np.abs(probabilities.detach().numpy() - wanted(model, x)[0]).max() < 1e-4
    assert torch.allclose(logits.softmax(dim=1), probabilities) and unknown.dtype == torch.bool


@pytest.mark.parametrize("learner", LEARNERS)
def test_safetensors_hold_the_tower_and_a_head_by_its_formula(learner: str, models, photos: Path, tmp_path: Path):
    """Rebuilt by hand, from the tensors and what preprocess.json says of them."""
    from safetensors.torch import load_file

    model = models[learner]
    found = export(model, tmp_path / "x", "safetensors")
    tensors, facts = load_file(found.file), json.loads((tmp_path / "x" / "preprocess.json").read_text())
    visual = model.backbone.model.visual.state_dict()
    assert all(torch.equal(tensors[f"image_tower.{key}"], value) for key, value in visual.items())
    x = images(model, photos)
    with torch.no_grad():
        f = model.backbone.encode_image(x)
        kind, head = facts["head"]["kind"], {k[5:]: v for k, v in tensors.items() if k.startswith("head.")}
        if kind == "linear":
            z = f @ head["weight"].T + head["bias"]
        elif kind == "CacheClassifier":
            z = facts["head"]["scale"] * f @ head["text"].T
            z += facts["head"]["alpha"] * (-facts["head"]["beta"] * (1 - f @ head["keys"].T)).exp() @ head["votes"]
        else:
            inner = (f @ head["adapter.0.weight"].T).relu() @ head["adapter.2.weight"].T
            mixed = facts["head"]["ratio"] * inner.relu() + (1 - facts["head"]["ratio"]) * f
            z = facts["head"]["scale"] * torch.nn.functional.normalize(mixed, dim=1) @ head["text"].T
        z = z * tensors["factors"][z.argmax(dim=1)][:, None] / facts["temperature"]
    assert np.abs(z.softmax(dim=1).numpy() - wanted(model, x)[0]).max() < 1e-4
    assert (kind == "linear") == (learner in ("CoOp", "GDA"))


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=needs_exporter), "safetensors"])
def test_half_precision_halves_the_file(format: str, models, request, photos: Path, tmp_path: Path):
    model = models["CLIPAdapter"]
    whole = (
        request.getfixturevalue("onnx")["CLIPAdapter"]
        if format == "onnx"
        else export(model, tmp_path / "whole", format)
    )
    found = export(model, tmp_path / "half", format, "fp16")
    assert found.difference < 2e-2 and found.file.stat().st_size < 0.65 * whole.file.stat().st_size
    before = model.frozen()(images(model, photos)[:2])
    assert before.probabilities.dtype == torch.float32  # the model itself stays as it is


def test_a_model_in_bfloat16_is_exported_in_float32(models, photos: Path, tmp_path: Path):
    model = copy(models["CLIPAdapter"])
    model.backbone = copy(model.backbone)
    model.backbone.precision = Precision.choose("bf16")
    x = images(model, photos)
    rounded = wanted(model, x)[0]
    file = export(model, tmp_path / "o", "torch").file
    found = torch.export.load(file).module()(x)[1].detach().numpy()
    model.backbone = model.backbone.unrounded()
    np.testing.assert_allclose(found, wanted(model, x)[0], rtol=0, atol=1e-5)
    assert 1e-4 < np.abs(found - rounded).max() < 0.05


@needs_exporter
def test_learners_on_images_are_frozen_with_what_they_put_into_the_tower(photos: Path, backbone, tmp_path: Path):
    options = OPTIONS | {"OPTIM.MAX_EPOCH": 1, "TRAINER.MAPLE.PROMPT_DEPTH": 2}
    model = shipclip.fit(photos, **backbone, learner="MaPLe", calibrate=False, options=options)
    assert export(model, tmp_path / "x").difference < 1e-4
    for format, precision in (("onnx", "fp16"), ("safetensors", "fp32")):
        with pytest.raises(UserError, match="MaPLe reaches into the image tower"):
            export(model, tmp_path / "y", format, precision)


def test_what_cannot_be_frozen_is_refused_with_the_reason(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    model = shipclip.fit(photos, backbone="MiniCLIP", learner="CoCoOp", calibrate=False, options=SHORT)
    model.save(tmp_path / "m")
    assert cli.main(["export", str(tmp_path / "m"), "-o", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert "CoCoOp makes class features anew for each image" in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_file_that_does_otherwise_is_not_left_behind(models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "half_encoder", lambda backbone: lambda x: backbone.encode_image(x.flip(3) * 0.3))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "note").write_text("mine")
    with pytest.raises(UserError, match="probabilities differ from the model's by"):
        export(models["CLIPAdapter"], tmp_path / "x", "safetensors", "fp16")
    assert [file.name for file in (tmp_path / "x").iterdir()] == ["note"]


def test_photographs_that_are_gone_are_told(models, photos: Path, tmp_path: Path):
    model = shipclip.load(models["CLIPAdapter"].save(tmp_path / "m"))
    model.tree["DATASET"]["ROOT"] = str(tmp_path / "gone")
    assert "the training images are not where they were" in export(model, tmp_path / "x", "safetensors").kind
    assert export(model, tmp_path / "x", "safetensors", photos=photos / "test").kind == "photographs"


def test_a_package_that_is_missing_is_named(models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs onnxruntime, which is not here: pip install 'ship-clip\[onnx\]'"):
        export(models["CLIPAdapter"], tmp_path / "x")


def test_the_command_line_says_what_was_checked(models, tmp_path: Path, capsys: pytest.CaptureFixture):
    models["GDA"].save(tmp_path / "m")
    command = ["export", str(tmp_path / "m"), "-o", str(tmp_path / "x"), "--format", "safetensors"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "model.safetensors: 8 classes; on 36 training images probabilities differ from the model's by at most" in out
    assert cli.main([*command[:3], str(tmp_path / "m" / "config.json")]) == 2
    assert "is a file: give a folder" in capsys.readouterr().err


PROGRAM = Path(__file__).parents[2] / "docs" / "export.md"


@needs_exporter
def test_the_docs_program_needs_onnxruntime_and_pillow_alone(models, onnx, photos: Path, tmp_path: Path):
    """As it stands in docs/export.md: the same names, no torch, no shipclip."""
    (code,) = [part.partition("```")[0] for part in PROGRAM.read_text().split("```python\n")[1:2]]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    model, folder = models["CLIPAdapter"], onnx["CLIPAdapter"].file.parent
    (tmp_path / "classify.py").write_text(code)
    blocked = "import sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'shipclip', 'clip')); "
    run = f"{blocked}sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read())"
    files = sorted((photos / "test").rglob("*.png"))
    command = [sys.executable, "-c", run, tmp_path / "classify.py", folder, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(files)
    for line, p in zip(lines, model.predict(files), strict=True):
        path, _, said = line.rpartition(": ")
        name, _, share = said.rpartition(" ")
        assert (
            path == p.path
            and name == p.name
            and float(share.rstrip("%")) == pytest.approx(100 * p.probability, abs=0.06)
        )


def test_a_torch_whose_exporter_cannot_is_named(chosen: shipclip.Classifier, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch.onnx, "export", lambda model, args, dynamo=False: None)
    with pytest.raises(UserError, match=r"to export as ONNX, torch 2\.6 or newer is needed, and this is "):
        export(chosen, tmp_path / "x")
    assert not (tmp_path / "x").exists()
