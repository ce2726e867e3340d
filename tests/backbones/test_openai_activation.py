"""Which activation a weight file was trained with: told by the file, given, or asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shipclip.backbones import load_backbone
from shipclip.backbones.openai import FACTS, random_clip, use_gelu
from shipclip.errors import UserError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = ["a photo of a cat.", "a dog."]


def model() -> torch.nn.Module:
    return random_clip(64, 32, 1, 64, 16, 77, 49408, 64, 1, 1)


@pytest.fixture
def ambiguous(tmp_path: Path) -> str:
    torch.save(model().state_dict(), tmp_path / "tuned.pt")
    return str(tmp_path / "tuned.pt")


def test_a_file_that_does_not_tell_is_refused_in_one_sentence(ambiguous: str):
    with pytest.raises(UserError, match="tuned.pt does not tell which activation .*MODEL.BACKBONE.ACTIVATION") as found:
        load_backbone("ViT-B/16", ambiguous)
    assert (
        "quickgelu (OpenAI" in str(found.value) and "gelu (LAION" in str(found.value) and "\n" not in str(found.value)
    )


@pytest.mark.parametrize("kind", ["quickgelu", "gelu"])
def test_the_activation_that_is_given_is_taken(kind: str, ambiguous: str):
    found, plain = load_backbone("", ambiguous, activation=kind), model()
    if kind == "gelu":
        use_gelu(plain)
    with torch.no_grad():
        wanted = plain.encode_image(IMAGES)
    torch.testing.assert_close(found.encode_image(IMAGES), wanted / wanted.norm(dim=1, keepdim=True))


def test_the_two_give_different_features(ambiguous: str):
    quick, exact = (load_backbone("", ambiguous, activation=kind) for kind in ("quickgelu", "gelu"))
    assert (quick.encode_image(IMAGES) - exact.encode_image(IMAGES)).abs().max() > 1e-4
    assert (quick.encode_texts(TEXTS) - exact.encode_texts(TEXTS)).abs().max() > 1e-5


def test_an_unknown_activation_is_refused(ambiguous: str):
    with pytest.raises(UserError, match="ACTIVATION is 'relu': choose one of .*quickgelu, gelu"):
        load_backbone("", ambiguous, activation="relu")


@pytest.mark.parametrize("kind", ["quickgelu", "gelu"])
def test_an_archives_code_tells(kind: str, tmp_path: Path):
    """OpenAI's QuickGELU is x * sigmoid(1.702 x), and 1.702 stands in the archive's code."""
    original = model()
    if kind == "gelu":
        use_gelu(original)
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.save(torch.jit.trace(original, example, check_trace=False), tmp_path / "archive.pt")
    with torch.no_grad():
        wanted = original.encode_image(IMAGES)
    found = load_backbone("", str(tmp_path / "archive.pt")).encode_image(IMAGES)
    torch.testing.assert_close(found, wanted / wanted.norm(dim=1, keepdim=True))


def test_what_stands_in_openais_archives_alone_tells(tmp_path: Path):
    facts = {name: torch.tensor(32) for name in FACTS}
    torch.save({**model().state_dict(), **facts}, tmp_path / "openai.pt")
    found, wanted = load_backbone("", str(tmp_path / "openai.pt")).encode_image(IMAGES), model().encode_image(IMAGES)
    torch.testing.assert_close(found, (wanted / wanted.norm(dim=1, keepdim=True)).detach())
