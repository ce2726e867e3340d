"""python -m tests.harden [--inputs N] [--kills N] [--seed S] [--only NAME]: see make harden."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tabulate import tabulate

from . import files, kills, models, options
from .fuzz import Counts, try_all


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--only", default="", help="kinds of inputs whose names hold this")
    parser.add_argument("--methods", nargs="*", default=[], choices=sorted(kills.CASES), help="whose runs are killed")
    parser.add_argument("--no-script", action="store_true", help="kill runs alone")
    parser.add_argument("--sentences", action="store_true", help="print what was said, and how often")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="harden-"))
    try:
        wrong = fuzz(args, folder)
        if args.kills:
            methods = tuple(args.methods)
            wrong += kills.run(args.kills, args.seed, folder / "kills", methods, not args.no_script)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("nothing went another way" if not wrong else f"{wrong} WENT ANOTHER WAY")
    return 1 if wrong else 0


def fuzz(args: argparse.Namespace, folder: Path) -> int:
    """All kinds of inputs; returns how many kinds had one that was neither taken nor refused with a sentence."""
    kinds = [kind for kind in (*options.KINDS, *files.KINDS, *models.KINDS) if args.only in kind.name]
    rows, wrong, total = [], 0, Counts()
    for kind in kinds if args.inputs else ():
        began, counts = time.time(), Counts()
        try:
            counts = try_all(kind, max(1, round(args.inputs * kind.share)), folder / "fuzz", args.seed)
        except Exception:
            wrong += 1
            print(f"\n{kind.name}:\n{traceback.format_exc()}")
        total.taken += counts.taken
        total.sentences.update(counts.sentences)
        rows.append([kind.name, counts.tried, counts.taken, counts.refused, len(counts.sentences), time.time() - began])
        print(f"{kind.name}: {counts.tried} inputs, {counts.taken} taken, {counts.refused} refused", flush=True)
        for text, count in counts.sentences.most_common() if args.sentences else ():
            print(f"    {count:5} {text}")
    rows.append(["all", total.tried, total.taken, total.refused, len(total.sentences), sum(row[5] for row in rows)])
    print(tabulate(rows, ["inputs", "tried", "taken", "refused", "sentences", "s"], floatfmt=".0f"))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
