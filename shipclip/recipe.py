"""The settings of a fit: defaults, the files that come with the project, and keys of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from .data.protocol import DatasetOptions
from .files import read_text
from .learners import LEARNERS
from .options import Tree, convert, flatten, merge, nest, tree_of, unknown_key
from .presets import CONFIGS, default_config
from .settings import SHIP, default_tree

OF_THE_DATA = ("template", "prompts", "on_bad_image")


@dataclass(frozen=True)
class Recipe:
    """What a fit is told, whichever learner it takes.

    Attributes:
        backbone, backbone_path, precision, seed: as of `fit`.
        dataset: which images.
        given: keys of the caller's.
    """

    backbone: str
    backbone_path: str
    precision: str
    seed: int
    dataset: DatasetOptions
    given: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(options: Mapping[str, Any] | None, dataset: DatasetOptions, **facts: Any) -> Recipe:
        """Keys of the images go to `dataset`.

        Raises:
            UserError: an unknown key, or a value of another kind.
        """
        known = flatten(default_tree())
        for key, value in (options or {}).items():
            if key not in known:
                raise unknown_key(key, list(known))
            convert(value, known[key], key)
        given = dict(options or {})
        own = {name: given.pop(f"DATASET.{name.upper()}", getattr(dataset, name)) for name in OF_THE_DATA}
        return Recipe(dataset=replace(dataset, **own), given=given, **facts)

    def tree(self, learner: str, ship: bool) -> Tree:
        """All settings of a fit of this learner, alone or with SHIP's features."""
        tree = settings_tree(learner, ship, self.backbone == "MiniCLIP", self.given)
        tree["SEED"], tree["DATASET"] = self.seed, merge(tree["DATASET"], tree_of(self.dataset))
        tree["MODEL"]["BACKBONE"] |= {"NAME": self.backbone, "PATH": self.backbone_path}
        tree["TRAINER"]["SHIP" if ship else LEARNERS.get(learner).node()]["PREC"] = self.precision
        return tree


def settings_tree(learner: str, ship: bool, small: bool, given: Mapping[str, Any]) -> Tree:
    """The settings of a learner, alone or with SHIP's features: defaults, the files that come with the project, and
    keys of the caller's."""
    name = SHIP if ship else learner
    files = [default_config(name, small)]
    overlay = CONFIGS / "trainers" / "SHIP" / f"with_{learner}.yaml"
    if ship and overlay.is_file():
        files.append(overlay)
    tree = default_tree()
    for file in files:
        tree = merge(tree, known(yaml.safe_load(read_text(file)), tree), f" in {file}")
    tree["TRAINER"]["NAME"] = name
    if ship:
        tree["TRAINER"]["SHIP"]["LEARNER"] = learner
    for key, value in given.items():
        tree = merge(tree, nest(key, value))
    return tree


def known(content: Any, tree: Mapping[str, Any]) -> Tree:
    """Of a file's keys those that the library reads; others are Dassl's."""
    return {
        key: known(value, tree[key]) if isinstance(value, Mapping) else value
        for key, value in (content or {}).items()
        if key in tree
    }
