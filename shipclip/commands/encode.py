"""shipclip encode: encode a data set's images ahead, for all runs with the same FEATURES.CACHE_DIR.

Runs find test and validation images whatever their classes, shots and seed, and training views of the same shots,
classes, seed and INPUT. The command goes on after a kill. Several of them, on one host or on many, share the work on
one folder by themselves; --shard gives each a part of its own to do and wait for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HELP = "encode a data set's images ahead"


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", help="a registered name, or that of its config file")
    add("--root", default="data", help="folder of the data sets; default: data")
    add("--cache", default="output/features", help="FEATURES.CACHE_DIR of the runs; default: output/features")
    add("--backbone", default="ViT-B/16", help="one of OpenAI's names, MiniCLIP, open_clip:NAME/WEIGHTS, hf-hub:...")
    add("--backbone-path", default="", help="a weight file of the backbone's")
    add("--precision", default="fp32", help="of the runs: fp32, fp16, amp or bf16")
    add("--split", choices=("train", "val", "test", "all"), default="all", help="default: all")
    add("--views", type=int, default=10, help="augmented ones of each training image, FEATURES.VIEWS; default: 10")
    add("--seeds", type=int, nargs="+", default=[1], help="of the training views; default: 1")
    add("--shots", type=int, default=-1, help="training images a class; default: all")
    add("--classes", choices=("all", "base", "new", "gzsl", "dev"), default="all", help="whose; default: all")
    add("--config-file", default="", help="of the runs' trainer, for its INPUT; default: SHIP's")
    add("--dtype", choices=("float32", "float16"), default="float32", help="FEATURES.STORE_DTYPE of the runs")
    add("--workers", type=int, default=4, help="processes that read images, of each that encodes")
    add("--processes", type=int, default=0, help="that encode; default: one a GPU, or one")
    add("--shard", default="1/1", metavar="I/N", help="make the I-th of N parts, and no other")
    add("--device", default=None, help="default: the GPU, if there is one")


def run(args: argparse.Namespace) -> int:
    import torch

    part, parts = shard_of(args.shard)
    dataset, input = asked(args)  # here, for mistakes are told once, whatever the number of processes
    gpus = torch.cuda.device_count() if args.device is None else 0
    count = args.processes or max(1, gpus)
    if count > 1:
        return spread(args, part, parts, count, gpus)
    began, made, there = time.time(), 0, 0
    for _, new, total in encode_all(args, dataset, input, (part, parts)):
        made, there = made + new, there + total
    seconds = time.time() - began
    rate = f" in {seconds:.1f} s, {made / seconds:.0f} images/s" if made else ""
    print(f"{args.cache}: {made} images encoded{rate}; of {there} asked for")
    return 0


def shard_of(text: str) -> tuple[int, int]:
    """I/N as a number from 0, and N."""
    from ..errors import UserError

    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--shard is {text!r}: give I/N, 1/4 ... 4/4 say")
    return int(part) - 1, int(parts)


def asked(args: argparse.Namespace) -> tuple[Any, Any]:
    """The data set, and the INPUT of its images.

    Raises:
        UserError: there is no such data set, config file or number of views.
    """
    from ..data import DATASETS
    from ..errors import UserError

    if args.views < 1 and args.split in ("train", "all"):
        raise UserError(f"--views is {args.views}: give at least 1, or --split test")
    input = input_of(args.config_file, args.backbone == "MiniCLIP")
    return named(args.dataset, DATASETS)(args.root), input


def encode_all(args: argparse.Namespace, dataset: Any, input: Any, share: tuple[int, int]) -> Any:
    """For each list of images its name, how many were encoded here, and how many it has."""
    from ..backbones import load_backbone
    from ..data import DatasetOptions, task_of
    from ..errors import Unwritable, UserError
    from ..features.encode import fill
    from ..features.source import FeatureOptions, FeatureSource
    from ..features.store import digests, store_of
    from ..files import unwritable
    from ..precision import device_of

    device, backbone = device_of(args.device), None
    wanted = ("train", "val", "test") if args.split == "all" else (args.split,)
    for number, seed in enumerate(args.seeds):
        task = task_of(dataset, DatasetOptions(num_shots=args.shots, subsample_classes=args.classes), seed)
        backbone = backbone or load_backbone(args.backbone, args.backbone_path, args.precision, device)
        source = FeatureSource(backbone, task, input, FeatureOptions(views=args.views), seed)
        for split in wanted:
            items = task.part(split)
            if not items or (split == "test" and number):
                continue  # they are the same under every seed
            views = source.views(items, split == "train", args.views if split == "train" else 1)
            images = digests(views)
            if images is None:
                gone = next(item.impath for item in items if not os.path.isfile(item.impath))
                raise UserError(f"there is no image {gone}: `shipclip check {args.dataset}` lists what is missing")
            try:
                store = store_of(backbone, views, args.cache, args.dtype)
                made = fill(backbone, views, store, images, args.workers, share)
            except Unwritable:
                raise
            except OSError as error:
                raise unwritable(Path(args.cache), error) from error
            yield f"{split}, seed {seed}", made, len(items)


def named(name: str, known: Any) -> Any:
    """A data set by its registered name, or by that of its config file (caltech101)."""
    short = {other.replace("_", "").casefold(): other for other in known.names()}
    return known.get(short.get(name.replace("_", "").casefold(), name))


def input_of(config: str, small: bool) -> Any:
    """INPUT of a trainer's config file; none given: of SHIP's."""
    from ..features.transforms import InputOptions
    from ..files import read_yaml
    from ..options import read
    from ..presets import default_config

    file = Path(config) if config else default_config("SHIP", small)
    return read(InputOptions, read_yaml(file).get("INPUT", {}), "INPUT.")


def spread(args: argparse.Namespace, part: int, parts: int, count: int, gpus: int) -> int:
    """As many processes, each with a share of the claims and, in turn, a GPU; the worst exit status."""
    given = {key: value for key, value in vars(args).items() if key not in ("command", "run", "dataset")}
    started = []
    for i in range(count):
        own = {**given, "processes": 1, "shard": f"{part * count + i + 1}/{parts * count}"}
        own["device"] = f"cuda:{i % gpus}" if gpus else args.device
        words = [sys.executable, "-m", "shipclip", "encode", args.dataset]
        for key, value in own.items():
            if value not in (None, ""):
                words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
        threads = {} if gpus else {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
        started.append(subprocess.Popen(words, env={**os.environ, **threads}))
    try:
        return max(abs(process.wait()) for process in started)
    except KeyboardInterrupt:
        for process in started:
            process.terminate()
        raise
