"""Six updates of each of SHIP's stages agree with the reference code's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.prompting.prompts import ClassTokens, PromptLearner
from trainers.ship.config import extend_cfg
from trainers.ship.generators.vae import VAE

from .formula import fill, wave

GOLDEN = json.loads((Path(__file__).parent / "ship_trajectory.json").read_text())
NAMES = [*GOLDEN["classes"]["base"], *GOLDEN["classes"]["new"]]
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 2, 4])


def close(value: float | Tensor, wanted: float | list[float]) -> None:
    torch.testing.assert_close(torch.as_tensor(value), torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def golden_vae(clip: FrozenCLIP) -> VAE:
    cfg = CN({"TRAINER": CN()})
    extend_cfg(cfg)
    vae = VAE(clip, NAMES, cfg.TRAINER.SHIP.GENERATOR, seed=0)
    vae.prompt.ctx.data = wave((4, 512), 700, 0.02)
    fill(vae.encoder, 0.02, 100)
    fill(vae.generator, 0.02, 200)
    return vae


@pytest.fixture(scope="module")
def features() -> Tensor:
    return normalise(wave((8, 512), 900, 1.0))


@pytest.fixture(scope="module")
def trained(golden_clip: FrozenCLIP, features: Tensor) -> VAE:
    """The generator after stage 1, each step held against the figures on the way."""
    vae = golden_vae(golden_clip)
    optimizer = vae.optimizer()
    for t, wanted in enumerate(GOLDEN["stage1"]["steps"]):
        noise = wave((8, 512), 1000 + t, 1.0)
        with torch.no_grad():
            mean, log_var = vae.encoder(features)
            bias = vae.generator(mean + (log_var / 2).exp() * noise)
            close(bias.norm(dim=1).mean(), wanted["bias_norm"])
            close(vae.elbo_terms(features, LABELS, noise)[2][0, :8], wanted["recon_first8"])
        _, reconstruction, kl = vae.step(optimizer, features, LABELS, noise)
        close(reconstruction, wanted["rec"])
        close(kl, wanted["kld"])
    return vae


def test_the_formula_gives_the_reference_weights(golden_clip: FrozenCLIP):
    vae = golden_vae(golden_clip)
    sums = {
        "clip": golden_clip.model,
        "encoder0": vae.encoder,
        "generator0": vae.generator,
    }
    for name, wanted in GOLDEN["weights_abs_sum"].items():
        total = sum(p.detach().double().abs().sum().item() for p in sums[name].parameters())
        assert total == pytest.approx(wanted, rel=1e-4), name


def test_stage_1_leaves_the_reference_weights(trained: VAE):
    wanted = GOLDEN["stage1"]
    ctx = trained.prompt.ctx.detach()
    close(ctx.sum(), wanted["ctx_after"]["sum"])
    close(ctx.abs().sum(), wanted["ctx_after"]["abs_sum"])
    close(ctx[0, :8], wanted["ctx_after"]["first8"])
    for part in ("encoder", "generator"):
        for name, total in wanted[f"{part}_after"].items():
            assert getattr(trained, part).get_parameter(name).abs().sum().item() == pytest.approx(total, rel=1e-4)


def test_stage_2_follows_the_reference(golden_clip: FrozenCLIP, features: Tensor, trained: VAE):
    learner = PromptLearner(golden_clip, 4, "a photo of a")
    classes = ClassTokens.of(golden_clip, NAMES, 4)
    optimizer = torch.optim.SGD(learner.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    new = torch.tensor([5, 6, 7, 8, 5, 6, 7, 8])
    for t, wanted in enumerate(GOLDEN["stage2"]["steps"]):
        with torch.no_grad():
            synthetic = trained.decode(wave((8, 512), 2000 + t, 1.0), new)
        close(schedule.get_last_lr()[0], wanted["lr"])
        close(synthetic[0, :8], wanted["synthetic_first8"])
        class_features = normalise(golden_clip.text(learner(classes))[0])
        logits = 100 * torch.cat([features, synthetic]) @ class_features.T
        loss = torch.nn.functional.cross_entropy(logits, torch.cat([LABELS, new]))
        close(logits[0].detach(), wanted["logits_row0"])
        assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
