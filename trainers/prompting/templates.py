"""Hand-written prompts of zero-shot CLIP, by registered data-set name (CoOp's choice, after the CLIP paper)."""

from __future__ import annotations

DEFAULT = "a photo of a {}."

TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
    "CUB": "a photo of a {}, a type of bird.",
}

# The seven that CLIP's authors selected on ImageNet.
IMAGENET_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


def template_for(dataset: str) -> str:
    """The prompt of a data set, with {} for the class name."""
    return TEMPLATES.get(dataset, DEFAULT)
