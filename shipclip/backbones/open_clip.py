"""open_clip's models: published weights by name, models of Hugging Face's hub, and local files.

What a model is comes from its own configuration: of the weights' tag in open_clip's table, the open_clip_config.json of
a repository or beside a file. A file without one is read only where its name leaves nothing open. The weights are read
by `read_weights`, never unpickled.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..precision import Precision
from . import openai
from .base import Backbone, Preprocessing
from .hooks import NONE, Hooks
from .image_tower import ImageTower
from .open_clip_model import build, fill, need_package, text_of, to_half
from .open_clip_origin import HUB, PREFIX, agreed, fetch_weights, fetching, find, package, preprocess_of
from .plain_text import BytePairs, PlainText, TransformersText, TransformersTokens
from .text_tower import TextTower
from .weights import Unfilled, read_weights

BOTH = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")  # OpenAI's names too; their others have a slash
TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


def is_meant(name: str, path: str = "") -> bool:
    """Whether a name is one of open_clip's; open_clip itself is not imported."""
    if name.startswith((PREFIX, HUB)):
        return True
    if not path or not name or "/" in name:
        return False
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        return False
    return name not in BOTH and (Path(spec.origin).parent / "model_configs" / f"{name}.json").is_file()


def load(
    name: str,
    path: str = "",
    precision: str = "fp32",
    device: str | torch.device = "cpu",
    activation: str = "",
) -> Backbone:
    """Load and freeze one of open_clip's models.

    Args:
        name: open_clip:NAME/TAG, hf-hub:OWNER/REPOSITORY, or with a path open_clip:NAME or NAME.
        path: a weight file; if given, no weights are downloaded.
        precision: fp32, fp16, amp or bf16 (see `Precision`).
        device: where it computes.
        activation: quickgelu or gelu, of a weight file that does not tell.

    Raises:
        UserError: what is unknown, does not fit, contradicts itself or may be of either activation.
        MissingFile: what is neither here nor to be downloaded.
    """
    package()
    chosen = Precision.choose(precision, device)
    if activation not in ("", *openai.ACTIVATIONS):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION is {activation!r}: choose {' or '.join(openai.ACTIVATIONS)}")
    if Path(path).suffix in (".npz", ".npy"):
        raise UserError(f"{path} is in big_vision's format: give the open_clip_model.safetensors of the same weights")
    read = read_weights(path) if path else None  # before anything is fetched
    origin = find(name, path)
    tensors, code = read or read_weights(fetch_weights(origin))
    if tensors.keys() >= openai.FACTS:
        code = "quickgelu"
    if code:
        origin.facts.append((f"the code in {path or origin.label}", code))
    if activation:
        origin.facts.append(("MODEL.BACKBONE.ACTIVATION", activation))
    origin.config["quick_gelu"] = agreed(origin, path) == "quickgelu"
    preprocess = preprocess_of(origin, path)
    half = chosen.weights == torch.float16
    with Unfilled():
        model = build(origin.config, origin.label, torch.float16 if half else None)
    fill(model, tensors, origin.label, path or origin.label)
    if half:
        to_half(model)
    tokenizer = tokenizer_of(origin.config["text_cfg"], Path(path).expanduser().parent if path else None)
    return wrap(model.to(device), origin.config["embed_dim"], chosen, name, preprocess, tokenizer)


# -- as a backbone ------------------------------------------------------------------------------------------


def tokenizer_of(config: dict[str, Any], folder: Path | None) -> BytePairs | TransformersTokens:
    """The tokenizer that a text_cfg names; from the weight file's folder, if it lies there."""
    clip, source = package(), config.get("hf_tokenizer_name")
    settings = {"context_length": config.get("context_length", 77), **(config.get("tokenizer_kwargs") or {})}
    if not source:
        return BytePairs(clip.SimpleTokenizer(**settings))
    need_package("transformers", source)
    here = [file for file in TOKENIZER if folder and (folder / file).is_file()]
    if here == TOKENIZER[:1]:
        raise UserError(
            f"{folder} has {here[0]} without {TOKENIZER[1]}, which tells its special tokens: put it there too"
        )
    if here:
        source = str(folder)
    mend = f", and put {' and '.join(TOKENIZER)} beside the weight file"
    with fetching(f"the tokenizer {source}", mend):
        inner = clip.tokenizer.HFTokenizer(source, tokenizer_mode=config.get("tokenizer_mode"), **settings)
    return TransformersTokens(inner, source)


