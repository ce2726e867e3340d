"""Data sets: the published ones in CoOp's layout, a page each, and the user's own folder."""

from importlib import import_module
from pkgutil import iter_modules

from .base import DATASETS, Dataset
from .protocol import DatasetOptions, task_of

_NO_SETS = ("annotations", "base", "check", "fewshot", "index", "inspect", "prepare", "protocol", "sources", "splits")

for _module in iter_modules(__path__):
    if _module.name not in _NO_SETS:
        import_module(f"{__name__}.{_module.name}")

__all__ = ["DATASETS", "Dataset", "DatasetOptions", "task_of"]
