"""The generators beside the VAE, each against a plain formula."""

from __future__ import annotations

import math

import pytest
import torch

from shipclip.backbones.base import Backbone, normalise
from shipclip.errors import UserError
from shipclip.generators import GENERATORS, FeatureGenerator
from shipclip.generators.vae import contrast
from tests.clips import rewrapped

from .common import NAMES, bank, fit, made


def test_all_five_are_registered():
    assert set(GENERATORS.names()) >= {"VAE", "GAN", "MLP", "Gaussian", "TextPoint"}


@pytest.mark.parametrize("name", ["VAE", "GAN", "MLP", "Gaussian", "TextPoint"])
def test_every_generator_fits_and_samples_unit_vectors_of_any_class(name: str, clip: Backbone):
    generator = made(clip, name, epochs=2)
    before = clip.fingerprint
    curve = fit(generator, bank(clip))
    assert len(curve) == (2 if list(generator.parameters()) else 1) and set(curve[0]) == set(generator.losses)
    samples = generator.sample(torch.tensor([0, 3, 3]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.norm(dim=1), torch.ones(3))
    assert torch.allclose(samples[1], samples[2], atol=1e-4) == (name == "TextPoint")
    assert rewrapped(clip).fingerprint == before


@pytest.mark.parametrize("name", ["VAE", "GAN", "MLP", "Gaussian", "TextPoint"])
def test_the_same_seed_gives_the_same_generator(name: str, clip: Backbone):
    first, second = (made(clip, name, seed=3, epochs=2) for _ in range(2))
    assert fit(first, bank(clip)) == fit(second, bank(clip))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


# -- from scratch ---------------------------------------------------------------------------------------------


def test_the_decoder_from_scratch_is_two_layers_on_latent_and_text_feature(clip: Backbone):
    mlp, z, labels = made(clip, "MLP"), torch.randn(3, clip.dim), torch.tensor([2, 0, 3])
    t = clip.encode_texts([f"a photo of a {NAMES[label]}." for label in labels.tolist()])
    first, _, last = mlp.decoder
    hidden = torch.cat([z, t], dim=1) @ first.weight.T + first.bias
    y = hidden.clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(mlp.decode(z, labels), y / y.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    assert not any("prompt" in name for name in mlp.state_dict())


# -- Gaussian ---------------------------------------------------------------------------------------------------


def test_the_gaussian_is_around_text_features_with_the_base_images_spread(clip: Backbone):
    gaussian, data = made(clip, "Gaussian", epochs=1), bank(clip)
    fit(gaussian, data)
    t = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    spread = (data.features[0] - t[data.labels]).square().mean(dim=0).sqrt()
    torch.testing.assert_close(gaussian.std, spread)
    z = torch.randn(2, clip.dim)
    torch.testing.assert_close(gaussian.decode(z, torch.tensor([3, 1])), normalise(t[[3, 1]] + spread * z))


# -- TextPoint --------------------------------------------------------------------------------------------------


def test_the_text_point_is_the_text_feature(clip: Backbone):
    point = made(clip, "TextPoint")
    (epoch,) = fit(point, bank(clip))
    t = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    labels = torch.tensor([2, 0, 2])
    torch.testing.assert_close(point.sample(labels, torch.Generator().manual_seed(1)), t[labels])
    data = bank(clip)
    expected = (data.features[0] - t[data.labels]).square().sum(dim=1).mean().item()
    assert epoch["loss"] == pytest.approx(expected, rel=1e-5)


# -- options beyond the reference -----------------------------------------------------------------------------


def test_kl_annealing_and_free_bits_in_the_loss(clip: Backbone):
    vae, data = made(clip, "VAE", kl_weight=0.5, kl_anneal=4, free_bits=0.0), bank(clip)
    assert [vae.kl_weight(epoch) for epoch in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    x, labels, noise = data.features[0], data.labels, torch.zeros(20, clip.dim)
    loss, reconstruction, kl = vae.step(vae.optimizer(), x, labels, noise, epoch=1).tolist()
    assert loss == pytest.approx(reconstruction + 0.25 * kl)
    vae = made(clip, "VAE", kl_weight=0.5, free_bits=1e3)
    loss, reconstruction, kl = vae.step(vae.optimizer(), x, labels, noise).tolist()
    assert kl < 1e3 and loss == pytest.approx(reconstruction + 0.5 * 1e3)


def test_contrast_and_anchor_by_a_plain_loop(clip: Backbone):
    rng = torch.Generator().manual_seed(3)
    x, x_hat = (normalise(torch.randn(5, clip.dim, generator=rng)) for _ in range(2))
    labels = torch.tensor([0, 1, 0, 2, 1])  # the image of class 2 has no companion
    terms = []
    for i in (0, 1, 2, 4):
        weight = [math.exp(7.0 * float(x[i] @ x_hat[j])) if j != i else 0.0 for j in range(5)]
        own = sum(w for j, w in enumerate(weight) if labels[j] == labels[i])
        terms.append(-math.log(own / sum(weight)))
    assert float(contrast(x, x_hat, labels, 7.0)) == pytest.approx(sum(terms) / 4, rel=1e-5)
    assert float(contrast(x, x_hat, torch.arange(5), 7.0)) == 0
    assert float(contrast(x[:1], x_hat[:1], labels[:1], 7.0)) == 0
    made_of = x_hat.clone().requires_grad_()
    contrast(x, made_of, labels, 7.0).backward()
    assert made_of.grad.isfinite().all()
    vae = made(clip, "VAE", contrast_weight=0.5, anchor_weight=2.0)
    text = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    distance = sum(1 - float(x_hat[i] @ text[label]) for i, label in enumerate(labels.tolist())) / 5
    wanted = 0.5 * float(contrast(x, x_hat, labels, clip.logit_scale)) + 2 * distance
    assert float(vae.extra_terms(x, x_hat, labels)) == pytest.approx(wanted, rel=1e-5)


def test_contrast_and_anchor_are_minimised_and_off_by_default(clip: Backbone):
    data = bank(clip)
    x, labels, noise = data.features[0], data.labels, torch.zeros(20, clip.dim)
    plain = made(clip, "VAE")
    assert float(plain.extra_terms(x, x, labels)) == 0
    for key in ("contrast_weight", "anchor_weight"):
        vae = made(clip, "VAE", kl_weight=0.0, **{key: 10.0})
        optimizer = vae.optimizer()
        before = vae.extra_terms(x, vae.elbo_terms(x, labels, noise)[2], labels)
        loss, reconstruction, _ = vae.step(optimizer, x, labels, noise)
        torch.testing.assert_close(loss - reconstruction, before.detach())
        for _ in range(20):
            vae.step(optimizer, x, labels, noise)
        assert vae.extra_terms(x, vae.elbo_terms(x, labels, noise)[2], labels) < 0.9 * before


def test_latents_of_the_aggregated_posterior(clip: Backbone):
    vae, data = made(clip, "VAE", latent="posterior", epochs=1), bank(clip)
    fit(vae, data)
    mean, log_var = vae.encoder(data.features[0])
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(4, clip.dim, generator=rng)
    rows = torch.randint(20, (4,), generator=rng)
    wanted = mean[rows] + (log_var[rows] / 2).exp() * noise
    torch.testing.assert_close(vae.latents(4, torch.Generator().manual_seed(0)), wanted.detach())
    other = made(clip, "VAE", seed=1, latent="posterior")
    other.make_room(vae.state_dict())
    other.load_state_dict(vae.state_dict())
    assert torch.equal(other.posterior_mean, vae.posterior_mean)


def test_an_unknown_latent_is_refused(clip: Backbone):
    with pytest.raises(UserError, match="LATENT is 'both': choose one of prior, posterior"):
        made(clip, "VAE", latent="both")


# -- the observation's residuals --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["VAE", "MLP"])
def test_residuals_bring_back_the_spread_that_the_mean_leaves_out(name: str, clip: Backbone):
    generator, data = made(clip, name, epochs=2, observation="residuals"), bank(clip)
    plain = made(clip, name, epochs=2)
    assert fit(generator, data) == fit(plain, data)  # training is the same
    x, labels = data.features[0], data.labels
    with torch.no_grad():
        expected = x - generator.decode(generator.encoder(x)[0], labels)
    torch.testing.assert_close(generator.residuals, expected)
    wanted = torch.full((64,), 3)
    x_hat = plain.sample(wanted, torch.Generator().manual_seed(5))
    drawn = generator.sample(wanted, torch.Generator().manual_seed(5))
    candidates = normalise(x_hat[:, None] + expected)  # (64, N, d)
    nearest = (drawn[:, None] - candidates).norm(dim=2).min(dim=1).values
    assert nearest.max() < 1e-4
    assert drawn.var(dim=0).sum() > 2 * x_hat.var(dim=0).sum()


@pytest.mark.parametrize("further", [{}, {"observation": "residuals", "latent": "posterior"}])
def test_several_draws_are_made_in_one_pass(further: dict[str, str], clip: Backbone):
    generator = made(clip, "VAE", epochs=1, **further)
    fit(generator, bank(clip))
    parts, rng = (torch.tensor([3, 0]), torch.tensor([1, 2, 3])), torch.Generator().manual_seed(2)
    drawn = [generator.draw(len(labels), rng) for labels in parts]
    together = generator.make(torch.cat(parts), *(torch.cat(rows) for rows in zip(*drawn, strict=True)))
    rng = torch.Generator().manual_seed(2)
    alone = torch.cat([generator.sample(labels, rng) for labels in parts])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert torch.cdist(alone, alone).add(torch.eye(5)).min() > 1e-6 and not together.requires_grad


def test_a_generator_that_overrides_sample_is_told_what_to_override():
    with pytest.raises(TypeError, match="Mine overrides sample, which training does not ask: override draw and make"):
        type("Mine", (FeatureGenerator,), {"sample": lambda self, labels, rng: None})


def test_an_unknown_observation_is_refused(clip: Backbone):
    with pytest.raises(UserError, match="OBSERVATION is 'noise': choose one of mean, residuals"):
        made(clip, "VAE", observation="noise")
