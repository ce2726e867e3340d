from __future__ import annotations

import json
import os
import pickle
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipclip.data import base
from shipclip.data.caltech101 import Caltech101
from shipclip.data.eurosat import NAMES, EuroSAT
from shipclip.data.fewshot import draw, seeded_generator
from shipclip.data.oxford_pets import OxfordPets
from shipclip.data.splits import Split, for_development, subsample
from shipclip.task import Item, Task
from tests.data.conftest import datums, names, task, touch


@pytest.fixture
def caltech(tmp_path: Path) -> Path:
    images = tmp_path / "caltech-101" / "101_ObjectCategories"
    for folder in ("airplanes", "Faces", "ant", "BACKGROUND_Google", "Faces_easy", "zebra"):
        touch(images / folder, 10)
    (images / ".hidden").mkdir()
    return tmp_path


def counts(dataset: Task) -> tuple[int, int, int]:
    return len(dataset.train), len(dataset.val), len(dataset.test)


def test_caltech_is_split_by_folder_with_clean_names(caltech: Path):
    dataset = task(Caltech101, caltech)
    assert names(dataset) == ["face", "airplane", "ant", "zebra"]  # sorted by folder, capitals first
    assert counts(dataset) == (20, 8, 12)


def test_eurosat_has_readable_names(tmp_path: Path):
    for folder in NAMES:
        touch(tmp_path / "eurosat" / "2750" / folder, 10)
    dataset = task(EuroSAT, tmp_path)
    assert names(dataset)[0] == "Annual Crop Land" and names(dataset)[-1] == "Sea or Lake"
    assert counts(dataset) == (50, 20, 30)


def test_pets_are_split_by_the_official_lists(tmp_path: Path):
    folder = tmp_path / "oxford_pets"
    breeds = ("Abyssinian", "american_bulldog", "Sphynx")
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for file, numbers in (("trainval", range(10)), ("test", range(10, 14))):
        lines = ["#Image CLASS-ID SPECIES BREED ID"] if file == "trainval" else []
        for label, breed in enumerate(breeds, start=1):
            for i in numbers:
                (folder / "images" / f"{breed}_{i}.jpg").touch()
                lines.append(f"{breed}_{i} {label} 1 1")
        (folder / "annotations" / f"{file}.txt").write_text("\n".join(lines))
    dataset = task(OxfordPets, tmp_path)
    assert names(dataset) == ["abyssinian", "american_bulldog", "sphynx"]
    assert counts(dataset) == (24, 6, 12)


def test_the_split_is_the_same_whatever_the_file_systems_order(caltech: Path, monkeypatch: pytest.MonkeyPatch):
    first = [item.impath for item in task(Caltech101, caltech).train]
    (caltech / "caltech-101" / "split_zhou_Caltech101.json").unlink()
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), reverse=True))
    assert [item.impath for item in task(Caltech101, caltech, seed=2).train] == first


def test_a_made_split_is_saved_and_read_back(caltech: Path, capsys: pytest.CaptureFixture):
    first = task(Caltech101, caltech)
    second = task(Caltech101, caltech)
    file = caltech / "caltech-101" / "split_zhou_Caltech101.json"
    assert f"Reading split from {file}" in capsys.readouterr().out
    assert [i.impath for i in first.test] == [i.impath for i in second.test]


