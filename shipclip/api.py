"""`fit`: from images and names to a classifier."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import evaluate
from . import method as methods
from .backbones import load_backbone
from .bundle import Classifier
from .claim import Claim, take
from .confidence import Calibration, distance_scores
from .data.image_folder import ImageFolder
from .data.protocol import DatasetOptions, task_of, texts_of, without_bad_images
from .errors import MissingFile, UserError
from .features.source import FeatureSource
from .gallery import Gallery
from .identity import identity_of
from .locks import Lock
from .method import Method
from .names import plain, refuse_twins
from .options import Tree
from .plan import Plan, Wish, settle
from .precision import device_of, known
from .recipe import Recipe
from .rng import run_seed
from .run import Run, of_nodes
from .run import plain as plain_tree
from .settings import Settings, default_tree, nodes_of
from .task import Item, LabelSpace, Task
from .unknown import UNKNOWN


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
    epochs: int | str = 0,
    calibrate: bool = True,
    reject: float = 0.0,
    alone: bool = False,
    precision: str = "fp32",
    device: str | torch.device | None = None,
    output_dir: str | Path = "",
    options: Mapping[str, Any] | None = None,
) -> Classifier:
    """Tune a classifier on images of some classes and the names of others.

    Where there are names without images the method is SHIP: features of those classes are synthesized from their names.
    Training images that are held out in turn (validation images, where there are some) say how sure the classifier may
    be, and whatever else is left to be chosen; then it is tuned on all of them.

    Args:
        folder: images in ImageFolder's layout, train/<class>/*, perhaps test/<class>/* and classnames.txt.
        images: in place of a folder, paths (or PIL images).
        labels: the name of each one's class.
        new_names: further classes, of which there is no image.
        backbone: see `load_backbone`.
        backbone_path: a weight file of the backbone's; empty: the name is looked up.
        learner: CoOp, CoCoOp, CLIPAdapter, TipAdapter, TipAdapterF, LinearProbe, GDA, ZeroshotCLIP, MaPLe, CLIPLoRA; or
            auto: the best of the cheap ones, alone or with SHIP's features.
        seed: 0 or more makes the fit repeat to the bit on one machine; negative: a new one.
        shots: training images a class, drawn at random; -1: all.
        epochs: of tuning; 0: as the learner's config says; auto: as held-out images like best.
        calibrate: whether images are held out in turn, so that probabilities mean what they say; that takes as long as
            the fit itself, or three times as long where there are few.
        reject: the rate of images of its classes that the classifier may call unknown, 0.05 say; 0: it names a class
            for every image.
        alone: the learner by itself also where there are names without images, which it then goes by.
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
    wish = Wish(learner, _epochs(epochs), calibrate, reject, alone)
    wish.check()
    recipe = Recipe.of(
        options,
        str(folder or ""),
        shots,
        backbone=backbone,
        backbone_path=backbone_path,
        precision=known(precision),
        seed=seed,
    )
    if wish.epochs > 0 and "OPTIM.MAX_EPOCH" in recipe.given:
        raise UserError("options has OPTIM.MAX_EPOCH, for which there is the argument epochs: give one of them")
    task = _task(folder, images, labels, new_names, recipe.dataset, seed)
    if reject and UNKNOWN in map(str.casefold, task.labels.names):
        raise UserError(
            f"a class is called {UNKNOWN!r}, as rejected images are: call it otherwise, or leave out reject"
        )
    chosen = Settings.of(recipe.tree("CoOp" if learner == "auto" else learner, False)).backbone
    clip = load_backbone(chosen.name, chosen.path, recipe.precision, device, chosen.activation)
    methods.tell_unknown(clip, task.labels.known)
    plan = settle(recipe, wish, task, clip, run_seed(seed))
    method = _tuned(plan, task, clip, seed, output_dir)
    labels_of = task.labels
    text = method.learner.text_features(labels_of.names)
    calibration, rejection, said = plan.confidence(wish, text, clip.logit_scale)
    figures, records = _tested(method, calibration, plan)
    shown = Counter(labels_of.names[item.label] for item in task.train)
    return Classifier(
        clip,
        method.learner.eval(),
        labels_of.names,
        {name: shown[name] for name in labels_of.names},
        plain_tree(plan.tree),
        method.generator,
        figures | ({"held_out": said} if said else {}),
        calibration=calibration,
        rejection=rejection,
        gallery=_gallery(method, plan, str(folder or "")),
        chosen=plan.chosen,
        records=records,
    )


def _epochs(epochs: int | str) -> int:
    if epochs == "auto":
        return -1
    try:
        number = int(epochs)
    except ValueError:
        number = -2
    if number < 0:
        raise UserError(f"the number of epochs is {epochs!r}: give 1 or more, or auto")
    return number


def _tuned(plan: Plan, task: Task, clip: Any, seed: int, output_dir: str | Path) -> Method:
    """The planned fit, on all training images."""
    method = methods.build(Settings.of(plan.tree), task, clip, run_seed(seed), repeats=seed >= 0)
    if plan.source is not None:  # its images are encoded already
        method.source = plan.source
        method.source.repeats = seed >= 0
    method.learner.to(clip.device)
    stage = methods.tuning_stage(method)
    stage.epochs = min(plan.epochs or stage.epochs, stage.epochs)
    methods.check(method)
    with _folder(output_dir, plan.tree, method) as run:
        methods.train(method, stage, run)
    return method


@contextmanager
def _folder(output_dir: str | Path, tree: Tree, method: Method) -> Iterator[Run]:
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
        take(folder, mine, default_tree())
        yield Run(str(folder))


def _tested(
    method: Method, calibration: Calibration, plan: Plan
) -> tuple[dict[str, Any], dict[str, dict[str, tuple[int, int]]]]:
    """Figures of the test, and of each class how many images were right of how many, held out and in the test."""
    labels, figures = method.task.labels, {}
    records: dict[str, dict[str, tuple[int, int]]] = {}
    if plan.held is not None:
        held = plan.held
        records["held out"] = _record(held.logits[held.shown], held.labels[held.shown], labels.names)
    if method.task.test and not method.settings.test.no_test:
        logits, truth = methods.logits(method)
        figures = evaluate.all_figures(logits, truth, method.task, method.settings.test.base_penalty)
        figures |= methods.quality(method)
        if plan.held is not None:
            figures["uncalibrated"] = figures["confidence"]
            shown = torch.arange(len(labels.names)) < labels.n_trained
            factors = calibration.factors(distance_scores(method.learner, labels.names, shown))
            figures |= evaluate.confidence(calibration(logits, factors), truth, labels.n_base)
        records["test"] = _record(logits, truth, labels.names)
    return figures, records


def _record(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Of each class that there are images of: how many are right, of how many."""
    right, total = (evaluate.right_of(found, labels, len(names)) for found in (logits.argmax(dim=1), labels))
    return {name: (r, n) for name, r, n in zip(names, right, total, strict=True) if n}


def _gallery(method: Method, plan: Plan, folder: str) -> Gallery | None:
    task, settings = method.task, method.settings
    if not task.train:
        return None
    source = method.source
    if not isinstance(source, FeatureSource):
        source = FeatureSource(method.backbone, task, settings.input, settings.features, 0, settings.workers)
    paths = [item.impath if isinstance(item.impath, str) else "" for item in task.train]
    if folder:
        paths = [os.path.relpath(path, Path(folder).expanduser().absolute()) if path else "" for path in paths]
    bank = source.bank("train")
    return Gallery.of(bank.of_view(0), [item.label for item in task.train], task.labels.names, paths)


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
