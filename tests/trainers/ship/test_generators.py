"""The generators beside the VAE, each against a plain formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trainers.prompting.clip import FrozenCLIP, normalise
from trainers.ship.generator import GENERATORS
from trainers.ship.generators.gan import GAN
from trainers.ship.generators.gaussian import Gaussian
from trainers.ship.generators.mlp import MLP
from trainers.ship.generators.vae import VAE, contrast

from .test_vae import NAMES, bank, fit, options


def small(**changed):
    return options(CRITIC_HIDDEN=16, **changed)


def test_all_four_are_registered():
    assert set(GENERATORS.registered_names()) >= {"VAE", "GAN", "MLP", "Gaussian"}


@pytest.mark.parametrize("name", ["VAE", "GAN", "MLP", "Gaussian"])
def test_every_generator_fits_and_samples_unit_vectors_of_any_class(name: str, clip: FrozenCLIP):
    generator = GENERATORS.get(name)(clip, NAMES, small(EPOCHS=2), 0)
    before = clip.fingerprint
    curve = fit(generator, bank(clip))
    assert len(curve) == 2 and set(curve[0]) == set(generator.losses)
    samples = generator.sample(torch.tensor([0, 3, 3]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.norm(dim=1), torch.ones(3))
    assert not torch.allclose(samples[1], samples[2], atol=1e-4)
    assert FrozenCLIP(clip.model, clip.precision).fingerprint == before


@pytest.mark.parametrize("name", ["VAE", "GAN", "MLP", "Gaussian"])
def test_the_same_seed_gives_the_same_generator(name: str, clip: FrozenCLIP):
    first, second = (GENERATORS.get(name)(clip, NAMES, small(EPOCHS=2), 3) for _ in range(2))
    assert fit(first, bank(clip)) == fit(second, bank(clip))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


# -- GAN --------------------------------------------------------------------------------------------------------


def critic_by_hand(gan: GAN, x: np.ndarray, condition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and its gradient by x, with the chain rule written out."""
    first, _, last = gan.critic.net
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in (first.weight, first.bias, last.weight, last.bias))
    h = np.concatenate([x, condition], axis=1) @ w1.T + b1
    score = np.where(h > 0, h, 0.2 * h) @ w2[0] + b2[0]
    gradient = (np.where(h > 0, 1.0, 0.2) * w2[0]) @ w1[:, : x.shape[1]]
    return score, gradient


def test_the_critics_terms_by_hand(clip: FrozenCLIP):
    gan, data = GAN(clip, NAMES, small(), 0), bank(clip)
    with torch.no_grad():
        for parameter in gan.critic.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(5))
    x, labels = data.features[0], data.labels
    rng = torch.Generator().manual_seed(1)
    z, mix = torch.randn(x.shape, generator=rng), torch.rand(len(x), 1, generator=rng)
    distance, penalty = gan.critic_terms(x, labels, z, mix)
    fake = gan.decode(z, labels).detach().double().numpy()
    real, condition, share = (t.double().numpy() for t in (x, gan.class_features()[labels], mix))
    wanted = critic_by_hand(gan, fake, condition)[0].mean() - critic_by_hand(gan, real, condition)[0].mean()
    assert distance.item() == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    _, gradient = critic_by_hand(gan, share * real + (1 - share) * fake, condition)
    wanted = ((np.linalg.norm(gradient, axis=1) - 1) ** 2).mean()
    assert penalty.item() == pytest.approx(wanted, rel=1e-4)
    penalty.backward()
    assert gan.critic.net[0].weight.grad.abs().sum() > 0  # the penalty is itself differentiated


def test_the_critic_learns_while_the_generator_rests_and_the_reverse(clip: FrozenCLIP):
    gan, data = GAN(clip, NAMES, small(CRITIC_STEPS=1), 0), bank(clip)
    x, labels, z = data.features[0], data.labels, torch.randn(20, clip.dim)
    distance, penalty = gan.critic_terms(x, labels, z, torch.rand(20, 1))
    (distance + penalty).backward()
    assert gan.prompt.ctx.grad is None and gan.critic.net[0].weight.grad is not None
    gan.zero_grad(set_to_none=True)
    before = {name: p.detach().clone() for name, p in gan.named_parameters()}
    gan.train_batch(gan.optimizer(), x, labels, torch.Generator().manual_seed(0), 0)
    moved = {name.split(".")[0] for name, p in gan.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"critic", "generator", "prompt"}
    assert all(p.requires_grad for p in gan.critic.parameters())


def test_a_critic_alone_learns_to_tell_real_from_synthetic(clip: FrozenCLIP):
    gan, data = GAN(clip, NAMES, small(), 0), bank(clip)
    x, labels, rng = data.features[0], data.labels, torch.Generator().manual_seed(0)
    optimizer, curve = torch.optim.Adam(gan.critic.parameters(), lr=1e-2), []
    for _ in range(30):
        z, mix = torch.randn(x.shape, generator=rng), torch.rand(20, 1, generator=rng)
        distance, penalty = gan.critic_terms(x, labels, z, mix)
        optimizer.zero_grad()
        (distance + penalty).backward()
        optimizer.step()
        curve.append(distance.item())
    assert curve[-1] < curve[0] - 0.1


