"""shipclip export: a model as one file that needs no shipclip, checked against the model when it is written."""

from __future__ import annotations

import argparse

HELP = "write a model as ONNX, torch.export program or safetensors"
FORMATS = ("onnx", "torch", "safetensors")


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="folder of a model, or of a finished run")
    add("-o", "--output", required=True, help="folder of the exported files")
    add("--format", choices=FORMATS, default="onnx", help="default: onnx")
    add("--precision", choices=("fp32", "fp16"), default="fp32", help="of the weights; default: fp32")
    add("--photos", default="", help="images to check with; default: the training images, if they are where they were")
    add("--backbone-path", default="", help="a weight file of the backbone's, if not where it was")


def run(args: argparse.Namespace) -> int:
    from ..export import export
    from ..loading import load

    found = export(load(args.model, args.backbone_path, "cpu"), args.output, args.format, args.precision, args.photos)
    print(
        f"{found.file}: {found.classes} classes; on {found.images} {found.kind} probabilities differ from the "
        f"model's by at most {found.difference:.1e}, the answer on {found.disagree}"
    )
    print(f"Beside it: {', '.join(found.beside)}")
    return 0
