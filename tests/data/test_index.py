from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shipclip.data import base, index
from shipclip.data.index import list_folders
from tests.data.conftest import touch


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(index, "WORTH_KEEPING", 1)
    for name in ("b", "a"):
        touch(tmp_path / "images" / name, 3, "{}.JPEG")
    (tmp_path / "images" / "a" / ".hidden").touch()
    (tmp_path / "images" / "notes.txt").touch()
    return tmp_path / "images"


WANTED = {"a": ["0.JPEG", "1.JPEG", "2.JPEG"], "b": ["0.JPEG", "1.JPEG", "2.JPEG"]}


def test_folders_and_files_come_sorted(tree: Path):
    found = list_folders(tree)
    assert found == WANTED and list(found) == ["a", "b"]


def test_the_second_time_no_folder_is_listed(tree: Path, monkeypatch: pytest.MonkeyPatch):
    list_folders(tree)
    scanned, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(Path(path)) or scandir(path))
    assert list_folders(tree) == WANTED and scanned == [tree]


def test_a_changed_folder_is_listed_anew(tree: Path):
    list_folders(tree)
    time.sleep(0.01)
    (tree / "b" / "3.JPEG").touch()
    assert list_folders(tree)["b"][-1] == "3.JPEG"
    (tree / "c").mkdir()
    assert list_folders(tree)["c"] == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}'])
def test_a_damaged_cache_is_made_anew(tree: Path, damage: str):
    list_folders(tree)
    cache = next((base.CACHE / "index").iterdir())
    cache.write_text(damage)
    assert list_folders(tree) == WANTED and len(cache.read_text()) > 20


def test_a_cache_folder_that_cannot_be_written_is_done_without(tree: Path, tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(base, "CACHE", tmp_path / "file" / "cache")
    assert list_folders(tree) == WANTED
    assert "could not be kept" in capsys.readouterr().out


def test_a_small_tree_leaves_no_cache(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "WORTH_KEEPING", 7)
    list_folders(tree)
    assert not (base.CACHE / "index").exists()
