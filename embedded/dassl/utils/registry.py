from __future__ import annotations

from typing import Any

__all__ = ["Registry"]


class Registry:
    """Classes and functions by name; `register` works as a decorator and as a call."""

    def __init__(self, name: str):
        self._name = name
        self._objects: dict[str, Any] = {}

    def register(self, obj: Any = None, force: bool = False) -> Any:
        """File an object under its `__name__`; a taken name is a KeyError unless forced."""
        if obj is None:
            return lambda decorated: self.register(decorated, force)
        if obj.__name__ in self._objects and not force:
            raise KeyError(f'"{obj.__name__}" is registered in {self._name} already: use force=True to replace it')
        self._objects[obj.__name__] = obj
        return obj

    def get(self, name: str) -> Any:
        if name not in self._objects:
            raise KeyError(f'"{name}" is not registered in {self._name}: choose one of {self.registered_names()}')
        return self._objects[name]

    def registered_names(self) -> list[str]:
        return list(self._objects)
