from __future__ import annotations

import pytest
import torch

from shipclip.backbones.base import Backbone
from shipclip.errors import NotFinite, UserError
from shipclip.generators import base
from shipclip.synthesis import add_synthetic
from tests.clips import rewrapped, tokenize

from .common import NAMES, bank, fit, made


def test_the_kl_term_is_that_of_torchs_distributions(clip: Backbone):
    vae, data = made(clip, "VAE"), bank(clip)
    x = data.features[0]
    _, kl, _ = vae.elbo_terms(x, data.labels, torch.zeros_like(x))
    mean, log_var = vae.encoder(x)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(kl, wanted)


def test_a_small_kl_term_is_not_lost_under_autocast(clip: Backbone):
    """exp(v) - 1 - v of a small v: in bfloat16 there were 0.009 nats for 0.068."""
    vae, data = made(clip, "VAE"), bank(clip)
    x = data.features[0]
    vae.encoder.log_var.weight.data.mul_(0.05)
    vae.encoder.mean.weight.data.mul_(0.05)
    wanted = vae.elbo_terms(x, data.labels, torch.zeros_like(x))[1]
    with torch.autocast("cpu", torch.bfloat16):
        kl = vae.elbo_terms(x, data.labels, torch.zeros_like(x))[1]
    assert 0 < wanted < 0.1 and kl.dtype == torch.float32
    torch.testing.assert_close(kl, wanted, rtol=0.02, atol=1e-5)


def test_decoded_features_are_those_of_a_plain_prompt(clip: Backbone):
    vae = made(clip, "VAE")
    z, labels = torch.randn(3, clip.dim), torch.tensor([2, 3, 2])
    found = vae.decode(z, labels)
    for row, latent, label in zip(found, z, labels.tolist(), strict=True):
        ctx = vae.prompt.ctx + vae.generator(latent[None])
        tokens = tokenize(f"X X X X {NAMES[label]}.")
        x = torch.cat([(e := clip.model.token_embedding(tokens)[0])[:1], ctx, e[5:]])[:, None]
        y = clip.model.transformer(x + clip.model.positional_embedding[:, None])[:, 0]
        feature = clip.model.ln_final(y)[tokens.argmax()] @ clip.model.text_projection
        torch.testing.assert_close(row, feature / feature.norm(), rtol=1e-4, atol=1e-5)


def test_training_lowers_the_reconstruction_error(clip: Backbone):
    curve = fit(made(clip, "VAE", epochs=30, kl_weight=0.01), bank(clip))
    assert curve[-1]["reconstruction"] < 0.8 * curve[0]["reconstruction"]
    assert curve[-1]["loss"] == pytest.approx(curve[-1]["reconstruction"] + 0.01 * curve[-1]["kl"])


def test_training_changes_no_weight_of_clip(clip: Backbone):
    before = clip.fingerprint
    fit(made(clip, "VAE"), bank(clip))
    assert rewrapped(clip).fingerprint == before


def test_the_same_seed_trains_the_same_generator(clip: Backbone):
    first, second = (made(clip, "VAE", seed=3) for _ in range(2))
    assert fit(first, bank(clip)) == fit(second, bank(clip))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_samples_are_unit_vectors_that_depend_on_class_and_latent(clip: Backbone):
    vae = made(clip, "VAE")
    samples = vae.sample(torch.tensor([0, 0, 1]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.norm(dim=1), torch.ones(3))
    assert not samples.requires_grad
    assert torch.cdist(samples, samples)[~torch.eye(3, dtype=bool)].min() > 1e-5


def test_synthetic_labels_are_uniform_over_the_new_classes():
    class Named:
        def draw(self, count, rng):
            return ()

        def make(self, labels):
            return labels[:, None].float()

    features, labels = torch.zeros(3000, 1), torch.zeros(3000, dtype=torch.long)
    ((x, y, made, of),) = add_synthetic(Named(), [(features, labels)], 5, 3, torch.Generator().manual_seed(0))
    assert len(x) == len(y) == len(made) == len(of) == 3000
    assert torch.equal(x, features) and torch.equal(y, labels) and torch.equal(made[:, 0].long(), of)
    share = torch.bincount(of, minlength=8)[5:] / 3000
    assert of.min() == 5
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), rtol=0, atol=0.03)


def test_an_unknown_activation_is_refused(clip: Backbone):
    with pytest.raises(UserError, match="ACTIVATION is 'tanh': choose one of relu, leaky_relu"):
        made(clip, "VAE", activation="tanh")


def test_a_loss_that_is_not_finite_stops_the_training(clip: Backbone):
    data = bank(clip)
    data.features[0, 0] = float("nan")
    with pytest.raises(NotFinite, match=r"not finite in epoch 1: lower TRAINER\.SHIP\.GENERATOR\.LR"):
        fit(made(clip, "VAE"), data)


def test_samples_in_chunks_are_those_of_one_pass(clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    vae, labels = made(clip, "VAE"), torch.tensor([0, 3, 1, 2, 3, 0, 1])
    whole = vae.sample(labels, torch.Generator().manual_seed(0))
    monkeypatch.setattr(base, "SAMPLES_AT_ONCE", 3)
    parts = vae.sample(labels, torch.Generator().manual_seed(0))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_class_names_are_tokenised_once_for_each_set_of_names(clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    vae, z, labels = made(clip, "VAE"), torch.randn(2, clip.dim), torch.tensor([0, 1])
    first = vae.decode(z, labels)
    with monkeypatch.context() as patch:
        patch.setattr(type(clip), "class_tokens", lambda *a, **k: pytest.fail("tokenised again"))
        assert torch.equal(vae.decode(z, labels), first)
    vae.rename(["dog", "cat"])
    torch.testing.assert_close(vae.decode(z[[1, 0]], labels)[0], vae.decode(z, labels.flip(0))[1])
    assert not torch.allclose(vae.decode(z, labels), first, atol=1e-4)
