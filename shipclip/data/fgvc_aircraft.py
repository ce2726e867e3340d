from __future__ import annotations

from ..task import Item
from .annotations import read_lines, read_pairs
from .base import DATASETS, Dataset
from .splits import Split, require


@DATASETS.register
class FGVCAircraft(Dataset):
    """FGVC-Aircraft (Maji et al., 2013): 100 variants, with an official split."""

    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    sizes = (100, 3334, 3333, 3333)
    template = "a photo of a {}, a type of aircraft."

    def read_split(self) -> Split:
        label = {name: i for i, name in enumerate(read_lines(self.folder / "variants.txt"))}
        return require(Split(*(self._read(part, label) for part in ("train", "val", "test"))))

    def _read(self, part: str, label: dict[str, int]) -> list[Item]:
        """Lines "<image number> <variant>"."""
        rows = read_pairs(self.folder / f"images_variant_{part}.txt")
        return [Item(self.images / f"{number}.jpg", label[variant], variant) for number, variant in rows]
