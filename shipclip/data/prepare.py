"""Fetch a data set, verify it, and lay it out as CoOp's users have it.

    python -m datasets.prepare NAME --root DIR

What may be had without an account is downloaded (a broken download goes on where it stopped), checked against its
checksum, unpacked and moved into place; for the rest the exact steps are printed. What is there already is left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..errors import Offline, UserError, sentence, told, unknown
from .sources import SOURCES, Archive, Source

CHUNK = 1 << 20  # bytes


@told
def main(argv: list[str] | None = None) -> int:
    """Returns 0 if everything is in place, 1 if steps are left to the user, 2 after an error."""
    parser = argparse.ArgumentParser(
        "shipclip prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help=f"one of {', '.join(SOURCES)}")
    parser.add_argument("--root", required=True, type=Path, help="folder of the data sets")
    args = parser.parse_args(argv)
    left = prepare(args.name, args.root.expanduser().absolute())
    if left:
        print(f"\nLeft to do by hand for {args.name}:", *(f"  - {step}" for step in left), sep="\n")
        print(f"Then: python -m datasets.check {args.name} --root {args.root}")
        return 1
    print(f"{args.name} is in place; python -m datasets.check {args.name} --root {args.root} looks at every image")
    return 0


def prepare(name: str, root: Path) -> list[str]:
    """Do what can be done; returns the steps that are left.

    Raises:
        UserError: an unknown data set, or a download that differs from its checksum.
        Offline: no network, or the server does not have the file.
    """
    source = find(name)
    folder = root / source.folder
    if not all(is_there(folder / place) for place in source.moves.values()):
        with_torchvision(source, root)
    for archive in source.archives:
        file = root / "downloads" / archive.file
        if not is_there(root / archive.creates) or unfinished(file).exists():
            fetch(archive, file)
            unpack(file, root / archive.into)
    left = [from_drive(folder / place, number) for place, number in source.drive.items()]
    if source.finish and folder.is_dir():
        source.finish(folder)
    for place, step in source.by_hand.items():
        if not is_there(folder / place):
            left.append(step.format(folder=folder, root=root))
    return [step for step in left if step]


def is_there(place: Path) -> bool:
    """A file, or a folder with something in it."""
    return place.is_file() or (place.is_dir() and any(place.iterdir()))


def unfinished(archive: Path) -> Path:
    """A file that lies beside an archive while it is unpacked, and stays if that breaks off."""
    return archive.with_name(f"{archive.name}.unfinished")


def find(name: str) -> Source:
    """A source by its registered name, case and underscores aside."""
    for known, source in SOURCES.items():
        if name.lower().replace("_", "") in (known.lower(), source.folder.lower().replace("_", "")):
            return source
    raise unknown("download for the data set", name, SOURCES)


# -- downloads --------------------------------------------------------------------------------------------------


def with_torchvision(source: Source, root: Path) -> None:
    """Let torchvision's own class download, verify and unpack, then move its folders to CoOp's."""
    from torchvision import datasets  # slow to import

    work = root / "downloads" / source.folder
    print(f"Fetching {source.torchvision} by torchvision into {work}")
    for file in work.rglob("*"):  # what an earlier try unpacked may be half of it; its archives and parts are kept
        if file.is_file() and not file.name.endswith((".zip", ".tar", ".gz", ".tgz", ".part")):
            file.unlink()
    for below in sorted((place for place in work.rglob("*") if place.is_dir()), reverse=True):
        if not any(below.iterdir()):
            below.rmdir()
    work.mkdir(parents=True, exist_ok=True)
    with resumable():
        try:
            getattr(datasets, source.torchvision)(str(work), download=True)
        except (urllib.error.URLError, TimeoutError) as error:  # by another way than `download`
            raise unreachable(f"torchvision's {source.torchvision}", work, error) from error
        except RuntimeError as error:  # an archive that is not what it should be
            raise UserError(f"torchvision's {source.torchvision}: {sentence(error)}; run the command again") from error
    for here, there in source.moves.items():
        target = root / source.folder / there
        if not is_there(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / here, target)
    shutil.rmtree(work)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """torchvision's downloads begin anew after a break; for the while they go through `download`, and one that fails
    is told with its address."""
    from torchvision.datasets import utils

    original = getattr(utils, "_urlretrieve", None)
    if original is None:  # another torchvision: its own downloads will do
        yield
        return

    def fetched(url: str, filename: str, *rest: object) -> None:
        try:
            download(url, Path(filename))
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise unreachable(url, Path(filename), error) from error

    utils._urlretrieve = fetched
    try:
        yield
    finally:
        utils._urlretrieve = original


def from_drive(file: Path, number: str) -> str:
    """Fetch a file of CoOp's from Google Drive; returns what is left to do if that cannot be."""
    if file.is_file():
        return ""
    from torchvision.datasets import utils

    try:
        utils.download_file_from_google_drive(number, str(file.parent), file.name)
        return ""
    except Exception as error:  # gdown is missing, there is no network, or Google says no
        reason = " ".join(str(error).split()).partition(". ")[0]
    use = "with it the images are CoOp's very picks; without it one is made by CoOp's rule"
    why = f", {use}" if file.name.startswith("split_") else ""
    return f"download https://drive.google.com/file/d/{number} to {file}{why} (by itself it did not work: {reason})"


def fetch(archive: Archive, file: Path) -> None:
    """Download an archive unless it is there, and verify it."""
    if not file.is_file():
        try:
            download(archive.url, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise unreachable(archive.url, file, error) from error
    if not archive.checksum:
        print(f"No checksum of {file.name} is published; it is unpacked as it came")
        return
    kind, _, wanted = archive.checksum.partition(":")
    found = digest(file, kind)
    if found != wanted:
        file.unlink()
        raise UserError(f"{file} has {kind} {found} in place of {wanted} and was removed: run the command again")


def download(url: str, file: Path) -> None:
    """Download to `file`; what an earlier try left in `file`.part is kept if the server can go on from there."""
    part = file.with_name(file.name + ".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ship-clip"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is the whole file
            raise
        os.replace(part, file)
        return
    with response:
        going_on = response.status == 206
        total = int(response.headers.get("Content-Length") or 0) + (done if going_on else 0)
        with (
            open(part, "ab" if going_on else "wb") as out,
            tqdm(
                desc=file.name,
                initial=done if going_on else 0,
                total=total or None,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    if total and part.stat().st_size != total:
        raise urllib.error.URLError(f"the connection broke after {part.stat().st_size} of {total} bytes")
    os.replace(part, file)


def digest(file: Path, kind: str) -> str:
    """Checksum of a file of any size."""
    with open(file, "rb") as stream:
        if sys.version_info >= (3, 11):
            return hashlib.file_digest(stream, kind).hexdigest()
        total = hashlib.new(kind)
        while chunk := stream.read(CHUNK):
            total.update(chunk)
        return total.hexdigest()


def unpack(archive: Path, place: Path) -> None:
    """Unpack below `place`; members that would land elsewhere are refused."""
    print(f"Unpacking {archive.name} into {place}")
    place.mkdir(parents=True, exist_ok=True)
    unfinished(archive).touch()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as stored:
                stored.extractall(place)  # drops absolute paths and ".." by itself
        else:
            with tarfile.open(archive) as stored:
                stored.extractall(place, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive} cannot be unpacked ({error}): remove it and run the command again") from error
    unfinished(archive).unlink()


def unreachable(what: str, file: Path, error: OSError) -> Offline:
    reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return Offline(f"{what} cannot be fetched ({reason}): try again, or put the file at {file} by hand")


if __name__ == "__main__":
    sys.exit(main())
