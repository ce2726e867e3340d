"""Every published data set from a small tree in its genuine layout: folders, annotation files, class names, counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.data.conftest import touch

Tree = Callable[[Path], None]
WNIDS = ("n01440764", "n01443537", "n02102040")
IMAGENET_NAMES = "n01440764 tench\nn01443537 goldfish\nn02102040 English springer\n"


def cells(values: list[str]) -> np.ndarray:
    """A MATLAB cell array of strings."""
    out = np.empty((len(values), 1), dtype=object)
    for i, value in enumerate(values):
        out[i, 0] = value
    return out


def caltech(root: Path) -> None:
    for folder in ("airplanes", "Faces", "Faces_easy", "BACKGROUND_Google", "ant"):
        touch(root / "caltech-101" / "101_ObjectCategories" / folder, 10)


def pets(root: Path) -> None:
    folder = root / "oxford_pets"
    (folder / "annotations").mkdir(parents=True)
    for file, numbers in (("trainval", range(10)), ("test", range(10, 14))):
        lines = ["#Image CLASS-ID SPECIES BREED ID"]
        for label, breed in enumerate(("Abyssinian", "american_bulldog"), start=1):
            touch(folder / "images", 14, f"{breed}_{{}}.jpg")
            lines += [f"{breed}_{i} {label} 1 1" for i in numbers]
        (folder / "annotations" / f"{file}.txt").write_text("\n".join(lines))


def cars(root: Path) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cells(["Acura TL Sedan 2012", "BMW M3 Coupe 2010"]).T})
    kind = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for part, file, count in (
        ("cars_train", folder / "devkit" / "cars_train_annos.mat", 20),
        ("cars_test", folder / "cars_test_annos_withlabels.mat", 6),
    ):
        images = touch(folder / part, count, "{:05d}.jpg")
        rows = np.array([[(1, 2, 3, 4, i % 2 + 1, image.name) for i, image in enumerate(images)]], dtype=kind)
        savemat(file, {"annotations": rows})


def flowers(root: Path) -> None:
    folder = root / "oxford_flowers"
    for i in range(1, 21):
        touch(folder / "jpg", 1, f"image_{i:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[2] * 10 + [1] * 10], dtype=np.uint8)})
    (folder / "cat_to_name.json").write_text(json.dumps({"1": "pink primrose", "2": "canterbury bells"}))


def by_folder(*path: str, names: tuple[str, ...]) -> Tree:
    def make(root: Path) -> None:
        for name in names:
            touch(root.joinpath(*path, name), 10)

    return make


def aircraft(root: Path) -> None:
    folder = root / "fgvc_aircraft"
    touch(folder / "images", 12, "{:07d}.jpg")
    (folder / "variants.txt").write_text("707-320\nA300B4\nBAE 146-200\n")
    for part, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        lines = [f"{i:07d} {('707-320', 'A300B4', 'BAE 146-200')[i % 3]}" for i in numbers]
        (folder / f"images_variant_{part}.txt").write_text("\n".join(lines) + "\n")


def sun397(root: Path) -> None:
    folder, scenes = root / "sun397", ("/a/abbey", "/a/apartment_building/outdoor")
    lists: dict[str, list[str]] = {"Training_01.txt": [], "Testing_01.txt": []}
    for scene in scenes:
        for i, file in enumerate(touch(folder / "SUN397" / scene.lstrip("/"), 14, "sun_{}.jpg")):
            lists["Training_01.txt" if i < 10 else "Testing_01.txt"].append(f"{scene}/{file.name}")
    for name, lines in {**lists, "ClassName.txt": list(scenes)}.items():
        (folder / name).write_text("\n".join(lines) + "\n")


def ucf101(root: Path) -> None:
    folder = root / "ucf101"
    lists: dict[str, list[str]] = {"trainlist01.txt": [], "testlist01.txt": []}
    for label, (action, name) in enumerate((("ApplyEyeMakeup", "Apply_Eye_Makeup"), ("YoYo", "Yo_Yo")), start=1):
        for i, file in enumerate(touch(folder / "UCF-101-midframes" / name, 14, f"v_{action}_g{{:02d}}_c01.jpg")):
            video = f"{action}/{file.stem}.avi"
            lists["trainlist01.txt" if i < 10 else "testlist01.txt"].append(f"{video} {label}" if i < 10 else video)
    (folder / "ucfTrainTestlist").mkdir()
    lists["classInd.txt"] = ["1 ApplyEyeMakeup", "2 YoYo"]
    for name, lines in lists.items():
        (folder / "ucfTrainTestlist" / name).write_text("\r\n".join(lines) + "\r\n")


def imagenet(root: Path) -> None:
    folder = root / "imagenet"
    for part, count in (("train", 5), ("val", 2)):
        for wnid in WNIDS:
            touch(folder / "images" / part / wnid, count, f"{wnid}_{{}}.JPEG")
    (folder / "classnames.txt").write_text(IMAGENET_NAMES)


def variant(folder: str, images: str, names: tuple[str, ...]) -> Tree:
    def make(root: Path) -> None:
        for name in names:
            touch(root / folder / images / name, 3)
        (root / folder / images / "README.txt").touch()
        (root / folder / "classnames.txt").write_text(IMAGENET_NAMES)

    return make


def proposed_split(name: str, images: str, prefix: str, classes: dict[str, str]) -> Tree:
    """The last class is unseen; folders by class name in the split file."""

    def make(root: Path) -> None:
        paths, labels, parts = [], [], {"trainval": [], "test_seen": [], "test_unseen": []}
        for label, (key, folder) in enumerate(classes.items(), start=1):
            unseen = key == list(classes)[-1]
            for i, file in enumerate(touch(root / images / folder, 5)):
                paths.append(f"{prefix}/{folder}/{file.name}")
                labels.append(label)
                parts["test_unseen" if unseen else "trainval" if i < 3 else "test_seen"].append(len(paths))
        facts = root / "xlsa17" / "data" / name
        facts.mkdir(parents=True)
        columns = {"image_files": cells(paths), "labels": np.array(labels, dtype=float)[:, None]}
        savemat(facts / "res101.mat", {**columns, "features": np.zeros((8, len(paths)))})
        locs = {f"{part}_loc": np.array(rows, dtype=np.uint16)[:, None] for part, rows in parts.items()}
        savemat(facts / "att_splits.mat", {"allclasses_names": cells(list(classes)), **locs})

    return make


AWA2 = {"antelope": "antelope", "grizzly+bear": "grizzly+bear", "zebra": "zebra"}
CUB = {name: name for name in ("001.Black_footed_Albatross", "002.Laysan_Albatross", "200.Common_Yellowthroat")}
SUN = {"abbey": "a/abbey", "access_road": "a/access_road", "zoo": "z/zoo"}

# name -> (tree, training, validation and test images, class names)
LAYOUTS: dict[str, tuple[Tree, tuple[int, int, int], list[str]]] = {
    "Caltech101": (caltech, (15, 6, 9), ["face", "airplane", "ant"]),
    "OxfordPets": (pets, (16, 4, 8), ["abyssinian", "american_bulldog"]),
    "StanfordCars": (cars, (16, 4, 6), ["2012 Acura TL Sedan", "2010 BMW M3 Coupe"]),
    "OxfordFlowers": (flowers, (10, 4, 6), ["pink primrose", "canterbury bells"]),
    "Food101": (by_folder("food-101", "images", names=("apple_pie", "waffles")), (10, 4, 6), ["apple_pie", "waffles"]),
    "FGVCAircraft": (aircraft, (6, 3, 3), ["707-320", "A300B4", "BAE 146-200"]),
    "SUN397": (sun397, (16, 4, 8), ["abbey", "outdoor apartment_building"]),
    "DescribableTextures": (
        by_folder("dtd", "images", names=("banded", "zigzagged")),
        (10, 4, 6),
        ["banded", "zigzagged"],
    ),
    "EuroSAT": (
        by_folder("eurosat", "2750", names=("AnnualCrop", "SeaLake")),
        (10, 4, 6),
        ["Annual Crop Land", "Sea or Lake"],
    ),
    "UCF101": (ucf101, (16, 4, 8), ["Apply_Eye_Makeup", "Yo_Yo"]),
    "ImageNet": (imagenet, (15, 6, 6), ["tench", "goldfish", "English springer"]),
    "ImageNetV2": (
        variant("imagenetv2", "imagenetv2-matched-frequency-format-val", ("0", "1", "2")),
        (0, 0, 9),
        ["tench", "goldfish", "English springer"],
    ),
    "ImageNetSketch": (
        variant("imagenet-sketch", "images", WNIDS),
        (0, 0, 9),
        ["tench", "goldfish", "English springer"],
    ),
    "ImageNetA": (variant("imagenet-adversarial", "imagenet-a", WNIDS[::2]), (0, 0, 6), ["tench", "English springer"]),
    "ImageNetR": (variant("imagenet-rendition", "imagenet-r", WNIDS[1:]), (0, 0, 6), ["goldfish", "English springer"]),
    "AWA2": (
        proposed_split(
            "AWA2",
            "Animals_with_Attributes2/JPEGImages",
            "/BS/xian17/work/data/Animals_with_Attributes2//JPEGImages",
            AWA2,
        ),
        (6, 0, 9),
        ["antelope", "grizzly bear", "zebra"],
    ),
    "CUB": (
        proposed_split(
            "CUB", "CUB_200_2011/images", "/BS/Deep_Fragments/work/MSc/CUB_200_2011/CUB_200_2011/images", CUB
        ),
        (6, 0, 9),
        ["Black_footed_Albatross", "Laysan_Albatross", "Common_Yellowthroat"],
    ),
    "SUN": (
        proposed_split("SUN", "SUNAttributeDB/images", "/BS/Deep_Fragments/work/MSc/data/SUN/images", SUN),
        (6, 0, 9),
        ["abbey", "access_road", "zoo"],
    ),
}
