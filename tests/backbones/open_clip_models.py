"""What the tests of open_clip's models share: small models with random weights, their files and tokenizers."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

clip = pytest.importorskip("open_clip")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402
from transformers import BertConfig, PreTrainedTokenizerFast, XLMRobertaConfig  # noqa: E402

from shipclip.backbones import load_backbone, open_clip_origin, openai  # noqa: E402
from shipclip.backbones.base import Backbone  # noqa: E402
from shipclip.backbones.hooks import Hooks  # noqa: E402
from shipclip.backbones.image_tower import ImageTower  # noqa: E402
from shipclip.backbones.open_clip import BOTH, is_meant, load, tokenizer_of, wrap  # noqa: E402
from shipclip.backbones.open_clip_model import build, fill, text_of, to_half  # noqa: E402
from shipclip.backbones.open_clip_origin import CONFIG, agreed, find, preprocess_of  # noqa: E402
from shipclip.backbones.plain_text import PlainText, TransformersTokens  # noqa: E402
from shipclip.backbones.prompts import POSITIONS, PromptLearner, class_prompts  # noqa: E402
from shipclip.backbones.text_tower import TextTower  # noqa: E402
from shipclip.errors import MissingFile, UserError  # noqa: E402
from shipclip.precision import Precision  # noqa: E402

FP32 = Precision("fp32")
TEXTS = ["a cat.", "a photo of a great spotted woodpecker!", "x"]
CLASSES = ["cat", "great_spotted woodpecker", "oak tree"]
SIGLIP = ("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2")
# Text tower, image tower; all of the requirement, then other poolings, masks and layouts.
KINDS = {
    "ViT-B-16": (TextTower, ImageTower),
    "ViT-B-16-quickgelu": (TextTower, ImageTower),
    "ViT-L-14": (TextTower, ImageTower),
    "RN50": (TextTower, None),
    "RN50-quickgelu": (TextTower, None),
    "ViT-B-16-SigLIP": (PlainText, None),
    "ViT-B-16-SigLIP2": (PlainText, None),
    "coca_ViT-B-32": (PlainText, None),
    "MobileCLIP-S1": (PlainText, None),
    "convnext_tiny": (TextTower, None),
    "ViT-L-14-CLIPA": (PlainText, None),
}
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 2, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SCALING = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear", "resize_mode": "squash"}


def unigram(folder: Path, pad: str = "<pad>") -> Path:
    """A tokenizer of SigLIP's kind: sentence pieces, the end token behind a text and no start."""
    pieces = ["▁cat", "▁a", "▁photo", "▁of", "▁great", "▁oak", "▁tree", "▁spotted", "▁wood", "pecker", "Cat", "▁x"]
    rows = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -3.0) for piece in pieces)]
    rows += [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    inner = Tokenizer(models.Unigram(rows, unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=pad, eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def wordpieces(folder: Path) -> Path:
    """A tokenizer of BERT's kind: [CLS] text [SEP]."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "a", "photo", "of", "tree", "##s", "x", "."]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="[CLS]", eos_token="[SEP]", **special).save_pretrained(
        folder
    )
    return folder


def shrunk(name: str) -> dict[str, Any]:
    """A published configuration with few layers; nothing else of it is changed but SigLIP 2's vocabulary of 256,000."""
    config = clip.get_model_config(name)
    config["text_cfg"]["layers"] = 2
    config["text_cfg"]["vocab_size"] = min(config["text_cfg"].get("vocab_size", 49408), 49408)
    if "timm_model_name" not in config["vision_cfg"]:
        config["vision_cfg"]["layers"] = [1, 1, 1, 1] if isinstance(config["vision_cfg"]["layers"], list) else 2
    if "multimodal_cfg" in config:
        config["multimodal_cfg"]["layers"] = 1
    return config


def random_model(config: dict[str, Any], seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build(config, "a model")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:  # biases that are not zero, norms that are not one
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@dataclass
class Case:
    name: str
    config: dict[str, Any]
    model: torch.nn.Module
    backbone: Backbone
    tokenize: Callable[[list[str]], Tensor]


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, folder = request.param, tmp_path_factory.mktemp("tokenizer")
    config = shrunk(name)
    if name in SIGLIP:
        unigram(folder, "</s>" if name == SIGLIP[0] else "<pad>")
    elif config["text_cfg"].get("hf_tokenizer_name"):
        wordpieces(folder)
    model = random_model(config)
    tokenizer = tokenizer_of(config["text_cfg"], folder)
    backbone = wrap(model, config["embed_dim"], FP32, name, SCALING, tokenizer)
    return Case(name, config, model, backbone, own_tokenizer(config["text_cfg"], folder))


def own_tokenizer(text: dict[str, Any], folder: Path) -> Callable[[list[str]], Tensor]:
    """open_clip's own, to ids over the whole length."""
    kwargs = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
    if text.get("hf_tokenizer_name"):
        return clip.tokenizer.HFTokenizer(str(folder), **kwargs)
    return clip.SimpleTokenizer(**kwargs)


def close(ours: Tensor, reference: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((ours - reference).abs().max() <= tolerance * reference.abs().max())


def tiny(quick: bool = False, **text: Any) -> dict[str, Any]:
    config = {**TINY, "text_cfg": {**TINY["text_cfg"], **text}}
    return {**config, "quick_gelu": True} if quick else config


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """open_clip with small models: Tiny and its twin Tiny-quickgelu, Solo without one; their tables of weights."""
    configs, weights = clip.factory._MODEL_CONFIGS, clip.pretrained._PRETRAINED
    for name, config in {"Tiny": tiny(), "Tiny-quickgelu": tiny(True), "Solo": tiny()}.items():
        monkeypatch.setitem(configs, name, config)
    ours: dict[str, Any] = {"Tiny": {}, "Tiny-quickgelu": {}}
    for name, tags in ours.items():
        monkeypatch.setitem(weights, name, tags)
    return ours


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Tiny's weights, without a word about their activation."""
    file = tmp_path / "tiny.safetensors"
    save_file(random_model(tiny()).state_dict(), file)
    return file


def settings(quick: bool, file: Path | str = "") -> dict[str, Any]:
    """A line of open_clip's table."""
    return {**SCALING, "file": str(file), "hf_hub": "owner/tiny/", **({"quick_gelu": True} if quick else {})}


def put_config(file: Path, config: dict[str, Any]) -> None:
    content = {"model_cfg": config, "preprocess_cfg": SCALING}
    (file.parent / CONFIG).write_text(json.dumps(content), encoding="utf-8")


def is_quick(backbone: Backbone) -> bool:
    kinds = {type(module).__name__ for module in backbone.model.modules()} & {"QuickGELU", "GELU"}
    assert len(kinds) == 1
    return kinds == {"QuickGELU"}
