"""OpenAI's package is loaded beside whatever else is called `clip`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shipclip.backbones import load_backbone
from shipclip.backbones.openai import PRIVATE, package

load = package.__wrapped__  # past the cache


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """What the tests load and hide is put back."""
    before = dict(sys.modules)
    for name in [name for name in sys.modules if name.partition(".")[0] == "clip" or name.startswith(PRIVATE)]:
        del sys.modules[name]
    yield
    for name in set(sys.modules) - set(before):
        if name.startswith((PRIVATE, "clip", "pkg_resources")):
            del sys.modules[name]
    sys.modules.update(before)


class Hidden:
    """Makes a module look as if it were not installed."""

    def __init__(self, name: str):
        self.name = name

    def find_spec(self, name: str, *args: Any) -> None:
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_pkg_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg_resources"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden("pkg_resources"), *sys.meta_path])


def test_a_folder_called_clip_in_front_of_the_path_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "__init__.py").write_text("raise RuntimeError('this is another clip')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = load()
    assert "ViT-B/16" in found._MODELS and found.tokenize("a cat").shape == (1, 77)
    assert "clip" not in sys.modules


def test_a_clip_that_was_imported_stays_in_its_place(monkeypatch: pytest.MonkeyPatch):
    other = ModuleType("clip")
    monkeypatch.setitem(sys.modules, "clip", other)
    assert load().model.CLIP is not None
    assert sys.modules["clip"] is other


def test_it_loads_where_pkg_resources_is_not_installed(without_pkg_resources: None):
    with pytest.raises(ModuleNotFoundError):
        import pkg_resources  # noqa: F401
    assert load().model.CLIP is not None and load().tokenize("a cat").shape == (1, 77)
    assert "pkg_resources" not in sys.modules


def test_pkg_resources_that_was_imported_stays_in_its_place(monkeypatch: pytest.MonkeyPatch):
    import packaging.version

    other = ModuleType("pkg_resources")
    other.packaging = packaging  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pkg_resources", other)
    assert "ViT-B/16" in load()._MODELS
    assert sys.modules["pkg_resources"] is other


def test_pkg_resources_without_what_is_asked_of_it_stays_in_its_place_too(monkeypatch: pytest.MonkeyPatch):
    other = ModuleType("pkg_resources")  # as some versions of setuptools have it
    monkeypatch.setitem(sys.modules, "pkg_resources", other)
    assert load().model.CLIP is not None and "ViT-B/16" in load()._MODELS
    assert sys.modules["pkg_resources"] is other and not hasattr(other, "packaging")


def test_model_and_tokenizer_are_loaded_without_torchvision(monkeypatch: pytest.MonkeyPatch):
    """It takes as long to import as torch, and is needed where images are read."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden("torchvision"), *sys.meta_path])
    assert load().model.CLIP is not None and load().simple_tokenizer.SimpleTokenizer().encode("a cat")
    assert load_backbone("MiniCLIP").encode_texts(["a red circle"]).shape[0] == 1
    with pytest.raises(ModuleNotFoundError):
        load().tokenize("a cat")
