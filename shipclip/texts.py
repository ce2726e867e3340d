"""Hand-written prompts: what zero-shot CLIP reads of each class, and what learners are anchored to."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .backbones.base import Backbone, normalise
from .errors import UserError
from .files import read_json
from .names import same

DEFAULT = "a photo of a {}."
TEXTS_AT_ONCE = 4096  # bounds the memory

# The seven that CLIP's authors selected on ImageNet.
IMAGENET_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


@dataclass(frozen=True)
class Texts:
    """The texts of each class: templates filled with its name, or texts of its own.

    Attributes:
        templates: with {} for the class name.
        of_class: class name -> texts written for it (CuPL, Pratt et al., ICCV 2023), in place of the templates.
    """

    templates: tuple[str, ...] = (DEFAULT,)
    of_class: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[str, ...]:
        own = self.of_class.get(same(name))
        return own or tuple(template.format(name.replace("_", " ")) for template in self.templates)

    def as_data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {"templates": list(self.templates), "of_class": {k: list(v) for k, v in self.of_class.items()}}

    @staticmethod
    def from_data(data: Mapping[str, Any], file: Path) -> Texts:
        """The reverse; what is not there has its default.

        Raises:
            UserError: it is no such data, naming the file that it is from.
        """
        templates, own = data.get("templates", [DEFAULT]), data.get("of_class", {})
        lists = [templates, *(own.values() if isinstance(own, Mapping) else [None])]
        if not all(isinstance(texts, list) and texts and all(isinstance(t, str) for t in texts) for texts in lists):
            raise UserError(f"{file} is damaged (at texts): save the model anew")
        of_class = {same(name): tuple(texts) for name, texts in own.items()}
        return Texts(checked_templates(templates, f"texts of {file}"), of_class)

    def features(self, backbone: Backbone, names: Sequence[str]) -> Tensor:
        """Class features, the mean over a class's texts, of unit length, float32, also within autocast: (C, d)."""
        texts = [self.of(name) for name in names]
        flat = [text for own in texts for text in own]
        with torch.autocast(backbone.device.type, enabled=False):
            parts = [flat[i : i + TEXTS_AT_ONCE] for i in range(0, len(flat), TEXTS_AT_ONCE)]
            features = torch.cat([backbone.encode_texts(part) for part in parts])
            means = [rows.mean(dim=0) for rows in features.split([len(own) for own in texts])]
            return normalise(torch.stack(means))


def checked_templates(templates: str | Sequence[str], key: str) -> tuple[str, ...]:
    """Templates, each with one place for the class name.

    Raises:
        UserError: there is none, or more, naming the template and the key that it came from.
    """
    templates = (templates,) if isinstance(templates, str) else tuple(templates)
    for template in templates:
        try:
            places = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        except (ValueError, TypeError):  # TypeError: it is no text
            places = []
        if places != [""]:
            raise UserError(f'{key} has {template!r}: write {{}} once, where the class name stands ("{DEFAULT}")')
    return templates


def read_texts(file: Path) -> dict[str, tuple[str, ...]]:
    """Texts of each class from a JSON file in CuPL's format: {"class name": ["a text", ...], ...}.

    Raises:
        MissingFile, UserError: it is not there, or of another format, naming the file and the class.
    """
    content = read_json(file, 'write {"class name": ["a text", ...]} there')
    if not isinstance(content, dict) or not content:
        raise UserError(f'{file} must hold an object, {{"class name": ["a text", ...]}}')
    found: dict[str, tuple[str, ...]] = {}
    for name, texts in content.items():
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise UserError(f"{file}: the texts of {name!r} must be a list of sentences, at least one")
        if same(name) in found:
            raise UserError(f"{file} has texts of {name!r} twice: keep one list of them")
        found[same(name)] = tuple(texts)
    return found


def tell_missing(texts: Texts, names: Sequence[str], file: Path) -> None:
    """A note on classes without texts of their own; a file of which no class is known is a UserError."""
    missing = [name for name in names if same(name) not in texts.of_class]
    if len(missing) == len(names):
        raise UserError(f"{file} has texts of none of the classes, the first of which is {names[0]!r}: mend its names")
    if missing:
        print(f"Note: {file} has no texts of {len(missing)} classes ({missing[0]!r} first): they get the template")
