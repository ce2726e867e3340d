"""A learner's classifier written down: tensors, and a formula over features."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import UserError
from .learners.tip_adapter import counted

if TYPE_CHECKING:
    from .bundle import Classifier

LINEAR = 1e-3  # largest difference of logits, as a share of their size, for which a head is taken for linear


def head_of(model: Classifier) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A learner's classifier as tensors and a formula over features x (B, d).

    A classifier that is linear in x, however its learner computes it, is found by asking it for 0 and the unit vectors;
    another one is a dataclass of tensors, modules and numbers.

    Raises:
        UserError: it is neither.
    """
    classify, d = model.classifier(), model.backbone.dim
    bias = classify(torch.zeros(1, d)).float()[0]
    weight = (classify(torch.eye(d)).float() - bias).T.contiguous()  # (C, d)
    x = nn.functional.normalize(torch.randn(64, d, generator=torch.Generator().manual_seed(0)), dim=1)
    logits = classify(x).float()
    if (x @ weight.T + bias - logits).abs().max() <= LINEAR * logits.abs().max().clamp(min=1):
        return {"weight": weight, "bias": bias}, {"kind": "linear", "formula": "z = x weight^T + bias"}
    kind = type(classify).__name__
    if kind not in HEADS:
        name = type(model.learner).__name__
        raise UserError(f"{name}'s classifier is no formula that safetensors could name: use --format onnx or torch")
    tensors, numbers = {}, {}
    for field in fields(classify):
        value = getattr(classify, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value
        elif isinstance(value, nn.Module):
            tensors |= {f"{field.name}.{key}": part for key, part in value.state_dict().items()}
        else:
            numbers[field.name] = value
    summed = kind == "CacheClassifier" and tensors["votes"].dim() == 1
    return tensors, {"kind": kind, "formula": SUMMED if summed else FORMULAS[kind], **numbers}


FORMULAS = {
    "CacheClassifier": "z = scale * x text^T + alpha * exp(-beta (1 - x keys^T)) votes",
    "AdapterClassifier": "z = scale * unit(ratio * relu(relu(x A^T) B^T) + (1 - ratio) * x) text^T, "
    "A = adapter.0.weight, B = adapter.2.weight",
}


SUMMED = (
    "z_c = scale * x text_c^T + alpha * sum over i with votes_i = c of exp(-beta (1 - x keys_i^T)), c = 0 ... C - 1"
)


def _linear(x: Tensor, of: dict[str, Tensor], numbers: dict[str, Any]) -> Tensor:
    return x @ of["weight"].T + of["bias"]


def _cache(x: Tensor, of: dict[str, Tensor], n: dict[str, Any]) -> Tensor:
    votes = counted((-n["beta"] * (1 - x @ of["keys"].T)).exp(), of["votes"], len(of["text"]))
    return n["scale"] * x @ of["text"].T + n["alpha"] * votes


def _adapter(x: Tensor, of: dict[str, Tensor], n: dict[str, Any]) -> Tensor:
    inner = ((x @ of["adapter.0.weight"].T).relu() @ of["adapter.2.weight"].T).relu()
    mixed = n["ratio"] * inner + (1 - n["ratio"]) * x
    return n["scale"] * nn.functional.normalize(mixed, dim=1) @ of["text"].T


HEADS = {"linear": _linear, "CacheClassifier": _cache, "AdapterClassifier": _adapter}
