"""shipclip predict: classify images."""

from __future__ import annotations

import argparse

HELP = "classify images"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="folder of a model, or of a finished run")
    add("images", nargs="+", help="files or folders")
    add("--top", type=int, default=5, help="how many classes to name")
    add("--csv", default="", help="write all predictions to this file")
    add("--skip-bad", action="store_true", help="leave out images that cannot be read, rather than stop")
    add("--workers", type=int, default=0, help="processes that read images")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")
    add("--device", default=None, help="default: the GPU, if there is one")


def run(args: argparse.Namespace) -> int:
    from ..bundle import write_csv
    from ..loading import load

    model = load(args.model, args.backbone_path, args.device)
    found = []
    for p in model.stream(args.images, args.top, workers=args.workers, skip_bad=args.skip_bad):
        found.append(p)
        if not args.csv:
            best = ", ".join(f"{name} {chance:.1%}" for name, chance in p.top)
            print(f"{p.path}: " + (f"unknown (nearest: {best})" if p.unknown else best))
    if args.csv:
        write_csv(args.csv, found)
        print(f"{len(found)} predictions are in {args.csv}")
    return 0
