from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipclip.data.image_folder import ImageFolder
from shipclip.task import Task
from tests.data.conftest import names, task, touch


def build(root: Path, **options) -> Task:
    return task(ImageFolder, root, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """cat and dog with images, fox and hare by name; test images of all but the hare."""
    touch(tmp_path / "train" / "cat", 3)
    touch(tmp_path / "train" / "dog", 5)
    for name in ("cat", "dog", "fox"):
        touch(tmp_path / "test" / name, 2)
    (tmp_path / "classnames.txt").write_text("fox\nhare\n\n")
    return tmp_path


def test_classes_with_images_are_base_and_names_alone_are_new(root: Path):
    dataset = build(root)
    assert names(dataset) == ["cat", "dog", "fox", "hare"] and dataset.labels.n_base == 2
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (8, 0, 6)
    assert sorted({item.label for item in dataset.test}) == [0, 1, 2]
    base, new = build(root, subset="base"), build(root, subset="new")
    assert list(base.labels.further) == names(new) == ["fox", "hare"]
    assert (not new.train) and [item.label for item in new.test] == [0, 0]


def test_without_further_names_the_classes_are_halved_as_in_coops_protocol(root: Path):
    (root / "classnames.txt").unlink()
    for i, name in enumerate(("ant", "bee", "fox")):
        touch(root / "train" / name, i + 1)
    assert names(build(root, subset="base")) == ["ant", "bee", "cat"]
    assert names(build(root, subset="new")) == ["dog", "fox"]


def test_shots_are_drawn_from_each_class_and_a_class_with_fewer_gives_all(root: Path):
    items = build(root, shots=4).train
    assert [sum(item.label == label for item in items) for label in (0, 1)] == [3, 4]


def test_images_may_lie_deeper_and_other_files_are_left_out(root: Path, capsys: pytest.CaptureFixture):
    touch(root / "train" / "cat" / "2024" / "may", 2, "photo {}.JPEG")
    for name in ("Thumbs.db", "notes.txt", ".hidden.jpg"):
        (root / "train" / "cat" / name).touch()
    (root / "train" / ".cache").mkdir()
    (root / "train" / "readme.txt").touch()
    assert len(build(root).train) == 10
    assert "left out: 1 .db, 1 .txt" in capsys.readouterr().out


def test_names_may_have_blanks_and_any_letters_in_either_form_of_unicode(root: Path):
    touch(root / "train" / unicodedata.normalize("NFD", "Käfer rot"), 1)
    touch(root / "test" / "狐", 1)
    (root / "classnames.txt").write_text("狐\nfox\n" + unicodedata.normalize("NFC", "Käfer rot"), encoding="utf-8")
    assert names(build(root)) == ["Käfer rot", "cat", "dog", "狐", "fox"]


def test_human_names_come_from_a_mapping_file(root: Path):
    (root / "names.csv").write_text("class,name\ncat,European wildcat\nfox,red fox\n")
    dataset = build(root)
    assert names(dataset) == ["European wildcat", "dog", "red fox", "hare"]
    assert {item.classname for item in dataset.test} == {"European wildcat", "dog", "red fox"}


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_a_list_of_paths_takes_the_folders_place(root: Path, suffix: str):
    rows = [{"path": f"train/cat/image_000{i}.jpg", "class": "lynx"} for i in range(2)]
    rows.append({"path": "test/fox/image_0000.jpg", "class": "fox", "split": "test"})
    if suffix == "json":
        (root / "images.json").write_text(json.dumps(rows))
    else:
        lines = [f"{row['path']},{row['class']},{row.get('split', '')}" for row in rows]
        (root / "images.csv").write_text("\n".join(["path,class,split", *lines]))
    with pytest.raises(ValueError, match="both say which images there are"):
        build(root)
    for part in ("train", "test"):
        (root / part).rename(root / f"photos_{part}")
        text = (root / f"images.{suffix}").read_text().replace(f"{part}/", f"photos_{part}/", 2)
        (root / f"images.{suffix}").write_text(text)
    dataset = build(root)
    assert names(dataset) == ["lynx", "fox", "hare"] and len(dataset.train) == 2 and len(dataset.test) == 1


def write(root: Path, file: str, text: str) -> None:
    (root / file).write_text(text)


def unlist(root: Path, text: str) -> None:
    for part in ("train", "test"):
        (root / part).rename(root / f"p{part}")
    write(root, "images.csv", text)


MISTAKES = {
    "empty class": (lambda r: (r / "train" / "owl").mkdir(), "owl has no image: add some, or remove the folder"),
    "unknown test class": (lambda r: touch(r / "test" / "foxx", 1), r"test images of 'foxx', .*did you mean fox"),
    "same name": (lambda r: touch(r / "train" / "Cat", 1), "'Cat' and 'cat' .* have the same name 'cat'"),
    "name twice": (lambda r: write(r, "classnames.txt", "fox\nfox\n"), "classnames.txt names 'fox' twice"),
    "same name after mapping": (lambda r: write(r, "names.csv", "class,name\nfox,dog\n"), "same name 'dog'"),
    "mapping of nothing": (
        lambda r: write(r, "names.csv", "class,name\ncta,x\n"),
        "gives a name to 'cta', .*did you mean cat",
    ),
    "mapping without header": (lambda r: write(r, "names.csv", "cat,lynx\nx,y\n"), "first line must be class,name"),
    "mapping of one line": (lambda r: write(r, "names.csv", "cat,lynx\n"), "first line must be class,name"),
    "a field of 200 kB": (lambda r: write(r, "names.csv", f"class,name\ncat,{'x' * 200_000}\n"), "names.csv is no CSV"),
    "JSON without end": (
        lambda r: (unlist(r, ""), (r / "images.csv").unlink(), write(r, "images.json", "[" * 100_000)),
        "images.json is no JSON",
    ),
    "same name in a file": (
        lambda r: write(r, "classnames.txt", "# x\nDog\n"),
        r"'dog' and 'Dog' \(classnames.txt, line 2\) in .* have the same name",
    ),
    "a folder whose name is no text": (
        lambda r: touch(Path(os.fsdecode(os.fsencode(r / "train") + b"/caf\xe9")), 1),
        "which is no text: rename it",
    ),
    "mapping with gaps": (lambda r: write(r, "names.csv", "class,name\ncat,\n"), "row 1: class 'cat', name ''"),
    "in two splits": (
        lambda r: unlist(r, "path,class,split\na.jpg,cat,train\na.jpg,cat,test\n"),
        "images.csv has a.jpg twice, in rows 1 and 2: keep one",
    ),
    "in two splits by another path": (
        lambda r: unlist(r, "path,class,split\na.jpg,cat,train\n./x/../a.jpg,cat,test\n"),
        "twice, in rows 1 and 2",
    ),
    "of two classes": (lambda r: unlist(r, "path,class\na.jpg,cat\na.jpg,dog\n"), "twice, in rows 1 and 2"),
    "not UTF-8": (
        lambda r: (r / "names.csv").write_bytes("class,name\ncat,Käse".encode("cp1252")),
        "names.csv is not in",
    ),
    "class is a list": (
        lambda r: (unlist(r, ""), (r / "images.csv").unlink(), write(r, "images.json", '[{"path":"a","class":["x"]}]')),
        "row 1: path 'a', class ''",
    ),
    "no class in a row": (lambda r: unlist(r, "path,class\na.jpg,\n"), "row 1: path 'a.jpg', class ''"),
    "unknown split": (lambda r: unlist(r, "path,class,split\na.jpg,cat,dev\n"), "split 'dev'.* among train, val, test"),
    "listed and not there": (lambda r: unlist(r, "path,class\na.jpg,cat\n"), "there is no image .*a.jpg"),
    "no training images": (lambda r: (r / "train").rename(r / "trian"), "has no training images: put them into"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, root: Path):
    make, sentence = MISTAKES[mistake]
    make(root)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as found:
        build(root)
    assert str(root) in str(found.value) and "\n" not in str(found.value)


def test_a_human_name_may_be_another_classes_folder(root: Path):
    """cat is called dog and dog is called cat: images stay with their folders."""
    write(root, "names.csv", "class,name\ncat,dog\ndog,cat\n")
    dataset = build(root)
    assert names(dataset)[:2] == ["dog", "cat"]
    for item in [*dataset.train, *dataset.test]:
        folder = Path(item.impath).parent.name
        assert item.classname == {"cat": "dog", "dog": "cat"}.get(folder, folder)


def test_comments_are_no_classes(root: Path):
    write(root, "classnames.txt", "# birds come later\nfox\nhare\n")
    assert names(build(root)) == ["cat", "dog", "fox", "hare"]


def test_lists_may_have_numbers_for_classes_and_paths_of_windows(root: Path):
    rows = [{"path": "ptrain\\cat\\0.jpg", "class": 0}, {"path": "ptrain/dog/1.jpg", "class": 1}]
    unlist(root, "")
    (root / "images.csv").unlink()
    write(root, "images.json", json.dumps(rows))
    for row in rows:
        file = root / row["path"].replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    dataset = build(root)
    assert names(dataset)[:2] == ["0", "1"] and len(dataset.train) == 2


def test_links_are_followed_and_a_circle_ends(root: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    touch(elsewhere, 2)
    (root / "train" / "cat" / "more").symlink_to(elsewhere)
    (root / "train" / "cat" / "again").symlink_to(root / "train" / "cat")
    assert len([item for item in build(root).train if item.classname == "cat"]) == 5


def test_images_beside_the_class_folders_are_told(root: Path, capsys: pytest.CaptureFixture):
    (root / "train" / "stray.jpg").touch()
    assert len(build(root).train) == 8
    assert "left out: 1 directly in train/, of no class" in capsys.readouterr().out


def test_new_classes_without_any_image_cannot_stand_alone(root: Path):
    for file in (root / "test" / "fox").iterdir():
        file.unlink()
    (root / "test" / "fox").rmdir()
    with pytest.raises(ValueError, match="new classes of ImageFolder have names but no image"):
        build(root, subset="new")


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    new=st.integers(0, 3),
    shots=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_picks_are_disjoint_whole_and_repeatable(tmp_path_factory, sizes: list[int], new: int, shots: int, seed: int):
    root = tmp_path_factory.mktemp("photos")
    for label, size in enumerate(sizes):
        touch(root / "train" / f"class {label}", size)
        touch(root / "test" / f"class {label}", 1)
    (root / "classnames.txt").write_text("\n".join(f"new {i}" for i in range(new)))
    dataset = build(root, shots=shots, seed=seed)
    counts = [sum(item.label == label for item in dataset.train) for label in range(len(sizes))]
    assert counts == [min(size, shots) for size in sizes]
    assert len(names(dataset)) == len(sizes) + new
    paths = [item.impath for item in dataset.train]
    assert len(set(paths)) == len(paths) and not set(paths) & {item.impath for item in dataset.test}
    assert [item.impath for item in build(root, shots=shots, seed=seed).train] == paths
