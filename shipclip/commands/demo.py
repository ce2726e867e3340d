"""shipclip demo: a page on this machine, to try a model by hand. It listens to this machine alone and keeps nothing."""

from __future__ import annotations

import argparse

HELP = "open a page on this machine, to try a model by hand"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="folder of a model, or of a finished run")
    add("--port", type=int, default=8000, help="of 127.0.0.1; 0: any that is free; default: 8000")
    add("--photos", default="", help="folder of the training images, to show the nearest; default: where they were")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")
    add("--device", default=None, help="default: the GPU, if there is one")


def run(args: argparse.Namespace) -> int:
    from ..demo import serve
    from ..loading import load

    serve(load(args.model, args.backbone_path, args.device), args.port, args.photos)
    return 0
