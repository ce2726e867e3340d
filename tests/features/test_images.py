from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from shipclip.features.images import IMAGE_SUFFIXES, BadImage, read_image, readable

RED = (200, 30, 40)


def save(image: Image.Image, file: Path, **options) -> str:
    image.save(file, **options)
    return str(file)


def test_the_suffixes_are_torchvisions_and_known_without_it():
    assert IMAGE_SUFFIXES == IMG_EXTENSIONS
    code = "import sys, shipclip.api, shipclip.experiments.carry_out; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def gradient(mode: str) -> Image.Image:
    values = np.tile(np.linspace(0, 255, 32, dtype=np.uint8), (16, 1))
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("LA", "png"), ("1", "png"), ("P", "png"), ("RGBA", "png")])
def test_every_kind_of_image_becomes_rgb(mode: str, suffix: str, tmp_path: Path):
    source = Image.new("RGB", (5, 4), RED).convert(mode)
    image = read_image(save(source, tmp_path / f"a.{suffix}"))
    assert image.mode == "RGB" and image.size == (5, 4)
    if mode in ("P", "RGBA"):
        assert np.abs(np.asarray(image).mean((0, 1)) - RED).max() <= (25 if mode == "P" else 0)  # dithered


def test_cmyk_photographs_keep_their_colour(tmp_path: Path):
    image = read_image(save(Image.new("RGB", (8, 8), RED).convert("CMYK"), tmp_path / "a.jpg", quality=95))
    assert image.mode == "RGB" and np.abs(np.asarray(image).astype(int) - RED).max() <= 25


def test_16_bits_are_scaled_and_not_cut_off(tmp_path: Path):
    deep = Image.fromarray(np.asarray(gradient("L")).astype(np.uint16) * 257)
    image = np.asarray(read_image(save(deep, tmp_path / "a.png")))
    assert np.array_equal(image[..., 0], np.asarray(gradient("L"))) and image.shape == (16, 32, 3)


def test_a_palette_with_transparency_gives_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    palette = Image.new("RGB", (4, 4), RED).convert("P")
    read_image(save(palette, tmp_path / "a.png", transparency=bytes([10, 20])))
    assert not list(recwarn)


def test_exif_orientation_is_followed_only_if_asked(tmp_path: Path):
    source, exif = Image.new("RGB", (30, 20)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    file = save(source, tmp_path / "a.jpg", exif=exif)
    assert read_image(file).size == (30, 20)
    assert read_image(file, upright=True).size == (20, 30)


def test_the_content_counts_and_not_the_extension(tmp_path: Path):
    file = tmp_path / "really_a_png.jpg"
    Image.new("RGB", (3, 3), RED).save(file, format="PNG")
    assert read_image(str(file)).getpixel((0, 0)) == RED


def test_a_photograph_of_100_megapixels_is_read_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    file = save(Image.new("L", (10_000, 10_000), 7), tmp_path / "a.png")
    assert read_image(file).size == (10_000, 10_000) and not list(recwarn)


def bad_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.jpg" for name in ("empty", "text", "truncated", "missing", "floating")}
    files["empty"].touch()
    files["text"].write_text("not an image")
    Image.effect_noise((64, 64), 50).save(files["truncated"])
    files["truncated"].write_bytes(files["truncated"].read_bytes()[:900])
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(files["floating"], format="TIFF")
    return files


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "it is empty"),
        ("text", "it is no image that PIL knows"),
        ("truncated", "image file is truncated"),
        ("missing", "No such file or directory"),
        ("floating", "floating-point numbers"),
    ],
)
def test_a_bad_image_is_one_sentence_with_path_reason_and_mend(kind: str, reason: str, tmp_path: Path):
    file = bad_files(tmp_path)[kind]
    with pytest.raises(BadImage) as found:
        read_image(str(file))
    sentence = str(found.value)
    assert sentence.startswith(f"the image {file} cannot be read (") and reason in sentence
    assert sentence.endswith("replace it, or set DATASET.ON_BAD_IMAGE skip") and sentence.count(str(file)) == 1


@dataclass(frozen=True)
class Item:
    impath: str
    classname: str


def test_bad_images_are_left_out_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture):
    good = save(Image.new("RGB", (4, 4)), tmp_path / "good.png")
    files = bad_files(tmp_path)
    items = [Item(good, "a"), Item(str(files["empty"]), "a"), Item(str(files["missing"]), "a"), Item(good, "b")]
    assert readable(items, "train") == [items[0], items[3]]
    out = capsys.readouterr().out
    assert f"Left out: the image {files['empty']} cannot be read (it is empty)\n" in out
    assert "DATASET.ON_BAD_IMAGE skip: 2 of 4 train images left out" in out


def test_a_class_without_a_good_image_stops_the_run(tmp_path: Path):
    files = bad_files(tmp_path)
    with pytest.raises(BadImage, match="no train image of class 'a' can be read: give it at least one good image"):
        readable([Item(str(files["text"]), "a")], "train")


def test_a_class_without_a_good_test_image_is_told(tmp_path: Path, capsys: pytest.CaptureFixture):
    good, files = save(Image.new("RGB", (4, 4)), tmp_path / "good.png"), bad_files(tmp_path)
    items = [Item(good, "a"), Item(str(files["text"]), "b")]
    assert readable(items, "test") == items[:1]
    assert "No test image is left of 1 classes: b" in capsys.readouterr().out


def test_32_bit_numbers_are_refused(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 1_000_000, dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match="32-bit numbers of unknown range"):
        read_image(str(tmp_path / "a.tif"))
