from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import shipclip
from shipclip.export import exporter_has_shapes
from shipclip.miniclip import world

needs_exporter = pytest.mark.skipif(not exporter_has_shapes(), reason="ONNX export needs torch 2.6 or newer")
SHORT = {"OPTIM.MAX_EPOCH": 4, "TRAINER.SHIP.GENERATOR.EPOCHS": 2, "FEATURES.VIEWS": 2}
SHOWN, BY_NAME, OTHERS = 6, 2, 2  # classes with images, by name, and of neither kind


def names() -> list[str]:
    """As a folder lists them, in the order of their names."""
    return sorted(world.downstream_classes()[: SHOWN + BY_NAME + OTHERS])


def render(folder: Path, name: str, numbers: range, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in numbers:
        Image.fromarray(world.render(name, world.image_rng(seed, name, i), world.SHIFTED)).save(folder / f"{i}.png")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes with 5 to 7 images, two by name, test images of all; `others/` are of neither."""
    root = tmp_path_factory.mktemp("photographs") / "photos"
    for i, name in enumerate(names()):
        if i < SHOWN:
            render(root / "train" / name, name, range(5 + i % 3))
        if i < SHOWN + BY_NAME:
            render(root / "test" / name, name, range(4), seed=1)
        else:
            render(root.parent / "others" / name, name, range(4), seed=1)
    by_name = names()[SHOWN : SHOWN + BY_NAME]
    (root / "classnames.txt").write_text("".join(f"{name}\n" for name in by_name))
    return root


@pytest.fixture(scope="session")
def others(photos: Path) -> Path:
    return photos.parent / "others"


@pytest.fixture(scope="session")
def chosen(photos: Path) -> shipclip.Classifier:
    """A model whose learner was chosen, and that rejects images."""
    return shipclip.fit(photos, backbone="MiniCLIP", learner="auto", reject=0.1, options=SHORT)


@pytest.fixture(scope="session")
def chosen_folder(chosen: shipclip.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chosen.save(tmp_path_factory.mktemp("chosen") / "model")
