"""SHIP (synthesized prompts for CLIP) and the learners around it, as a library.

import shipclip

model = shipclip.fit("my_photos", backbone="ViT-B/16", learner="CoOp", seed=1)
for p in model.predict(["a.jpg", "b.jpg"], top=5):
    print(p.name, p.probability, p.top)
model.save("model")
model = shipclip.load("model")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import fit
    from .backbones import load_backbone
    from .bundle import Classifier, Prediction
    from .loading import load

__version__ = "0.2.0"
__all__ = ["Classifier", "Prediction", "fit", "load", "load_backbone"]

# Imported when first asked for: torch is slow to import, and a command line's --help does not need it.
_HOMES = {"fit": "api", "load_backbone": "backbones", "load": "loading", "Classifier": "bundle", "Prediction": "bundle"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
