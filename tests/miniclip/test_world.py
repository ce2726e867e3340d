from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shipclip.miniclip import drawing, world
from shipclip.miniclip.world import CLEAN, COLOURS, SHAPES, SHIFTED, TEXTURES, downstream_classes, image_rng, render

DOWNSTREAM = downstream_classes()


def test_forty_classes_balanced_over_the_attributes():
    assert len(set(DOWNSTREAM)) == 40 and set(DOWNSTREAM) <= set(world.classnames())
    for place, values in enumerate((COLOURS, TEXTURES, SHAPES)):
        counts = Counter(name.split()[place] for name in DOWNSTREAM)
        assert set(counts) == set(values)
        assert max(counts.values()) - min(counts.values()) <= 2


def test_base_and_new_classes_share_no_colour():
    assert sorted(DOWNSTREAM) == DOWNSTREAM
    base, new = ({name.split()[0] for name in half} for half in (DOWNSTREAM[:20], DOWNSTREAM[20:]))
    assert not base & new


@pytest.mark.parametrize("style", [CLEAN, SHIFTED])
def test_an_image_depends_on_seed_class_and_number_alone(style: world.Style):
    def image(seed: int, name: str, number: int) -> np.ndarray:
        return render(name, image_rng(seed, name, number), style)

    first = image(0, "red plain star", 3)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, image(0, "red plain star", 3))
    for other in (image(1, "red plain star", 3), image(0, "red plain star", 4), image(0, "red plain ring", 3)):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_the_named_colour_is_the_one_that_is_painted(colour: str):
    channel = ("red", "green", "blue").index(colour)
    pixels = np.concatenate(
        [render(f"{colour} plain square", image_rng(0, colour, i)).reshape(-1, 3) for i in range(5)]
    )
    saturated = pixels[pixels.max(axis=1).astype(int) - pixels.min(axis=1) > 120]
    assert (saturated.argmax(axis=1) == channel).mean() > 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_covers_a_part_of_its_circle(shape: str):
    mask = drawing.mask_of(shape, 0.0, 0.0, 0.9, 0.0)
    inside = np.hypot(*drawing.grid()) <= 0.95
    assert 0.1 < mask[inside].mean() < 1.0
    assert mask[~inside].max() < 0.05 or shape in ("cross", "heart")  # their corners stand out a little


def test_a_data_set_is_whole_and_repeats_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "SPLITS", {"train": 2, "val": 1, "test": 1})
    for name in ("a", "b"):
        world.render_dataset(tmp_path / name, seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 40 * 4
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    listed = {f"images/{path}" for split in world.SPLITS for path, _, _ in world.dataset_files(split)}
    assert listed == {str(f) for f in files}
    assert Image.open(tmp_path / "a" / files[0]).size == (64, 64)


def test_a_failed_rendering_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*args, **kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr(world, "render", broken)
    with pytest.raises(RuntimeError):
        world.render_dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []
