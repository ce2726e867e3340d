"""A model as files that need no shipclip: the image tower with the classes baked in.

FOLDER/model.onnx, model.pt2 or model.safetensors
FOLDER/labels.txt          a class a line, in the order of the probabilities
FOLDER/preprocess.json     how an image becomes the tensor, and what goes in and comes out
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .backbones.half import half_encoder
from .bundle import Classifier
from .errors import UserError
from .extras import imported
from .features.images import images_below
from .frozen import Frozen
from .heads import HEADS, head_of
from .miniclip import world

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "safetensors": "model.safetensors"}
LABELS, PREPROCESS = "labels.txt", "preprocess.json"
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}  # of probabilities, against the model
CHECKED, AT_ONCE = 200, 32  # images that an exported file is checked on

Run = Callable[[Tensor], tuple[Tensor, Tensor]]  # images to probabilities and unknown ones


@dataclass(frozen=True)
class Exported:
    """What was written and how it was checked.

    Attributes:
        file: the model's.
        beside: names of the other files.
        classes: how many.
        images, kind: what it was checked on.
        difference: largest one of a probability from the model's.
        disagree: on how many images the answer is another, the most probable class or unknown.
    """

    file: Path
    beside: tuple[str, ...]
    classes: int
    images: int
    kind: str
    difference: float
    disagree: int


class Baked(nn.Module):
    """Images (B, 3, R, R) to calibrated logits (B, C), probabilities (B, C), and which are unknown (B,)."""

    def __init__(self, frozen: Frozen):
        super().__init__()
        self.frozen = frozen

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, features = self.frozen.calibrated(images)
        said = self.frozen.judge(logits, features)
        return logits, said.probabilities, said.unknown


OUTPUTS = ("logits", "probabilities", "unknown")


@torch.no_grad()
def export(
    model: Classifier, folder: str | Path, format: str = "onnx", precision: str = "fp32", photos: Any = ""
) -> Exported:
    """Write a model as one file for other programs, and check that file against the model.

    Args:
        model: on the CPU.
        folder: of the files; what else lies there is left alone.
        format: onnx (onnxruntime and others), torch (a torch.export program) or safetensors (the tensors alone).
        precision: of the image tower, fp32 or fp16; images and outputs are float32 in both.
        photos: images to check with; empty: the training images, where they still are, else rendered ones.

    Raises:
        UserError: a model that cannot be frozen, with the reason; a package that is not installed; a file that does not
            do what the model does, which is not left behind.
    """
    folder = Path(folder)
    if format not in FILES or precision not in TOLERANCE:
        raise UserError(f"there is no format {format} in {precision}: choose one of {', '.join(FILES)}, fp32 or fp16")
    _refuse(model, folder, format, precision)
    frozen = model.frozen().eval()
    frozen.encode = model.backbone.unrounded().encode_image  # other programs have no autocast
    images, kind = _photographs(model, photos)
    wanted = _run(lambda x: frozen(x)[:2], images)
    if precision == "fp16":
        frozen.encode = half_encoder(model.backbone)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place) / FILES[format]
        run, facts = WRITERS[format](frozen, model, file, precision)
        found = _run(run, images)
        difference = float((found[0] - wanted[0]).abs().max())
        if not difference <= TOLERANCE[precision]:
            raise UserError(
                f"the exported file's probabilities differ from the model's by {difference:.1e}, more than "
                f"{TOLERANCE[precision]:.0e}, on {len(images)} {kind}: nothing was written; try fp32, or another format"
            )
        (Path(place) / LABELS).write_text("".join(f"{name}\n" for name in model.classes), encoding="utf-8")
        described = json.dumps({**_preprocess(model), **facts, "precision": precision}, indent=2) + "\n"
        (Path(place) / PREPROCESS).write_text(described, encoding="utf-8")
        names = sorted(one.name for one in Path(place).iterdir())
        for name in sorted(names, key=lambda name: name == FILES[format]):  # the model last
            (Path(place) / name).replace(folder / name)
    beside = tuple(name for name in names if name != FILES[format])
    disagree = int(((found[0].argmax(dim=1) != wanted[0].argmax(dim=1)) | (found[1] != wanted[1])).sum())
    return Exported(folder / FILES[format], beside, len(model.classes), len(images), kind, difference, disagree)


# -- formats --------------------------------------------------------------------------------------------------


def _onnx(frozen: Frozen, model: Classifier, file: Path, precision: str) -> tuple[Run, dict[str, Any]]:
    import onnxruntime

    with _quiet():
        program = torch.onnx.export(
            Baked(frozen),
            (_example(model),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=list(OUTPUTS),
        )
        program.save(str(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        _, probabilities, unknown = session.run(None, {"images": x.numpy()})
        return torch.from_numpy(np.asarray(probabilities)), torch.from_numpy(np.asarray(unknown))

    return run, {"outputs": list(OUTPUTS)}


def _torch(frozen: Frozen, model: Classifier, file: Path, precision: str) -> tuple[Run, dict[str, Any]]:
    batch = torch.export.Dim("batch")
    program = torch.export.export(Baked(frozen), (_example(model),), dynamic_shapes=({0: batch},), strict=False)
    torch.export.save(program, file)
    loaded = torch.export.load(file).module()
    return lambda x: tuple(loaded(x)[1:]), {"outputs": list(OUTPUTS)}


def _safetensors(frozen: Frozen, model: Classifier, file: Path, precision: str) -> tuple[Run, dict[str, Any]]:
    """Tensors for programs of one's own: image_tower.*, head.*, and what preprocess.json says of them. What is checked
    is the head, as it is described; the image tower's tensors are the backbone's."""
    from safetensors.torch import load, save

    head, formula = head_of(model)
    kept = torch.float16 if precision == "fp16" else torch.float32
    visual = getattr(model.backbone.image, "visual", model.backbone.image)
    tensors = {f"image_tower.{key}": value.to(kept) for key, value in visual.state_dict().items()}
    tensors |= {f"head.{key}": value.float() if value.is_floating_point() else value for key, value in head.items()}
    tensors["factors"] = frozen.factors.float()
    rule = frozen.rejection
    if rule is not None:
        tensors |= {"keys": frozen.keys, "text": frozen.text, "by_name": frozen.by_name.to(torch.uint8)}
    content = save({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    file.write_bytes(content)
    facts = {
        "image_tower": model.backbone.name,
        "head": formula,
        "calibration": "p = softmax(factors[argmax z] * z / temperature)",
        "temperature": model.calibration.temperature,
        "rejection": asdict(rule) if rule is not None else None,
    }
    loaded = load(content)

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        features = frozen.encode(x)
        z = HEADS[formula["kind"]](features, {k[5:]: v for k, v in loaded.items() if k.startswith("head.")}, formula)
        z = z * (loaded["factors"][z.argmax(dim=1)] / model.calibration.temperature)[:, None]
        return frozen.judge(z, features)[:2]

    return run, facts


WRITERS = {"onnx": _onnx, "torch": _torch, "safetensors": _safetensors}


# -- the rest -------------------------------------------------------------------------------------------------


def _refuse(model: Classifier, folder: Path, format: str, precision: str) -> None:
    learner, name = model.learner, type(model.learner).__name__
    if folder.is_file():
        raise UserError(f"{folder} is a file: give a folder for the exported files")
    if learner.unfrozen:
        raise UserError(f"{learner.unfrozen}, so it cannot be frozen: export a model of another learner")
    if learner.sees == "images" and (precision == "fp16" or format == "safetensors"):
        what = "in half precision" if precision == "fp16" else "as safetensors"
        raise UserError(f"{name} reaches into the image tower, which is not exported {what}: use fp32 in onnx or torch")
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            imported(package, "onnx", "--format onnx")
        if not exporter_has_shapes():
            raise UserError(
                f"to export as ONNX, torch 2.6 or newer is needed, and this is {torch.__version__}: update it"
            )


def exporter_has_shapes() -> bool:
    """Whether torch's ONNX exporter can leave the number of images open: from torch 2.6 on."""
    return "dynamic_shapes" in signature(torch.onnx.export).parameters


