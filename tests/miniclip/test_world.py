from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shipclip.miniclip import drawing, facts, world
from shipclip.miniclip.scene import EASY, SHIFTED, WEB, Style, draw
from shipclip.miniclip.world import COLOURS, KINDS, SHAPES, TEXTURES, attributes, downstream_classes, image_rng, render
from shipclip.task import base_count

DOWNSTREAM = downstream_classes()
N_BASE = base_count(len(DOWNSTREAM))
HALVES = {"base": DOWNSTREAM[:N_BASE], "new": DOWNSTREAM[N_BASE:]}
FULL_LIGHT = replace(EASY, light=(1, 1), warmth=(0, 0), gamma=(1, 1), hue_jitter=0, clutter_rate=0)


def places(names: list[str]) -> np.ndarray:
    return np.array([attributes(name) for name in names])  # (C, 3)


def test_a_name_and_its_description_are_one_class():
    assert attributes("red lep") == attributes("red striped heart") == (0, 1, 4)
    names = world.classnames()
    assert len(set(names)) == 432 and len({attributes(name) for name in names}) == 432
    kinds = [kind for row in KINDS.values() for kind in row]
    assert len(set(kinds)) == 72 and not set(kinds) & {*COLOURS, *TEXTURES, *SHAPES}


def test_every_kind_is_one_downstream_class():
    assert len(DOWNSTREAM) == 72 and {name.split()[1] for name in DOWNSTREAM} == {
        k for row in KINDS.values() for k in row
    }


@pytest.mark.parametrize("half", HALVES)
def test_both_halves_share_colours_textures_and_shapes_to_the_count(half: str):
    found = places(HALVES[half])
    for i, (values, count) in enumerate(((6, 6), (6, 6), (12, 3))):
        assert np.bincount(found[:, i], minlength=values).tolist() == [count] * values
    assert len({(c, t) for c, t, _ in found.tolist()}) == 36  # every colour with every texture
    assert len({(c, s) for c, _, s in found.tolist()}) == 36  # every shape in three colours


def test_no_noun_of_a_new_class_occurs_among_the_base_classes():
    base, new = ({name.split()[1] for name in half} for half in HALVES.values())
    assert not base & new


def test_half_of_the_base_classes_play_the_whole_in_small():
    first, second = places(HALVES["base"][:18]), places(HALVES["base"][18:])
    for part in (first, second):
        assert np.bincount(part[:, 0]).tolist() == np.bincount(part[:, 1]).tolist() == [3] * 6
        assert set(np.bincount(part[:, 2])) == {1, 2}


def test_apart_base_and_new_classes_share_no_colour():
    apart = world.apart_classes()
    assert sorted(apart) == apart and set(apart) == set(DOWNSTREAM)
    assert not {name.split()[0] for name in apart[:36]} & {name.split()[0] for name in apart[36:]}


def test_the_second_world_has_other_classes_of_the_same_values():
    source = world.source_classes()
    assert len(set(source)) == 36 and not set(source) & set(DOWNSTREAM)
    assert [set(np.bincount(column)) for column in places(source).T] == [{6}, {6}, {3}]
    kinds = {name.split()[1] for name in source}
    assert len(kinds & {name.split()[1] for name in HALVES["base"]}) == 18


@pytest.mark.parametrize("style", [WEB, SHIFTED])
def test_an_image_depends_on_seed_class_and_number_alone(style: Style):
    def image(seed: int, name: str, number: int) -> np.ndarray:
        return render(name, image_rng(seed, name, number), style)

    first = image(0, "red gok", 3)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, image(0, "red gok", 3))
    for other in (image(1, "red gok", 3), image(0, "red gok", 4), image(0, "red zem", 3)):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_colour_is_the_one_that_is_painted(colour: str):
    pixels = np.concatenate(
        [render(f"{colour} plain square", image_rng(0, colour, i), FULL_LIGHT).reshape(-1, 3) for i in range(5)]
    )
    painted = drawing.rgb(*COLOURS[colour]) * 255
    assert (np.abs(pixels - painted).max(axis=1) < 30).mean() > 0.15


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_covers_a_part_of_its_circle(shape: str):
    mask = drawing.mask_of(shape, 0.0, 0.0, 0.9, 0.0)
    inside = np.hypot(*drawing.grid()) <= 0.95
    assert 0.1 < mask[inside].mean() < 1.0
    assert mask[~inside].max() < 0.05 or shape in ("cross", "heart")  # their corners stand out a little


