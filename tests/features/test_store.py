"""Features on disk are those of a plain pass, whoever encoded them and whatever happened to process or file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from shipclip.backbones.base import Backbone
from shipclip.features import encode as encode_module
from shipclip.features import segment
from shipclip.features.bank import FeatureBank, load_bank
from shipclip.features.encode import encode
from shipclip.features.pixels import Views
from shipclip.features.store import Store, digests, store_of
from tests.features.pictures import PLAIN, RANDOM, pictures


@pytest.fixture
def plain(tmp_path: Path) -> Views:
    return Views(pictures(tmp_path, 14), PLAIN, "plain", random=False)


@pytest.fixture
def random(plain: Views) -> Views:
    return Views(plain.items, RANDOM, "random", seed=1, count=2)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by every image that is decoded: (views) of each."""
    seen: list[int] = []
    whole = encode_module.encoded

    def counting(*args: Any) -> Iterator[torch.Tensor]:
        for features in whole(*args):
            seen.extend([features.shape[0]] * features.shape[1])
            yield features

    monkeypatch.setattr(encode_module, "encoded", counting)
    return seen


def segments(cache: str) -> list[Path]:
    return sorted(Path(cache).rglob("*.safetensors"))


def test_the_first_run_the_second_and_a_plain_pass_are_equal(clip: Backbone, random: Views, cache: str, decoded):
    first = load_bank(clip, random, cache)
    assert len(decoded) == 14
    second = load_bank(clip, random, cache)
    assert len(decoded) == 14
    assert torch.equal(first.features, second.features) and torch.equal(first.features, encode(clip, random))
    assert second.labels.tolist() == random.labels.tolist()


def test_lists_share_what_they_have_in_common(clip: Backbone, plain: Views, cache: str, decoded):
    load_bank(clip, replace(plain, items=plain.items[:6]), cache)
    load_bank(clip, replace(plain, items=plain.items[5:9]), cache)
    assert len(decoded) == 9
    turned = replace(plain, items=plain.items[::-1])
    found = load_bank(clip, turned, cache).features
    assert len(decoded) == 14
    torch.testing.assert_close(found, encode(clip, turned))


def test_further_views_are_added_to_those_that_are_there(clip: Backbone, random: Views, cache: str, decoded):
    load_bank(clip, random, cache)
    more = replace(random, count=5)
    found = load_bank(clip, more, cache).features
    assert decoded == [2] * 14 + [3] * 14
    torch.testing.assert_close(found, encode(clip, more))


def test_random_views_belong_to_a_place_in_the_list(clip: Backbone, random: Views, cache: str, decoded):
    load_bank(clip, random, cache)
    load_bank(clip, replace(random, items=random.items[:4]), cache)
    assert len(decoded) == 14
    later = replace(random, items=random.items[1:])
    torch.testing.assert_close(load_bank(clip, later, cache).features, encode(clip, later))


def test_whatever_features_depend_on_is_in_the_key(clip: Backbone, random: Views, cache: str, decoded):
    load_bank(clip, random, cache)
    for other in (replace(random, seed=2), replace(random, recipe="other"), replace(random, upright=True)):
        load_bank(clip, other, cache)
    assert len(decoded) == 4 * 14
    Image.new("RGB", (8, 8)).save(random.items[3].impath)  # changed since
    torch.testing.assert_close(load_bank(clip, random, cache).features, encode(clip, random))
    assert len(decoded) == 4 * 14 + 1 + 14


