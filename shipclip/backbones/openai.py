"""OpenAI's CLIP: their published names, files in their format, and MiniCLIP, which is of their architecture.

The model, the tokenizer and the table of downloads are those of the `clip` package (clip-anytorch). It is loaded under
a name of its own, so a `clip` folder that some checkout has put in its place is left alone, and with a stand-in for
`pkg_resources`, which it imports for a version check: today's setuptools has none, or one without what is asked of it.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import MissingFile, UserError, first_line
from ..miniclip import weights as miniclip
from ..options import one_of
from ..precision import Precision
from .base import Backbone, Preprocessing
from .image_tower import ImageTower
from .text_tower import TextTower
from .weights import Unfilled, read_weights

CACHE = Path("~/.cache/clip")
MEAN, STD = miniclip.MEAN, miniclip.STD
MINICLIP = "MiniCLIP"
ACTIVATIONS = ("quickgelu", "gelu")
FACTS = {"input_resolution", "context_length", "vocab_size"}  # stand in the state dicts of OpenAI's archives alone
PRIVATE = "shipclip._openai_clip"


class Package(types.ModuleType):
    """OpenAI's package: its modules `model` and `simple_tokenizer`, and what is in its `clip` (the table of downloads,
    `tokenize`), which imports torchvision, in as much time as torch, and so is imported when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("model", "simple_tokenizer"):
            return importlib.import_module(f"{PRIVATE}.{name}")
        with _pkg_resources():
            return getattr(importlib.import_module(f"{PRIVATE}.clip"), name)


@cache
def package() -> Any:
    """OpenAI's package.

    Raises:
        UserError: none that is OpenAI's is installed.
    """
    module = Package(PRIVATE)
    module.__path__ = [str(_folder())]
    sys.modules[PRIVATE] = module
    return module


@contextmanager
def _pkg_resources() -> Iterator[None]:
    """Something of that name for clip.clip, which asks it for a comparison of versions."""
    before = sys.modules.get("pkg_resources")
    if hasattr(before, "packaging"):
        yield
        return
    import packaging.version

    sys.modules["pkg_resources"] = types.SimpleNamespace(packaging=packaging)  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if before is not None:
            sys.modules["pkg_resources"] = before


def _folder() -> Path:
    for name in ("clip-anytorch", "openai-clip", "clip"):
        try:
            folder = Path(str(distribution(name).locate_file("clip")))
        except PackageNotFoundError:
            continue
        if (folder / "bpe_simple_vocab_16e6.txt.gz").is_file():  # PyPI's package called clip is something else
            return folder
    raise UserError("OpenAI's clip is not installed: pip install clip-anytorch")


class BytePairs:
    """OpenAI's byte-pair tokenizer."""

    def __init__(self) -> None:
        self._tokenizer = package().simple_tokenizer.SimpleTokenizer()
        encoder = self._tokenizer.encoder
        self.start, self.end = (encoder["<|startoftext|>"],), (encoder["<|endoftext|>"],)
        self.length = 77

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def words(self) -> dict[str, int]:
        end = "</w>"  # tokens that end a word; of fewer than three letters they say nothing
        return {
            token.removesuffix(end): index
            for token, index in self._tokenizer.encoder.items()
            if token.endswith(end) and token.removesuffix(end).isalpha() and len(token) >= 3 + len(end)
        }


@cache
def byte_pairs() -> BytePairs:
    return BytePairs()


def names() -> list[str]:
    return [*package()._MODELS, MINICLIP]


