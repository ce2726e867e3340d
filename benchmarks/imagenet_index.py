"""Indexing a tree of ImageNet's size: seconds and memory, the first time and from the cache.

    python benchmarks/imagenet_index.py [--images 1300000] [--folder DIR]

Makes 1,000 class folders of empty files (and removes them), then builds the data set in a process of its own, twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

HERE = Path(__file__).resolve().parents[1]
CLASSES = 1000

MEASURE = """
import resource, sys, time
sys.path.insert(0, {here!r})
from shipclip.data import DatasetOptions, task_of
from shipclip.data.imagenet import ImageNet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
task = task_of(ImageNet({root!r}), DatasetOptions(), 1)
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(task.train), seconds, before / 2**10, after / 2**10)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_300_000)
    parser.add_argument("--folder", default=None, help="where the tree is made; default: the temporary folder")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        make_tree(root / "imagenet", args.images)
        rows = [measure(root, time) for time in ("first time", "from the cache")]
    finally:
        shutil.rmtree(root)
    print(
        tabulate(rows, ["", "images", "seconds", "MiB before", "MiB at most"], floatfmt=("", ",", ".1f", ".0f", ".0f"))
    )


def make_tree(folder: Path, images: int) -> None:
    wnids = [f"n{i:08d}" for i in range(CLASSES)]
    for part, count in (("train", images // CLASSES), ("val", 50)):
        for wnid in wnids:
            place = folder / "images" / part / wnid
            place.mkdir(parents=True)
            for i in range(count):
                os.close(os.open(place / f"{wnid}_{i}.JPEG", os.O_CREAT))
    (folder / "classnames.txt").write_text("".join(f"{wnid} class {i}\n" for i, wnid in enumerate(wnids)))


def measure(root: Path, title: str) -> list:
    code = MEASURE.format(here=str(HERE), root=str(root))
    environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    images, *figures = done.stdout.splitlines()[-1].split()
    return [title, int(images), *map(float, figures)]


if __name__ == "__main__":
    main()
