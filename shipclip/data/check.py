"""List what is missing or damaged in a data set before an hour of training is wasted on it.

    python -m datasets.check NAME --root DIR [--quick] [--classes]
    python -m datasets.check NAME --root DIR --features BACKBONE [--out FOLDER]

Every image of every split is read. With --features those that can be read are encoded, and what looks wrong is ranked:
doubles within and across splits, labels that features doubt, outliers, names that CLIP takes for one another. Exit
status: 0 if all is well, 1 if something is missing or damaged, 2 if the data set cannot be read at all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from ..errors import UserError, told, unknown
from ..features.images import BadImage, read_image
from ..task import Item
from .base import DATASETS, Dataset
from .protocol import refuse_unknown_labels
from .splits import MissingImages, Split

PARTS = ("train", "val", "test")


@told
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "shipclip check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="the registered name, or that of the config file")
    parser.add_argument("--root", required=True, type=Path, help="folder of the data sets")
    parser.add_argument("--quick", action="store_true", help="only look whether the images are there, read none")
    parser.add_argument("--classes", action="store_true", help="list every class, not only those with gaps")
    parser.add_argument(
        "--features", default="", metavar="BACKBONE", help="ViT-B/16, MiniCLIP, open_clip:NAME/WEIGHTS ..."
    )
    parser.add_argument("--backbone-path", default="", help="a weight file of the backbone's")
    parser.add_argument("--out", type=Path, default=Path("check"), help="folder of findings.csv and findings.html")
    args = parser.parse_args(argv)
    cls = find(args.name)
    split, gone = load(cls, args.root)
    bad = {} if args.quick and not args.features else damaged(split, gone, cls.upright)
    if args.features:
        look(cls, split, {item.impath for item in gone} | bad.keys(), args)
    return report(cls, split, gone, bad, args)


def find(name: str) -> type[Dataset]:
    """The data set's class."""
    plain = name.lower().replace("_", "").replace("-", "")
    for cls in DATASETS:
        if plain in (cls.__name__.lower(), _page(cls)):
            return cls
    raise unknown("data set", name, DATASETS.names())


def _page(cls: type) -> str:
    return cls.__module__.rpartition(".")[2].replace("_", "")


def load(cls: type[Dataset], root: Path) -> tuple[Split, list[Item]]:
    """The whole split, and those of its images that are not there."""
    try:
        dataset = cls(root)
        split = dataset.split()
    except MissingImages as error:
        return error.split, error.gone
    refuse_unknown_labels(dataset, split)
    return split, []


def damaged(split: Split, gone: list[Item], upright: bool) -> dict[str, str]:
    """Path to reason, of the images that are there and cannot be read."""
    missing = {item.impath for item in gone}
    paths = sorted({item.impath for items in split.parts().values() for item in items} - missing)

    def reason(path: str) -> str:
        try:
            read_image(path, upright)
        except BadImage as error:
            return str(error).partition(" cannot be read (")[2].partition("): replace it")[0]
        return ""

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        bar = tqdm(
            pool.map(reason, paths), total=len(paths), desc="Reading images", unit="image", delay=2, disable=None
        )
        return {path: text for path, text in zip(paths, bar, strict=True) if text}


def look(cls: type[Dataset], split: Split, unread: set[str], args: argparse.Namespace) -> None:
    """Inspect the images that can be read by their features, and say what was found."""
    from ..backbones import load_backbone
    from .inspect import KINDS, inspect, see, write
    from .protocol import DatasetOptions, texts_of

    backbone = load_backbone(args.features, args.backbone_path)
    chosen = [(item, part) for part, items in split.parts().items() for item in items if item.impath not in unread]
    if len(chosen) < 2:
        raise UserError(f"{cls.__name__} has {len(chosen)} images that can be read: there is nothing to compare")
    names = list(split.names().values())
    place = {label: i for i, label in enumerate(split.names())}
    items = [Item(item.impath, place[item.label], item.classname) for item, _ in chosen]
    texts = texts_of(DatasetOptions(), cls.template, names, cls(args.root).folder)
    seen = see(items, [part for _, part in chosen], names, backbone, texts, cls.upright)
    found = inspect(seen)
    files = write(found, seen, args.out)
    counts = Counter(one.kind for one in found)
    if counts["names"] > len(names) * (len(names) - 1) / 4:
        print(f"Note: {args.features} takes most classes for one another: it does not know their names")
    print(tabulate([[kind, counts[kind], meaning] for kind, meaning in KINDS.items()], ["found", "", ""]))
    print(f"Ranked in {files[0]}, to be looked at in {files[1]}")


def report(cls: type[Dataset], split: Split, gone: list[Item], bad: dict[str, str], args: argparse.Namespace) -> int:
    """Print what was found; returns the exit status."""
    missing = {item.impath for item in gone}
    names = split.names()
    label_of = {item.impath: item.label for items in split.parts().values() for item in items}
    columns = [Counter(item.label for item in items) for items in split.parts().values()]
    columns += [Counter(label_of[path] for path in missing), Counter(label_of[path] for path in bad)]
    rows = [
        [label, name, *(column[label] for column in columns)]
        for label, name in names.items()
        if args.classes or columns[-2][label] or columns[-1][label]
    ]
    if rows:
        print(tabulate(rows, ["label", "class", *PARTS, "missing", "damaged"]))
    for path in sorted(missing):
        print(f"missing: {path}")
    for path, text in bad.items():
        print(f"damaged: {path} ({text})")
    found = (len(names), *(len(items) for items in split.parts().values()))
    labels = ("classes", "training", "validation", "test images")
    print(", ".join(f"{number:,} {what}" for number, what in zip(found, labels, strict=True)))
    wrong = cls.sizes is not None and cls.sizes != found
    if wrong:
        print(
            "but the published set has " + ", ".join(f"{n:,} {what}" for n, what in zip(cls.sizes, labels, strict=True))
        )
    if missing or bad or wrong:
        print(f"{len(missing):,} images are missing, {len(bad):,} damaged")
        return 1
    print("all there" if args.quick else "all there, and every image can be read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
