"""shipclip encode: what it leaves is what runs read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shipclip.backbones import load_backbone
from shipclip.cli import main
from shipclip.features import encode
from tests.runs import run


def asked(data: Path, cache: Path, *words: str) -> list[str]:
    own = ["--root", str(data), "--cache", str(cache), "--backbone", "MiniCLIP", "--shots", "2", "--views", "2"]
    return ["encode", "miniworld", *own, "--classes", "base", "--workers", "0", *words]


def test_a_run_finds_all_that_was_encoded_ahead(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert main(asked(data, tmp_path / "cache")) == 0
    assert "images encoded in" in capsys.readouterr().out
    assert main(asked(data, tmp_path / "cache")) == 0
    assert "0 images encoded; of" in capsys.readouterr().out
    first = run(data, tmp_path / "plain", "CLIPAdapter")
    monkeypatch.setattr(encode, "encoded", None)  # nothing is left to encode
    assert (
        run(data, tmp_path / "run", "CLIPAdapter", "FEATURES.CACHE_DIR", tmp_path / "cache")["figures"]
        == first["figures"]
    )


def test_shards_are_the_whole_and_as_large_as_each_other(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    made = []
    for shard in ("1/2", "2/2"):
        assert main(asked(data, tmp_path, "--split", "test", "--shard", shard)) == 0
        made.append(int(capsys.readouterr().out.rpartition(": ")[2].split()[0]))
    assert main(asked(data, tmp_path, "--split", "test")) == 0
    assert f": 0 images encoded; of {sum(made)} asked for" in capsys.readouterr().out
    assert sum(made) > encode.ENCODE_BATCH and abs(made[0] - made[1]) <= encode.ENCODE_BATCH


def test_a_mistake_is_told_once_by_many_processes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr("subprocess.Popen", None)  # no process is started
    words = asked(data, tmp_path, "--processes", "2")
    words[1] = "nosuch"
    assert main(words) == 2
    assert capsys.readouterr().err.count("the data set is 'nosuch'") == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_list_in_parts_has_the_bits_of_the_whole(threads: int):
    """MiniCLIP's own: of a few images alone, of the same in a full batch, and in any other order."""
    clip, before = load_backbone("MiniCLIP"), torch.get_num_threads()
    images, order = torch.randn(encode.ENCODE_BATCH, 3, clip.resolution, clip.resolution), torch.randperm(40)
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            whole = clip.encode_image(images)
            for part in (slice(0, 1), slice(5, 10), slice(40, 55)):
                few, n = encode.full(images[part]), len(images[part])
                assert len(few) == encode.LEAST and torch.equal(clip.encode_image(few)[:n], whole[part])
            assert torch.equal(clip.encode_image(images[order]), whole[order])
    finally:
        torch.set_num_threads(before)
    assert encode.full(images) is images


@pytest.mark.parametrize("shard", ["0/2", "3/2", "x", "1/"])
def test_a_shard_that_is_none_is_one_sentence(shard: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(asked(data, tmp_path, "--shard", shard)) == 2
    assert f"--shard is {shard!r}: give I/N" in capsys.readouterr().err
