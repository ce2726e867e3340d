"""ImageNet and its four variants for robustness, which are for testing alone."""

from __future__ import annotations

import os

from ..errors import MissingFile, UserError
from ..task import Item
from .annotations import read_classnames
from .base import DATASETS, Dataset
from .fewshot import load_coop_pickle
from .index import list_folders
from .splits import Split


class _WordNetFolders(Dataset):
    """A folder a class, named by WordNet id (or by number); `classnames.txt` has the classes' names."""

    def names_by_folder(self) -> dict[str, str]:
        """From the set's own `classnames.txt`, as CoOp has it, or from ImageNet's."""
        own, imagenet = self.folder / "classnames.txt", self.root / "imagenet" / "classnames.txt"
        return read_classnames(own if own.is_file() or not imagenet.is_file() else imagenet)

    def items(self, folder: str, label_of: dict[str, int] | None = None) -> list[Item]:
        """All images below a folder of class folders; labels by sorted folder name unless given.

        Raises:
            ValueError, FileNotFoundError: a folder that is no class, or no image at all.
        """
        names, place = self.names_by_folder(), self.folder / folder
        items: list[Item] = []
        folders = list_folders(place)
        for number, wnid in enumerate(list(folders)):
            files = folders.pop(wnid)  # a million names need not be held twice
            if wnid not in names:
                raise UserError(f"{place / wnid} is in no line of classnames.txt: add it there, or remove the folder")
            if label_of is not None and wnid not in label_of:
                raise UserError(f"{place / wnid} is of no class with training images: add those, or remove the folder")
            label = number if label_of is None else label_of[wnid]
            items += [Item(f"{place}/{wnid}/{file}", label, names[wnid]) for file in files]
        if not items:
            raise MissingFile(f"there is no image in the class folders of {place}: put them there")
        return items


@DATASETS.register
class ImageNet(_WordNetFolders):
    """ImageNet (Deng et al., 2009), ILSVRC-2012; its validation images are the test set, as in CoOp.

    CoOp takes a folder's files in the order of the file system, so its picks are reproduced only with its own
    `preprocessed.pkl`, which is read if it is there; otherwise files are sorted.
    """

    dataset_dir = "imagenet"
    image_dir = "images"
    sizes = (1000, 1281167, 50000, 50000)

    def read_split(self) -> Split:
        pickled = self.folder / "preprocessed.pkl"
        if pickled.is_file():
            train, test = load_coop_pickle(pickled, self.folder, ("train", "test"))
            if not train or not test:
                raise UserError(f"{pickled} lacks training or test images: remove it, and the folders are listed")
        else:
            train = self.items("images/train")
            one_of = {item.label: item.impath for item in train}  # a path is taken apart for each class, not each image
            label_of = {os.path.basename(os.path.dirname(path)): label for label, path in one_of.items()}
            test = self.items("images/val", label_of)
        return Split(train, test, test)


class _TestOnly(_WordNetFolders):
    def read_split(self) -> Split:
        return Split([], [], self.items(self.image_dir))


@DATASETS.register
class ImageNetV2(_TestOnly):
    """ImageNetV2 (Recht et al., 2019), matched frequency: folders 0 ... 999 in the order of classnames.txt."""

    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    sizes = (1000, 0, 0, 10000)

    def names_by_folder(self) -> dict[str, str]:
        return {str(number): name for number, name in enumerate(super().names_by_folder().values())}

    def read_split(self) -> Split:
        number = {folder: int(folder) for folder in self.names_by_folder()}
        return Split([], [], self.items(self.image_dir, number))


@DATASETS.register
class ImageNetSketch(_TestOnly):
    """ImageNet-Sketch (Wang et al., 2019)."""

    dataset_dir = "imagenet-sketch"
    image_dir = "images"
    sizes = (1000, 0, 0, 50889)


@DATASETS.register
class ImageNetA(_TestOnly):
    """ImageNet-A (Hendrycks et al., 2021): natural adversarial examples of 200 classes."""

    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"
    sizes = (200, 0, 0, 7500)


@DATASETS.register
class ImageNetR(_TestOnly):
    """ImageNet-R (Hendrycks et al., 2021): renditions of 200 classes."""

    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"
    sizes = (200, 0, 0, 30000)
