"""`fit`: from images and names to a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import method as methods
from .backbones import load_backbone
from .bundle import Classifier
from .claim import Claim, check_identity, check_settings
from .data.image_folder import ImageFolder
from .data.protocol import DatasetOptions, task_of, texts_of, without_bad_images
from .errors import MissingFile, UserError
from .files import read_yaml
from .identity import identity_of
from .learners import LEARNERS
from .learners.zeroshot import ZeroshotCLIP
from .locks import Lock
from .names import plain, refuse_twins
from .options import Tree, convert, flatten, merge, nest, read, tree_of, unknown_key
from .precision import device_of
from .presets import CONFIGS, default_config
from .rng import run_seed
from .run import Run, of_nodes
from .run import plain as plain_tree
from .settings import SHIP, Settings, default_tree, nodes_of
from .task import Item, LabelSpace, Task
from .unread import contradictions, unread


def fit(
    folder: str | Path | None = None,
    *,
    images: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    new_names: Sequence[str] = (),
    backbone: str = "ViT-B/16",
    backbone_path: str = "",
    learner: str = "CoOp",
    seed: int = 1,
    shots: int = -1,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    output_dir: str | Path = "",
    options: Mapping[str, Any] | None = None,
) -> Classifier:
    """Tune a classifier on images of some classes and the names of others.

    Where there are names without images the method is SHIP: features of those classes are synthesized from their names.

    Args:
        folder: images in ImageFolder's layout, train/<class>/*, perhaps test/<class>/* and classnames.txt.
        images, labels: in place of a folder, paths (or PIL images) and the name of each one's class.
        new_names: further classes, of which there is no image.
        backbone: see `load_backbone`.
        backbone_path: a weight file of the backbone's; empty: the name is looked up.
        learner: CoOp, CoCoOp, CLIPAdapter, TipAdapter, TipAdapterF, LinearProbe, GDA, ZeroshotCLIP, MaPLe, CLIPLoRA.
        seed: 0 or more makes the fit repeat to the bit on one machine; negative: a new one.
        shots: training images a class, drawn at random; -1: all.
        precision: fp32, fp16, amp or bf16.
        device: "cuda" where there is a GPU, unless said otherwise.
        output_dir: keeps checkpoints, so that an interrupted fit goes on; empty: keeps none.
        options: further settings, config key to value ({"OPTIM.MAX_EPOCH": 20}); such as have no effect are told.

    Returns:
        The classifier, with the figures of its test where there are test images.

    Raises:
        UserError: what is wrong with images, names or options, in one sentence.
    """
    device = device_of(device)
    given = _given(options)
    own = {key: given[f"DATASET.{key}"] for key in OF_THE_DATA if f"DATASET.{key}" in given}
    facts = {"NAME": "ImageFolder", "ROOT": str(folder or ""), "NUM_SHOTS": shots, **own}
    dataset = read(DatasetOptions, facts, "DATASET.")
    cls = LEARNERS.get(learner, "learner")
    task = _task(folder, images, labels, new_names, dataset, seed)
    synthesize = bool(task.labels.by_name) and cls.sees == "features" and cls is not ZeroshotCLIP
    tree = settings_tree(learner, synthesize, backbone == "MiniCLIP", given)
    tree["SEED"], tree["DATASET"] = seed, merge(tree["DATASET"], tree_of(dataset))
    tree["MODEL"]["BACKBONE"] |= {"NAME": backbone, "PATH": backbone_path}
    tree["TRAINER"]["SHIP" if synthesize else cls.node()]["PREC"] = precision
    settings = Settings.of(tree)
    if settings.ship and settings.ship.generator.only:
        raise UserError("TRAINER.SHIP.GENERATOR.ONLY leaves no classifier: leave it out, or run train.py with it")
    _tell(settings, given)
    chosen = settings.backbone
    clip = load_backbone(chosen.name, chosen.path, settings.precision, device, chosen.activation)
    method = methods.build(settings, task, clip, run_seed(seed), repeats=seed >= 0)
    methods.check(method)
    method.learner.to(device)
    with _folder(output_dir, tree, method) as run:
        methods.train(method, methods.tuning_stage(method), run)
    measured = task.test and not settings.test.no_test
    figures = {**methods.test(method), **methods.quality(method)} if measured else {}
    counts = Counter(task.labels.names[item.label] for item in task.train)
    return Classifier(
        clip, method.learner.eval(), task.labels.names, counts, plain_tree(tree), method.generator, figures
    )


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
UNREAD_HERE = (
    "TEST.SPLIT",
    "TEST.PREDICTIONS",
    "DATASET.SUBSAMPLE_CLASSES",
)  # all classes, and the test's figures alone


def _tell(settings: Settings, given: Mapping[str, Any]) -> None:
    lost = unread(settings, given)
    lost += [key for key in UNREAD_HERE if key in given and key not in lost]
    for key in lost:
        print(f"Note: nothing reads {key} in a fit of {settings.name}")
    for text in contradictions(settings):
        print(text)


@contextmanager
def _folder(output_dir: str | Path, tree: Tree, method: methods.Method) -> Iterator[Run]:
    """The run that keeps checkpoints in a folder, if there is one: its own, and of the same data as before."""
    if not str(output_dir):
        yield Run()
        return
    folder, settings = Path(output_dir).expanduser(), method.settings
    parts = [part for part in methods.parts_of(settings, training=True) if part != "test"]
    taken = settings.ship.generator.from_ if settings.ship else ""
    identity = identity_of(method.task, settings.dataset.root, method.backbone, taken, parts)
    mine = Claim(of_nodes(plain_tree(tree), nodes_of(tree)), identity)
    with Lock(folder):
        check_settings(folder, mine.tree, default_tree())
        check_identity(folder, mine)
        mine.write(folder)
        yield Run(str(folder))


def settings_tree(learner: str, synthesize: bool, small: bool, given: Mapping[str, Any]) -> Tree:
    """The settings of a learner, alone or with SHIP's features: defaults, the files that come with the project, and
    keys of the caller's."""
    name = SHIP if synthesize else learner
    files = [default_config(name, small)]
    overlay = CONFIGS / "trainers" / "SHIP" / f"with_{learner}.yaml"
    if synthesize and overlay.is_file():
        files.append(overlay)
    tree = default_tree()
    for file in files:
        tree = merge(tree, known(read_yaml(file), tree), f" in {file}")
    tree["TRAINER"]["NAME"] = name
    if synthesize:
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


