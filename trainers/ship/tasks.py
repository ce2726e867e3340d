"""From a Dassl data set, ours or a checkout's own, to the library's task."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from dassl.data.datasets import build_dataset

from shipclip.data import DATASETS
from shipclip.data.protocol import DatasetOptions, joint_base, texts_of, trained_count, without_bad_images
from shipclip.task import Item, LabelSpace, Task
from shipclip.texts import DEFAULT


def task_of_dataset(dataset: Any, cfg: Any, options: DatasetOptions) -> Task:
    """The task of one of our data sets, or of any other in CoOp's protocol (CoOp's own do not tell the new half's
    names: it is built as well)."""
    if hasattr(dataset, "task"):
        return dataset.task
    subset, names = options.subsample_classes, tuple(dataset.classnames)
    train = [Item(item.impath, item.label, item.classname) for item in dataset.train_x]
    further = _classnames_of_the_new_half(cfg) if subset == "base" else ()
    labels = LabelSpace(names, trained_count(train), joint_base(subset, len(names), 0), further)
    known = DATASETS.get(options.name) if options.name in DATASETS else None
    texts = texts_of(options, known.template if known else DEFAULT, labels.known)
    task = Task(options.name, labels, train, dataset.val or [], dataset.test or [], texts, subset, options.num_shots)
    return without_bad_images(task, options.on_bad_image)


def _classnames_of_the_new_half(cfg: Any) -> tuple[str, ...]:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.SUBSAMPLE_CLASSES, cfg.VERBOSE = "new", False
    with redirect_stdout(StringIO()):  # it has told about this data set once
        return tuple(build_dataset(cfg).classnames)
