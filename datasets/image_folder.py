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
import difflib
import json
import os
import unicodedata
from collections import Counter
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY, Datum
from torchvision.datasets.folder import IMG_EXTENSIONS

from .annotations import read_lines, read_text
from .base import FewShotDataset
from .splits import Split, datum, require

PARTS = ("train", "val", "test")
LISTS = ("images.csv", "images.json")

Rows = dict[str, list[tuple[str, str]]]  # part -> (path, class)


@DATASET_REGISTRY.register()
class ImageFolder(FewShotDataset):
    """Classes with training images are base classes, in sorted order; those with a name alone are new classes.

    Where every class has training images, base and new are the two halves of CoCoOp's protocol.
    """

    upright = True  # photographs of cameras and phones

    def read_split(self) -> Split:
        rows = self._rows()
        call = self._names()
        base = sorted({key for _, key in rows["train"]})
        new = [key for key in self._further() if key not in base]
        keys = [*base, *new]
        _refuse_unknown(call, keys, f"{self.folder / 'names.csv'} gives a name to")
        names = [call.get(key, key) for key in keys]
        self._refuse_twins(keys, names)
        label = {name: i for i, name in enumerate(names)}  # a test folder may carry the human name
        label |= {key: i for i, key in enumerate(keys)}  # one class's name may be another's folder: folders win
        parts: dict[str, list[Datum]] = {}
        for part in PARTS:
            _refuse_unknown({key for _, key in rows[part]}, label, f"{self.folder} has {part} images of", self.folder)
            parts[part] = [datum(path, label[key], names[label[key]]) for path, key in rows[part]]
        return require(Split(**parts, classnames=tuple(names), n_base=len(base) if new else 0))

    # -- what there is ----------------------------------------------------------------------------------

    def _rows(self) -> Rows:
        lists = [self.folder / name for name in LISTS if (self.folder / name).is_file()]
        folders = [self.folder / part for part in PARTS if (self.folder / part).is_dir()]
        if len(lists) + bool(folders) > 1:
            given = ", ".join(str(place) for place in [*lists, *folders[:1]])
            raise ValueError(f"{given} both say which images there are: keep one of them")
        rows = self._listed(lists[0]) if lists else self._from_folders()
        if not rows["train"]:
            raise FileNotFoundError(
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
                    raise ValueError(
                        f"{entry.path} has no image: add some, or remove the folder and write the name into "
                        f"{self.folder / 'classnames.txt'} if it is a new class"
                    )
                rows[part] += [(path, _plain(entry.name)) for path in found]
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
                raise ValueError(
                    f"{file}, row {number}: path {path!r}, class {key!r}, split {part!r}; each row needs a path, a "
                    f"class and a split among {', '.join(PARTS)}"
                )
            full = os.path.normpath(os.path.join(self.folder, path))
            if "\\" in path and not os.path.isfile(full):  # written on Windows
                full = os.path.normpath(os.path.join(self.folder, path.replace("\\", "/")))
            if full in seen:
                raise ValueError(f"{file} has {path} twice, in rows {seen[full]} and {number}: keep one of them")
            seen[full] = number
            rows[part].append((full, _plain(key)))
        return rows

    def _further(self) -> list[str]:
        """Classes of classnames.txt."""
        file = self.folder / "classnames.txt"
        names = [_plain(line) for line in read_lines(file)] if file.is_file() else []
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{file} names {twice[0]!r} twice: name each class once")
        return names

    def _names(self) -> dict[str, str]:
        """Class to human name, of names.csv."""
        file = self.folder / "names.csv"
        if not file.is_file():
            return {}
        names: dict[str, str] = {}
        for number, row in enumerate(_read_list(file), start=1):
            key, name = _plain(row.get("class") or ""), _plain(row.get("name") or "")
            if not key or not name or key in names:
                raise ValueError(f"{file}, row {number}: class {key!r}, name {name!r}; name each class once")
            names[key] = name
        return names

    def _refuse_twins(self, keys: list[str], names: list[str]) -> None:
        first: dict[str, str] = {}
        for key, name in zip(keys, names, strict=True):
            same = name.replace("_", " ").casefold()
            if same in first:
                raise ValueError(
                    f"the classes {first[same]!r} and {key!r} in {self.folder} have the same name {name!r}, so CLIP "
                    "cannot tell them apart: merge them, or name them differently in names.csv"
                )
            first[same] = key


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
            if extension in IMG_EXTENSIONS:
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
    text = read_text(file)
    if file.suffix == ".json":
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{file} is no JSON ({error}): it must be a list of objects with path and class"
            ) from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{file} must be a list of objects with path, class and, if it is not train, split")
        return rows
    rows = list(csv.DictReader(text.splitlines()))
    wanted = ("class", "name") if file.name == "names.csv" else ("path", "class")
    if rows and not set(wanted) <= set(rows[0]):
        raise ValueError(
            f"{file} begins with {', '.join(map(str, rows[0]))}: its first line must be {','.join(wanted)}"
        )
    return rows


def _refuse_unknown(found, known, what: str, folder: Path | None = None) -> None:
    for key in sorted(set(found) - set(known)):
        near = difflib.get_close_matches(key, list(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        where = f": add it to {folder / 'classnames.txt'}" if folder else ": mend it"
        raise ValueError(f"{what} {key!r}, which is no class with training images or in classnames.txt{where}{hint}")


def _plain(name: str) -> str:
    """Without blanks around it, and in the one form of Unicode that does not depend on the file system."""
    return unicodedata.normalize("NFC", name.strip())
