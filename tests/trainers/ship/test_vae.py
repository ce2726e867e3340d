from __future__ import annotations

import pytest
import torch
from yacs.config import CfgNode as CN

from trainers.prompting.clip import FrozenCLIP, normalise, tokenize
from trainers.prompting.features import FeatureBank
from trainers.ship.config import extend_cfg
from trainers.ship.generators.vae import VAE
from trainers.ship.synthesis import add_synthetic

NAMES = ["cat", "dog", "sea or lake", "very long-tailed tit"]


def options(**changed) -> CN:
    cfg = CN({"TRAINER": CN()})
    extend_cfg(cfg)
    node = cfg.TRAINER.SHIP.GENERATOR
    node.update({"ENCODER_HIDDEN": 32, "HIDDEN": 32, "EPOCHS": 5, "BATCH_SIZE": 8, **changed})
    return node


def bank(clip: FrozenCLIP) -> FeatureBank:
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(2, clip.dim, generator=rng)
    labels = torch.arange(2).repeat_interleave(10)
    return FeatureBank(normalise(centres[labels] + 0.1 * torch.randn(20, clip.dim, generator=rng))[None], labels)


def fit(vae: VAE, data: FeatureBank) -> list[dict[str, float]]:
    curve: list[dict[str, float]] = []
    vae.fit(lambda epoch: data, vae.optimizer(), 0, lambda epoch, losses: curve.append(losses))
    return curve


def test_the_kl_term_is_that_of_torchs_distributions(clip: FrozenCLIP):
    vae, data = VAE(clip, NAMES, options(), 0), bank(clip)
    x = data.features[0]
    _, kl, _ = vae.elbo_terms(x, data.labels, torch.zeros_like(x))
    mean, log_var = vae.encoder(x)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl, wanted)


def test_decoded_features_are_those_of_a_plain_prompt(clip: FrozenCLIP):
    vae = VAE(clip, NAMES, options(), 0)
    z, labels = torch.randn(3, clip.dim), torch.tensor([2, 3, 2])
    found = vae.decode(z, labels)
    for row, latent, label in zip(found, z, labels.tolist(), strict=True):
        ctx = vae.prompt.ctx + vae.generator(latent[None])
        tokens = tokenize(f"X X X X {NAMES[label]}.")
        x = torch.cat([(e := clip.model.token_embedding(tokens)[0])[:1], ctx, e[5:]])[:, None]
        y = clip.model.transformer(x + clip.model.positional_embedding[:, None])[:, 0]
        feature = clip.model.ln_final(y)[tokens.argmax()] @ clip.model.text_projection
        torch.testing.assert_close(row, feature / feature.norm(), rtol=1e-4, atol=1e-5)


def test_training_lowers_the_reconstruction_error(clip: FrozenCLIP):
    curve = fit(VAE(clip, NAMES, options(EPOCHS=30, KL_WEIGHT=0.01), 0), bank(clip))
    assert curve[-1]["reconstruction"] < 0.8 * curve[0]["reconstruction"]
    assert curve[-1]["loss"] == pytest.approx(curve[-1]["reconstruction"] + 0.01 * curve[-1]["kl"])


def test_training_changes_no_weight_of_clip(clip: FrozenCLIP):
    before = clip.fingerprint
    fit(VAE(clip, NAMES, options(), 0), bank(clip))
    assert FrozenCLIP(clip.model, clip.precision).fingerprint == before


def test_the_same_seed_trains_the_same_generator(clip: FrozenCLIP):
    first, second = (VAE(clip, NAMES, options(), 3) for _ in range(2))
    assert fit(first, bank(clip)) == fit(second, bank(clip))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_samples_are_unit_vectors_that_depend_on_class_and_latent(clip: FrozenCLIP):
    vae = VAE(clip, NAMES, options(), 0)
    samples = vae.sample(torch.tensor([0, 0, 1]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.norm(dim=1), torch.ones(3))
    assert not samples.requires_grad
    assert torch.cdist(samples, samples)[~torch.eye(3, dtype=bool)].min() > 1e-5


def test_synthetic_labels_are_uniform_over_the_new_classes():
    class Named:
        def sample(self, labels, rng):
            return labels[:, None].float()

    features, labels = torch.zeros(3000, 1), torch.zeros(3000, dtype=torch.long)
    x, y = add_synthetic(Named(), features, labels, 5, 3, torch.Generator().manual_seed(0))
    assert len(x) == len(y) == 6000
    assert torch.equal(x[:3000], features) and torch.equal(x[3000:, 0].long(), y[3000:])
    share = torch.bincount(y[3000:], minlength=8)[5:] / 3000
    assert y[3000:].min() == 5
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), rtol=0, atol=0.03)


def test_an_unknown_activation_is_refused(clip: FrozenCLIP):
    with pytest.raises(ValueError, match="ACTIVATION is 'tanh': choose one of relu, leaky_relu"):
        VAE(clip, NAMES, options(ACTIVATION="tanh"), 0)


def test_a_loss_that_is_not_finite_stops_the_training(clip: FrozenCLIP):
    data = bank(clip)
    data.features[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"not finite in epoch 1: lower TRAINER\.SHIP\.GENERATOR\.LR"):
        fit(VAE(clip, NAMES, options(), 0), data)
