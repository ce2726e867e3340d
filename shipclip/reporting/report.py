"""Tables of any tree of results: rows for whatever differs, means and spread over seeds.

    shipclip report output/                                  every experiment in it, to the console
    shipclip report output/ --confidence                     calibration errors, Brier, AURC, OpenworldAUC
    shipclip report output/ --out tables.md --out page.html  also .csv, .tex, .json

Reads the results.json of each run below the folder, or log.txt where a run (of CoOp's own trainers, say) left none. A
page in HTML holds the tables and the pictures that lie below the folder, and needs no other file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import MissingFile, Unwritable, UserError, told
from ..files import write_text
from .columns import CONFIDENCE
from .formats import as_csv, as_html, as_json, as_latex, as_markdown, as_text
from .tables import Table, tables_of
from .tree import runs_below

FORMATS: dict[str, Callable[[list[Table], Path], str]] = {
    ".md": as_markdown,
    ".csv": as_csv,
    ".tex": as_latex,
    ".json": as_json,
    ".html": as_html,
    ".txt": as_text,
}


@told
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "shipclip report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="root of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=None, help="those that count; missing ones are told")
    parser.add_argument("--out", type=Path, action="append", default=[], help="write to this file; its suffix decides")
    parser.add_argument(
        "--confidence", action="store_true", help="how far probabilities can be trusted, not accuracies"
    )
    args = parser.parse_args(argv)
    unknown = [str(file) for file in args.out if file.suffix not in FORMATS]
    if unknown:
        raise UserError(f"{unknown[0]} has no suffix of a format: use one of {', '.join(FORMATS)}")
    if not args.folder.is_dir():
        raise MissingFile(f"there is no folder {args.folder}")
    tables = tables_of(runs_below(args.folder), args.seeds, CONFIDENCE if args.confidence else ())
    if not tables:
        nothing = "neither results.json nor log.txt with an accuracy"
        raise UserError(f"there are no results below {args.folder}: {nothing}")
    print(as_text(tables, args.folder), end="")
    for file in args.out:
        try:
            write_text(file, FORMATS[file.suffix](tables, args.folder))
        except OSError as error:
            raise Unwritable(f"{file} cannot be written ({error.strerror}): give another --out") from error
    if args.out:
        print(f"Written to {', '.join(map(str, args.out))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
