"""Six updates of each of SHIP's stages agree with the reference code's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from shipclip import loop, method, tuning
from shipclip.backbones.base import Backbone, normalise
from shipclip.generators.vae import VAE, VAEOptions
from shipclip.learners.coop import CoOp, CoOpOptions
from shipclip.optim import OptimOptions
from shipclip.settings import Settings
from shipclip.synthesis import ShipOptions
from shipclip.task import Item, LabelSpace, Task
from shipclip.texts import Texts

from .formula import fill, read, wave

GOLDEN = read("ship_trajectory")
BASE, NEW = GOLDEN["classes"]["base"], GOLDEN["classes"]["new"]
NAMES = [*BASE, *NEW]
LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 2, 4])


def close(value: float | Tensor, wanted: float | list[float]) -> None:
    torch.testing.assert_close(torch.as_tensor(value), torch.tensor(wanted), rtol=1e-4, atol=1e-5)


def golden_vae(clip: Backbone) -> VAE:
    vae = VAE(clip, NAMES, VAEOptions(), seed=0)
    vae.prompt.ctx.data = wave((4, 512), 700, 0.02)
    fill(vae.encoder, 0.02, 100)
    fill(vae.generator, 0.02, 200)
    return vae


@pytest.fixture(scope="module")
def features() -> Tensor:
    return normalise(wave((8, 512), 900, 1.0))


@pytest.fixture(scope="module")
def trained(golden_clip: Backbone, features: Tensor) -> VAE:
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


def test_the_formula_gives_the_reference_weights(golden_clip: Backbone):
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


def stage_2(clip: Backbone, trained: VAE) -> method.Method:
    """SHIP in the reference's settings, its generator's latents those of the formula, step by step."""
    optim = OptimOptions(
        name="sgd", lr=2e-3, momentum=0, weight_decay=0, lr_scheduler="cosine", max_epoch=len(GOLDEN["stage2"]["steps"])
    )
    settings = Settings(
        method="SHIP",
        learner=CoOp,
        options=CoOpOptions(n_ctx=4, ctx_init="a photo of a"),
        precision="fp32",
        optim=optim,
        batch_size=len(LABELS),
        ship=ShipOptions(),
        generator=trained.options,
    )
    task = Task("Own", LabelSpace(tuple(BASE), len(BASE), further=tuple(NEW)), [Item("", y) for y in LABELS.tolist()])
    learner = CoOp(clip, NAMES, settings.options, 0, Texts())
    return method.Method(settings, task, clip, None, learner, 0, trained)  # type: ignore[arg-type]


def test_stage_2_follows_the_reference(
    golden_clip: Backbone, features: Tensor, trained: VAE, monkeypatch: pytest.MonkeyPatch
):
    """SHIP's own loss, optimiser and schedule; only the order of images and the random draws are the formula's."""
    new, steps = torch.tensor([5, 6, 7, 8, 5, 6, 7, 8]), iter(enumerate(GOLDEN["stage2"]["steps"]))
    ship = stage_2(golden_clip, trained)
    stage = method.tuning_stage(ship)
    stage.batches = lambda epoch, rng: tuning.with_synthetic(ship, [(features, LABELS)], rng)
    wanted: dict[str, Any] = {}

    def drawn(low: int, high: int, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        assert (low, high, size) == (5, 9, (8,))  # uniform over the new classes
        return new

    def latents(count: int, rng: torch.Generator) -> Tensor:
        t, figures = next(steps)
        wanted.update(figures)
        return wave((count, 512), 2000 + t, 1.0)

    def make(labels: Tensor, z: Tensor) -> Tensor:
        synthetic = VAE.make(trained, labels, z)
        close(synthetic[0, :8], wanted["synthetic_first8"])
        return synthetic

    def objective(logits: Tensor, labels: Tensor, *args: Any) -> dict[str, Tensor]:
        close(stage.lr, wanted["lr"])
        close(logits[0].detach(), wanted["logits_row0"])
        assert labels.tolist() == [*LABELS.tolist(), *new.tolist()]
        found = production(logits, labels, *args)
        assert found["loss"].item() == pytest.approx(wanted["loss"], rel=1e-4)
        return found

    production = tuning.objective
    monkeypatch.setattr(torch, "randint", drawn)
    monkeypatch.setattr(trained, "latents", latents)
    monkeypatch.setattr(trained, "make", make)
    monkeypatch.setattr(tuning, "objective", objective)
    loop.run(stage, 0, 0, lambda epoch: None)
    assert next(steps, None) is None  # all six
    ctx, after = ship.learner.ctx.detach(), GOLDEN["stage2"]["ctx_after"]
    close(ctx.sum(), after["sum"])
    close(ctx.abs().sum(), after["abs_sum"])
    close(ctx[0, :8], after["first8"])
