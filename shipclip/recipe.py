"""The settings of a fit: defaults, the files that come with the project, and keys of the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .data.protocol import DatasetOptions
from .errors import UserError
from .files import read_yaml
from .learners import LEARNERS
from .options import Tree, convert, flatten, merge, nest, read, tree_of, unknown_key
from .presets import CONFIGS, default_config
from .settings import SHIP, Settings, default_tree
from .unread import contradictions, unread

OF_THE_DATA = ("TEMPLATE", "PROMPTS", "ON_BAD_IMAGE")
ARGUMENTS = {  # keys that fit has arguments for; both at once would be one too many
    "SEED": "seed",
    "DATASET.NAME": "folder",
    "DATASET.ROOT": "folder",
    "DATASET.NUM_SHOTS": "shots",
    "MODEL.BACKBONE.NAME": "backbone",
    "MODEL.BACKBONE.PATH": "backbone_path",
    "TRAINER.NAME": "learner",
    "TRAINER.SHIP.LEARNER": "learner",
    "TRAINER.SHIP.NEW_CLASSNAMES": "new_names",
    "RESUME": "output_dir",
}
GENERATOR_ALONE = "TRAINER.SHIP.GENERATOR.ONLY"
# All classes are told apart, and the test's figures are all that is made of it.
UNREAD_HERE = ("TEST.SPLIT", "TEST.PREDICTIONS", "DATASET.SUBSAMPLE_CLASSES")


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
    def of(options: Mapping[str, Any] | None, folder: str, shots: int, **facts: Any) -> Recipe:
        """A recipe for the images of a folder, so many of each class; keys of the images among `options` count for
        `dataset`.

        Raises:
            UserError: an unknown key, one that there is an argument for, or a value that cannot be.
        """
        given = _given(options)
        own = {key: given[f"DATASET.{key}"] for key in OF_THE_DATA if f"DATASET.{key}" in given}
        data = {"NAME": "ImageFolder", "ROOT": folder, "NUM_SHOTS": shots, **own}
        return Recipe(dataset=read(DatasetOptions, data, "DATASET."), given=given, **facts)

    def tree(self, learner: str, ship: bool) -> Tree:
        """All settings of a fit of this learner, alone or with SHIP's features."""
        tree = settings_tree(learner, ship, self.backbone == "MiniCLIP", self.given)
        tree["SEED"], tree["DATASET"] = self.seed, merge(tree["DATASET"], tree_of(self.dataset))
        tree["MODEL"]["BACKBONE"] |= {"NAME": self.backbone, "PATH": self.backbone_path}
        tree["TRAINER"]["SHIP" if ship else LEARNERS.get(learner).node()]["PREC"] = self.precision
        return tree

    def tell(self, settings: Settings) -> None:
        """Which of the caller's keys a fit with these settings does not read, and what leaves what without a say."""
        lost = unread(settings, self.given)
        lost += [key for key in UNREAD_HERE if key in self.given and key not in lost]
        for key in lost:
            print(f"Note: nothing reads {key} in a fit of {settings.name}")
        for text in contradictions(settings):
            print(text)


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    known = flatten(default_tree())
    for key, value in (options or {}).items():
        if key not in known:
            raise unknown_key(str(key), list(known))
        argument = ARGUMENTS.get(key) or ("precision" if key.endswith(".PREC") else "")
        if argument:
            raise UserError(f"options has {key}, for which there is the argument {argument}: give that")
        if convert(value, known[key], key) is True and key == GENERATOR_ALONE:
            raise UserError(f"{key} leaves no classifier: leave it out, or run train.py with it")
    return dict(options or {})


def settings_tree(learner: str, ship: bool, small: bool, given: Mapping[str, Any]) -> Tree:
    """The settings of a learner, alone or with SHIP's features: defaults, the files that come with the project, and
    keys of the caller's."""
    name = SHIP if ship else learner
    files = [default_config(name, small)]
    overlay = CONFIGS / "trainers" / "SHIP" / f"with_{learner}.yaml"
    if ship and overlay.is_file():
        files.append(overlay)
    tree, _ = of_files(files)
    tree["TRAINER"]["NAME"] = name
    if ship:
        tree["TRAINER"]["SHIP"]["LEARNER"] = learner
    for key, value in given.items():
        tree = merge(tree, nest(key, value))
    return tree


def of_files(files: Sequence[Path]) -> tuple[Tree, list[str]]:
    """The defaults with YAML files on top, later ones last; and the keys that they give, of those that the library
    reads."""
    tree, given = default_tree(), []
    for file in files:
        content = known(read_yaml(file), tree)
        given += flatten(content)
        tree = merge(tree, content, f" in {file}")
    return tree, given


def known(content: Any, tree: Mapping[str, Any]) -> Tree:
    """Of a file's keys those that the library reads; others are Dassl's."""
    return {
        key: known(value, tree[key]) if isinstance(value, Mapping) else value
        for key, value in (content or {}).items()
        if key in tree
    }
