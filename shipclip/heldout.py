"""Held-out training images: what learner, epochs, temperature and threshold are chosen on. No test image is among them.

A round takes some of each class's training images away, and some classes altogether: those have their name alone, as
the classes that the user has no image of. What a learner says of all that it was not shown is pooled over the rounds.

    images of a class that was shown     ->  how good and how sure it is of classes with images
    images of a class that was not       ->  the same of classes by name; and, without the name, of unknown ones
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .rng import stream
from .task import Item, LabelSpace, Task

FOLDS = 3  # rounds of cross-validation
CHEAP_FOLDS = 5  # the same of cheap learners; each class is taken away in one of them
HELD_SHARE = 0.2  # of a class's images, where one round will do
FEW = 5  # images of a class below which it is cross-validated
ENOUGH, ENOUGH_CLASSES = 100, 30  # to hold out and to take away; with fewer, cheap learners are cross-validated
LEAST_CLASSES = 3  # with images, so that some can be taken away


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        task: tuned on `train`; `test` are the held-out images, and `val` as well where no class is taken away. Its
            classes are the whole task's, those that are taken away behind those with images.
        rows: of its training images, among the whole task's.
        held, shown: of the held-out images, and of those whose class is shown, among the whole task's training and
            validation images, one after the other.
        columns: the place in its label space of each class of the whole task, (C,).
        away: labels in the whole task of the classes that are taken away.
    """

    task: Task
    rows: list[int]
    held: list[int]
    shown: list[int]
    columns: Tensor
    away: list[int]


def rounds_of(task: Task, seed: int, cheap: bool, away: bool) -> list[Round]:
    """The rounds of a task.

    Own validation images are what is held out. Without them a fifth of each class's training images is, in one round;
    where a class has fewer than five, all of them are, in three rounds. Of cheap learners all of them are in five
    rounds, unless a fifth would be 100 images and 30 classes: how well a class by name does differs so much from class
    to class that a few classes say little of a learner. A class's only image is never taken from it.

    Args:
        task: with training images.
        seed: of the choice.
        cheap: whether more rounds are no matter of time.
        away: whether classes are taken away (where there are at least three): in each of five rounds a fifth, else a
            third.
    """
    groups: dict[int, list[int]] = {}
    for i, item in enumerate(task.train):
        groups.setdefault(item.label, []).append(i)
    away = away and len(groups) >= LEAST_CLASSES
    count = FOLDS if min(map(len, groups.values())) < FEW and not task.val else 1
    few_images = not task.val and HELD_SHARE * len(task.train) < ENOUGH
    if cheap and (few_images or (away and HELD_SHARE * len(groups) < ENOUGH_CLASSES)):
        count = CHEAP_FOLDS
    rng = stream(seed, "held out")
    folds: dict[int, int] = {}  # image to the round in which it is held out
    for rows in groups.values():
        order = torch.randperm(len(rows), generator=rng).tolist()
        if len(rows) < 2 or task.val:
            continue
        n_held = len(rows) if count > 1 else max(1, round(HELD_SHARE * len(rows)))
        folds |= {rows[place]: i % count for i, place in enumerate(order[:n_held])}
    classes = torch.randperm(len(groups), generator=rng)
    gone = classes.tensor_split(max(count, FOLDS)) if away else [classes[:0]] * count
    rounds = [_round(task, folds, k, sorted(gone[k].tolist())) for k in range(count)]
    return [part for part in rounds if part.held] or rounds[:1]  # small classes have no image for each of many rounds


def _round(task: Task, folds: dict[int, int], number: int, away: list[int]) -> Round:
    labels, images, n = task.labels, [*task.train, *task.val], len(task.train)
    kept = [label for label in range(labels.n_trained) if label not in away]
    order = [*kept, *away, *range(labels.n_trained, len(labels.names))]
    place = {label: i for i, label in enumerate(order)}
    rows = [i for i in range(n) if images[i].label not in away and folds.get(i) != number]
    held = [i for i in range(n) if images[i].label in away or folds.get(i) == number]
    held += [i for i in range(n, len(images)) if images[i].label < labels.n_trained]
    shown = [i for i in held if images[i].label not in away]

    def moved(chosen: list[int]) -> list[Item]:
        return [Item(images[i].impath, place[images[i].label], images[i].classname) for i in chosen]

    space = LabelSpace(
        tuple(labels.names[label] for label in order), len(kept), len(kept) if len(order) > len(kept) else 0
    )
    val = moved(shown) if not away else []  # options chosen on classes with images alone would cost those by name
    part = replace(task, labels=space, train=moved(rows), val=val, test=moved(held))
    return Round(part, rows, held, shown, torch.tensor([place[label] for label in range(len(order))]), away)
