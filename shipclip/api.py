"""`fit`: from images and names to a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from . import method as methods
from .backbones import load_backbone
from .bundle import Classifier
from .data.image_folder import ImageFolder
from .data.protocol import DatasetOptions, task_of, texts_of, without_bad_images
from .errors import MissingFile, UserError
from .files import read_text
from .learners import LEARNERS
from .learners.zeroshot import ZeroshotCLIP
from .names import plain, refuse_twins
from .options import Tree, convert, flatten, merge, nest, tree_of, unknown_key
from .presets import CONFIGS, default_config
from .rng import run_seed
from .run import Run
from .run import plain as plain_tree
from .settings import SHIP, Settings, default_tree
from .task import Item, LabelSpace, Task


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
        options: further settings, config key to value ({"OPTIM.MAX_EPOCH": 20}).

    Returns:
        The classifier, with the figures of its test where there are test images.

    Raises:
        UserError: what is wrong with images, names or options, in one sentence.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataset = DatasetOptions(name="ImageFolder", root=str(folder or ""), num_shots=shots)
    given = _given(options)
    dataset = replace(dataset, **{k: given.pop(f"DATASET.{k.upper()}", getattr(dataset, k)) for k in OF_THE_DATA})
    cls = LEARNERS.get(learner, "learner")
    task = _task(folder, images, labels, new_names, dataset, seed)
    synthesize = bool(task.labels.by_name) and cls.sees == "features" and cls is not ZeroshotCLIP
    tree = settings_tree(learner, synthesize, backbone == "MiniCLIP", given)
    tree["SEED"], tree["DATASET"] = seed, merge(tree["DATASET"], tree_of(dataset))
    tree["MODEL"]["BACKBONE"] |= {"NAME": backbone, "PATH": backbone_path}
    tree["TRAINER"]["SHIP" if synthesize else cls.node()]["PREC"] = precision
    settings = Settings.of(tree)
    chosen = settings.backbone
    clip = load_backbone(chosen.name, chosen.path, settings.precision, device, chosen.activation)
    method = methods.build(settings, task, clip, run_seed(seed), repeats=seed >= 0)
    run = Run(str(output_dir))
    method.learner.to(device)
    methods.train(method, methods.tuning_stage(method), run)
    figures = {**methods.test(method), **methods.quality(method)} if task.test else {}
    counts = Counter(task.labels.names[item.label] for item in task.train)
    return Classifier(
        clip, method.learner.eval(), task.labels.names, counts, plain_tree(tree), method.generator, figures
    )


OF_THE_DATA = ("template", "prompts", "on_bad_image")


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
        tree = merge(tree, known(yaml.safe_load(read_text(file)), tree), f" in {file}")
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
            raise unknown_key(key, list(tree))
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
    new = [plain(name) for name in new_names]
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
        Task("images", LabelSpace(names, len(names)), train, texts=texts, upright=True), options.on_bad_image
    )
