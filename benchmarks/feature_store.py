"""The feature store: a second run against the first, and cost against the number of images.

    python benchmarks/feature_store.py [--root data] [--sizes 10000 100000 1000000] [--dtype float16] [--folder DIR]

Printed: seconds until a source is ready to train (ten views of 4 shots, and the test images, of MiniWorld) in a first
and a second run, each a process of its own, with the images that were decoded; then, for synthetic stores of --views
views of 512 numbers, seconds to write, to open and to draw an epoch, with the largest resident memory of the process
that opens, and the exponent of a power law fitted to each. A size that the disk has no room for is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tabulate import tabulate

from shipclip.backbones import load_backbone
from shipclip.data import DATASETS, DatasetOptions, task_of
from shipclip.features import encode
from shipclip.features.bank import of_store
from shipclip.features.pixels import read_views
from shipclip.features.segment import write_segment
from shipclip.features.source import FeatureOptions, FeatureSource
from shipclip.features.store import Store
from shipclip.features.transforms import InputOptions

DIM, PART = 512, 1 << 14  # numbers of a feature; images of a segment, as encoding leaves them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the data sets")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="images")
    parser.add_argument("--views", type=int, default=1, help="of the synthetic stores")
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--folder", default=None, help="where the stores are made; default: a temporary one")
    parser.add_argument("--do", nargs="+", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        print(json.dumps({"run": one_run, "write": write, "open": open_}[args.do[0]](args, *args.do[1:])))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        runs = [apart(args, "run", folder) for _ in range(2)]
        rows = [[name, run["images"], run["seconds"]] for name, run in zip(("first", "second"), runs, strict=True)]
        print(tabulate(rows, ["run", "images decoded", "ready to train (s)"], floatfmt=".2f"), end="\n\n")
        rows = []
        for n in args.sizes:
            place = Path(folder) / str(n)
            if shutil.disk_usage(folder).free < 3 * n * args.views * DIM * np.dtype(args.dtype).itemsize:
                print(f"{n} images are left out: the disk has no room for them")
                continue
            made = apart(args, "write", str(place), n)
            first, second = (apart(args, "open", str(place), n) for _ in range(2))
            seconds = [made["seconds"], first["ready"], second["ready"], second["draw"]]
            rows.append([n, made["gigabytes"], *seconds, first["rss"], second["rss"]])
            shutil.rmtree(place)
    head = [
        "images",
        "GB",
        "write (s)",
        "join, open (s)",
        "open (s)",
        "draw (s)",
        "peak RSS, join (GB)",
        "RSS, open (GB)",
    ]
    print(f"{args.views} view(s), {args.dtype}, {DIM} numbers")
    print(tabulate(rows, head, floatfmt=".2f"))
    if len(rows) > 1:
        fits = [fitted([row[0] for row in rows], [row[column] for row in rows]) for column in (2, 3, 4, 5)]
        print("fitted exponents: " + ", ".join(f"{h} {e:.2f}" for h, e in zip(head[2:6], fits, strict=True)))


def apart(args: argparse.Namespace, *what: Any) -> dict[str, Any]:
    """What a fresh process measures."""
    words = [sys.executable, __file__, "--root", args.root, "--views", str(args.views), "--dtype", args.dtype]
    return json.loads(subprocess.check_output([*words, "--do", *map(str, what)], text=True).splitlines()[-1])


def fitted(sizes: list[float], seconds: list[float]) -> float:
    """The exponent e of seconds ~ sizes ** e, by least squares of the logarithms."""
    return float(np.polyfit([math.log(n) for n in sizes], [math.log(s) for s in seconds], 1)[0])


def one_run(args: argparse.Namespace, cache: str) -> dict[str, float]:
    """Seconds from a loaded backbone and task to features of all training views and test images."""
    decoded = 0

    def counting(*given: Any) -> Iterator[torch.Tensor]:
        nonlocal decoded
        for images in read_views(*given):
            decoded += len(images)
            yield images

    encode.read_views = counting
    task = task_of(DATASETS.get("MiniWorld")(args.root), DatasetOptions(num_shots=4), 1)
    backbone = load_backbone("MiniCLIP")
    began = time.perf_counter()
    source = FeatureSource(backbone, task, InputOptions(), FeatureOptions(cache_dir=cache), 1)
    source.training_bank(0)
    source.bank("test")
    return {"images": decoded, "seconds": time.perf_counter() - began}


def write(args: argparse.Namespace, folder: str, count: str) -> dict[str, float]:
    """A store of random features, in segments as encoding leaves them."""
    rng, images, began = np.random.default_rng(0), names(int(count)), time.perf_counter()
    block = rng.standard_normal((PART, DIM), dtype=np.float32) / math.sqrt(DIM)
    for number, start in enumerate(range(0, len(images), PART)):
        part = images[start : start + PART]
        blocks = (block[: len(part)] for _ in range(args.views))
        file = Path(folder) / f"{number}.safetensors"
        write_segment(file, part, 0, args.views, DIM, args.dtype, blocks)
    gigabytes = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e9
    return {"seconds": time.perf_counter() - began, "gigabytes": gigabytes}


def open_(args: argparse.Namespace, folder: str, count: str) -> dict[str, float]:
    """A bank of a whole store, and an epoch's draw of it; the first time small segments are joined."""
    images, labels, before = names(int(count)), torch.zeros(int(count), dtype=torch.long), time.perf_counter()
    store = Store(Path(folder), args.dtype)
    store.refresh()
    bank = of_store(store, images, 0, args.views, DIM, labels)
    ready = time.perf_counter()
    bank.draw(torch.Generator().manual_seed(0))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    return {"ready": ready - before, "draw": time.perf_counter() - ready, "rss": rss, "process": os.getpid()}


def names(n: int) -> np.ndarray:
    """Digests as images have them, (n, 2)."""
    return np.random.default_rng(1).integers(0, 2**63, (n, 2), dtype=np.uint64)


if __name__ == "__main__":
    main()
