"""Options: any kind of value for any key, on train.py's command line, in YAML files and in fit(options=)."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from PIL import Image

import shipclip
import train
from shipclip import api, loading
from shipclip.backbones import load_backbone
from shipclip.backbones.base import Backbone
from shipclip.errors import UserError
from shipclip.learners import LEARNERS
from shipclip.options import flatten
from shipclip.presets import CONFIGS
from shipclip.recipe import Recipe
from shipclip.settings import Settings, default_tree
from tests.runs import loaded_before
from trainers.ship import base
from trainers.ship.config import plain

from . import mutate
from .fuzz import Kind, check_sentence

PATHS = ("OUTPUT_DIR", "RESUME", "FEATURES.CACHE_DIR", "DATASET.ROOT", "DATASET.PROMPTS", "MODEL.BACKBONE.PATH")
PATHS += ("MODEL.INIT_WEIGHTS", "TRAINER.SHIP.NEW_CLASSNAMES", "TRAINER.SHIP.GENERATOR.FROM")
METHODS = ("CoOp", "SHIP", "SHIP", "TipAdapter", "LinearProbe", "GDA", "CLIPAdapter", "CoCoOp", "MaPLe", "CLIPLoRA")
BASE, NEW = ("cat", "dog"), "owl"
SHORT = {"OPTIM.MAX_EPOCH": 1, "OPTIM.WARMUP_EPOCH": -1, "FEATURES.VIEWS": 1, "DATALOADER.NUM_WORKERS": 0}
SHORT |= {"TRAINER.SHIP.GENERATOR.EPOCHS": 1, "TRAINER.SHIP.GENERATOR.HIDDEN": 8, "TRAINER.CLIPLORA.N_ITERS": 1}
SHORT |= {"TRAINER.SHIP.GENERATOR.ENCODER_HIDDEN": 8, "TRAINER.SHIP.GENERATOR.CRITIC_HIDDEN": 8, "VERBOSE": False}
# More than this takes long and shows nothing more: such settings are read, and not run.
COST = {"epochs": 2, "views": 3, "workers": 0, "width": 300, "vectors": 60, "steps": 4}

CHOICES: tuple[Any, ...] = (
    *LEARNERS.names(),
    "SHIP",
    "VAE",
    "GAN",
    "MLP",
    "Gaussian",
    "sgd",
    "adam",
    "rmsprop",
    "cosine",
)
CHOICES += ("multi_step", "best_val", "val", "skip", "base", "new", "gzsl", "dev", "posterior", "leaky_relu", "middle")
CHOICES += ("a photo of a", "a {} photo", "['a {}', 'the {}']", "(1, 2)", "(0.5, 1.0)", "('random_crop', 'normalize')")
CHOICES += ("text", "zero", "mean", "bf16", "amp", "qk", "vision", "constant", "random_flip", "MiniCLIP", "quickgelu")


def keys() -> dict[str, Any]:
    return flatten(plain(train.setup_cfg(train.parse_args(["--trainer", "SHIP"]))))


class Unheard(UserError):
    """Stands for what lies on a network: no test asks one."""


def backbone_of(
    name: str, path: str = "", precision: str = "fp32", device: Any = "cpu", activation: str = ""
) -> Backbone:
    """MiniCLIP, loaded once; others have no network to come from."""
    if not path and name != "MiniCLIP":
        raise Unheard(f"{name!r} is not looked for here")
    return loaded_before(name, path, precision, device, activation)


@contextlib.contextmanager
def without_network():
    homes = (api, base, loading)
    for home in homes:
        home.load_backbone = backbone_of
    try:
        yield
    finally:
        for home in homes:
            home.load_backbone = load_backbone


def photos(place: Path) -> Path:
    """Two classes with images, one by name, as small as they come."""
    root = place.parent / "photos"
    if not root.exists():
        for number, name in enumerate((*BASE, NEW)):
            for part, count in (("train", 2 * (name in BASE)), ("val", name in BASE), ("test", 1)):
                for i in range(count):
                    (root / part / name).mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (8, 8), (80 * number, 40 * i, 100)).save(root / part / name / f"{i}.png")
        (root / "classnames.txt").write_text(NEW)
    return root


def path_at(place: Path, number: int) -> str:
    """A path that may be tried: nothing, a file, a folder, an image; none leads out of the place."""
    (place / "empty").mkdir(exist_ok=True)
    (place / "file").write_text("[1]")
    found = [str(place / "new"), str(place / "file"), str(place / "empty"), "", str(place / "file" / "below")]
    return found[number % len(found)]


def is_cheap(s: Settings) -> bool:
    g, widths = s.generator, ("hidden", "encoder_hidden", "critic_hidden")
    sizes = [getattr(g, name, 0) for name in widths]
    vectors = [getattr(o, "n_ctx", 0) for o in (g, s.options, s.ship)]
    steps = [getattr(g, "critic_steps", 0), getattr(s.options, "n_iters", 0), getattr(s.options, "r", 0) // 8]
    steps += [getattr(s.options, "prompt_depth", 0) // 3, int(s.ship.synthetic_share) if s.ship else 0]
    return (
        max(s.optim.max_epoch, getattr(g, "epochs", 0)) <= COST["epochs"]
        and s.features.views <= COST["views"]
        and s.workers <= COST["workers"]
        and max(sizes) <= COST["width"]
        and max(vectors) <= COST["vectors"]
        and max(steps) <= COST["steps"]
        and (not s.ship or s.ship.synthetic_shots <= 100)
        and max(s.input.crop_padding, s.input.gb_k) <= 100
    )


def command(method: str, given: dict[str, Any], place: Path) -> list[str]:
    config = str(CONFIGS / "trainers" / method / "miniclip.yaml")
    words = ["--root", str(photos(place)), "--output-dir", str(place / "out"), "--trainer", method, "--seed", "1"]
    words += ["--config-file", config, "DATASET.NAME", "ImageFolder"]
    for key, value in {**SHORT, **given}.items():
        words += [key, str(value)]
    return words


def on_the_command_line(example: tuple[str, dict[str, Any], int], place: Path) -> None:
    method, given, number = example
    given = {key: path_at(place, number) if key in PATHS else value for key, value in given.items()}
    words = [word.replace("\0", "?") for word in command(method, given, place)]  # no shell passes a null character
    cfg = train.setup_cfg(train.parse_args(words))
    settings = Settings.of(plain(cfg))
    if not is_cheap(settings):
        return
    told, out = io.StringIO(), place / "out"
    with without_network(), contextlib.redirect_stderr(told):
        status = train.main(words)
    lines = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
    assert status == 2 * bool(lines) and len(lines) <= 1, told.getvalue()
    if lines:
        assert not (out / "results.json").exists() or not (out / "config.json").exists()
        raise UserError(check_sentence(lines[0].removeprefix("error: ")))


def in_a_file(example: tuple[str, Any, int], place: Path) -> None:
    """A YAML file of somebody's own, beside the method's."""
    method, content, way = example
    file = place / "own.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, allow_unicode=bool(way % 2))
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    words = command(method, {}, place)
    cfg = train.setup_cfg(
        train.parse_args([*words[:8], "--config-file", words[9], "--config-file", str(file), *words[10:]])
    )
    Settings.of(plain(cfg))


def in_fit(example: tuple[str, dict[str, Any], int], place: Path) -> None:
    learner, given, number = example
    given = {key: path_at(place, number) if key in PATHS else value for key, value in given.items()}
    options = {key: value for key, value in {**SHORT, **given}.items() if key != "VERBOSE"}
    learner = "CoOp" if learner == "SHIP" else learner
    with without_network():
        recipe = Recipe.of(options, "", -1, backbone="MiniCLIP", backbone_path="", precision="fp32", seed=1)
        if is_cheap(Settings.of(recipe.tree(learner, LEARNERS.get(learner).sees == "features"))):
            held_out = number % 3 == 0  # it takes four times as long
            shipclip.fit(photos(place), backbone="MiniCLIP", learner=learner, calibrate=held_out, options=options)


@st.composite
def given_keys(draw: st.DrawFn, values: st.SearchStrategy[Any], known: dict[str, Any]) -> dict[str, Any]:
    """One to three keys, mostly ones that there are, with values of any kind, mostly of their own."""
    given = {}
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(list(known))) if draw(st.integers(0, 19)) else draw(mutate.texts)
        kind = KINDS_OF.get(type(known.get(key)), values)
        given[key] = draw(kind if draw(st.integers(0, 9)) < 7 else st.one_of(values, st.sampled_from(CHOICES)))
    return given


KINDS_OF = {
    bool: st.booleans(),
    int: st.integers(-1, 9),
    float: st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 3)),
    str: st.sampled_from(CHOICES),
    tuple: st.lists(st.one_of(st.integers(0, 3), st.floats(0, 1), st.sampled_from(CHOICES)), max_size=3).map(tuple),
}


def nested(given: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in given.items():
        *nodes, last = key.split(".")
        node = tree
        for name in nodes:
            inner = node.setdefault(name, {})
            node = inner if isinstance(inner, dict) else node
        node[last] = value
    return tree


def plain_yaml(content: Any) -> bool:
    with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError, ValueError):
        yaml.safe_dump(content).encode()
        return True
    return False


KEYS, OF_FIT = keys(), flatten(default_tree())
methods, places = st.sampled_from(METHODS), st.integers(0, 9)
in_yaml = st.one_of(given_keys(mutate.values, KEYS).map(nested).filter(plain_yaml), st.text(max_size=60))
KINDS = [
    Kind("options, KEY VALUE", st.tuples(methods, given_keys(mutate.scalars, KEYS), places), on_the_command_line, 0.16),
    Kind("options, YAML", st.tuples(methods, in_yaml, places), in_a_file, 0.08),
    Kind("options, fit", st.tuples(methods, given_keys(mutate.values, OF_FIT), places), in_fit, 0.12),
]
