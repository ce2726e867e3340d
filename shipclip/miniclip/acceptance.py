"""What the bench must show before SHIP is run on it: the acceptance table of the model card.

    python -m shipclip.miniclip.acceptance [--weights FILE] [--seeds 1 2 3 4 5] [--out table.md]

On images of another world seed than the data set's, none of the figures involves SHIP: zero-shot CLIP and where it
errs, what CoOp wins and loses, what carries over from base to new classes, what contexts do to text features, and
what varies within a class. The wanted ranges come from CLIP's published figures (CoOp minus zero-shot: +14 base, -11
new) or from what real text towers do.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..backbones.base import Backbone
from ..backbones.openai import package, wrap
from ..files import write_text
from ..precision import Precision
from . import weights as miniclip
from . import world
from .bench import Bench
from .measures import Row, carries_over, contexts, coop, of_another_world, two_way, within_class, zero_shot
from .scene import SHIFTED

PUBLISHED = {"OPTIM.LR": 0.05, "OPTIM.MAX_EPOCH": 200}  # as long as CoOp's published runs with 16 shots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=miniclip.FILE)
    parser.add_argument("--world-seed", type=int, default=7001)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="of CoOp's config"
    )
    parser.add_argument("--out", type=Path, help="a Markdown file")
    args = parser.parse_args()
    backbone = load(args.weights)
    bench = Bench(backbone, world.downstream_classes(), SHIFTED, args.world_seed)
    rows = [*zero_shot(bench), *carries_over(bench), *contexts(bench), *within_class(bench), two_way(bench)]
    print(table(rows), flush=True)
    options = PUBLISHED | {key: yaml.safe_load(value) for key, value in args.set}
    rows += coop(bench, args.seeds, options)
    rows.append(
        of_another_world(bench, Bench(backbone, world.source_classes(), SHIFTED, args.world_seed), args.seeds, options)
    )
    print(table(rows))
    if args.out:
        write_text(args.out, table(rows) + "\n")


def load(weights: Path) -> Backbone:
    state, known_ids = miniclip.load(weights)
    return wrap(package().model.build_model(state).float(), Precision.choose("fp32", "cpu"), "MiniCLIP", known_ids)


def table(rows: Sequence[Row]) -> str:
    from tabulate import tabulate

    return tabulate([[r.figure, r.value, r.wanted] for r in rows], ["figure", "reached", "wanted"], tablefmt="github")


if __name__ == "__main__":
    main()
