"""open_clip's modules: built from a configuration and filled with weights, without its own loader.

That loader would fetch, unpickle and, where a name and a file do not go together, only warn.
"""

from __future__ import annotations

import importlib.util
import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, first_line
from ..extras import install
from . import openai
from .open_clip_origin import fetching, package


def build(config: dict[str, Any], label: str, cast: torch.dtype | None = None) -> nn.Module:
    """An open_clip model of a configuration, with random weights.

    Args:
        config: model_cfg.
        label: for messages.
        cast: torch.float16 for weights that will be half: layer norms then compute in float32.
    """
    clip, config = package(), dict(config)
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    hub = text.get("hf_model_name")
    # Nothing but the weights' own file is read.
    vision["timm_model_pretrained"], text["hf_model_pretrained"] = False, False
    kind = clip.CLIP
    if config.pop("custom_text", False) or hub:
        kind = clip.CoCa if "multimodal_cfg" in config else clip.CustomTextCLIP
    if hub:
        need_package("transformers", label)
    with fetching(f"the configuration of {label}'s text tower {hub}", mend="") if hub else nullcontext():
        try:
            return kind(**{**config, "vision_cfg": vision, "text_cfg": text}, cast_dtype=cast).eval()
        except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
            raise UserError(
                f"open_clip {clip.__version__} cannot build {label} ({first_line(error)}): update it and timm, or mend "
                "the configuration"
            ) from error


def fill(model: nn.Module, tensors: dict[str, Tensor], label: str, file: str) -> None:
    """Put weights into a model as open_clip itself does, with its conversions of other layouts.

    Raises:
        UserError: the first tensor that differs.
    """
    clip, tensors = package(), {key: value for key, value in tensors.items() if key not in openai.FACTS}
    misfit = f"check that MODEL.BACKBONE.NAME is the architecture of {file}"
    try:
        tensors = clip.convert.convert_state_dict(model, tensors)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{file} is only in part a MobileCLIP ({first_line(error)}): {misfit}") from error
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        tensors = clip.model.convert_to_custom_text_state_dict(tensors)
    tensors.pop("text.transformer.embeddings.position_ids", None)  # older transformers kept them
    own = model.state_dict()
    for key in ("logit_scale", "logit_bias"):  # scalars, or of one element
        if key in own and key in tensors and tensors[key].numel() == own[key].numel():
            tensors[key] = tensors[key].reshape(own[key].shape)
    notes = _resize(model, own, tensors)
    for key, value in own.items():
        if key not in tensors and not key.endswith("num_batches_tracked"):
            raise UserError(f"{file} is not a {label}: it lacks {key}; {misfit}")
        if key in tensors and tensors[key].shape != value.shape:
            shapes = f"{list(tensors[key].shape)}, not {list(value.shape)}"
            raise UserError(f"{file} is not a {label}: its {key} is {shapes}; {misfit}")
    for key in tensors:
        if key not in own:
            raise UserError(f"{file} is not a {label}: it has {key}, which does not belong there; {misfit}")
    model.load_state_dict(tensors)
    for note in notes:
        print(note)


def _resize(model: nn.Module, own: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """Position embeddings of another image size or text length, interpolated as open_clip does; gives notes of it."""
    notes = []
    grid, line = package().model.resize_pos_embed, package().model.resize_text_pos_embed
    for key, resize in (
        ("visual.positional_embedding", grid),
        ("positional_embedding", line),
        ("text.positional_embedding", line),
    ):
        if key not in own or key not in tensors or own[key].shape == tensors[key].shape:
            continue
        (old, width), (new, needed) = tensors[key].shape, own[key].shape
        if width == needed and (resize is line or math.isqrt(old - 1) ** 2 == old - 1):
            notes.append(f"Note: {key} is interpolated from {old} to {new} positions, as open_clip does")
            resize(tensors, model)
    return notes


def to_half(model: nn.Module) -> None:
    """Half precision as open_clip has it: layer norms, and in its own towers embeddings too, stay in float32."""
    clip, visual, text = package(), model.visual, text_of(model)
    linear = isinstance(getattr(text, "text_projection", None), nn.Linear)  # which the conversion does not know
    if isinstance(visual, clip.timm_model.TimmModel) or linear:
        model.half()
        for module in model.modules():
            if isinstance(module, clip.transformer.LayerNormFp32):
                module.float()
        return
    clip.model.convert_weights_to_lp(model, dtype=torch.float16)
    if isinstance(text, clip.hf_model.HFTextEncoder):
        text.half()  # Hugging Face's layer norms do not cast, nor do those of the pooler
    if getattr(visual, "attn_pool", None) is not None:
        visual.attn_pool.half()


def text_of(model: nn.Module) -> Any:
    """The text tower; where its parts hang on the model itself, they under a TextTransformer's names."""
    if hasattr(model, "text"):
        return model.text
    names = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection", "attn_mask")
    parts = {name: getattr(model, name) for name in names}
    return SimpleNamespace(**parts, pool_type=model.text_pool_type, eos_id=model.text_eos_id)


def need_package(package_name: str, what: str) -> None:
    if importlib.util.find_spec(package_name) is None:
        raise UserError(f"{what} needs the package {package_name}: {install('open_clip')}")
