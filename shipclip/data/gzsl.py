"""Generalized zero-shot sets with the proposed splits of Xian et al. (TPAMI 2019): seen and unseen classes.

Seen classes are base classes with all their training images, unseen ones are new classes with names alone; the
test set has images of both. The split files are those of `xlsa17.zip`, the images the data sets' own archives.
"""

from __future__ import annotations

import re

from ..task import Item
from .annotations import read_mat
from .base import DATASETS, Dataset
from .splits import Split, require


class _ProposedSplit(Dataset):
    """`dataset_dir` and `image_dir` are as the archive unpacks; the splits lie in <root>/xlsa17/data/<short_name>."""

    short_name = ""
    mean_over_classes = True  # accuracy is the mean over classes there: S, U and H

    def read_split(self) -> Split:
        facts = self.root / "xlsa17" / "data" / self.short_name
        paths = [str(path) for path in read_mat(facts / "res101.mat", "image_files")]
        classes = [int(label) - 1 for label in read_mat(facts / "res101.mat", "labels")]
        names = [_clean(str(name)) for name in read_mat(facts / "att_splits.mat", "allclasses_names")]

        def rows(part: str) -> list[int]:
            return [int(number) - 1 for number in read_mat(facts / "att_splits.mat", f"{part}_loc")]

        train, seen_test, unseen_test = rows("trainval"), rows("test_seen"), rows("test_unseen")
        seen = sorted({classes[row] for row in train})
        unseen = sorted({classes[row] for row in unseen_test} - set(seen))
        label = {number: place for place, number in enumerate([*seen, *unseen])}

        def item(row: int) -> Item:
            below = re.split(rf"/{self.image_dir}/", paths[row])[-1]
            return Item(self.images / below, label[classes[row]], names[classes[row]])

        split = Split(
            train=[item(row) for row in train],
            val=[],
            test=[item(row) for row in [*seen_test, *unseen_test]],
            classnames=tuple(names[number] for number in label),
            n_base=len(seen),
        )
        return require(split)


def _clean(name: str) -> str:
    """ "001.Black_footed_Albatross" to "Black_footed_Albatross", "grizzly+bear" to "grizzly bear"."""
    return re.sub(r"^\d+\.", "", name).replace("+", " ")


@DATASETS.register
class AWA2(_ProposedSplit):
    """Animals with Attributes 2: 40 seen and 10 unseen animals."""

    dataset_dir = "Animals_with_Attributes2"
    image_dir = "JPEGImages"
    short_name = "AWA2"
    sizes = (50, 23527, 0, 5882 + 7913)


@DATASETS.register
class CUB(_ProposedSplit):
    """Caltech-UCSD Birds-200-2011: 150 seen and 50 unseen species."""

    dataset_dir = "CUB_200_2011"
    image_dir = "images"
    short_name = "CUB"
    sizes = (200, 7057, 0, 1764 + 2967)
    template = "a photo of a {}, a type of bird."


@DATASETS.register
class SUN(_ProposedSplit):
    """SUN Attribute: 645 seen and 72 unseen scenes."""

    dataset_dir = "SUNAttributeDB"
    image_dir = "images"
    short_name = "SUN"
    sizes = (717, 10320, 0, 2580 + 1440)
