"""Generators, a file each. Every module here is imported, so a new one needs nothing but its file and a config."""

from importlib import import_module
from pkgutil import iter_modules

from .base import GENERATORS, FeatureGenerator, GeneratorOptions

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["GENERATORS", "FeatureGenerator", "GeneratorOptions"]