def wrap(
    model: nn.Module, dim: int, precision: Precision, name: str, preprocess: dict[str, Any], tokenizer: Any
) -> Backbone:
    """The backbone of an open_clip model.

    Args:
        model: a CLIP, CustomTextCLIP or CoCa.
        dim: d, of the joint space.
        precision: see `Precision`.
        name: what it was loaded as.
        preprocess: mean, std, interpolation and resize_mode.
        tokenizer: see `tokenizer_of`.
    """
    text, visual = text_of(model), model.visual
    hub = isinstance(text, package().hf_model.HFTextEncoder)
    embedding = text.transformer.get_input_embeddings() if hub else text.token_embedding
    if tokenizer.top >= embedding.num_embeddings:
        raise UserError(
            f"the tokenizer has {tokenizer.top + 1} tokens, and {name} knows {embedding.num_embeddings}: give it the "
            "tokenizer that it was trained with"
        )
    if hub:
        tower: Any = TransformersText(text, tokenizer, embedding, name)
    else:
        check_pooling(text, tokenizer, name)
        fast = is_like_openai(text, tokenizer)
        tower = TextTower(text) if fast else PlainText(text, tokenizer, embedding, name)
    height, width = package().utils.to_2tuple(visual.image_size)
    mode = preprocess["resize_mode"]
    if height != width or mode not in ("shortest", "squash"):
        raise UserError(f"{name} reads images of {height} x {width}, {mode}: only squares are made here")
    images = Preprocessing(
        int(height),
        tuple(preprocess["mean"]),
        tuple(preprocess["std"]),
        preprocess["interpolation"],
        mode,
    )
    with torch.no_grad():
        scale = float(model.logit_scale.exp())
        bias = 0.0 if model.logit_bias is None else float(model.logit_bias)
    return Backbone(
        name=name,
        model=model,
        image=ImageTower(visual) if is_plain_vit(visual) else PlainImage(visual, name),
        text=tower,
        tokenizer=tokenizer,
        embedding=embedding,
        preprocessing=images,
        dim=dim,
        logit_scale=scale,
        logit_bias=bias,
        precision=precision,
        dtype=precision.weights,
    )


def check_pooling(text: Any, tokenizer: Any, name: str) -> None:
    """Refuse a text tower whose feature is not where a text ends, as its tokenizer has it."""
    if getattr(text, "cls_emb", None) is not None or text.pool_type in ("first", "last"):
        return
    end = tokenizer.end[-1] if tokenizer.end else None
    pooled = {"argmax": tokenizer.top, "eos": getattr(text, "eos_id", None)}.get(text.pool_type)
    if end is None or end != pooled or end in tokenizer.start:
        raise UserError(
            f"the text tower of {name} takes its feature at token {pooled} ({text.pool_type}), and its tokenizer ends "
            f"texts with {end}: give it the tokenizer that it was trained with"
        )


def is_like_openai(text: Any, tokenizer: Any) -> bool:
    """Whether `TextTower` computes what a TextTransformer does: causal, the feature at the end, OpenAI's blocks."""
    return (
        text.attn_mask is not None
        and getattr(text, "cls_emb", None) is None
        and text.pool_type in ("argmax", "eos")
        and isinstance(text.text_projection, nn.Parameter)
        and len(tokenizer.start) > 0
        and _plain_blocks(text.transformer)
    )


def is_plain_vit(visual: nn.Module) -> bool:
    """Whether `ImageTower` computes what an image tower does."""
    return (
        type(visual) is package().transformer.VisionTransformer
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and isinstance(visual.ln_pre, nn.LayerNorm)
        and isinstance(visual.patch_dropout, nn.Identity)
        and isinstance(visual.proj, nn.Parameter)
        and _plain_blocks(visual.transformer)
    )


def _plain_blocks(transformer: nn.Module) -> bool:
    kind = package().transformer.ResidualAttentionBlock
    return all(type(b) is kind and isinstance(b.ls_1, nn.Identity) for b in transformer.resblocks)


class PlainImage:
    """An image tower of another kind than OpenAI's vision transformer: (B, 3, R, R) -> (B, d)."""

    def __init__(self, visual: nn.Module, name: str):
        self.visual, self.name = visual, name

    def __call__(self, images: Tensor, hooks: Hooks = NONE) -> Tensor:
        if hooks != NONE:
            raise UserError(f"the image tower of {self.name} takes no deep prompts and no LoRA: choose a CLIP's ViT")
        out = self.visual(images)
        return out[0] if isinstance(out, tuple) else out  # CoCa's gives its tokens too