def test_textures_and_shapes_all_look_different():
    def seen(texture: str, shape: str) -> np.ndarray:
        still = replace(FULL_LIGHT, radius=(0.8, 0.8), tilt=0.0, tone=(0.8, 0.8), coloured_rate=0, shaded_rate=0)
        images = [render(f"red {texture} {shape}", image_rng(0, "same", i), still) for i in range(8)]
        return np.mean(images, axis=0)

    shapes = [seen("plain", shape) for shape in SHAPES]
    assert min(np.abs(a - b).mean() for i, a in enumerate(shapes) for b in shapes[:i]) > 3


def test_a_data_set_is_whole_and_repeats_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "SPLITS", {"train": 2, "val": 1, "test": 1})
    for name in ("a", "b"):
        world.render_dataset(tmp_path / name, seed=3)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 72 * 4
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


# -- facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [WEB, SHIFTED])
def test_every_value_of_every_fact_occurs(style: Style):
    """Downstream too, but for vivid colours and large things: nothing is there."""
    rng = np.random.default_rng(0)
    drawn = [facts.values(draw(rng, style), "star") for _ in range(2000)]
    for i, fact in enumerate(facts.FACTS):
        counts = Counter(row[i] for row in drawn)
        rare = [v for v in range(len(fact.words)) if counts[v] < 60]
        assert rare == ([1] if style is SHIFTED and fact.name in ("saturation", "size") else [])


def test_a_circles_tilt_is_not_told():
    scene = draw(np.random.default_rng(0), WEB)
    i = [fact.name for fact in facts.FACTS].index("tilt")
    tilted = replace(scene, tilt=0.4)
    assert facts.values(tilted, "star")[i] == 1
    assert facts.values(tilted, "circle")[i] == facts.values(tilted, "ring")[i] == -1


def test_no_word_of_a_scene_is_a_word_of_a_class():
    words = {word for fact in facts.FACTS for synonyms in fact.words for text in synonyms for word in text.split()}
    kinds = {kind for row in KINDS.values() for kind in row}
    assert not words & {*COLOURS, *TEXTURES, *SHAPES, *kinds}


def test_what_a_fact_tells_can_be_seen():
    """Images drawn alike but for one thing differ in what the words say."""
    rng = np.random.default_rng(1)
    scene = replace(draw(rng, EASY), clutter="", pieces=0, barred=False, noise=0.0, blur=0.0, shading=(0.0, 0.0))

    def image(**changed) -> np.ndarray:
        return world.picture("red gok", replace(scene, **changed), np.random.default_rng(2)).astype(float)

    edge = slice(0, 6)
    assert image(tone=0.9)[edge].mean() > image(tone=0.1)[edge].mean() + 100
    assert image(light=1.2).mean() > image(light=0.7).mean() + 10
    warm, cool = image(warmth=0.15), image(warmth=-0.15)
    assert (warm[..., 0] - warm[..., 2]).mean() > (cool[..., 0] - cool[..., 2]).mean() + 10
    assert np.ptp(image(saturation=1.1), axis=2).mean() > np.ptp(image(saturation=0.4), axis=2).mean()
    assert np.abs(np.diff(image(noise=0.08), axis=0)).mean() > np.abs(np.diff(image(), axis=0)).mean() + 3
    assert np.abs(np.diff(image(blur=1.2), axis=0)).max() < np.abs(np.diff(image(), axis=0)).max()
    assert not np.array_equal(image(barred=True), image()) and not np.array_equal(
        image(pieces=5, clutter="chips"), image()
    )
