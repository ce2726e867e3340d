"""Options as dataclasses, and as the KEYs that YAML files and command lines give.

A dataclass is the one definition of a group of options: names, kinds, ranges, choices and defaults. Its keys are its
fields in capitals (`kl_weight` is KL_WEIGHT; a field that ends in "_", as `from_`, loses it); a field that is a
dataclass itself is a node. Its `check(where)`, if it has one, refuses what fits one by one and not together.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from .errors import UserError, did_you_mean

T = TypeVar("T")
Tree = dict[str, Any]  # nested keys
MOST = 2**31 - 1  # of a whole number, where its option says nothing less


@dataclass(frozen=True)
class Limits:
    """What values an option takes, beyond their kind; of a list, what its elements are.

    Attributes:
        least, most: bounds that are allowed themselves.
        above, below: bounds that are not.
        choices: all that there is.
        of: kind of a list's elements.
        sizes: lengths that a list may have.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    of: type | None = None
    sizes: tuple[int, ...] = ()

    def __str__(self) -> str:
        """The mend, after "give"."""
        low = f"at least {self.least}" if self.least is not None else ""
        low = f"more than {self.above}" if self.above is not None else low
        high = f"at most {self.most}" if self.most is not None else ""
        high = f"less than {self.below}" if self.below is not None else high
        return " and ".join(filter(None, (low, high)))

    def hold(self, value: float) -> bool:
        """Whether a number is within the bounds; one that is not finite never is."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def option(default: Any, **limits: Any) -> Any:
    """A dataclass's field with its default and its `Limits`."""
    return field(default=default, metadata={"limits": Limits(**limits)})


# -- reading ------------------------------------------------------------------------------------------------


def key_of(field: str) -> str:
    return field.rstrip("_").upper()


def tree_of(cls: Any) -> Tree:
    """A dataclass's keys with their defaults, or an instance's with its values; tuples stay tuples."""
    out: Tree = {}
    for one in fields(cls):
        value = _default(one) if isinstance(cls, type) else getattr(cls, one.name)
        out[key_of(one.name)] = tree_of(value) if is_dataclass(value) else value
    return out


def read(cls: type[T], tree: Mapping[str, Any], where: str = "", strict: bool = False) -> T:
    """An instance from a tree of keys; keys that are not there keep their defaults.

    Args:
        cls: the dataclass.
        tree: nested keys, as in a YAML file.
        where: what stands before the keys, "TRAINER.SHIP.", for the sentence.
        strict: refuse keys that the dataclass does not have; otherwise they belong to others.

    Raises:
        UserError: a value of the wrong kind or out of its range, or an unknown key, with the nearest known one.
    """
    if not isinstance(tree, Mapping):
        raise no_group(tree, where.rstrip("."))
    known = {key_of(one.name): one for one in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in known:
            if strict:
                raise unknown_key(f"{where}{key}", [f"{where}{name}" for name in known])
            continue
        one = known[key]
        default = _default(one)
        if is_dataclass(default):
            values[one.name] = read(type(default), value, f"{where}{key}.", strict)
        else:
            values[one.name] = _elements(convert(value, default, f"{where}{key}"), one, f"{where}{key}")
    return checked(cls(**values), where)


def checked(options: T, where: str = "") -> T:
    """An instance, if all its values are in their ranges and fit together.

    Raises:
        UserError: naming the key, what it may be, or the keys that contradict each other.
    """
    for one in fields(options):  # type: ignore[arg-type]
        value = getattr(options, one.name)
        if not is_dataclass(value):
            check_value(value, limits_of(one), f"{where}{key_of(one.name)}")
    if hasattr(options, "check"):
        options.check(where)
    return options


def check_value(value: Any, limits: Limits, key: str) -> None:
    """Refuse a value out of its limits, or a list with an element that is.

    Raises:
        UserError: naming the key and what it may be.
    """
    if isinstance(value, tuple):
        if limits.sizes and len(value) not in limits.sizes:
            raise UserError(f"{key} is {shown(value)}: give {' or '.join(map(str, limits.sizes))} values")
        for element in value:
            check_value(element, limits, f"one of {key}")
        return
    if limits.choices:
        one_of(value, key, limits.choices)
    if isinstance(value, str) and "\0" in value:
        raise UserError(f"{key} is {shown(value)}: give text without a null character")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if isinstance(value, int) and abs(value) > max(MOST, limits.most or 0, -(limits.least or 0)):
        raise UserError(f"{key} is {shown(value)}: give {str(limits) or f'at most {MOST}'}")
    if not limits.hold(value):
        raise UserError(f"{key} is {shown(value)}: give {str(limits) or 'a finite number'}")


def convert(value: Any, default: Any, key: str) -> Any:
    """A value in the kind of its default: text that spells a number becomes one, lists and tuples are one kind.

    Raises:
        UserError: it is of another kind.
    """
    if default is None:  # as in yacs: anything goes
        return value
    if isinstance(value, str) and not isinstance(default, str):
        try:
            value = float(value) if isinstance(default, float) else ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise wrong_kind(value, default, key) from None
    if isinstance(default, (tuple, list)) and isinstance(value, (tuple, list)):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= MOST**2 else math.inf  # which no option takes
    if type(value) is not type(default):
        raise wrong_kind(value, default, key)
    return value


def wrong_kind(value: Any, default: Any, key: str) -> UserError:
    kinds = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a list"}
    return UserError(
        f"{key} is {shown(value)}: give {kinds.get(type(default), type(default).__name__)}, as {default!r} is"
    )


def no_group(value: Any, key: str, where: str = "") -> UserError:
    return UserError(f"{key} is {shown(value)}{where}: it is a group of keys, give them one by one")


def unknown_key(key: str, known: list[str], where: str = "") -> UserError:
    return UserError(f"unknown config key {key}{where}{did_you_mean(key, known, cutoff=0.5)}")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
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


def one_of(value: Any, key: str, choices: Any) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise UserError(f"{key} is {shown(value)}: choose one of {', '.join(map(str, choices))}")


def shown(value: Any) -> str:
    """A value as a sentence quotes it."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 120 else f"{text[:80]} ..."


def limits_of(one: Field) -> Limits:
    return one.metadata.get("limits", Limits())


def _default(one: Field) -> Any:
    return one.default if one.default is not MISSING else one.default_factory()  # type: ignore[misc]


def _elements(value: Any, one: Field, key: str) -> Any:
    """A list with its elements in their kind."""
    of = limits_of(one).of
    if of is None or not isinstance(value, tuple):
        return value
    return tuple(convert(element, of(), f"one of {key}") for element in value)
