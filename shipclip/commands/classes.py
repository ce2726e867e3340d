"""shipclip classes: the classes of a model, and how to change them without training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "list a model's classes; add, remove, rename or describe some, without training"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="folder of a model")
    add("--add", nargs="+", default=[], metavar="NAME", help="classify these as well, by their names")
    add("--remove", nargs="+", default=[], metavar="NAME", help="classify these no more; --add brings them back")
    add("--rename", nargs=2, action="append", default=[], metavar=("OLD", "NEW"), help="call a class otherwise")
    add("--texts", default="", metavar="FILE", help='JSON, {"class name": ["a sentence", ...]}: describe classes')
    add("-o", "--output", default="", help="write the changed model there, and leave this one as it is")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")


def run(args: argparse.Namespace) -> int:
    from ..loading import load
    from ..saving import refuse_foreign
    from ..texts import read_texts

    texts = read_texts(Path(args.texts)) if args.texts else {}
    changed = bool(args.add or args.remove or args.rename or texts)
    target = args.output or args.model
    refuse_foreign(target)
    model = load(args.model, args.backbone_path)
    for old, new in args.rename:
        model.rename_class(old, new)
    if args.remove:
        model.remove_classes(args.remove)
    if args.add:
        model.add_classes(args.add)
    if texts:
        for name in model.set_texts(texts):
            print(f"Note: these texts of {name!r} change no prediction: {_why(model)}")
    if changed or args.output:
        print(f"The model is in {model.save(target)}")
    print(listing(model))
    return 0


def _why(model: Any) -> str:
    return f"{type(model.learner).__name__} goes by the name, or by what it has learned of the class"


def listing(model: Any) -> str:
    """The classes and what is known of each, as a table."""
    from tabulate import tabulate

    from ..reporting.card import class_rows

    return tabulate(class_rows(model), ["class", "training images", "held out", "test"], disable_numparse=True)
