"""Which of open_clip's models is meant, and what its configuration says of it.

Facts about the activation are collected from all that know it (the name, the weights' tag, an open_clip_config.json,
the file's code, the user), and must agree: the wrong one gives wrong features without a word.
"""

from __future__ import annotations

import difflib
import socket
import types
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import MissingFile, UserError, first_line
from ..extras import imported
from ..files import read_json
from . import openai

PREFIX, HUB, CONFIG = "open_clip:", "hf-hub:", "open_clip_config.json"
QUICK = "-quickgelu"
# What makes two configurations different models, and so a file's and its name's a contradiction.
SHAPE = {
    "vision_cfg": ("layers", "width", "patch_size", "image_size", "head_width", "timm_model_name"),
    "text_cfg": ("layers", "width", "heads", "context_length", "vocab_size", "hf_model_name"),
}


def package() -> types.ModuleType:
    return imported("open_clip", "open_clip", "the backbone")


@dataclass
class Origin:
    """Where a model comes from, and what is known of it.

    Attributes:
        label: for messages.
        config: its model_cfg, as open_clip reads it.
        facts: who says which activation.
        preprocess: what its configuration says of images; None where there is no configuration.
        architecture: its name in open_clip.
        tag: the settings of its weights in open_clip's table.
        repository: on the hub.
    """

    label: str
    config: dict[str, Any]
    facts: list[tuple[str, str]]
    preprocess: dict[str, Any] | None = None
    architecture: str = ""
    tag: dict[str, Any] | None = None
    repository: str = ""


def find(name: str, path: str) -> Origin:
    """What a name means, with a weight file or ("") without."""
    plain = name.removeprefix(PREFIX)
    return _hub(plain.removeprefix(HUB), path) if plain.startswith(HUB) else _named(plain, path)


def _named(plain: str, path: str) -> Origin:
    """A model of open_clip's table: NAME/TAG, or NAME with a weight file."""
    clip = package()
    models = clip.list_models()
    whole = plain.replace("/", "-")  # ViT-B/16 is ViT-B-16
    name, _, tag = (whole, "", "") if whole in models else plain.rpartition("/")
    name, tag = (name or tag).replace("/", "-"), tag if name else ""
    if name not in models:
        raise UserError(f"open_clip has no model {name!r}{_nearest(name, models)}")
    config, tags = clip.get_model_config(name), clip.list_pretrained_tags_by_model(name)
    settings = clip.get_pretrained_cfg(name, tag) if tag else None
    if tag and not settings:
        raise UserError(f"open_clip has no weights {tag!r} of {name}{_nearest(tag, tags)}")
    if not tag and not path:
        known = f"one of {', '.join(tags)}" if tags else "open_clip publishes none"
        raise UserError(
            f"{PREFIX}{name} names no weights: write {PREFIX}{name}/WEIGHTS ({known}), or give a file in "
            "MODEL.BACKBONE.PATH"
        )
    facts = []
    if config.get("quick_gelu") or name + QUICK not in models:
        facts.append((f"the name {name}", _kind(config)))
    if settings and (settings.get("quick_gelu") or not facts):
        facts.append((f"open_clip's table of {name}/{tag}", _kind(settings)))
    origin = Origin(plain, config, facts, settings, name, settings)
    beside = Path(path).expanduser().parent / CONFIG
    if path and beside.is_file():
        own, origin.preprocess = _read_config(beside)
        _same_model(own, config, beside, name)
        facts.append((str(beside), _kind(own)))
        origin.config = own
    return origin


def _hub(repository: str, path: str) -> Origin:
    """A repository of the hub."""
    clip, label = package(), HUB + repository
    if repository.count("/") != 1:
        raise UserError(f"{label} names no repository: write {HUB}OWNER/REPOSITORY")
    file = Path(path).expanduser().parent / CONFIG
    if not path or not file.is_file():
        with fetching(f"{CONFIG} of {label}"):
            file = Path(clip.pretrained.download_pretrained_from_hf(repository, filename=CONFIG))
    config, preprocess = _read_config(file)
    facts = [(f"{CONFIG} of {label}", _kind(config))]
    for name, tag in clip.list_pretrained():  # a slip in one of the two must not pass
        settings = clip.get_pretrained_cfg(name, tag)
        if settings.get("hf_hub", "").rstrip("/") == repository and _kind(clip.get_model_config(name)) == "gelu":
            facts.append((f"open_clip's table of {PREFIX}{name}/{tag}", _kind(settings)))
    return Origin(label, config, facts, preprocess, repository=repository)


