"""Read an image file as 8-bit RGB, whatever it is inside, or say in one sentence why not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ..errors import MissingFile, UserError

MEND = ": replace it, or set DATASET.ON_BAD_IMAGE skip"
# Those of torchvision's ImageFolder, which is not imported for them: it takes as long as torch itself.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # PIL's modes of 16-bit grey images


class BadImage(UserError):
    """An image that cannot be read; its text names the file, the reason and the mend."""


def read_image(path: Any, upright: bool = False) -> Image.Image:
    """The image as RGB with 8 bits a channel; grey, palette, CMYK and 16-bit images are converted.

    Args:
        path: the file; its content counts, not its extension. Or an image of PIL's.
        upright: turn the image as its EXIF orientation says. CoOp does not, so published data sets do without.

    Raises:
        BadImage: missing, empty, truncated, or no image at all.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large photographs are welcome
            with path.copy() if isinstance(path, Image.Image) else Image.open(path) as image:
                image.load()
                if upright:
                    image = ImageOps.exif_transpose(image)
                return _as_rgb(image)
    except Exception as error:  # PIL's readers raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise BadImage(f"the image {path} cannot be read ({_reason(error, path)}){MEND}") from error


def images_below(images: Any) -> list[Any]:
    """A path or several, files or folders, or PIL images, as a list of files and images; folders give all images below
    them, sorted.

    Raises:
        MissingFile, UserError: a path that is not there, or no image at all.
    """
    given = [images] if isinstance(images, (str, os.PathLike, Image.Image)) else list(images)
    found: list[Any] = []
    for one in given:
        if isinstance(one, Image.Image):
            found.append(one)
        elif not isinstance(one, (str, os.PathLike)):
            raise UserError(f"{one!r} is neither a path nor a PIL image: give paths, PIL images or a tensor")
        elif os.path.isdir(one):
            below = [
                os.path.join(place, name)
                for place, folders, names in os.walk(one)
                for name in names
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
            ]
            if not below:
                raise UserError(f"there is no image below {os.fspath(one)}: name a folder with images in it")
            found += sorted(below)
        elif not os.path.isfile(one):
            raise MissingFile(f"there is no image {os.fspath(one)}: check the path")
        else:
            found.append(os.fspath(one))
    if not found:
        raise UserError("there are no images to look at: give at least one")
    return found


def readable(items: Sequence[Any], what: str, upright: bool = False) -> list[Any]:
    """Those of the items (with `impath` and `classname`) that can be read; the others are named and counted.

    Raises:
        BadImage: nothing is left of a class to train on, or nothing at all.
    """

    def reason(item: Any) -> str:
        try:
            read_image(item.impath, upright)
        except BadImage as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(16, (os.cpu_count() or 1) + 1)) as pool:
        found = pool.map(reason, items)
        bar = tqdm(found, total=len(items), desc=f"Checking {what} images", unit="image", delay=2, disable=None)
        reasons = list(bar)
    bad = [text for text in reasons if text]
    if not bad:
        return list(items)
    for text in bad:
        print(f"Left out: {text.partition(MEND)[0]}")
    kept = [item for item, text in zip(items, reasons, strict=True) if not text]
    print(f"DATASET.ON_BAD_IMAGE skip: {len(bad)} of {len(items)} {what} images left out")
    lost = sorted({item.classname for item in items} - {item.classname for item in kept})
    if lost and (what == "train" or not kept):
        raise BadImage(f"no {what} image of class {lost[0]!r} can be read: give it at least one good image")
    if lost:
        print(f"No {what} image is left of {len(lost)} classes: {', '.join(lost)}")
    return kept


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP:
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("its pixels are 32-bit numbers of unknown range")
        return Image.fromarray((values >> 8 if values.max(initial=0) > 255 else values).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours, without PIL's warning
    return image.convert("RGB")


def _reason(error: Exception, path: Any) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "cannot identify image file" in text:
        empty = isinstance(path, str) and os.path.isfile(path) and not os.path.getsize(path)
        text = "it is empty" if empty else "it is no image that PIL knows"
    return " ".join(text.replace(f"'{path}'", "").split()).rstrip(" :.")
