"""shipclip check --features: planted doubles, wrong labels, outliers and names are found, and ranked first."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from shipclip import cli
from shipclip.data import inspect as inspecting
from shipclip.data.inspect import Seen, doubles, doubtful_labels, names_alike, outliers
from shipclip.miniclip import world
from shipclip.miniclip.scene import EASY
from shipclip.task import Item

NAMES = sorted(world.downstream_classes()[::8][:5])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes of eight images, four of each for testing; with what a careless collector adds."""
    root = tmp_path_factory.mktemp("careless")
    for name in NAMES:
        for part, numbers in (("train", range(8)), ("test", range(8, 12))):
            (root / part / name).mkdir(parents=True)
            for i in numbers:
                image = Image.fromarray(world.render(name, world.image_rng(0, name, i), EASY))
                image.resize((150, 150)).save(root / part / name / f"{i}.png")
    a, b, c = (root / "train" / name for name in NAMES[:3])
    with Image.open(a / "0.png") as image:
        image.resize((140, 140)).save(root / "test" / NAMES[0] / "again.jpg", quality=70)  # smaller, in another part
    with Image.open(a / "1.png") as image:
        ImageOps.mirror(image).save(a / "mirrored.png")
    shutil.copy(b / "2.png", c / "moved.png")  # the same picture as two classes
    wrong = Image.fromarray(world.render(NAMES[1], world.image_rng(7, NAMES[1], 99), EASY))
    wrong.resize((150, 150)).save(c / "wrong.png")
    noise = np.random.default_rng(0).normal(128, 120, (150, 150)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).convert("RGB").save(root / "train" / NAMES[3] / "noise.png")
    return root


@pytest.fixture(scope="module")
def rows(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("found")
    command = ["check", "ImageFolder", "--root", str(photos), "--features", "MiniCLIP", "--out", str(out)]
    assert cli.main(command) == 0
    page = (out / "findings.html").read_text()
    assert "data:image/jpeg;base64" in page and "http" not in page.replace("http-equiv", "")
    with open(out / "findings.csv", newline="") as text:
        return list(csv.DictReader(text))


def of(rows: list[dict[str, str]], kind: str) -> list[dict[str, str]]:
    return [row for row in rows if row["kind"] == kind]


def test_a_smaller_copy_in_the_test_set_is_found(rows: list[dict[str, str]]):
    found = of(rows, "duplicate across parts")
    pairs = [(Path(row["path"]).name, Path(row["other_path"]).name, row["part"], row["other_part"]) for row in found]
    assert ("0.png", "again.jpg", "train", "test") in pairs


def test_mirrored_and_twice_labelled_copies_are_found(rows: list[dict[str, str]]):
    pairs = {frozenset((Path(row["path"]).name, Path(row["other_path"]).name)) for row in of(rows, "duplicate")}
    assert {frozenset(("1.png", "mirrored.png")), frozenset(("2.png", "moved.png"))} <= pairs


def test_wrong_labels_are_ranked_first(rows: list[dict[str, str]]):
    first = of(rows, "label")[:2]
    assert {Path(row["path"]).name for row in first} == {"moved.png", "wrong.png"}
    assert all((row["class"], row["other_class"]) == (NAMES[2], NAMES[1]) for row in first)


def test_noise_is_an_outlier(rows: list[dict[str, str]]):
    assert any(Path(row["path"]).name == "noise.png" for row in [*of(rows, "outlier"), *of(rows, "label")])


def test_each_kind_is_ranked_from_1(rows: list[dict[str, str]]):
    for kind in inspecting.KINDS:
        assert [int(row["rank"]) for row in of(rows, kind)] == list(range(1, len(of(rows, kind)) + 1))


def test_damaged_images_are_told_and_the_others_inspected(photos: Path, tmp_path: Path, capsys):
    root = shutil.copytree(photos, tmp_path / "photos")
    (root / "train" / NAMES[0] / "2.png").write_bytes(b"")
    command = ["check", "ImageFolder", "--root", str(root), "--features", "MiniCLIP", "--out", str(tmp_path / "o")]
    assert cli.main(command) == 1
    out = capsys.readouterr().out
    assert "damaged: " in out and (tmp_path / "o" / "findings.csv").is_file()


# -- by hand ----------------------------------------------------------------------------------------------------


def seen(features: list[list[float]], labels: list[int], text: list[list[float]] | None = None) -> Seen:
    x = torch.nn.functional.normalize(torch.tensor(features), dim=1)
    n = max(labels) + 1
    items = [Item(f"{i}.png", label, f"class {label}") for i, label in enumerate(labels)]
    t = torch.nn.functional.normalize(torch.tensor(text or [[1.0, 0, 0]] * n), dim=1)
    pictures = torch.nn.functional.normalize(torch.randn(len(labels), 256, generator=torch.Generator().manual_seed(0)))
    return Seen(items, ["train"] * len(labels), x, pictures, pictures.flip(1), [f"class {i}" for i in range(n)], t)


ALONG = [[1, 0.1 * i, 0.0] for i in range(6)]
ACROSS = [[0.0, 0.1 * i, 1.0] for i in range(6)]


def test_an_image_is_not_compared_with_itself():
    """Without it the mean of its class is the others'."""
    own, others = inspecting.to_means(seen([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]], [0, 0, 1]))
    assert own.tolist() == pytest.approx([0, 0, 1]) and others.values.tolist() == pytest.approx([0, 0, 0])


def test_a_label_needs_both_the_mean_and_the_neighbours_against_it():
    assert doubtful_labels(seen([*ALONG, *ACROSS], [0] * 6 + [1] * 6)) == []
    (found,) = doubtful_labels(seen([*ALONG, *ACROSS, [0.0, 0.2, 1.0]], [0] * 6 + [1] * 6 + [0]))
    assert found.first == 12 and found.classes == ("class 0", "class 1") and found.score < 0


def test_an_outlier_is_far_from_its_class_by_what_is_usual_in_it():
    assert outliers(seen([*ALONG, *ACROSS], [0] * 6 + [1] * 6)) == []
    found = outliers(seen([*ALONG, *ACROSS, [0.3, -1.0, 0.0]], [0] * 6 + [1] * 6 + [0]))
    assert [one.first for one in found] == [12]


def test_names_are_alike_where_images_are_no_nearer_to_their_own():
    apart = seen([*ALONG, *ACROSS], [0] * 6 + [1] * 6, [[1, 0, 0.0], [0, 0, 1.0]])
    assert names_alike(apart) == []
    (found,) = names_alike(seen([*ALONG, *ACROSS], [0] * 6 + [1] * 6, [[1, 0, 1.0], [1, 0, 0.9]]))
    assert found.classes == ("class 0", "class 1") and "nearer to the right one" in found.why


def test_other_pictures_with_like_features_are_no_doubles():
    assert doubles(seen([[1, 0, 0.0]] * 4, [0] * 4)) == []
