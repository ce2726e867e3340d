"""Put SHIP's thin trainers, configs and scripts into a checkout of CoOp's kind, or take them out: see
install_into.sh."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path

FOLDERS = ("trainers/ship", "configs/trainers/SHIP", "scripts/ship")
LEFT_OUT = ("__pycache__", "install_into.sh", "install_into.py")
IMPORT = "import trainers.ship"
MANIFEST = ".ship-installed"  # sha256 and path of every installed file


class Refused(Exception):
    """What is wrong, in one sentence."""


def main(argv: list[str]) -> int:
    source, here = Path(argv[0]), Path(argv[1])
    parser = argparse.ArgumentParser("install_into.sh")
    parser.add_argument("--undo", action="store_true", help="take SHIP out again")
    parser.add_argument("--force", action="store_true", help="with --undo: also files that have changed since")
    parser.add_argument("checkout", type=Path, help="folder of the checkout")
    args = parser.parse_args(argv[2:])
    target = (here / args.checkout).resolve()
    try:
        check(source, target)
        if args.undo:
            undo(target, args.force)
            print(f"SHIP is taken out of {target}")
        else:
            install(source, target)
            print(
                f"SHIP is installed in {target}; try: python train.py --trainer SHIP --config-file "
                "configs/trainers/SHIP/vit_b16.yaml ..."
            )
    except (Refused, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check(source: Path, target: Path) -> None:
    if not (
        (target / "train.py").is_file() and (target / "trainers").is_dir() and (target / "configs/trainers").is_dir()
    ):
        raise Refused(f"{target} is no CoOp checkout: it has no train.py, trainers/ and configs/trainers")
    if target == source:
        raise Refused(f"{target} is this repository itself, where SHIP is at home")


def install(source: Path, target: Path) -> None:
    """All of it, or nothing."""
    if (target / MANIFEST).exists():
        raise Refused(f"SHIP is installed in {target} already: take it out with --undo first")
    for folder in FOLDERS:
        if (target / folder).exists():
            raise Refused(f"{target / folder} exists already and is not written over: move it away")
    text = (target / "train.py").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.startswith(("import trainers.", "from trainers."))]
    if not places:
        raise Refused(f'{target / "train.py"} imports no trainers, so there is no place for "{IMPORT}"')
    try:
        for folder in FOLDERS:
            shutil.copytree(source / folder, target / folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        files = sorted(file for folder in FOLDERS for file in (target / folder).rglob("*") if file.is_file())
        rows = [f"{digest(file)}  {file.relative_to(target).as_posix()}\n" for file in files]
        (target / MANIFEST).write_text("".join(rows), encoding="utf-8")
        lines.insert(places[-1] + 1, f"{IMPORT}\n")
        write_same_mode(target / "train.py", "".join(lines))
    except BaseException:
        for folder in FOLDERS:
            shutil.rmtree(target / folder, ignore_errors=True)
        (target / MANIFEST).unlink(missing_ok=True)
        write_same_mode(target / "train.py", text)
        print("error: nothing was installed", file=sys.stderr)
        raise


def undo(target: Path, force: bool) -> None:
    manifest = target / MANIFEST
    if not manifest.is_file():
        raise Refused(f"SHIP is not installed in {target}: there is no {MANIFEST}")
    rows = [line.split("  ", 1) for line in manifest.read_text(encoding="utf-8").splitlines()]
    changed = [name for known, name in rows if not (target / name).is_file() or digest(target / name) != known]
    if changed and not force:
        raise Refused(f"changed since SHIP was installed: {', '.join(changed)}; keep a copy and use --undo --force")
    lines = (target / "train.py").read_text(encoding="utf-8").splitlines(keepends=True)
    write_same_mode(target / "train.py", "".join(line for line in lines if line.rstrip() != IMPORT))
    for _, name in rows:
        (target / name).unlink(missing_ok=True)
    for folder in FOLDERS:
        for place in sorted((target / folder).rglob("__pycache__")):
            shutil.rmtree(place)
        for place, _, _ in os.walk(target / folder, topdown=False):
            if not os.listdir(place):
                os.rmdir(place)
    manifest.unlink()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_same_mode(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
