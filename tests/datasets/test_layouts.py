"""Every published data set from a small tree in its genuine layout: folders, annotation files, class names, counts."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dassl.data.datasets import DATASET_REGISTRY, Datum
from scipy.io import savemat

import datasets  # noqa: F401  registers them
from tests.datasets.conftest import config, touch

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


def build(name: str, root: Path, **options):
    return DATASET_REGISTRY.get(name)(config(root, name=name, **options))


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    LAYOUTS[request.param][0](tmp_path)
    return request.param, tmp_path


def test_counts_and_names_are_the_specified_ones(layout: tuple[str, Path]):
    name, root = layout
    _, counts, names = LAYOUTS[name]
    dataset = build(name, root)
    train = [] if dataset.test_only else dataset.train_x
    assert (len(train), len(dataset.val), len(dataset.test)) == counts
    assert dataset.classnames == names == list(dataset.lab2cname.values())
    assert dataset.num_classes == len(names)
    for item in (*train, *dataset.val, *dataset.test):
        assert Path(item.impath).is_file() and names[item.label] == item.classname


def test_base_and_new_classes_part_the_data_set(layout: tuple[str, Path]):
    name, root = layout
    whole, base, new = (build(name, root, subset=subset) for subset in ("all", "base", "new"))
    assert base.classnames + new.classnames == whole.classnames
    assert base.new_classnames == new.classnames
    assert len(base.classnames) == whole.n_base
    assert len(base.test) + len(new.test) == len(whole.test)
    if name in ("AWA2", "CUB", "SUN"):
        assert len(base.classnames) == 2 and new.test_only


def test_two_shots_are_two_images_a_class_with_training_images(layout: tuple[str, Path]):
    name, root = layout
    dataset = build(name, root, shots=2)
    if not dataset.test_only:
        counts = [sum(item.label == label for item in dataset.train_x) for label in range(dataset.num_classes)]
        assert set(counts) <= {0, 2} and counts.count(2) == len({item.label for item in build(name, root).train_x})


def test_a_split_file_of_coops_wins_over_the_raw_annotations(layout: tuple[str, Path]):
    name, root = layout
    cls = DATASET_REGISTRY.get(name)
    if not cls.split_name:
        pytest.skip("it has no split file")
    first = build(name, root)
    file = root / cls.dataset_dir / cls.split_name
    content = json.loads(file.read_text())
    content["test"], content["train"] = content["train"], content["test"]
    file.write_text(json.dumps(content))
    swapped = build(name, root)
    assert [item.impath for item in swapped.train_x] == [item.impath for item in first.test]


def test_imagenet_takes_coops_index_and_few_shot_files(tmp_path: Path):
    imagenet(tmp_path)
    whole = build("ImageNet", tmp_path)
    folder = tmp_path / "imagenet"
    index = {"train": list(reversed(whole.train_x)), "test": whole.test}
    (folder / "preprocessed.pkl").write_bytes(pickle.dumps(index))
    assert build("ImageNet", tmp_path).train_x[0].impath == whole.train_x[-1].impath
    (folder / "split_fewshot").mkdir()
    (folder / "split_fewshot" / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": whole.train_x[4::5]}))
    dataset = build("ImageNet", tmp_path, shots=1)
    assert [Path(item.impath).name for item in dataset.train_x] == [f"{wnid}_4.JPEG" for wnid in WNIDS]
    assert len(dataset.val) == len(dataset.test) == 6  # validation is the test set, and is not thinned out


def test_variants_find_the_class_names_of_imagenet(tmp_path: Path):
    imagenet(tmp_path)
    variant("imagenet-sketch", "images", WNIDS)(tmp_path)
    (tmp_path / "imagenet-sketch" / "classnames.txt").unlink()
    assert build("ImageNetSketch", tmp_path).classnames[1] == "goldfish"


def test_a_folder_that_no_line_names_is_told(tmp_path: Path):
    imagenet(tmp_path)
    touch(tmp_path / "imagenet" / "images" / "train" / "n99999999", 1)
    with pytest.raises(ValueError, match="n99999999 is in no line of classnames.txt"):
        build("ImageNet", tmp_path)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in ("Caltech101", "Food101", "EuroSAT")])
def test_a_missing_annotation_file_is_named(name: str, tmp_path: Path):
    LAYOUTS[name][0](tmp_path)
    texts = [file for file in tmp_path.rglob("*") if file.suffix in (".txt", ".mat", ".json")]
    texts = [file for file in texts if file.name != "README.txt"]
    if not texts:
        pytest.skip("it is read from folders alone")
    for file in texts:
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(FileNotFoundError, match=file.name):
            build(name, tmp_path)
        file.write_bytes(content)


DAMAGE = {  # file, old text, new text
    "FGVCAircraft": ("images_variant_train.txt", "707-320", "Zeppelin"),
    "SUN397": ("Training_01.txt", "/a/abbey", "/a/abby"),
    "UCF101": ("trainlist01.txt", "YoYo/", "YaYa/"),
    "OxfordFlowers": ("cat_to_name.json", '"1"', '"3"'),
    "OxfordPets": ("trainval.txt", "Abyssinian_1 1 1 1", "Abyssinian_1"),
    "ImageNet": ("classnames.txt", "n01440764 tench", "n01440764"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_annotation_file_is_one_sentence(name: str, tmp_path: Path):
    LAYOUTS[name][0](tmp_path)
    text, old, new = DAMAGE[name]
    (file,) = tmp_path.rglob(text)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match="fetch (it|them) anew") as found:
        build(name, tmp_path)
    assert str(tmp_path) in str(found.value) and "\n" not in str(found.value)


def test_imagenets_labels_are_those_of_its_training_folders(tmp_path: Path):
    imagenet(tmp_path)
    images = tmp_path / "imagenet" / "images"
    shutil.rmtree(images / "val" / WNIDS[0])  # an incomplete copy
    dataset = build("ImageNet", tmp_path)
    assert [item.classname for item in dataset.test] == ["goldfish"] * 2 + ["English springer"] * 2
    assert all(dataset.lab2cname[item.label] == item.classname for item in dataset.test)
    imagenet(tmp_path)
    shutil.rmtree(images / "train" / WNIDS[0])
    with pytest.raises(ValueError, match=f"{WNIDS[0]} is of no class with training images"):
        build("ImageNet", tmp_path)


def test_a_damaged_mat_file_is_named(tmp_path: Path):
    flowers(tmp_path)
    (tmp_path / "oxford_flowers" / "imagelabels.mat").write_bytes(b"no MATLAB here")
    with pytest.raises(ValueError, match="imagelabels.mat holds no labels that can be read"):
        build("OxfordFlowers", tmp_path)


def test_a_datum_is_dassls(tmp_path: Path):
    caltech(tmp_path)
    item = build("Caltech101", tmp_path, subset="new").train_x[0]
    assert isinstance(item, Datum) and pickle.loads(pickle.dumps(item)).impath == item.impath
