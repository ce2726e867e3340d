"""Every published data set from a small tree in its genuine layout: class names, counts, mistakes."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from shipclip.data import DATASETS
from shipclip.task import Item, Task
from tests.data.conftest import datums, names, task, touch
from tests.data.layouts import LAYOUTS, WNIDS, caltech, flowers, imagenet, variant


def build(name: str, root: Path, **options) -> Task:
    return task(DATASETS.get(name), root, **options)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    LAYOUTS[request.param][0](tmp_path)
    return request.param, tmp_path


def test_counts_and_names_are_the_specified_ones(layout: tuple[str, Path]):
    name, root = layout
    _, counts, wanted = LAYOUTS[name]
    dataset = build(name, root)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == counts
    assert names(dataset) == wanted
    for item in (*dataset.train, *dataset.val, *dataset.test):
        assert Path(item.impath).is_file() and wanted[item.label] == item.classname


def test_base_and_new_classes_part_the_data_set(layout: tuple[str, Path]):
    name, root = layout
    whole, base, new = (build(name, root, subset=subset) for subset in ("all", "base", "new"))
    assert names(base) + names(new) == names(whole)
    assert list(base.labels.further) == names(new)
    assert len(names(base)) == whole.labels.n_base
    assert len(base.test) + len(new.test) == len(whole.test)
    if name in ("AWA2", "CUB", "SUN"):
        assert len(names(base)) == 2 and not new.train


def test_two_shots_are_two_images_a_class_with_training_images(layout: tuple[str, Path]):
    name, root = layout
    dataset = build(name, root, shots=2)
    if dataset.train:
        counts = [sum(item.label == label for item in dataset.train) for label in range(len(names(dataset)))]
        assert set(counts) <= {0, 2} and counts.count(2) == len({item.label for item in build(name, root).train})


def test_a_split_file_of_coops_wins_over_the_raw_annotations(layout: tuple[str, Path]):
    name, root = layout
    cls = DATASETS.get(name)
    if not cls.split_name:
        pytest.skip("it has no split file")
    first = build(name, root)
    file = root / cls.dataset_dir / cls.split_name
    content = json.loads(file.read_text())
    content["test"], content["train"] = content["train"], content["test"]
    file.write_text(json.dumps(content))
    swapped = build(name, root)
    assert [item.impath for item in swapped.train] == [item.impath for item in first.test]


def test_imagenet_takes_coops_index_and_few_shot_files(tmp_path: Path):
    imagenet(tmp_path)
    whole = build("ImageNet", tmp_path)
    folder = tmp_path / "imagenet"
    index = {"train": datums(list(reversed(whole.train))), "test": datums(whole.test)}
    (folder / "preprocessed.pkl").write_bytes(pickle.dumps(index))
    assert build("ImageNet", tmp_path).train[0].impath == whole.train[-1].impath
    (folder / "split_fewshot").mkdir()
    (folder / "split_fewshot" / "shot_1-seed_1.pkl").write_bytes(pickle.dumps({"train": datums(whole.train[4::5])}))
    dataset = build("ImageNet", tmp_path, shots=1)
    assert [Path(item.impath).name for item in dataset.train] == [f"{wnid}_4.JPEG" for wnid in WNIDS]
    assert len(dataset.val) == len(dataset.test) == 6  # validation is the test set, and is not thinned out


def test_variants_find_the_class_names_of_imagenet(tmp_path: Path):
    imagenet(tmp_path)
    variant("imagenet-sketch", "images", WNIDS)(tmp_path)
    (tmp_path / "imagenet-sketch" / "classnames.txt").unlink()
    assert names(build("ImageNetSketch", tmp_path))[1] == "goldfish"


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
    assert all(names(dataset)[item.label] == item.classname for item in dataset.test)
    imagenet(tmp_path)
    shutil.rmtree(images / "train" / WNIDS[0])
    with pytest.raises(ValueError, match=f"{WNIDS[0]} is of no class with training images"):
        build("ImageNet", tmp_path)


def test_a_damaged_mat_file_is_named(tmp_path: Path):
    flowers(tmp_path)
    (tmp_path / "oxford_flowers" / "imagelabels.mat").write_bytes(b"no MATLAB here")
    with pytest.raises(ValueError, match="imagelabels.mat holds no labels that can be read"):
        build("OxfordFlowers", tmp_path)


def test_an_item_can_be_pickled(tmp_path: Path):
    caltech(tmp_path)
    item = build("Caltech101", tmp_path, subset="new").train[0]
    assert isinstance(item, Item) and pickle.loads(pickle.dumps(item)).impath == item.impath
