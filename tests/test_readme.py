"""README's Python script, run as it stands there on rendered photographs with MiniCLIP."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from shipclip.miniclip import world

ROOT = Path(__file__).parents[1]
(SCRIPT,) = re.findall(
    r"^```python\n(import shipclip.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "diamond", "arrow", "drop")


def render(folder: Path, name: str, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(world.render(name, world.image_rng(seed, name, number))).save(folder / f"{number}.png")


def test_it_fits_predicts_saves_opens_and_adds_a_class_without_the_photographs(tmp_path: Path):
    for shape in SHAPES:
        render(tmp_path / "my_photos" / "train" / f"red plain {shape}", f"red plain {shape}", 3, seed=0)
        render(tmp_path / "my_photos" / "test" / f"red plain {shape}", f"red plain {shape}", 1, seed=1)
    names = [f"blue striped {shape}" for shape in SHAPES[:5]]
    (tmp_path / "my_photos" / "classnames.txt").write_text("\n".join(names))
    render(tmp_path / "new_photos", "red plain star", 1, seed=2)
    script = SCRIPT.replace('backbone="ViT-B/16"', 'backbone="MiniCLIP"').replace(
        "seed=1", 'seed=1, options={"OPTIM.MAX_EPOCH": 2, "TRAINER.SHIP.GENERATOR.EPOCHS": 2}'
    )
    assert len(script.splitlines()) <= 10
    first, second = script.split("\n\nmodel = shipclip.load")

    def python(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python(first).count("my_photos/test/") == 10
    shutil.rmtree(tmp_path / "my_photos")
    told = python(f"import shipclip\nmodel = shipclip.load{second}")
    assert "'octopus'" in told and told.split("]")[-1].strip().startswith(("red plain", "blue striped"))
