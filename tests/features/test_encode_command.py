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


def test_shards_are_the_whole(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    made = 0
    for shard in ("1/2", "2/2"):
        assert main(asked(data, tmp_path, "--split", "test", "--shard", shard)) == 0
        made += int(capsys.readouterr().out.rpartition(": ")[2].split()[0])
    assert main(asked(data, tmp_path, "--split", "test")) == 0
    assert f": 0 images encoded; of {made} asked for" in capsys.readouterr().out


def test_a_list_in_parts_has_the_bits_of_the_whole():
    """MiniCLIP's own: of a few images alone, and of the same in a full batch."""
    clip = load_backbone("MiniCLIP")
    images = torch.randn(encode.ENCODE_BATCH, 3, clip.resolution, clip.resolution)
    with torch.no_grad():
        whole = clip.encode_image(images)
        for part in (slice(0, 1), slice(5, 10), slice(40, 55)):
            few = encode.full(images[part])
            assert len(few) == encode.LEAST and torch.equal(clip.encode_image(few)[: len(images[part])], whole[part])
    assert encode.full(images) is images


@pytest.mark.parametrize("shard", ["0/2", "3/2", "x", "1/"])
def test_a_shard_that_is_none_is_one_sentence(shard: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(asked(data, tmp_path, "--shard", shard)) == 2
    assert f"--shard is {shard!r}: give I/N" in capsys.readouterr().err
