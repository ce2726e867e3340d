"""The user's own images: no code to write.

    my_photos/
      train/<class>/*          images, at any depth below the class's folder
      val/<class>/*            optional
      test/<class>/*           optional
      classnames.txt           optional: further classes, a name a line, that have no training image (new classes)
      names.csv                optional: "class,name", where a class is to be called otherwise than its folder

or, in place of the folders, `images.csv` (or `images.json`, a list of objects) with path, class and, if it is not
train, split. Paths are relative to the root.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

from ..errors import MissingFile, UserError, did_you_mean
from ..features.images import IMAGE_SUFFIXES
from ..files import read_json, read_lines, read_text
from ..names import plain, read_names, refuse_twins
from ..task import Item
from .base import DATASETS, Dataset
from .splits import Split, require

PARTS = ("train", "val", "test")
LISTS = ("images.csv", "images.json")

Rows = dict[str, list[tuple[str, str]]]  # part -> (path, class)


@DATASETS.register
class ImageFolder(Dataset):
    """Classes with training images are base classes, in sorted order; those with a name alone are new classes.

    Where every class has training images, base and new are the two halves of CoCoOp's protocol.
    """

    upright = True  # photographs of cameras and phones
    distinct = True

    def read_split(self) -> Split:
        rows = self._rows()
        call = self._names()
        base = sorted({key for _, key in rows["train"]})
        further = self._further()
        new = [key for key in further if key not in base]
        keys = [*base, *new]
        _refuse_unknown(call, keys, f"{self.folder / 'names.csv'} gives a name to")
        names = [call.get(key, key) for key in keys]
        refuse_twins(names, self.folder, keys, further)
        label = {name: i for i, name in enumerate(names)}  # a test folder may carry the human name
        label |= {key: i for i, key in enumerate(keys)}  # one class's name may be another's folder: folders win
        parts: dict[str, list[Item]] = {}
        for part in PARTS:
            _refuse_unknown({key for _, key in rows[part]}, label, f"{self.folder} has {part} images of", self.folder)
            parts[part] = [Item(path, label[key], names[label[key]]) for path, key in rows[part]]
        return require(Split(**parts, classnames=tuple(names), n_base=len(base) if new else 0))

    # -- what there is ----------------------------------------------------------------------------------

    def _rows(self) -> Rows:
        lists = [self.folder / name for name in LISTS if (self.folder / name).is_file()]
        folders = [self.folder / part for part in PARTS if (self.folder / part).is_dir()]
        if len(lists) + bool(folders) > 1:
            given = ", ".join(str(place) for place in [*lists, *folders[:1]])
            raise UserError(f"{given} both say which images there are: keep one of them")
        rows = self._listed(lists[0]) if lists else self._from_folders()
        if not rows["train"]:
            raise MissingFile(
                f"{self.folder} has no training images: put them into {self.folder / 'train'}/<class>/, or list them "
                f"in {self.folder / LISTS[0]}"
            )
        return rows

    def _from_folders(self) -> Rows:
        rows: Rows = {part: [] for part in PARTS}
        ignored: Counter[str] = Counter()
        for part in PARTS:
            place = self.folder / part
            for entry in sorted(os.scandir(place), key=lambda entry: entry.name) if place.is_dir() else ():
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    ignored[f"directly in {part}/, of no class"] += 1
                    continue
                found = _images_below(entry.path, ignored)
                if not found:
                    raise UserError(
                        f"{entry.path} has no image: add some, or remove the folder and write the name into "
                        f"{self.folder / 'classnames.txt'} if it is a new class"
                    )
                rows[part] += [(path, plain(entry.name)) for path in found]
        if ignored:
            kinds = ", ".join(f"{count} {kind or 'without extension'}" for kind, count in sorted(ignored.items()))
            print(f"Files that are no images of a class are left out: {kinds}")
        return rows

    def _listed(self, file: Path) -> Rows:
        rows: Rows = {part: [] for part in PARTS}
        seen: dict[str, int] = {}
        for number, row in enumerate(_read_list(file), start=1):
            path, key, part = (_cell(row.get(column)) for column in ("path", "class", "split"))
            part = part or "train"
            if not path or not key or part not in PARTS:
                raise UserError(
                    f"{file}, row {number}: path {path!r}, class {key!r}, split {part!r}; each row needs a path, a "
                    f"class and a split among {', '.join(PARTS)}"
                )
            full = os.path.normpath(os.path.join(self.folder, path))
            if "\\" in path and not os.path.isfile(full):  # written on Windows
                full = os.path.normpath(os.path.join(self.folder, path.replace("\\", "/")))
            if full in seen:
                raise UserError(f"{file} has {path} twice, in rows {seen[full]} and {number}: keep one of them")
            seen[full] = number
            rows[part].append((full, plain(key)))
        return rows

    def _further(self) -> dict[str, str]:
        """Classes of classnames.txt, which may be empty, and the lines that they stand in."""
        file = self.folder / "classnames.txt"
        return read_names(file) if file.is_file() and read_lines(file) else {}

    def _names(self) -> dict[str, str]:
        """Class to human name, of names.csv."""
        file = self.folder / "names.csv"
        if not file.is_file():
            return {}
        names: dict[str, str] = {}
        for number, row in enumerate(_read_list(file), start=1):
            key, name = (plain(_cell(row.get(column))) for column in ("class", "name"))
            if not key or not name or key in names:
                raise UserError(f"{file}, row {number}: class {key!r}, name {name!r}; name each class once")
            names[key] = name
        return names


def _images_below(folder: str, ignored: Counter[str]) -> list[str]:
    found, seen = [], {os.path.realpath(folder)}
    for place, below, files in os.walk(folder, onerror=_raise, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        real = {name: os.path.realpath(os.path.join(place, name)) for name in below}
        below[:] = [name for name in below if real[name] not in seen]  # a link to a folder above has no end
        seen |= set(real.values())
        for file in sorted(files):
            extension = os.path.splitext(file)[1].lower()
            if file.startswith("."):
                continue
            if extension in IMAGE_SUFFIXES:
                found.append(os.path.join(place, file))
            else:
                ignored[extension] += 1
    return found


def _raise(error: OSError) -> None:
    raise error


def _cell(value: object) -> str:
    """A string or a number as text; nothing else is a path, a class or a split."""
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _read_list(file: Path) -> list[dict[str, str]]:
    if file.suffix == ".json":
        rows = read_json(file, "it must be a list of objects with path and class")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{file} must be a list of objects with path, class and, if it is not train, split")
        return rows
    try:
        table = csv.DictReader(read_text(file).split("\n"))
        head, rows = table.fieldnames or [], list(table)
    except csv.Error as error:
        raise UserError(f"{file} is no CSV ({error}): write a class and its path or name a line") from error
    wanted = ("class", "name") if file.name == "names.csv" else ("path", "class")
    if head and not set(wanted) <= set(head):
        raise UserError(f"{file} begins with {', '.join(map(str, head))}: its first line must be {','.join(wanted)}")
    return rows


def _refuse_unknown(found, known, what: str, folder: Path | None = None) -> None:
    for key in sorted(set(found) - set(known)):
        hint = did_you_mean(key, known)
        where = f": add it to {folder / 'classnames.txt'}" if folder else ": mend it"
        raise UserError(f"{what} {key!r}, which is no class with training images or in classnames.txt{where}{hint}")