@pytest.mark.parametrize("damage", ["cut", "bit", "head", "empty"])
def test_a_damaged_segment_is_made_anew_with_a_notice(clip: Backbone, plain: Views, cache: str, damage: str, capsys):
    first = load_bank(clip, plain, cache).features
    (file,) = segments(cache)
    raw = bytearray(file.read_bytes())
    if damage in ("bit", "head"):
        raw[len(raw) // 2 if damage == "bit" else 20] ^= 4
    file.write_bytes({"cut": raw[:-9], "empty": b""}.get(damage, bytes(raw)))
    assert torch.equal(load_bank(clip, plain, cache).features, first)
    assert "are damaged" in capsys.readouterr().out
    assert len(segments(cache)) == 1 and segments(cache) != [file]


def test_half_precision_halves_the_file_and_rounds(clip: Backbone, plain: Views, cache: str):
    exact = load_bank(clip, plain, cache).features
    found = load_bank(clip, plain, cache, dtype="float16").features
    assert found.dtype == torch.float32 and torch.equal(found, exact.half().float())
    sizes = sorted(load_file(file)["features"].nbytes for file in segments(cache))
    assert sizes == [14 * clip.dim * 2, 14 * clip.dim * 4]


def test_a_large_bank_is_mapped_and_not_copied(clip: Backbone, random: Views, cache: str, monkeypatch):
    monkeypatch.setattr(segment, "MAPPED", 1)
    part = replace(random, items=random.items[:5])
    load_bank(clip, part, cache)
    bank = load_bank(clip, random, cache)  # its parts are joined
    again = load_bank(clip, random, cache)
    assert bank.mapped is not None and again.features.data_ptr() == bank.features.data_ptr()
    whole = FeatureBank(encode(clip, random), random.labels)
    torch.testing.assert_close(bank.features, whole.features)
    drawn, wanted = (one.draw(torch.Generator().manual_seed(3)) for one in (bank, whole))
    torch.testing.assert_close(drawn, wanted)
    torch.testing.assert_close(torch.cat(list(bank.blocks())), whole.features.flatten(0, 1))
    bank.features[0, 0] = 7.0  # this process's own
    assert not (load_file(bank_file(cache))["features"] == 7).any()


def bank_file(cache: str) -> Path:
    return max(segments(cache), key=lambda file: file.stat().st_size)


def test_small_segments_that_a_join_holds_are_removed(clip: Backbone, plain: Views, cache: str, monkeypatch):
    load_bank(clip, replace(plain, items=plain.items[:5]), cache)
    whole = load_bank(clip, plain, cache).features
    assert len(segments(cache)) == 2
    store, images = store_of(clip, plain, cache), digests(plain)
    store.join(images, store.find(images, 0, 1), 0)
    assert len(segments(cache)) == 1
    assert torch.equal(load_bank(clip, plain, cache).features, whole)


ORDERS = {
    "as they were encoded": range(10),
    "backwards": range(9, -1, -1),
    "some of each": (0, 1, 3, 6, 7, 9),
    "by turns": (0, 6, 1, 7, 2, 8),
    "one twice": (2, 2, 7),
}


@pytest.mark.parametrize("order", ORDERS)
def test_entries_are_read_in_any_order(order: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    images, features = rng.integers(0, 2**63, (10, 2), dtype=np.uint64), rng.random((2, 10, 4), dtype=np.float32)
    store, rows = Store(tmp_path, "float32"), np.array(ORDERS[order])
    for part in (slice(0, 6), slice(6, 10)):
        store.add(images[part], 0, features[:, part])
    store.refresh()
    out = np.empty((2, len(rows), 4), np.float32)
    store.read(store.find(images[rows], 0, 2), 0, out)
    assert np.array_equal(out, features[:, rows])


def test_a_store_that_cannot_be_written_is_a_notice(clip: Backbone, plain: Views, tmp_path: Path, capsys):
    (tmp_path / "file").touch()
    found = load_bank(clip, plain, str(tmp_path / "file" / "cache"))
    assert torch.equal(found.features, encode(clip, plain))
    assert "the features could not be kept" in capsys.readouterr().out


# -- several processes ----------------------------------------------------------------------------------------


def work(clip: Backbone, views: Views, cache: str, counts: Any, slow: float) -> None:
    """What a process does, with a note of every batch."""
    torch.set_num_threads(1)
    encode_module.ENCODE_BATCH, encode_module.CLAIM, encode_module.KEPT_EVERY = 2, 2, 0.0
    whole = clip.encode_image

    def told(images: torch.Tensor) -> torch.Tensor:
        time.sleep(slow)
        counts.put((os.getpid(), len(images.unique(dim=0))))  # a small batch is filled up with its last image
        return whole(images)

    clip.encode_image = told  # type: ignore[method-assign]
    load_bank(clip, views, cache)


def start(*args: Any) -> tuple[Any, Any]:
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    process = context.Process(target=work, args=(*args[:-1], counts, args[-1]))
    process.start()
    return process, counts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_share_the_work(clip: Backbone, plain: Views, cache: str):
    started = [start(clip, plain, cache, 0.05) for _ in range(2)]
    done = []
    for process, counts in started:
        process.join(60)
        assert process.exitcode == 0
        while not counts.empty():
            done.append(counts.get())
    assert sum(n for _, n in done) == 14  # no image twice
    assert len({process for process, _ in done}) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_costs_what_was_not_yet_kept_and_no_more(clip: Backbone, plain: Views, cache: str, decoded):
    process, counts = start(clip, plain, cache, 0.1)
    for _ in range(4):
        counts.get(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = load_bank(clip, plain, cache).features
    assert 14 - 4 * 2 <= len(decoded) <= 14 - 2 * 2
    torch.testing.assert_close(found, encode(clip, plain))
    assert not list(Path(cache).rglob("*.tmp*"))


def test_a_large_segment_is_held_against_its_checksum_once_and_again_when_it_was_touched(
    clip: Backbone, plain: Views, cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    read: list[int] = []
    checksum = segment._checksum
    monkeypatch.setattr(segment, "MAPPED", 1)
    monkeypatch.setattr(segment, "_checksum", lambda *given: read.append(1) or checksum(*given))
    wanted = load_bank(clip, plain, cache).features.clone()
    (file,) = segments(cache)
    stat, count = os.stat(file), len(read)
    for _ in range(2):
        segment.open_segment(file)
    assert len(read) == count  # what was opened once has its stamp
    with open(file, "r+b") as stream:
        stream.seek(stat.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # whoever hides it
    with pytest.raises(segment.Damaged, match="its checksum is another"):
        segment.open_segment(file)
    assert torch.equal(load_bank(clip, plain, cache).features, wanted)
    assert "will be made anew" in capsys.readouterr().out
    assert not file.exists() and {one.suffix for one in file.parent.iterdir()} <= {".safetensors", ".checked", ".lock"}
    assert len(list(file.parent.glob("*.checked"))) == len(segments(cache)) == 1
