"""Options as dataclasses, and as the KEYs that YAML files and command lines give.

A dataclass is the one definition of a group of options: names, kinds and defaults. Its keys are its fields in capitals
(`kl_weight` is KL_WEIGHT; a field that ends in "_", as `from_`, loses it); a field that is a dataclass itself is a
node.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from .errors import UserError

T = TypeVar("T")
Tree = dict[str, Any]  # nested keys


def key_of(field: str) -> str:
    return field.rstrip("_").upper()


def tree_of(cls: Any) -> Tree:
    """A dataclass's keys with their defaults, or an instance's with its values; tuples stay tuples."""
    out: Tree = {}
    for field in fields(cls):
        if isinstance(cls, type):
            value = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
        else:
            value = getattr(cls, field.name)
        out[key_of(field.name)] = tree_of(value) if is_dataclass(value) else value
    return out


def read(cls: type[T], tree: Mapping[str, Any], where: str = "", strict: bool = False) -> T:
    """An instance from a tree of keys; keys that are not there keep their defaults.

    Args:
        cls: the dataclass.
        tree: nested keys, as in a YAML file.
        where: what stands before the keys, "TRAINER.SHIP.", for the sentence.
        strict: refuse keys that the dataclass does not have; otherwise they belong to others.

    Raises:
        UserError: a value of the wrong kind, or an unknown key, with the nearest known one.
    """
    known = {key_of(field.name): field for field in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            if strict:
                raise unknown_key(f"{where}{key}", [f"{where}{name}" for name in known])
            continue
        field = known[key]
        default = field.default if field.default is not MISSING else field.default_factory()  # type: ignore[misc]
        if is_dataclass(default):
            if not isinstance(value, Mapping):
                raise no_group(value, f"{where}{key}")
            values[field.name] = read(type(default), value, f"{where}{key}.", strict)
        else:
            values[field.name] = convert(value, default, f"{where}{key}")
    return cls(**values)


def convert(value: Any, default: Any, key: str) -> Any:
    """A value in the kind of its default: text that spells a number becomes one, lists and tuples are one kind.

    Raises:
        UserError: it is of another kind.
    """
    if default is None or value is None:  # as in yacs: anything goes
        return value
    if isinstance(value, str) and not isinstance(default, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise wrong_kind(value, default, key) from None
    if isinstance(default, (tuple, list)) and isinstance(value, (tuple, list)):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise wrong_kind(value, default, key)
    return value


def wrong_kind(value: Any, default: Any, key: str) -> UserError:
    kinds = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a list"}
    return UserError(f"{key} is {value!r}: give {kinds.get(type(default), type(default).__name__)}, as {default!r} is")


def no_group(value: Any, key: str, where: str = "") -> UserError:
    return UserError(f"{key} is {value!r}{where}: it is a group of keys, give them one by one")


def unknown_key(key: str, known: list[str], where: str = "") -> UserError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return UserError(f"unknown config key {key}{where}{f'; did you mean {near[0]}?' if near else ''}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return out


def merge(tree: Tree, other: Mapping[str, Any], where: str = "", prefix: str = "") -> Tree:
    """A tree with the values of another on top; both stay as they are.

    Raises:
        UserError: a key that the tree does not have, or a value of another kind; `where` names the file.
    """
    out = dict(tree)
    for key, value in other.items():
        if key not in tree:
            raise unknown_key(f"{prefix}{key}", list(flatten(tree, prefix)), where)
        if isinstance(tree[key], Mapping):
            if not isinstance(value, Mapping):
                raise no_group(value, f"{prefix}{key}", where)
            out[key] = merge(tree[key], value, where, f"{prefix}{key}.")
        else:
            out[key] = convert(value, tree[key], f"{prefix}{key}")
    return out


def nest(key: str, value: Any) -> Tree:
    """ "A.B" and a value as {"A": {"B": value}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def at_least(options: Any, where: str, **least: float) -> None:
    """Refuse fields of `options` that are below their least value."""
    for field, bound in least.items():
        value = getattr(options, field)
        if not value >= bound:
            raise UserError(f"{where}{key_of(field)} is {value}: give at least {bound}")


def one_of(value: Any, key: str, choices: Any) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise UserError(f"{key} is {value!r}: choose one of {', '.join(map(str, choices))}")
