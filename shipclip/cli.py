"""The command line: fit, predict, and what makes tables and pictures of runs.

shipclip fit PHOTOS -o MODEL [--backbone NAME] [--learner NAME] [--seed N]
shipclip predict MODEL IMAGES... [--top 5] [--csv FILE]
shipclip report OUTPUT        tables of any tree of results
shipclip compare OUTPUT       which differences between methods are real
shipclip figures PICTURE ...  pictures of runs
shipclip interpret ...        the words nearest to SHIP's prompts
shipclip check NAME ...       what is missing or damaged in a data set
shipclip prepare NAME ...     fetch a data set
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from .errors import TOLD, sentence

# Commands with a command line of their own, imported when asked for: torch is slow to import.
MODULES = {
    "report": "reporting.report",
    "compare": "reporting.compare",
    "figures": "reporting.figures",
    "interpret": "reporting.interpret",
    "check": "data.check",
    "prepare": "data.prepare",
}


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after a mistake that one sentence can name."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in MODULES:
        return import_module(f"shipclip.{MODULES[argv[0]]}").main(argv[1:])
    args = parser().parse_args(argv)
    try:
        return {"fit": fit, "predict": predict}[args.command](args)
    except TOLD as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        "shipclip", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    add = commands.add_parser("fit", help="tune a classifier on a folder of images").add_argument
    add("folder", help="train/<class>/*, perhaps test/<class>/* and classnames.txt, a further class's name a line")
    add("-o", "--output", required=True, help="folder of the model")
    add("--backbone", default="ViT-B/16", help="one of OpenAI's names, MiniCLIP, open_clip:NAME/WEIGHTS, hf-hub:...")
    add("--backbone-path", default="", help="a weight file of the backbone's")
    add("--learner", default="CoOp", help="CoOp, CoCoOp, CLIPAdapter, TipAdapter, TipAdapterF, LinearProbe, GDA ...")
    add("--new-names", nargs="+", default=[], metavar="NAME", help="further classes, of which there is no image")
    add("--seed", type=int, default=1, help="0 or more makes the fit repeat")
    add("--shots", type=int, default=-1, help="training images a class; default: all")
    add("--precision", default="fp32", help="fp32, fp16, amp or bf16")
    add("--device", default=None, help="default: the GPU, if there is one")
    add(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="a further setting; may be repeated",
    )
    add = commands.add_parser("predict", help="classify images").add_argument
    add("model", help="folder of a model, or of a finished run")
    add("images", nargs="+", help="files or folders")
    add("--top", type=int, default=5, help="how many classes to name")
    add("--csv", default="", help="write all predictions to this file")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")
    add("--device", default=None, help="default: the GPU, if there is one")
    for name in MODULES:
        commands.add_parser(name, add_help=False)
    return whole


def fit(args: argparse.Namespace) -> int:
    from .api import fit as fit_model
    from .bundle import refuse_foreign

    refuse_foreign(args.output)
    model = fit_model(
        args.folder,
        new_names=args.new_names,
        backbone=args.backbone,
        backbone_path=args.backbone_path,
        learner=args.learner,
        seed=args.seed,
        shots=args.shots,
        precision=args.precision,
        device=args.device,
        options=dict(args.set),
    )
    folder = model.save(args.output)
    known = f"{sum(map(bool, model.images.values()))} classes with images"
    by_name = len(model.classes) - sum(map(bool, model.images.values()))
    print(f"The model is in {folder}: {known}, {by_name} by name")
    for key, text in (("accuracy", "among all classes"), ("base_accuracy", "images of classes with images"),
                      ("new_accuracy", "images of classes by name")):  # fmt: skip
        if key in model.figures:
            print(f"test accuracy {model.figures[key]:.1f}% ({text})")
    return 0


def predict(args: argparse.Namespace) -> int:
    from .bundle import write_csv
    from .loading import load

    model = load(args.model, args.backbone_path, args.device)
    found = []
    for p in model.stream(args.images, args.top):
        found.append(p)
        if not args.csv:
            print(f"{p.path}: " + ", ".join(f"{name} {chance:.1%}" for name, chance in p.top))
    if args.csv:
        write_csv(args.csv, found)
        print(f"{len(found)} predictions are in {args.csv}")
    return 0
