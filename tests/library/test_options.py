"""Dataclasses of options as keys: kinds, near misses and nesting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from shipclip.errors import UserError
from shipclip.options import checked, flatten, key_of, merge, nest, one_of, option, read, tree_of


@dataclass(frozen=True)
class Inner:
    kl_weight: float = 1.0
    from_: str = ""


@dataclass(frozen=True)
class Outer:
    epochs: int = 5
    lr: float = 0.1
    name: str = "VAE"
    only: bool = False
    sizes: tuple[int, ...] = (1, 2)
    anything: Any = None
    inner: Inner = field(default_factory=Inner)


TREE = {
    "EPOCHS": 5,
    "LR": 0.1,
    "NAME": "VAE",
    "ONLY": False,
    "SIZES": (1, 2),
    "ANYTHING": None,
    "INNER": {"KL_WEIGHT": 1.0, "FROM": ""},
}


def test_keys_are_fields_in_capitals_without_their_underscore():
    assert key_of("kl_weight") == "KL_WEIGHT" and key_of("from_") == "FROM"
    assert tree_of(Outer) == TREE
    assert tree_of(Outer(inner=Inner(0.5)))["INNER"] == {"KL_WEIGHT": 0.5, "FROM": ""}


def test_what_is_written_is_read_back():
    options = Outer(3, 1.0, "GAN", True, (7,), "x", Inner(2.0, "folder"))
    assert read(Outer, tree_of(options)) == options
    assert read(Outer, {}) == Outer()


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("EPOCHS", "7", 7),
        ("LR", "1e-3", 1e-3),
        ("LR", 2, 2.0),
        ("NAME", "3", "3"),
        ("ONLY", "True", True),
        ("SIZES", [3, 4], (3, 4)),
        ("SIZES", "(3, 4)", (3, 4)),
        ("SIZES", "[3]", (3,)),
        ("ANYTHING", ["a", "b"], ["a", "b"]),
    ],
)
def test_text_that_spells_a_value_becomes_it(key: str, given: Any, value: Any):
    found = getattr(read(Outer, {key: given}), key.lower())
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("EPOCHS", 1.5, "T.EPOCHS is 1.5: give a whole number, as 5 is"),
        ("EPOCHS", True, "T.EPOCHS is True: give a whole number"),
        ("EPOCHS", "many", "T.EPOCHS is 'many': give a whole number"),
        ("LR", "fast", "T.LR is 'fast': give a number, as 0.1 is"),
        ("LR", True, "T.LR is True: give a number"),
        ("ONLY", 1, "T.ONLY is 1: give True or False"),
        ("NAME", 3, "T.NAME is 3: give text, as 'VAE' is"),
        ("SIZES", 3, r"T.SIZES is 3: give a list, as \(1, 2\) is"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_key(key: str, value: Any, sentence: str):
    with pytest.raises(UserError, match=sentence):
        read(Outer, {key: value}, "T.")


def test_a_key_within_a_node_is_named_in_full():
    with pytest.raises(UserError, match="T.INNER.KL_WEIGHT is 'x': give a number"):
        read(Outer, {"INNER": {"KL_WEIGHT": "x"}}, "T.")


def test_unknown_keys_are_others_unless_all_are_asked_for():
    assert read(Outer, {"EPOHCS": 3}) == Outer()
    with pytest.raises(UserError, match="unknown config key T.EPOHCS; did you mean T.EPOCHS?"):
        read(Outer, {"EPOHCS": 3}, "T.", strict=True)
    with pytest.raises(UserError, match="unknown config key T.INNER.KL_WIEGHT; did you mean T.INNER.KL_WEIGHT?"):
        read(Outer, {"INNER": {"KL_WIEGHT": 3.0}}, "T.", strict=True)


@pytest.mark.parametrize("value", [3, "x", [1]])
def test_a_node_takes_no_value(value: Any):
    with pytest.raises(UserError, match="T.INNER is .*: it is a group of keys, give them one by one"):
        read(Outer, {"INNER": value}, "T.")
    with pytest.raises(UserError, match="INNER is .*: it is a group of keys, give them one by one"):
        merge(TREE, {"INNER": value})


def test_merging_leaves_both_trees_as_they_are():
    other = {"EPOCHS": "9", "INNER": {"KL_WEIGHT": 2}}
    found = merge(TREE, other)
    assert (found["EPOCHS"], found["INNER"]) == (9, {"KL_WEIGHT": 2.0, "FROM": ""})
    assert tree_of(Outer) == TREE and other == {"EPOCHS": "9", "INNER": {"KL_WEIGHT": 2}}


def test_merging_names_the_file_and_the_nearest_key():
    with pytest.raises(UserError, match=r"unknown config key INNER.KL_WAIT in a.yaml; did you mean INNER.KL_WEIGHT\?"):
        merge(TREE, {"INNER": {"KL_WAIT": 1.0}}, " in a.yaml")


def test_flat_keys_and_nested_ones():
    assert flatten(TREE)["INNER.KL_WEIGHT"] == 1.0 and len(flatten(TREE)) == 8
    assert nest("A.B", 3) == {"A": {"B": 3}}


@dataclass(frozen=True)
class Bounded:
    epochs: int = option(7, least=6)
    lr: float = option(0.1, least=0)
    share: float = option(0.5, above=0, below=1)
    width: int = option(4, least=1, most=8)
    name: str = option("VAE", choices=("VAE", "GAN"))
    scale: tuple[float, ...] = option((0.1, 1.0), of=float, sizes=(0, 2), least=0, most=1)
    free: float = 0.0
    count: int = 0

    def check(self, where: str) -> None:
        if self.scale and self.scale[0] > self.scale[1]:
            raise UserError(f"{where}SCALE is reversed")


BOUNDS = {
    "T.EPOCHS is 5: give at least 6": {"EPOCHS": 5},
    "T.LR is nan: give at least 0": {"LR": float("nan")},
    "T.LR is inf: give at least 0": {"LR": "1e999"},
    "T.SHARE is 0.0: give more than 0 and less than 1": {"SHARE": 0},
    "T.SHARE is 1.0: give more than 0 and less than 1": {"SHARE": 1.0},
    "T.WIDTH is 9: give at least 1 and at most 8": {"WIDTH": 9},
    "T.NAME is 'VEA': choose one of VAE, GAN": {"NAME": "VEA"},
    r"one of T.SCALE is 'x': give a number": {"SCALE": [0.1, "x"]},
    r"one of T.SCALE is 2.0: give at least 0 and at most 1": {"SCALE": (0.1, 2)},
    r"T.SCALE is \(0.1,\): give 0 or 2 values": {"SCALE": (0.1,)},
    "T.SCALE is reversed": {"SCALE": (1, 0.5)},
    "T.FREE is inf: give a finite number": {"FREE": 10**400},
    "T.COUNT is 1000000000000000000000: give at most 2147483647": {"COUNT": 10**21},
    "T.COUNT is a number of thousands of digits: give at most": {"COUNT": 10**5000},
    "T.LR is None: give a number": {"LR": None},
}


@pytest.mark.parametrize("sentence", BOUNDS)
def test_bounds_and_choices_are_told_with_their_key(sentence: str):
    with pytest.raises(UserError, match=sentence):
        read(Bounded, BOUNDS[sentence], "T.")


def test_what_is_within_its_bounds_is_taken_as_it_is():
    given = {"EPOCHS": "6", "SHARE": 0.999, "WIDTH": 8, "NAME": "GAN", "SCALE": [0, 1]}
    assert read(Bounded, given) == Bounded(6, share=0.999, width=8, name="GAN", scale=(0.0, 1.0))
    assert read(Bounded, {"SCALE": ()}).scale == ()


def test_an_instance_made_by_hand_can_be_held_to_its_bounds():
    assert checked(Bounded(), "T.") == Bounded()
    with pytest.raises(UserError, match="T.WIDTH is 0: give at least 1"):
        checked(Bounded(width=0), "T.")
    with pytest.raises(UserError, match="KEY is 'x': choose one of a, b"):
        one_of("x", "KEY", ("a", "b"))
