"""CLIP-LoRA's logits, losses, gradients and first six updates agree with the authors' code's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shipclip.backbones.base import Backbone
from shipclip.learners.clip_lora import CLIPLoRA, CLIPLoRAOptions
from shipclip.optim import OptimOptions, build_optimizer
from shipclip.texts import Texts

from .formula import abs_sum, read, wave

GOLDEN = read("clip_lora")
NAMES, LABELS = GOLDEN["classes"], torch.tensor(GOLDEN["recipe"]["labels"])
# The case with the output projection is not here: queries, keys and values are all that the learner updates.
ENCODERS = {"both_qkv_r2": "both", "text_qkv_r2": "text", "vision_qkv_r2": "vision"}


def learner(clip: Backbone, encoder: str) -> CLIPLoRA:
    """The formula's tensors, and dropout off, as in the recipe."""
    lora = CLIPLoRA(clip, NAMES, CLIPLoRAOptions(encoder=encoder, dropout_rate=0.0, n_iters=6), 0, Texts())
    for k, parameter in enumerate(named(lora).values()):
        parameter.data = wave(parameter.shape, 900 + k, 0.2)
    return lora


def named(lora: CLIPLoRA) -> dict[str, nn.Parameter]:
    """The learned tensors by the authors' names, in the authors' order."""
    out = {}
    for tower, prefix in (("vision", "visual."), ("text", "")):
        for layer, updates in enumerate(getattr(lora, tower)):
            for p in "qkv":
                for part in "AB":
                    name = f"{prefix}transformer.resblocks.{layer}.attn.{p}_proj.w_lora_{part}"
                    out[name] = updates.get_parameter(f"{p}_{part}")
    return out


@pytest.mark.parametrize("case", ENCODERS)
def test_clip_lora_agrees_in_logits_loss_and_gradient(case: str, deep_clip: Backbone, pixels: Tensor):
    lora, wanted = learner(deep_clip, ENCODERS[case]), GOLDEN["cases"][case]
    tensors = named(lora)
    known = wanted.get("lora") or wanted["first_lora"]
    assert [[name, list(p.shape)] for name, p in tensors.items()][: len(known)] == known
    assert sum(p.numel() for p in lora.parameters()) == wanted["number"]
    assert lora.scaling == pytest.approx(wanted["scaling"])
    for name, total in wanted.get("lora_abs_sum", {}).items():
        assert abs_sum(tensors[name]) == pytest.approx(total, rel=1e-4), name
    logits = lora.eval().classifier(NAMES)(pixels)
    torch.testing.assert_close(logits, torch.tensor(wanted["logits"]), rtol=1e-4, atol=1e-4)
    loss = lora.train().loss(pixels, LABELS)["loss"]
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
    loss.backward()
    if "grad_abs_sum" in wanted:
        for name, total in wanted["grad_abs_sum"].items():
            assert abs_sum(tensors[name].grad) == pytest.approx(total, rel=1e-4), name
    else:
        assert sum(abs_sum(p.grad) for p in tensors.values()) == pytest.approx(wanted["grad_abs_sum_total"], rel=1e-4)


def test_six_updates_follow_the_authors(deep_clip: Backbone, pixels: Tensor):
    lora, wanted, facts = learner(deep_clip, "both"), GOLDEN["trajectory"], GOLDEN["optimizer"]
    optim = OptimOptions(name="adamw", lr=facts["initial_lr"], weight_decay=facts["weight_decay"])
    assert [optim.adam_beta1, optim.adam_beta2] == facts["betas"] and optim.adam_eps == facts["eps"]
    optimizer = build_optimizer(lora.parameters(), optim)
    schedule, steps = lora.schedule(optimizer, shots=1)
    assert steps == len(wanted["losses"])
    lora.train()
    for loss_wanted, lr in zip(wanted["losses"], wanted["learning_rates"], strict=True):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr, rel=1e-6)
        loss = lora.loss(pixels, LABELS)["loss"]
        assert loss.item() == pytest.approx(loss_wanted, rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for name, total in wanted["lora_abs_sum_after"].items():
        assert abs_sum(named(lora)[name]) == pytest.approx(total, rel=1e-4), name
    logits = lora.eval().classifier(NAMES)(pixels)
    torch.testing.assert_close(logits, torch.tensor(wanted["logits_after"]), rtol=1e-4, atol=1e-4)
