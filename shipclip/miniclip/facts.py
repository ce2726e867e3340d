"""The words for what an image shows besides its class: what captions can tell, and prompts can say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .scene import CLUTTER, Scene

PHOTO, THING, SCENE = "photo", "thing", "scene"  # what a fact is a property of


@dataclass(frozen=True)
class Fact:
    """Something that captions may mention.

    Attributes:
        name: of the fact.
        of: what its words stand with: the photo, the thing in it, or the scene around.
        words: for each of its values the words for it, synonyms.
        value: which of the values holds in a scene; -1 where none does, as between small and large.
    """

    name: str
    of: str
    words: tuple[tuple[str, ...], ...]
    value: Callable[[Scene], int]


def _poles(quantity: Callable[[Scene], float], low: float, high: float) -> Callable[[Scene], int]:
    def value(scene: Scene) -> int:
        q = quantity(scene)
        return 0 if q < low else 1 if q > high else -1

    return value


FACTS = (
    Fact("tone", SCENE, (("dark background", "black background"), ("pale background", "white background")),
         _poles(lambda s: s.tone, 0.35, 0.65)),
    Fact("tint", SCENE, (("gray background", "colorless background"), ("colorful background", "tinted background")),
         _poles(lambda s: s.tint[1], 0.1, 0.25)),
    Fact("shading", SCENE, (("flat background", "even background"), ("shaded background", "graded background")),
         _poles(lambda s: s.shading[1], 0.1, 0.25)),
    Fact("clutter", SCENE, (("nothing around", "no litter"), *((f"{w} around", f"many {w}") for w in CLUTTER)),
         lambda s: 1 + list(CLUTTER).index(s.clutter) if s.clutter else 0),
    Fact("size", THING, (("small", "tiny"), ("large", "big")), _poles(lambda s: s.radius, 0.62, 0.73)),
    Fact("tilt", THING, (("upright", "straight"), ("tilted", "slanted")), _poles(lambda s: abs(s.tilt), 0.12, 0.25)),
    Fact("bar", THING, (("whole", "open"), ("barred", "crossed")), lambda s: int(s.barred)),
    Fact("light", PHOTO, (("dim", "shadowy"), ("bright", "sunny")), _poles(lambda s: s.light, 0.85, 1.05)),
    Fact("warmth", PHOTO, (("cool", "cold"), ("warm", "rosy")), _poles(lambda s: s.warmth, -0.02, 0.06)),
    Fact("saturation", PHOTO, (("faded", "dull"), ("vivid", "rich")), _poles(lambda s: s.saturation, 0.55, 0.85)),
    Fact("noise", PHOTO, (("clean", "smooth"), ("grainy", "noisy")), _poles(lambda s: s.noise, 0.01, 0.035)),
    Fact("blur", PHOTO, (("sharp", "crisp"), ("blurry", "soft")), _poles(lambda s: s.blur, 0.1, 0.7)),
)  # fmt: skip


def values(scene: Scene, shape: str) -> list[int]:
    """The value of each fact in a scene with a thing of some shape, -1 where none holds; a circle's tilt shows not."""
    round_ = shape in ("circle", "ring")
    return [-1 if fact.name == "tilt" and round_ else fact.value(scene) for fact in FACTS]
