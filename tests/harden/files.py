"""Files that a user writes: class names, splits, lists, texts; and images."""

from __future__ import annotations

import io
import json
import pickle
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from shipclip.data import DATASETS, DatasetOptions, task_of
from shipclip.data.fewshot import load_coop_pickle
from shipclip.errors import UserError
from shipclip.features.images import read_image
from shipclip.names import read_names, refuse_same_tokens, same
from shipclip.task import Task
from tests.clips import small_clip
from tests.data.conftest import datums

from . import mutate
from .fuzz import Kind
from .options import photos

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
WORDS = (
    "cat",
    "red fox",
    "Red_Fox",
    "CAT",
    "\uff43\uff41\uff54",
    "狐",
    "# note",
    "owl # bird",
    "unit #5",
    "\ufeffcat",
    "cat\u200b",
)

clip = cache(small_clip)
words = st.text("abcxyz é狐_-'", min_size=1, max_size=8)
lines = st.lists(st.one_of(words, words, words, st.sampled_from(WORDS), mutate.texts), max_size=8)
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
ends = st.sampled_from(["\n", "\r\n", "\r"])


def class_names(example: tuple[list[str], str, str], place: Path) -> None:
    rows, encoding, end = example
    (place / "names.txt").write_bytes(
        end.join(rows).encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")
    )
    names = list(read_names(place / "names.txt"))
    assert len({same(name) for name in names}) == len(names) and all(same(name) for name in names)
    assert not any(name.startswith("\ufeff") or name != name.strip() for name in names)
    refuse_same_tokens(clip().tokenizer.encode, names, names, "small")
    tokens = clip().class_tokens(names, 4)
    assert len({tuple(row.flatten().tolist()) for row in tokens.suffix}) == len(names)


# -- data sets --------------------------------------------------------------------------------------------------


def check(task: Task) -> None:
    """What every task has: labels of its classes, and names that can be told apart."""
    names = task.labels.names
    assert names and all(0 <= item.label < len(names) for part in ("train", "val", "test") for item in task.part(part))
    assert len({same(name) for name in task.labels.known}) == len(task.labels.known)


