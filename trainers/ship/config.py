"""The library's options as yacs nodes in Dassl's tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode as CN

from shipclip.data.protocol import DatasetOptions
from shipclip.features.source import FeatureOptions
from shipclip.learners import LEARNERS
from shipclip.optim import OptimOptions
from shipclip.options import convert, flatten, no_group, tree_of, unknown_key
from shipclip.settings import BackboneOptions, TestOptions, TrainOptions, ship_tree


def extend_cfg(cfg: CN) -> None:
    """Add the library's keys to a Dassl default tree, in place. What Dassl has already keeps its default.

    Safe to call again: the trainers' own nodes get their defaults back.
    """
    if "FEATURES" not in cfg:
        cfg.FEATURES = CN()
    for node, options in (
        (cfg.DATASET, DatasetOptions),
        (cfg.MODEL.BACKBONE, BackboneOptions),
        (cfg.FEATURES, FeatureOptions),
        (cfg.OPTIM, OptimOptions),
        (cfg.TRAIN, TrainOptions),
        (cfg.TEST, TestOptions),
    ):
        for key, value in tree_of(options).items():
            if key not in node:
                node[key] = value
    for learner in LEARNERS:
        cfg.TRAINER[learner.node()] = CN(tree_of(learner.Options))
    cfg.TRAINER.SHIP = CN(ship_tree())


def follow_backbone(cfg: CN) -> None:
    """Empty the keys of INPUT that the backbone knows best: a file that sets them is held against it."""
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION, cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = (), "", [], []


def plain(cfg: Any) -> dict[str, Any]:
    """A config as nested dicts."""
    return {key: plain(value) if isinstance(value, dict) else value for key, value in cfg.items()}


def put(cfg: CN, key: str, value: Any, where: str = "") -> None:
    """Set a key that is there, as A.B; the value in the kind of what it replaces, as the library's options have it.

    Raises:
        UserError: an unknown key, a group of keys, or a value of another kind.
    """
    *nodes, last = key.split(".")
    node: Any = cfg
    for name in nodes:
        node = node.get(name) if isinstance(node, CN) else None
    if not isinstance(node, CN) or last not in node:
        raise unknown_key(key, list(flatten(cfg)), where)
    if isinstance(node[last], CN):
        raise no_group(value, key, where)
    given = convert(value, node[last], key)
    node[last] = list(given) if isinstance(node[last], list) else given


def put_all(cfg: CN, tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Set all keys of a tree; `where` names the file that they come from."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            put_all(cfg, value, where, f"{prefix}{key}.")
        else:
            put(cfg, f"{prefix}{key}", value, where)
