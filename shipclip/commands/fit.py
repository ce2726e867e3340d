"""shipclip fit: tune a classifier on a folder of images."""

from __future__ import annotations

import argparse
from typing import Any

HELP = "tune a classifier on a folder of images"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="train/<class>/*, perhaps test/<class>/* and classnames.txt, a further class's name a line")
    add("-o", "--output", required=True, help="folder of the model")
    add("--backbone", default="ViT-B/16", help="one of OpenAI's names, MiniCLIP, open_clip:NAME/WEIGHTS, hf-hub:...")
    add("--backbone-path", default="", help="a weight file of the backbone's")
    add(
        "--learner",
        default="CoOp",
        help="CoOp, CoCoOp, CLIPAdapter, TipAdapter, TipAdapterF, LinearProbe, GDA ...; or auto: the best of the cheap "
        "ones on held-out training images, alone or with SHIP's features",
    )
    add("--new-names", nargs="+", default=[], metavar="NAME", help="further classes, of which there is no image")
    add("--seed", type=int, default=1, help="0 or more makes the fit repeat")
    add("--shots", type=int, default=-1, help="training images a class; default: all")
    add("--epochs", default="0", help="of tuning; auto: as held-out images like best; default: the learner's config")
    add("--reject", type=float, default=0.0, metavar="RATE",
        help="call images unknown that are of no class, and at most RATE of the known ones, 0.05 say")  # fmt: skip
    add("--alone", action="store_true", help="the learner by itself also for names without images: no SHIP")
    add("--no-calibration", action="store_true", help="hold no image out: quicker, but probabilities mean little")
    add("--profile", default="", metavar="FOLDER", help="show where the time goes, and leave traces there")
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


def run(args: argparse.Namespace) -> int:
    from ..api import fit
    from ..precision import device_of
    from ..profiling import profiled
    from ..reporting.card import chosen_table, unknown_table
    from ..saving import refuse_foreign

    refuse_foreign(args.output)
    with profiled(args.profile, device_of(args.device)):
        model = fit(
            args.folder,
            new_names=args.new_names,
            backbone=args.backbone,
            backbone_path=args.backbone_path,
            learner=args.learner,
            seed=args.seed,
            shots=args.shots,
            epochs=args.epochs,
            calibrate=not args.no_calibration,
            reject=args.reject,
            alone=args.alone,
            precision=args.precision,
            device=args.device,
            options=dict(args.set),
        )
    folder = model.save(args.output)
    if "tried" in model.chosen:
        first, best = model.chosen["tried"][0], max(model.chosen["tried"], key=lambda row: row["h"])
        why = f" (the simplest within a standard error of {best['learner']})" if best["h"] > first["h"] else ""
        print(f"\nChosen on held-out training images: {first['learner']}, H {first['h']:.1f}{why}\n")
        print(chosen_table(model.chosen["tried"]), end="\n\n")
    if model.rejection is not None and model.figures["held_out"]["unknown"]["scores"]:
        print(unknown_table(model.figures["held_out"]["unknown"]["scores"], "simple"), end="\n\n")
    _tell(model)
    known = f"{sum(bool(model.images.get(name)) for name in model.classes)} classes with images"
    by_name = sum(not model.images.get(name) for name in model.classes)
    print(f"The model is in {folder}: {known}, {by_name} by name")
    for key, text in (("accuracy", "among all classes"), ("base_accuracy", "images of classes with images"),
                      ("new_accuracy", "images of classes by name")):  # fmt: skip
        if key in model.figures:
            print(f"test accuracy {model.figures[key]:.1f}% ({text})")
    return 0


def _tell(model: Any) -> None:
    """How sure the model is, in a line or two."""
    held = model.figures.get("held_out")
    if not held:
        return
    before, after = held["uncalibrated"]["ece"], held["calibrated"]["ece"]
    print(f"temperature {model.calibration.temperature:.3g}: calibration error on {held['images']} held-out images "
          f"{before:.1f}% before, {after:.1f}% after")  # fmt: skip
    for kind, rate in held.get("unknown", {}).get("rejected", {}).items():
        print(f"called unknown: expect {rate:.1f}%, by {held['unknown']['images'][kind]} held-out images ({kind})")