def test_a_read_only_folder_keeps_its_split_in_the_cache(
    caltech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(base, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = sorted(p.name for p in (caltech / "caltech-101").iterdir())
    first = task(Caltech101, caltech, shots=2)
    assert sorted(p.name for p in (caltech / "caltech-101").iterdir()) == before
    assert len(list((tmp_path / "cache").rglob("*split_zhou_Caltech101.json"))) == 1
    assert [i.impath for i in task(Caltech101, caltech, shots=2).train] == [i.impath for i in first.train]


# -- few-shot pickles of CoOp's -------------------------------------------------------------------------------


def write_pickle(root: Path, content: object) -> Path:
    file = root / "caltech-101" / "split_fewshot" / "shot_1-seed_1.pkl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(pickle.dumps(content))
    return file


def test_a_few_shot_pickle_is_honoured(caltech: Path):
    whole = task(Caltech101, caltech)
    picks = {"train": datums(whole.train[1::5]), "val": datums(whole.val[::2])}
    write_pickle(caltech, picks)
    dataset = task(Caltech101, caltech, shots=1)
    assert [i.impath for i in dataset.train] == [i.impath for i in picks["train"]]
    assert len(dataset.val) == 4


def test_a_pickle_of_a_moved_root_is_found_again(caltech: Path, tmp_path: Path):
    whole = task(Caltech101, caltech)
    write_pickle(caltech, {"train": datums(whole.train[::5]), "val": datums(whole.val[::2])})
    (caltech / "caltech-101").rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "new" / "caltech-101")
    dataset = task(Caltech101, tmp_path / "new", shots=1)
    assert all(str(tmp_path / "new") in item.impath for item in dataset.train)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil-ran",))


@pytest.mark.parametrize(
    "content", [Evil(), {"train": [Evil()], "val": []}, {"train": [SimpleNamespace()], "val": []}, [1], 3]
)
def test_anything_else_in_a_pickle_is_refused_and_not_run(caltech: Path, content: object, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    file = write_pickle(caltech, content)
    with pytest.raises(ValueError, match=f"{file.name} is not a file of CoOp's .*remove it"):
        task(Caltech101, caltech, shots=1)
    assert not (tmp_path / "evil-ran").exists()


# -- mistakes -------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"looked for in .*eurosat, which is not there: put it under --root"):
        task(EuroSAT, tmp_path)


def test_a_missing_image_is_named(caltech: Path):
    task(Caltech101, caltech)
    gone = Path(task(Caltech101, caltech).test[0].impath)
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no image {gone}"):
        task(Caltech101, caltech)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON"),
        ('{"train": []}', "is not a split file"),
        ('{"train": [["a"]], "val": [], "test": []}', "is not a split file"),
        ('{"train": {}, "val": [], "test": []}', "is not a split file"),
        ("[" * 100_000, "is no JSON"),
        ('{"train": [["a", 0, "x"], ["b", 0, "y"]], "val": [], "test": []}', "calls class 0 both 'x' and 'y'"),
    ],
)
def test_a_damaged_split_is_named(caltech: Path, text: str, sentence: str):
    (caltech / "caltech-101" / "split_zhou_Caltech101.json").write_text(text)
    with pytest.raises(ValueError, match=f"split_zhou_Caltech101.json {sentence}"):
        task(Caltech101, caltech)


def test_a_test_image_of_no_trained_class_is_named(caltech: Path):
    task(Caltech101, caltech)
    file = caltech / "caltech-101" / "split_zhou_Caltech101.json"
    content = json.loads(file.read_text())
    new = len({row[1] for row in content["train"]})
    content["test"][0][1:] = [new, "unicorn"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"image .* is of class {new} \(unicorn\), of which there is no training"):
        task(Caltech101, caltech)


@pytest.mark.parametrize(
    ("part", "entry", "sentence"),
    [
        ("train", [-7, "accordion"], r"train has the entry \['.*', -7, 'accordion'\]"),
        ("train", [1.5, "accordion"], r"train has the entry \['.*', 1.5, 'accordion'\]"),
        ("train", ["0", "accordion"], r"train has the entry \['.*', '0', 'accordion'\]"),
        ("train", [99, "accordion"], "has 5 classes, 99 among them, no 4: number them from 0"),
        ("train", [4, "{twin}"], "have the same name"),
        ("train", [4, ""], "has an empty class name"),
    ],
)
def test_labels_and_names_of_a_split_file_are_held_to_sense(caltech: Path, part: str, entry: list, sentence: str):
    """A slip in one row made another number of classes, or two of one name, without a word."""
    task(Caltech101, caltech)
    file = caltech / "caltech-101" / "split_zhou_Caltech101.json"
    content = json.loads(file.read_text())
    twin = content["train"][-1][2].upper()
    content[part][0][1:] = [value.format(twin=twin) if isinstance(value, str) else value for value in entry]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"split_zhou_Caltech101.json.* {sentence}|{sentence}") as found:
        task(Caltech101, caltech)
    assert str(file) in str(found.value)


def test_an_image_in_two_parts_of_a_split_file_is_told(caltech: Path, capsys: pytest.CaptureFixture):
    task(Caltech101, caltech)
    file = caltech / "caltech-101" / "split_zhou_Caltech101.json"
    content = json.loads(file.read_text())
    content["test"].append(content["train"][0])
    file.write_text(json.dumps(content))
    task(Caltech101, caltech)
    assert f"has 1 images in two parts, {content['train'][0][0]} (train and test) first" in capsys.readouterr().out


