"""Named choices: learners, generators, data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from .errors import UserError, did_you_mean
from .options import shown

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes by name, in order of registration.

    Args:
        what: what they are ("learner"), for the error's sentence.
    """

    def __init__(self, what: str):
        self.what = what
        self._known: dict[str, T] = {}

    def register(self, cls: Any = None) -> Any:
        """File a class under its own name, as a decorator or a call; two of one name are a KeyError."""
        if cls is None:
            return self.register
        if cls.__name__ in self._known and self._known[cls.__name__] is not cls:
            raise KeyError(f"there are two {self.what}s called {cls.__name__}")
        self._known[cls.__name__] = cls
        return cls

    def get(self, name: str, key: str = "", others: tuple[str, ...] = ()) -> T:
        """The class called `name`.

        Raises:
            UserError: there is none; names `key`, the setting it was chosen with, what there is (with `others`, which
                that setting takes as well), and the nearest name.
        """
        if name in self:
            return self._known[name]
        known = sorted({*self._known, *others})
        hint = did_you_mean(name, known)
        raise UserError(f"{key or f'the {self.what}'} is {shown(name)}: choose one of {', '.join(known)}{hint}")

    def names(self) -> list[str]:
        return list(self._known)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._known

    def __iter__(self) -> Iterator[T]:
        return iter(self._known.values())
