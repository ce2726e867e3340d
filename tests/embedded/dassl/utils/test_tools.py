import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from dassl.data.data_manager import DatasetWrapper
from dassl.utils import (
    check_availability,
    check_isfile,
    collect_env_info,
    download_url,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    read_json,
    set_random_seed,
    tolist_if_not,
    write_json,
)
from dassl.utils.tools import replacing
from PIL import Image


def test_json_goes_there_and_back(tmp_path):
    file = tmp_path / "new" / "a.json"
    write_json({"b": [1, "é"]}, str(file))
    assert read_json(str(file)) == {"b": [1, "é"]}
    assert file.read_text().splitlines()[1] == '    "b": ['


def test_a_file_that_fails_midway_is_not_there_at_all(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps("old"))
    with pytest.raises(TypeError):
        write_json({"a": 1, "b": object()}, str(file))
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(str(file)) == "old"


def test_a_replaced_file_has_its_whole_content(tmp_path):
    with replacing(str(tmp_path / "x")) as temporary:
        Path(temporary).write_text("whole")
        assert not (tmp_path / "x").exists()
    assert (tmp_path / "x").read_text() == "whole"


def test_a_folder_is_made_once_with_its_parents(tmp_path):
    for _ in range(2):
        mkdir_if_missing(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    mkdir_if_missing("")


def test_a_missing_file_gives_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="No file found"):
        assert not check_isfile(str(tmp_path / "no"))


def test_hidden_names_are_left_out(tmp_path):
    for name in ("b", "a", ".git"):
        (tmp_path / name).touch()
    assert listdir_nohidden(str(tmp_path), sort=True) == ["a", "b"]
    assert sorted(listdir_nohidden(str(tmp_path))) == ["a", "b"]


def test_a_wrong_choice_is_answered_with_the_nearest_one():
    check_availability("CoOp", ["CoOp", "SHIP"])
    with pytest.raises(ValueError, match=r"TRAINER.NAME is 'coop'.*CoOp, SHIP; did you mean CoOp\?"):
        check_availability("coop", ["CoOp", "SHIP"], "TRAINER.NAME")


def test_a_seed_repeats_all_three_generators():
    def draw():
        set_random_seed(3)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw() == draw()


def test_images_are_read_as_rgb(tmp_path):
    Image.new("L", (2, 3), 7).save(tmp_path / "grey.png")
    image = read_image(str(tmp_path / "grey.png"))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (2, 3), (7, 7, 7))


@pytest.fixture
def damaged(tmp_path) -> str:
    file = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:300])
    return str(file)


def test_a_damaged_image_is_named(damaged):
    with pytest.raises(OSError, match=r"^the image .*cut\.jpg cannot be read .*replace it"):
        read_image(damaged)


def test_a_missing_image_is_named():
    with pytest.raises(OSError, match=r"^there is no image gone\.png"):
        read_image("gone.png")


def test_a_damaged_image_is_named_in_one_sentence_by_a_loaders_worker_too(cfg, damaged):
    class Item:
        label, domain, impath = 0, 0, damaged

    loader = torch.utils.data.DataLoader(DatasetWrapper(cfg, [Item()]), num_workers=1)
    with pytest.raises(OSError, match=r"^the image .*cut\.jpg cannot be read") as raised:
        next(iter(loader))
    assert "\n" not in str(raised.value)


def test_env_info_names_torch_and_pillow_and_draws_no_random_number():
    set_random_seed(1)
    before = torch.get_rng_state(), random.getstate()
    info = collect_env_info()
    assert torch.__version__ in info and "Pillow" in info
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_a_download_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 20000)
    download_url((tmp_path / "source").as_uri(), str(tmp_path / "new" / "copy"))
    assert (tmp_path / "new" / "copy").read_bytes() == b"x" * 20000
    with pytest.raises(OSError, match="put the file at"):
        download_url((tmp_path / "gone").as_uri(), str(tmp_path / "new" / "other"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]


def test_tolist_if_not_wraps_all_but_lists():
    assert tolist_if_not("a") == ["a"]
    assert tolist_if_not(["a"]) == ["a"]