def test_a_split_that_can_be_kept_nowhere_is_used_all_the_same(caltech: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(base, "CACHE", tmp_path / "file" / "cache")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert len(task(Caltech101, caltech, shots=2).train) == 8
    assert "The split could not be kept in" in capsys.readouterr().out


def test_too_few_images_for_a_split_are_told(caltech: Path):
    touch(caltech / "caltech-101" / "101_ObjectCategories" / "rare", 1)
    with pytest.raises(ValueError, match="class 'rare', has 1 images, too few"):
        task(Caltech101, caltech)
    assert not list((caltech / "caltech-101").glob("*.json*"))


# -- properties -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def a_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("f") / "image.jpg"
    file.touch()
    return str(file)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=9), shots=st.integers(1, 8), seed=st.integers(0, 9999))
def test_every_class_gets_its_shots_and_halves_are_disjoint(a_file: str, sizes: list[int], shots: int, seed: int):
    items = [Item(a_file, label, domain=i, classname=f"c{label}") for label, n in enumerate(sizes) for i in range(n)]
    random.Random(seed).shuffle(items)
    picks = draw(items, shots, seeded_generator(seed))
    assert picks == draw(items, shots, seeded_generator(seed))
    assert len({(i.label, i.domain) for i in picks}) == len(picks)  # no image twice
    for label, n in enumerate(sizes):
        assert sum(i.label == label for i in picks) == min(n, shots)
    split = Split(picks, picks, items)
    base, new = (subsample(split, subset) for subset in ("base", "new"))
    assert len(base.test) + len(new.test) == len(items)
    names = [sorted({i.classname for i in half.train}) for half in (base, new)]
    assert len(names[0]) == -(-len(sizes) // 2) and not set(names[0]) & set(names[1])
    for half in (base, new):
        assert {i.label for i in half.train} == set(range(len({i.classname for i in half.train})))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=2, max_size=7),
    shots=st.integers(0, 6),
    seed=st.integers(0, 99),
)
def test_settings_are_tried_on_images_of_every_class_that_are_for_nothing_else(
    sizes: list[tuple[int, int]], shots: int, seed: int
):
    def images(part: str, label: int, n: int) -> list[Item]:
        return [Item(f"{part}/{label}/{i}", label, f"c{label}") for i in range(n)]

    train = [item for label, (n, _) in enumerate(sizes) for item in images("train", label, n)]
    val = [item for label, (_, n) in enumerate(sizes) for item in images("val", label, n)]
    published = Split(train, val, images("test", 0, 3))
    drawn = replace(published, train=draw(train, shots, seeded_generator(seed)) if shots else train)
    if all(n == 1 and not v for n, v in sizes):
        with pytest.raises(ValueError, match="raise DATASET.NUM_SHOTS, or add images"):
            for_development(published, drawn)
        return
    split = for_development(published, drawn)
    kept, held = ([item.impath for item in part] for part in (split.train, split.test))
    assert len(set(kept + held)) == len(kept) + len(held) and not split.val
    assert not any(path.startswith("test") for path in kept + held)
    assert set(kept) <= {item.impath for item in drawn.train}
    for label, (n, v) in enumerate(sizes):
        assert any(item.label == label for item in split.train)
        assert any(item.label == label for item in split.test) == (n > 1 or v > 0)


def test_no_image_is_in_two_parts(caltech: Path):
    content = task(Caltech101, caltech)
    paths = [i.impath for part in (content.train, content.val, content.test) for i in part]
    assert len(paths) == len(set(paths)) == 40


def test_an_unknown_subset_is_refused(caltech: Path):
    with pytest.raises(ValueError, match="SUBSAMPLE_CLASSES is 'novel': choose one of all, base, new"):
        task(Caltech101, caltech, subset="novel")


def test_the_split_file_has_coops_format(caltech: Path):
    task(Caltech101, caltech)
    content = json.loads((caltech / "caltech-101" / "split_zhou_Caltech101.json").read_text())
    path, label, name = content["train"][0]
    assert list(content) == ["train", "val", "test"]
    assert (caltech / "caltech-101" / "101_ObjectCategories" / path).is_file() and (label, name) == (0, "face")