def _kind(config: dict[str, Any]) -> str:
    return "quickgelu" if config.get("quick_gelu") else "gelu"


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or known[:5]
    if not near:
        return " and publishes none: give a file in MODEL.BACKBONE.PATH"
    return f": did you mean {', '.join(near[:-1])}{' or ' if near[1:] else ''}{near[-1]}?"


def _read_config(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's and the images' settings."""
    mend = "fetch it again"
    try:
        content = read_json(file, mend)
        config, preprocess = content["model_cfg"], content.get("preprocess_cfg") or {}
        if not isinstance(config["vision_cfg"], dict) or not isinstance(config["text_cfg"], dict):
            raise TypeError("vision_cfg and text_cfg are tables")
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} is no configuration of open_clip's ({first_line(error)}): {mend}") from error
    return config, preprocess


def _same_model(own: dict[str, Any], named: dict[str, Any], file: Path, name: str) -> None:
    """Refuse a configuration that is not of the named architecture."""
    pairs = [("embed_dim", own.get("embed_dim"), named.get("embed_dim"))]
    for part, keys in SHAPE.items():
        kind = package().model.CLIPVisionCfg if part == "vision_cfg" else package().model.CLIPTextCfg
        pairs += [(f"{part}.{k}", *(c[part].get(k, getattr(kind, k)) for c in (own, named))) for k in keys]
    for key, mine, other in pairs:
        if mine != other:
            raise UserError(
                f"{file} says {key} {mine}, and {name} has {other}: name the model that the file is of in "
                "MODEL.BACKBONE.NAME"
            )


def agreed(origin: Origin, path: str) -> str:
    """The activation that all who know it say."""
    if not origin.facts:
        error = openai.ambiguous(path)
        name = origin.architecture
        raise UserError(f"{error}; or name {PREFIX}{name}{QUICK} or {PREFIX}{name}/WEIGHTS in MODEL.BACKBONE.NAME")
    (first, kind), *others = origin.facts
    for who, other in others:
        if other != kind:
            raise UserError(
                f"{first} says that the activation is {kind}, and {who} says {other}; the wrong one gives wrong "
                "features without a word: mend MODEL.BACKBONE.NAME or MODEL.BACKBONE.ACTIVATION, whichever is wrong"
            )
    return kind


def preprocess_of(origin: Origin, path: str) -> dict[str, Any]:
    """What images are made into, with open_clip's defaults for what a configuration leaves out."""
    clip, known = package(), origin.preprocess
    merge = partial(clip.transform.merge_preprocess_dict, clip.transform.PreprocessCfg())
    if known is not None:
        return merge(known)
    # No configuration: what all of open_clip's own weights of this kind have in common.
    name, quick = origin.architecture, origin.config["quick_gelu"]
    settings = {tag: clip.get_pretrained_cfg(name, tag) for tag in clip.list_pretrained_tags_by_model(name)}
    kinds = {tag: merge(s) for tag, s in settings.items() if bool(s.get("quick_gelu")) == quick}
    ways = list(kinds.values())
    if any(way != ways[0] for way in ways):
        raise UserError(
            f"{path} does not tell how its images are scaled and normalised, and open_clip's weights of {name} differ "
            f"in that: put its {CONFIG} beside it, or name what it was tuned from in MODEL.BACKBONE.NAME, "
            f"{PREFIX}{name}/{' or '.join(kinds)}"
        )
    return ways[0] if ways else merge({})


# -- what is fetched ----------------------------------------------------------------------------------------


@contextmanager
def fetching(what: str, mend: str = ", or give a weight file in MODEL.BACKBONE.PATH") -> Iterator[None]:
    """Something from the hub: without a network only what was fetched before, and no waiting for the rest."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        reason = first_line(error)
        if constants.HF_HUB_OFFLINE:
            reason = f"{urlsplit(constants.ENDPOINT).hostname} cannot be reached, and it was not fetched before"
        told = f"{what} could not be fetched ({reason}): fetch it where there is a network{mend}"
        raise MissingFile(told) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(endpoint: str) -> bool:
    if urllib.request.getproxies():
        return True  # a proxy finds the host itself
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def fetch_weights(origin: Origin) -> Path:
    clip = package()
    with fetching(f"the weights of {origin.label}"):
        if origin.repository:
            return Path(clip.pretrained.download_pretrained_from_hf(origin.repository))
        return Path(clip.pretrained.download_pretrained(origin.tag))
