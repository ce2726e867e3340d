"""shipclip unknown: how well a model tells images of its classes from others, by its own rule and by CLIP's scores."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "measure how well known images are told from unknown ones"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="folder of a model that was fitted with --reject")
    add("--known", nargs="+", required=True, metavar="IMAGES", help="files or folders of the model's classes")
    add("--unknown", nargs="+", required=True, metavar="IMAGES", help="files or folders of anything else")
    add("--json", default="", metavar="FILE", help="write the figures there as well")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")
    add("--device", default=None, help="default: the GPU, if there is one")


def run(args: argparse.Namespace) -> int:
    from ..files import write_json
    from ..loading import load
    from ..reporting.card import unknown_table
    from ..unknown import told_apart

    found = told_apart(load(args.model, args.backbone_path, args.device), args.known, args.unknown)
    print(unknown_table(found["scores"], "simple"), end="\n\n")
    for kind, rate in found["rejected"].items():
        print(f"called unknown: {rate:.1f}% of {found['images'][kind]} {kind} images")
    if args.json:
        write_json(Path(args.json), found)
    return 0
