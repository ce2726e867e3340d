from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shipclip.data import check
from shipclip.data.caltech101 import Caltech101
from tests.data.conftest import task
from tests.data.layouts import LAYOUTS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small Caltech-101 of real images, its split made."""
    LAYOUTS["Caltech101"][0](tmp_path)
    for file in tmp_path.rglob("*.jpg"):
        Image.fromarray(np.full((4, 4, 3), 99, dtype=np.uint8)).save(file)
    task(Caltech101, tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _small_caltech(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Caltech101, "sizes", (3, 15, 6, 9))


def run(root: Path, *flags: str, name: str = "caltech101") -> int:
    return check.main([name, "--root", str(root), *flags])


def test_a_whole_data_set_is_well(root: Path, capsys: pytest.CaptureFixture):
    assert run(root) == 0
    assert "3 classes, 15 training, 6 validation, 9 test images\nall there, and every image" in capsys.readouterr().out


def test_missing_and_damaged_images_are_listed_by_class(root: Path, capsys: pytest.CaptureFixture):
    dataset = task(Caltech101, root)
    gone, empty = (Path(dataset.train[i].impath) for i in (0, 1))
    text = Path(dataset.test[-1].impath)
    gone.unlink()
    empty.write_bytes(b"")
    text.write_text("no image")
    assert run(root) == 1
    out = capsys.readouterr().out
    assert f"missing: {gone}\n" in out
    assert f"damaged: {empty} (it is empty)\n" in out
    assert f"damaged: {text} (it is no image that PIL knows)\n" in out
    assert "1 images are missing, 2 damaged" in out
    face = next(line for line in out.splitlines() if " face " in line)
    assert face.split() == ["0", "face", "5", "2", "3", "1", "1"]
    assert " airplane " not in out  # a class without gaps
    assert run(root, "--classes") == 1 and " airplane " in capsys.readouterr().out


def test_a_quick_look_reads_no_image(root: Path, capsys: pytest.CaptureFixture):
    Path(task(Caltech101, root).train[0].impath).write_bytes(b"")
    assert run(root, "--quick") == 0
    assert capsys.readouterr().out.endswith("all there\n")


def test_other_counts_than_the_published_ones_are_told(root: Path, monkeypatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr(Caltech101, "sizes", (100, 4128, 1649, 2465))
    assert run(root) == 1
    assert "but the published set has 100 classes, 4,128 training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "sentence"), [("caltech102", "there is no data set caltech102; known: "), ("dtd", "looked for in")]
)
def test_what_cannot_be_read_at_all_is_one_sentence(tmp_path: Path, name: str, sentence: str, capsys):
    assert run(tmp_path, name=name) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error and error.count("\n") == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_data_set_can_be_checked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    tree, counts, names = LAYOUTS[name]
    tree(tmp_path)
    # All counts but Caltech-101's, see above, differ from the published ones.
    assert run(tmp_path, "--quick", "--classes", name=name) == (0 if name == "Caltech101" else 1)
    out = capsys.readouterr().out
    assert f"{len(names)} classes, {counts[0]} training, {counts[1]} validation, {counts[2]} test images" in out