# -- from scratch ---------------------------------------------------------------------------------------------


def test_the_decoder_from_scratch_is_two_layers_on_latent_and_text_feature(clip: FrozenCLIP):
    mlp, z, labels = MLP(clip, NAMES, small(), 0), torch.randn(3, clip.dim), torch.tensor([2, 0, 3])
    t = clip.encode_texts([f"a photo of a {NAMES[label]}." for label in labels.tolist()])
    first, _, last = mlp.decoder
    hidden = torch.cat([z, t], dim=1) @ first.weight.T + first.bias
    y = hidden.clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(mlp.decode(z, labels), y / y.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    assert not any("prompt" in name for name in mlp.state_dict())


# -- Gaussian ---------------------------------------------------------------------------------------------------


def test_the_gaussian_is_around_text_features_with_the_base_images_spread(clip: FrozenCLIP):
    gaussian, data = Gaussian(clip, NAMES, small(EPOCHS=1), 0), bank(clip)
    fit(gaussian, data)
    t = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    spread = (data.features[0] - t[data.labels]).square().mean(dim=0).sqrt()
    torch.testing.assert_close(gaussian.std, spread)
    z = torch.randn(2, clip.dim)
    torch.testing.assert_close(gaussian.decode(z, torch.tensor([3, 1])), normalise(t[[3, 1]] + spread * z))


# -- options beyond the reference -----------------------------------------------------------------------------


def test_kl_annealing_and_free_bits_in_the_loss(clip: FrozenCLIP):
    vae, data = VAE(clip, NAMES, small(KL_WEIGHT=0.5, KL_ANNEAL=4, FREE_BITS=0.0), 0), bank(clip)
    assert [vae.kl_weight(epoch) for epoch in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    x, labels, noise = data.features[0], data.labels, torch.zeros(20, clip.dim)
    loss, reconstruction, kl = vae.step(vae.optimizer(), x, labels, noise, epoch=1).tolist()
    assert loss == pytest.approx(reconstruction + 0.25 * kl)
    vae = VAE(clip, NAMES, small(KL_WEIGHT=0.5, FREE_BITS=1e3), 0)
    loss, reconstruction, kl = vae.step(vae.optimizer(), x, labels, noise).tolist()
    assert kl < 1e3 and loss == pytest.approx(reconstruction + 0.5 * 1e3)


def test_contrast_and_anchor_by_a_plain_loop(clip: FrozenCLIP):
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
    vae = VAE(clip, NAMES, small(CONTRAST_WEIGHT=0.5, ANCHOR_WEIGHT=2.0), 0)
    text = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    distance = sum(1 - float(x_hat[i] @ text[label]) for i, label in enumerate(labels.tolist())) / 5
    wanted = 0.5 * float(contrast(x, x_hat, labels, clip.logit_scale)) + 2 * distance
    assert float(vae.extra_terms(x, x_hat, labels)) == pytest.approx(wanted, rel=1e-5)


def test_contrast_and_anchor_are_minimised_and_off_by_default(clip: FrozenCLIP):
    data = bank(clip)
    x, labels, noise = data.features[0], data.labels, torch.zeros(20, clip.dim)
    plain = VAE(clip, NAMES, small(), 0)
    assert float(plain.extra_terms(x, x, labels)) == 0
    for key in ("CONTRAST_WEIGHT", "ANCHOR_WEIGHT"):
        vae = VAE(clip, NAMES, small(KL_WEIGHT=0.0, **{key: 10.0}), 0)
        optimizer = vae.optimizer()
        before = vae.extra_terms(x, vae.elbo_terms(x, labels, noise)[2], labels)
        loss, reconstruction, _ = vae.step(optimizer, x, labels, noise)
        torch.testing.assert_close(loss - reconstruction, before.detach())
        for _ in range(20):
            vae.step(optimizer, x, labels, noise)
        assert vae.extra_terms(x, vae.elbo_terms(x, labels, noise)[2], labels) < 0.9 * before


def test_latents_of_the_aggregated_posterior(clip: FrozenCLIP):
    vae, data = VAE(clip, NAMES, small(LATENT="posterior", EPOCHS=1), 0), bank(clip)
    fit(vae, data)
    mean, log_var = vae.encoder(data.features[0])
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(4, clip.dim, generator=rng)
    rows = torch.randint(20, (4,), generator=rng)
    wanted = mean[rows] + (log_var[rows] / 2).exp() * noise
    torch.testing.assert_close(vae.latents(4, torch.Generator().manual_seed(0)), wanted.detach())
    other = VAE(clip, NAMES, small(LATENT="posterior"), 1)
    other.make_room(vae.state_dict())
    other.load_state_dict(vae.state_dict())
    assert torch.equal(other.posterior_mean, vae.posterior_mean)


def test_an_unknown_latent_is_refused(clip: FrozenCLIP):
    with pytest.raises(ValueError, match="LATENT is 'both': choose prior or posterior"):
        VAE(clip, NAMES, small(LATENT="both"), 0)
