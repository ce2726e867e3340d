"""The training images of a model by their features: for the nearest ones to an image, and for images far from all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import MissingFile, UserError, first_line


@dataclass(frozen=True)
class Gallery:
    """Features of N training images; no image is in it.

    Attributes:
        features: by the frozen image tower, unit length, float32 rounded to half precision, (N, d).
        labels: (N,), into `classes`.
        classes: names.
        paths: of the images, below the folder of the fit; empty where an image was no file.
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    paths: tuple[str, ...]

    @staticmethod
    def of(features: Tensor, labels: Sequence[int], classes: Sequence[str], paths: Sequence[str]) -> Gallery:
        rounded = features.detach().half().float().cpu()  # a saved gallery is the same to the bit
        return Gallery(rounded, torch.tensor(list(labels), dtype=torch.long), tuple(classes), tuple(paths))

    def among(self, names: Sequence[str]) -> Tensor:
        """Features of the images of these classes alone: (N', d)."""
        shown = torch.tensor([name in set(names) for name in self.classes], dtype=torch.bool)
        return self.features[shown[self.labels]]

    def nearest(self, feature: Tensor, names: Sequence[str], count: int) -> list[tuple[str, str, float]]:
        """The images of these classes nearest to a feature (d,): class, path and cosine similarity, nearest first."""
        similarity = self.features @ feature.float().cpu()
        rows = similarity.argsort(descending=True, stable=True).tolist()
        known = set(names)
        found = [(self.classes[self.labels[row]], self.paths[row], float(similarity[row])) for row in rows]
        return [one for one in found if one[0] in known][:count]

    def renamed(self, old: str, new: str) -> Gallery:
        return replace(self, classes=tuple(new if name == old else name for name in self.classes))

    # -- on disk --------------------------------------------------------------------------------------------

    def as_bytes(self) -> bytes:
        """As safetensors; classes and paths stand in the header."""
        from safetensors.torch import save

        tensors = {"features": self.features.half(), "labels": self.labels}
        return save(tensors, {"classes": json.dumps(self.classes), "paths": json.dumps(self.paths)})

    @staticmethod
    def load(file: Path) -> Gallery:
        """Raises MissingFile or UserError, naming the file."""
        tensors, facts = read_safetensors(file)
        try:
            classes, paths = (tuple(json.loads(facts[key])) for key in ("classes", "paths"))
            features, labels = tensors["features"], tensors["labels"].long()
            fits = features.dim() == 2 and labels.shape == features.shape[:1] and len(paths) == len(labels)
            if not fits or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes)):
                raise ValueError("its parts do not fit together")
            if not all(isinstance(text, str) for text in (*classes, *paths)):
                raise ValueError("a name or path is no text")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file} is damaged ({type(error).__name__}: {error}): save the model anew") from error
        return Gallery(features.float(), labels, classes, paths)


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Tensors and header of a safetensors file.

    Raises:
        MissingFile, UserError: not there, or damaged.
    """
    from safetensors import safe_open

    if not file.is_file():
        raise MissingFile(f"there is no {file}: save the model anew")
    try:
        with safe_open(file, "pt") as content:
            return {key: content.get_tensor(key) for key in content.keys()}, content.metadata() or {}  # noqa: SIM118
    except Exception as error:  # safetensors has an exception of its own for damaged bytes
        raise UserError(f"{file} cannot be read ({first_line(error)}): save the model anew") from error


def nearest_similarity(features: Tensor, others: Tensor) -> Tensor:
    """Largest cosine similarity of each to one of the others, of unit length: (M, d), (N, d) -> (M,)."""
    return (features @ others.T).amax(dim=1)
