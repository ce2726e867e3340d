from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import torch

from shipclip.errors import MissingFile, Unwritable, UserError, sentence
from shipclip.files import read_json, read_text, read_yaml, replacing, write_json, write_tensors


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


# -- no room, no permission -----------------------------------------------------------------------------------


def test_no_room_is_one_sentence_that_names_the_file_and_leaves_the_old_one(tmp_path: Path):
    write_tensors(tmp_path / "a.pt", {"x": torch.zeros(3)})
    before = (tmp_path / "a.pt").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))  # to torch as a disk that is full
    try:
        with pytest.raises(Unwritable, match=r"a\.pt cannot be written \(File too large\): make room there") as found:
            write_tensors(tmp_path / "a.pt", {"x": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert isinstance(found.value, OSError) and isinstance(found.value, UserError)
    assert (tmp_path / "a.pt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Unwritable, match=r"file/a.json cannot be written \(.*\): give a place that can be written to"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_a_mistake_in_between_keeps_its_traceback(tmp_path: Path):
    for error in (KeyError("x"), FileNotFoundError(2, "no", "elsewhere.png")):
        with pytest.raises(type(error)) as found, replacing(tmp_path / "a"):
            raise error
        assert found.value is error


# -- YAML -----------------------------------------------------------------------------------------------------

YAML = {
    "tab": ("A:\n\tB: 1\n", "line 2, is no YAML .*: mend it there"),
    "broken": ("A: [1\n", "line .*, is no YAML"),
    "scalar": ("3\n", "holds no keys: write KEY: value there"),
    "empty": ("", "holds no keys"),
    "list": ("- 1\n", "holds no keys"),
    "key twice": ("A: 1\nB: 2\nA: 3\n", "line 3: A stands there twice: keep one"),
    "group twice": ("A:\n  B: 1\nC: 1\nA:\n  D: 1\n", "line 4: A stands there twice"),
    "no key": ("3: 1\n", "line 1: 3 is no key"),
    "code": ("A: !!python/object/apply:os.system ['true']\n", "line 1, is no YAML .*could not determine a constructor"),
    "deep": ("[" * 5000, "is no YAML|holds no keys"),
}


@pytest.mark.parametrize("case", YAML)
def test_yaml_that_is_no_config_is_one_sentence(case: str, tmp_path: Path):
    content, sentence = YAML[case]
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(UserError, match=rf"a\.yaml,? {sentence}") as found:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(found.value)


def test_yaml_is_read(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("\ufeffA:\n  B: 1e-5\n  C: (1, 2)\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"A": {"B": "1e-5", "C": "(1, 2)"}}


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000])
def test_json_that_python_cannot_hold_is_one_sentence(content: str, tmp_path: Path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=r"a\.json is no JSON \(.*\): write it"):
        read_json(tmp_path / "a.json", "write it")