def _photographs(model: Classifier, photos: Any) -> tuple[Tensor, str]:
    """Preprocessed images to check with, (N, 3, R, R), and what they are."""
    if photos:
        found, kind = images_below(photos), "photographs"
    else:
        found, kind = training_files(model), "training images"
    if not found:
        from PIL import Image

        kind = "rendered images (the training images are not where they were: give --photos)"
        names = world.downstream_classes()[:AT_ONCE]
        found = [Image.fromarray(world.render(name, world.image_rng(0, name, 0))) for name in names]
    count = min(CHECKED, len(found))
    chosen = [found[i * len(found) // count] for i in range(count)]
    return torch.cat([batch for _, batch in model.batches(chosen, AT_ONCE)]), kind


def training_files(model: Classifier) -> list[str]:
    """Files of the training images that are still where they were."""
    if model.gallery is None:
        return []
    root = Path(model.tree.get("DATASET", {}).get("ROOT", "")).expanduser()
    return [str(root / path) for path in model.gallery.paths if path and (root / path).is_file()]


def _run(run: Run, images: Tensor) -> tuple[Tensor, Tensor]:
    parts = [run(batch) for batch in images.split(AT_ONCE)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _example(model: Classifier) -> Tensor:
    R = model.backbone.resolution
    return torch.zeros(2, 3, R, R)


def _preprocess(model: Classifier) -> dict[str, Any]:
    pre = model.backbone.preprocessing
    return {
        "size": pre.size,
        "resize": pre.resize,
        "interpolation": pre.interpolation,
        "mean": list(pre.mean),
        "std": list(pre.std),
        "input": "images: float32, (batch, 3, size, size), RGB in 0 ... 1, less mean, divided by std",
    }


@contextlib.contextmanager
def _quiet() -> Any:
    """torch.onnx is chatty."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