def load(
    name: str,
    path: str = "",
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    activation: str = "",
) -> Backbone:
    """Load and freeze a CLIP in OpenAI's format.

    Args:
        name: one of OpenAI's names ("ViT-B/16"), or MiniCLIP.
        path: a weight file; if given, it is read and `name` only names it.
        precision: fp32, fp16, amp or bf16 (see `Precision`).
        device: where it computes.
        activation: of a weight file, quickgelu or gelu, where the file itself does not tell.

    Raises:
        UserError: unknown name or precision, a file that is not CLIP's or that may be of either activation.
        MissingFile: no such file, or weights that are neither cached nor to be downloaded.
    """
    chosen = Precision.choose(precision, device)
    one_of(activation, "MODEL.BACKBONE.ACTIVATION", ("", *ACTIVATIONS))
    known_ids = None
    if path:
        tensors, kind = read_weights(path)
        kind = activation or ("quickgelu" if tensors.keys() >= FACTS else kind)
        name = name or Path(path).stem
    elif name == MINICLIP:
        (tensors, known_ids), kind = miniclip.load(), "quickgelu"
    else:
        tensors, kind = read_weights(download(name))[0], "quickgelu"
    tensors = {key: value for key, value in tensors.items() if key not in FACTS}
    try:
        with Unfilled():
            model = package().model.build_model(dict(tensors))
    except (KeyError, RuntimeError, IndexError, ZeroDivisionError) as error:
        raise UserError(
            f"the weights {path or name} are not those of an OpenAI CLIP ({first_line(error)}): "
            "give a state dict with OpenAI's keys"
        ) from error
    if kind not in ACTIVATIONS:
        raise ambiguous(path)
    if chosen.weights == torch.float32:
        # The builder rounds to half on the way; a file in float32 gets its precision back.
        model.float().load_state_dict(tensors, strict=False)
    if kind == "gelu":
        use_gelu(model)
    return wrap(model.to(device), chosen, name, known_ids)


def wrap(model: nn.Module, precision: Precision, name: str = "CLIP", known_ids: set[int] | None = None) -> Backbone:
    """The backbone of a `clip.model.CLIP`."""
    resnet = not hasattr(model.visual, "transformer")
    return Backbone(
        name=name,
        model=model,
        image=model.visual if resnet else ImageTower(model.visual),
        text=TextTower(model),
        tokenizer=byte_pairs(),
        embedding=model.token_embedding,
        preprocessing=Preprocessing(int(model.visual.input_resolution), MEAN, STD),
        dim=model.text_projection.shape[1],
        logit_scale=float(model.logit_scale.detach().exp()),
        precision=precision,
        dtype=model.dtype,
        known_ids=known_ids,
    )


def use_gelu(model: nn.Module) -> None:
    """Put the exact GELU where OpenAI's model has its own approximation."""
    for module in model.modules():
        if isinstance(module, package().model.ResidualAttentionBlock):
            module.mlp.gelu = nn.GELU()


def ambiguous(path: Any) -> UserError:
    return UserError(
        f"{path} does not tell which activation it was trained with, and the wrong one gives wrong features without a "
        "word: set MODEL.BACKBONE.ACTIVATION to quickgelu (OpenAI's weights and what was tuned from them, MetaCLIP, "
        "DFN) or gelu (LAION, DataComp, RemoteCLIP)"
    )


def download(name: str, cache: Path = CACHE) -> Path:
    """The cached weight file of one of OpenAI's models; fetched and checked against its SHA-256 if needed.

    Raises:
        UserError: an unknown name.
        MissingFile: neither cached nor reachable, with the place where the file can be put by hand.
    """
    known = package()._MODELS
    if name not in known:
        raise UserError(
            f"unknown CLIP {name!r} in MODEL.BACKBONE.NAME: choose one of {', '.join(names())}, "
            "open_clip:NAME/WEIGHTS, hf-hub:..., or give a weight file in MODEL.BACKBONE.PATH"
        )
    cache = cache.expanduser()
    file = cache / Path(known[name]).name
    try:
        return Path(package()._download(known[name], str(cache)))
    except (OSError, RuntimeError) as error:
        raise MissingFile(
            f"the weights of {name} are not at {file} and could not be downloaded ({first_line(error)}): "
            f"put the file there, or name another in MODEL.BACKBONE.PATH"
        ) from error


def random_clip(*shape: Any, seed: int = 0) -> nn.Module:
    """A `clip.model.CLIP` with random weights, float32; for tests and benchmarks."""
    torch.manual_seed(seed)
    return package().model.CLIP(*shape).float()