def _given(options: Mapping[str, Any] | None) -> dict[str, Any]:
    tree = flatten(default_tree())
    for key, value in (options or {}).items():
        if key not in tree:
            raise unknown_key(str(key), list(tree))
        argument = ARGUMENTS.get(key) or ("precision" if key.endswith(".PREC") else "")
        if argument:
            raise UserError(f"options has {key}, for which there is the argument {argument}: give that")
        convert(value, tree[key], key)
    return dict(options or {})


def _task(folder: Any, images: Any, labels: Any, new_names: Sequence[str], options: DatasetOptions, seed: int) -> Task:
    if (folder is None) == (images is None):
        raise UserError("give either a folder of images, or images= with labels=")
    if folder is not None:
        if not Path(folder).expanduser().is_dir():
            raise MissingFile(f"there is no folder {folder}: give one with your images in train/<class>/")
        task = task_of(ImageFolder(Path(folder)), options, seed)
    else:
        task = _task_of_lists(images, labels, options)
    new = [plain(str(name)) for name in new_names]
    refuse_twins([*task.labels.names, *new], "new_names")
    names = (*task.labels.names, *new)
    n_base = task.labels.n_trained if len(names) > task.labels.n_trained else task.labels.n_base
    return replace(task, labels=LabelSpace(names, task.labels.n_trained, n_base))


def _task_of_lists(images: Sequence[Any], labels: Sequence[str] | None, options: DatasetOptions) -> Task:
    if labels is None or len(images) != len(labels):
        raise UserError(
            f"there are {len(images)} images and {len(labels or ())} labels: give each image its class's name"
        )
    if not len(images):
        raise UserError("there are no images to tune on: give at least one of each class")
    called = [plain(str(name)) for name in labels]
    names = tuple(sorted(set(called)))
    refuse_twins(names, "labels")
    place = {name: i for i, name in enumerate(names)}
    train = [Item(image, place[name], name) for image, name in zip(images, called, strict=True)]
    texts = texts_of(options, ImageFolder.template, names)
    return without_bad_images(
        Task("images", LabelSpace(names, len(names)), train, texts=texts, upright=True, distinct=True),
        options.on_bad_image,
    )