def split(place: Path) -> dict[str, list[list[Any]]]:
    """A sound split of three classes, with its images in place."""
    folder = place / "caltech-101" / "101_ObjectCategories"
    content: dict[str, list[list[Any]]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(("cat", "dog", "fox")):
        (folder / name).mkdir(parents=True)
        for i, part in enumerate(("train", "train", "val", "test")):
            (folder / name / f"{i}.jpg").touch()
            content[part].append([f"{name}/{i}.jpg", label, name])
    return content


def splits(example: tuple[Random, Any, int], place: Path) -> None:
    rng, value, shots = example
    content = split(place)
    file = place / "caltech-101" / "split_zhou_Caltech101.json"
    if rng.random() < 0.3:
        file.write_bytes(mutate.damaged(json.dumps(content).encode(), rng))
    else:
        for _ in range(rng.randint(1, 3)):
            content = mutate.changed(content, rng, value)
        file.write_text(json.dumps(content))
    check(task_of(DATASETS.get("Caltech101")(place), DatasetOptions(num_shots=shots), 1))


def pickles(rng: Random, place: Path) -> None:
    content = split(place)
    items = [_Item(str(place / "caltech-101" / "101_ObjectCategories" / p), n, c) for p, n, c in content["train"]]
    bytes_ = pickle.dumps({"train": datums(items), "val": datums(items[:1])})
    bytes_ = mutate.hostile(rng, str(place)) if rng.random() < 0.3 else mutate.damaged(bytes_, rng)
    (place / "shot.pkl").write_bytes(bytes_)
    load_coop_pickle(place / "shot.pkl", place / "caltech-101")


class _Item:
    def __init__(self, impath: str, label: int, classname: str):
        self.impath, self.label, self.classname, self.domain = impath, label, classname, 0


def lists(example: tuple[str, Random, Any, list[str]], place: Path) -> None:
    """images.csv, images.json, names.csv, prompts.json of an image folder."""
    name, rng, value, cells_of_a_row = example
    root = place / "photos"
    for kind in ("cat", "dog"):
        (root / "all" / kind).mkdir(parents=True)
        for i in range(2):
            (root / "all" / kind / f"{i}.png").touch()
    rows = [
        {"path": f"all/{kind}/{i}.png", "class": kind, "split": "train"} for kind in ("cat", "dog") for i in range(2)
    ]
    csv = "path,class,split\n" + "".join(",".join(row.values()) + "\n" for row in rows)
    content: dict[str, Any] = {
        "images.csv": csv,
        "images.json": rows,
        "prompts.json": {"cat": ["a cat."], "dog": ["a dog."]},
    }
    content["names.csv"] = "class,name\ncat,lynx\n"
    if name != "images.json":
        (root / "images.csv").write_text(csv)
    text = content[name]
    if not isinstance(text, str):
        text = json.dumps(mutate.changed(text, rng, value))
    elif rng.random() < 0.6:
        cells = text.split("\n")
        cells[rng.randrange(len(cells))] = ",".join(cells_of_a_row)
        text = "\n".join(cells)
    bytes_ = text.encode("utf-8", "surrogatepass")
    (root / name).write_bytes(mutate.damaged(bytes_, rng) if rng.random() < 0.3 else bytes_)
    task = task_of(DATASETS.get("ImageFolder")(root), DatasetOptions(), 1)
    check(task)
    clip().encode_texts([text for name in task.labels.names for text in task.texts.of(name)])


# -- images -----------------------------------------------------------------------------------------------------


def images(example: tuple[Random, str], place: Path) -> None:
    rng, kind = example
    mode = rng.choice(["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
    width, height = rng.randint(1, 20), rng.randint(1, 20)
    image = Image.frombytes("L", (width, height), rng.randbytes(width * height)).convert("RGB")
    buffer = io.BytesIO()
    try:
        exif = Image.Exif()
        exif[0x0112] = rng.choice([1, 3, 6, 8, 9, 0, 255])
        image.convert(mode).save(buffer, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    except (OSError, ValueError, KeyError):  # not every format has every mode
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    file = place / f"image.{rng.choice(['png', 'jpg', 'txt'])}"
    file.write_bytes(mutate.damaged(buffer.getvalue(), rng))
    found = read_image(str(file), upright=rng.random() < 0.5)
    if found.mode != "RGB":
        raise AssertionError(f"not RGB: {found.mode}")


def folders(example: list[str], place: Path) -> None:
    """Class folders of any name."""
    root = photos(place)
    own = place / "own"
    own.mkdir()
    for name in example:
        name = name.replace("\0", "").replace("/", "")[:60]
        if name in ("", ".", "..") or len(name.encode("utf-8", "surrogatepass")) > 200:
            raise UserError("no system has a folder of this name")
        try:
            (own / "train" / name).mkdir(parents=True, exist_ok=True)
        except UnicodeEncodeError:
            raise UserError("no system has a folder of this name") from None
        (own / "train" / name / "0.png").symlink_to(root / "train" / "cat" / "0.png") if not list(
            (own / "train" / name).iterdir()
        ) else None
    check(task_of(DATASETS.get("ImageFolder")(own), DatasetOptions(), 1))


rngs = mutate.randoms
KINDS = [
    Kind("class names", st.tuples(lines, encodings, ends), class_names, 0.12),
    Kind("class folders", st.lists(st.one_of(st.sampled_from(WORDS), mutate.texts), max_size=4), folders, 0.04),
    Kind("split JSON", st.tuples(rngs, mutate.values, st.sampled_from([-1, 1])), splits, 0.1),
    Kind("few-shot pickles", rngs, pickles, 0.03),
    Kind(
        "lists and texts",
        st.tuples(
            st.sampled_from(["images.csv", "images.json", "names.csv", "prompts.json"]), rngs, mutate.values, lines
        ),
        lists,
        0.1,
    ),
    Kind("images", st.tuples(rngs, st.sampled_from(FORMATS)), images, 0.1),
]
