from __future__ import annotations

from pathlib import Path

import pytest

from shipclip.errors import MissingFile, UserError, sentence
from shipclip.files import read_json, read_text, replacing, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert "old" in (tmp_path / "a.json").read_text()


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path):
    with pytest.raises(MissingFile, match=r"there is no .*a\.json: write it") as found:
        read_json(tmp_path / "a.json", "write it")
    assert isinstance(found.value, FileNotFoundError) and isinstance(found.value, ValueError)
    assert sentence(found.value) == str(found.value)
    (tmp_path / "a.json").write_text('{\n"a":')
    with pytest.raises(UserError, match=r"a\.json is no JSON \(.*\): write it"):
        read_json(tmp_path / "a.json", "write it")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"a\.txt is not in UTF-8 \(.*\): save it anew as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_a_byte_order_mark_is_no_text(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes("\ufeffcat".encode())
    assert read_text(tmp_path / "a.txt") == "cat"
