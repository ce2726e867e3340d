"""What the page asks of a model: one question at a time."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..errors import UserError
from ..features.images import BadImage, read_image
from ..features.transforms import plain_transform
from ..frozen import Said

if TYPE_CHECKING:
    from ..bundle import Classifier

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 50_000_000
TOP, NEAREST = 5, 4  # classes and training images that are shown
THUMBNAIL = 160  # pixels, the longer side


class Desk:
    """A model with its classes as they are now.

    Args:
        model: which is changed, not saved.
        photos: folder of the training images; empty: where they were.
    """

    def __init__(self, model: Classifier, photos: str = ""):
        self.model, self.lock = model, threading.Lock()
        root = photos or model.tree.get("DATASET", {}).get("ROOT", "")
        self.root = Path(root).expanduser().resolve() if root else None
        self.judge = model.frozen()  # class features are made once, and anew when classes change

    def facts(self) -> dict[str, Any]:
        """What the page says of the model."""
        model = self.model
        return {
            "classes": [{"name": name, "images": model.images.get(name, 0)} for name in model.classes],
            "calibrated": "held_out" in model.figures,
            "rejects": model.rejection is not None,
            "rate": model.rejection.rate if model.rejection else None,
            "learner": type(model.learner).__name__,
            "backbone": model.backbone.name,
        }

    @torch.no_grad()
    def classify(self, content: bytes) -> dict[str, Any]:
        """What the model says of an image file's content.

        Raises:
            UserError: no image of a kind that is known, or one that is too large.
        """
        image = opened(content)
        with self.lock:
            model = self.model
            tensor = plain_transform(model.input, model.backbone.preprocessing)(image)
            said = Said(*(part[0] for part in self.judge(tensor[None])))
            found = model.prediction(said, top=TOP)
            near = model.gallery.nearest(said.features, model.classes, NEAREST) if model.gallery else []
        return {
            "unknown": found.unknown,
            "top": [{"name": name, "probability": p} for name, p in found.top],
            "nearest": [
                {"name": name, "path": path, "similarity": round(s, 4), "image": self.thumbnail(path)}
                for name, path, s in near
            ],
        }

    def change(self, wish: Any) -> dict[str, Any]:
        """Add, rename or remove a class: {"add": NAME}, {"rename": [OLD, NEW]} or {"remove": NAME}.

        Raises:
            UserError: it is none of these, or it cannot be.
        """
        if not isinstance(wish, dict) or len(wish) != 1:
            raise UserError('give {"add": name}, {"rename": [old, new]} or {"remove": name}')
        ((what, given),) = wish.items()
        names = given if isinstance(given, list) else [given]
        if not all(isinstance(name, str) for name in names) or len(names) != (2 if what == "rename" else 1):
            raise UserError("class names are text")
        with self.lock:
            if what == "add":
                self.model.add_classes(names)
            elif what == "rename":
                self.model.rename_class(*names)
            elif what == "remove":
                self.model.remove_classes(names)
            else:
                raise UserError(f"there is no way to {what} a class: add, rename or remove one")
            self.judge = self.model.frozen()
        return self.facts()

    def thumbnail(self, path: str) -> str | None:
        """A training image, small, as a data URL; None where it is no more, or not below the photographs' folder."""
        if not path or self.root is None:
            return None
        file = (self.root / path).resolve()
        if not file.is_relative_to(self.root) or not file.is_file():
            return None
        try:
            image = read_image(str(file), upright=True)
        except BadImage:
            return None
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def opened(content: bytes) -> Image.Image:
    """An image file's content as RGB, upright as its EXIF says; its size is looked at before it is decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # PIL's readers raise many kinds
        raise UserError(f"this is no image that is read here: give one of {', '.join(FORMATS)}") from error
    if image.width * image.height > MOST_PIXELS:
        raise UserError(
            f"this image has {image.width} x {image.height} pixels, and {MOST_PIXELS // 10**6} million are the most: "
            "make it smaller"
        )
    try:
        return read_image(image, upright=True)
    except BadImage as error:
        raise UserError("this image is damaged: give another") from error
