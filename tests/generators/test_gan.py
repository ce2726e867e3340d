"""The GAN's terms by the chain rule written out, and what each of its updates moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import wrap
from shipclip.errors import UserError
from shipclip.generators import gan as gan_module
from shipclip.generators.gan import GAN, Critic
from shipclip.precision import Precision

from .common import bank, fit, made


def critic_by_hand(gan: GAN, x: np.ndarray, condition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and its gradient by x, with the chain rule written out."""
    first, _, last = gan.critic.net
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in (first.weight, first.bias, last.weight, last.bias))
    h = np.concatenate([x, condition], axis=1) @ w1.T + b1
    score = np.where(h > 0, h, 0.2 * h) @ w2[0] + b2[0]
    gradient = (np.where(h > 0, 1.0, 0.2) * w2[0]) @ w1[:, : x.shape[1]]
    return score, gradient


def test_the_critics_terms_by_hand(clip: Backbone):
    gan, data = made(clip, "GAN"), bank(clip)
    with torch.no_grad():
        for parameter in gan.critic.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(5))
    x, labels = data.features[0], data.labels
    rng = torch.Generator().manual_seed(1)
    z, mix = torch.randn(x.shape, generator=rng), torch.rand(len(x), 1, generator=rng)
    made_up = gan.decode(z, labels).detach()
    distance, penalty = gan.critic_terms(x, made_up, labels, mix)
    fake = made_up.double().numpy()
    real, condition, share = (t.double().numpy() for t in (x, gan.class_features()[labels], mix))
    wanted = critic_by_hand(gan, fake, condition)[0].mean() - critic_by_hand(gan, real, condition)[0].mean()
    assert distance.item() == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    _, gradient = critic_by_hand(gan, share * real + (1 - share) * fake, condition)
    wanted = ((np.linalg.norm(gradient, axis=1) - 1) ** 2).mean()
    assert penalty.item() == pytest.approx(wanted, rel=1e-4)
    penalty.backward()
    assert gan.critic.net[0].weight.grad.abs().sum() > 0  # the penalty is itself differentiated


def test_the_terms_gradients_are_those_of_a_second_backward_pass(clip: Backbone):
    gan, rng = made(clip, "GAN"), torch.Generator().manual_seed(5)
    critic = gan.critic.double()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.normal_(generator=rng)
    x, condition = (torch.randn(20, clip.dim, generator=rng, dtype=torch.float64) for _ in range(2))
    fake, mix = torch.randn(x.shape, generator=rng, dtype=torch.float64), torch.rand(20, 1, generator=rng).double()
    gan._class_features = [condition]
    distance, penalty = gan.critic_terms(x, fake, torch.arange(20), mix)

    mixed = (mix * x + (1 - mix) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed, condition).sum(), mixed, create_graph=True)
    lengths = gradient.norm(dim=1)
    wanted = critic(fake, condition).mean() - critic(x, condition).mean(), (lengths - 1).square().mean()
    for term, plain in zip((distance, penalty), wanted, strict=True):
        torch.testing.assert_close(term.double(), plain, rtol=1e-5, atol=1e-5)
        for name, parameter in critic.named_parameters():
            found, expected = (
                torch.autograd.grad(one, parameter, retain_graph=True, materialize_grads=True)[0]
                for one in (term, plain)
            )
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)


def moved(gan: GAN, before: dict[str, Tensor]) -> set[str]:
    return {name.split(".")[0] for name, p in gan.named_parameters() if not torch.equal(p, before[name])}


def test_the_critic_learns_while_the_generator_rests_and_the_reverse(clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    gan, data, updates = made(clip, "GAN", critic_steps=1), bank(clip), []
    production = gan_module.update

    def update(*args: Any) -> None:
        before = {name: p.detach().clone() for name, p in gan.named_parameters()}
        production(*args)
        updates.append(moved(gan, before))

    monkeypatch.setattr(gan_module, "update", update)
    before = {name: p.detach().clone() for name, p in gan.named_parameters()}
    gan.train_batch(gan.optimizer(), data.features[0], data.labels, torch.Generator().manual_seed(0), 0)
    assert updates == [{"critic"}, {"generator", "prompt"}]
    assert moved(gan, before) == {"critic", "generator", "prompt"}
    assert all(p.requires_grad for p in gan.critic.parameters())


def test_all_of_the_critics_fakes_are_made_at_once_and_drawn_step_by_step(
    clip: Backbone, monkeypatch: pytest.MonkeyPatch
):
    gan, data, seen, passes = made(clip, "GAN", critic_steps=3), bank(clip), [], []
    production, decode = gan.critic_terms, gan.decode

    def critic_terms(x: Tensor, fake: Tensor, labels: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((fake, labels, mix))
        return production(x, fake, labels, mix)

    def decoded(z: Tensor, labels: Tensor) -> Tensor:
        passes.append(len(z))
        return decode(z, labels)

    monkeypatch.setattr(gan, "critic_terms", critic_terms)
    monkeypatch.setattr(gan, "decode", decoded)
    x, labels, rng = data.features[0], data.labels, torch.Generator().manual_seed(8)
    assert len(set(labels.tolist())) > 1
    before = [p.detach().clone() for p in gan.generator.parameters()]
    gan.train_batch(gan.optimizer(), x, labels, rng, 0)
    assert passes == [3 * len(x), len(x)] and len(seen) == 3
    with torch.no_grad():
        for parameter, value in zip(gan.generator.parameters(), before, strict=True):
            parameter.copy_(value)
    gan.prompt.load_state_dict(made(clip, "GAN", critic_steps=3).prompt.state_dict())
    rng = torch.Generator().manual_seed(8)
    for fake, of, mix in seen:
        z, wanted = torch.randn(x.shape, generator=rng), torch.rand(len(x), 1, generator=rng)
        assert torch.equal(mix, wanted) and torch.equal(of, labels) and not fake.requires_grad
        torch.testing.assert_close(fake, decode(z, labels).detach(), rtol=0, atol=1e-5)


def test_a_critic_alone_learns_to_tell_real_from_synthetic(clip: Backbone):
    gan, data = made(clip, "GAN"), bank(clip)
    x, labels, rng = data.features[0], data.labels, torch.Generator().manual_seed(0)
    optimizer, curve = torch.optim.Adam(gan.critic.parameters(), lr=1e-2), []
    for _ in range(30):
        z, mix = torch.randn(x.shape, generator=rng), torch.rand(20, 1, generator=rng)
        distance, penalty = gan.critic_terms(x, gan.decode(z, labels).detach(), labels, mix)
        optimizer.zero_grad()
        (distance + penalty).backward()
        optimizer.step()
        curve.append(distance.item())
    assert curve[-1] < curve[0] - 0.1


@pytest.mark.parametrize(("name", "kind"), [("amp", torch.float16), ("bf16", torch.bfloat16)])
def test_the_penalty_is_computed_in_float32_in_every_precision(
    name: str, kind: torch.dtype, clip: Backbone, monkeypatch: pytest.MonkeyPatch
):
    gan, data = made(wrap(clip.model, Precision(name, autocast=kind)), "GAN", critic_steps=1), bank(clip)
    scores, score_of, gradient_of = list[Any](), Critic.score, Critic.gradient

    def score(self: Critic, hidden: Tensor) -> Tensor:
        found = score_of(self, hidden)
        scores.append((found.numel(), hidden.dtype, found.dtype))
        return found

    def gradient(self: Critic, hidden: Tensor) -> Tensor:
        found = gradient_of(self, hidden)
        scores.append((len(found), hidden.dtype, found.dtype))
        return found

    monkeypatch.setattr(Critic, "score", score)
    monkeypatch.setattr(Critic, "gradient", gradient)
    losses = gan.train_batch(gan.optimizer(), data.features[0], data.labels, torch.Generator().manual_seed(0), 0)
    full, B = (torch.float32, torch.float32), len(data.labels)
    assert scores[:2] == [(2 * B, *full), (B, *full)]  # synthetic beside real features, and mixed ones
    assert scores[2][2] == kind  # the generator's own update
    assert losses.isfinite().all()


def test_under_amp_it_trains_without_a_loss_that_is_not_finite(clip: Backbone):
    """The penalty's own gradient underflowed in half precision, and the scaler met NaN."""
    gan = made(wrap(clip.model, Precision("amp", autocast=torch.float16)), "GAN", epochs=3, gan_lr=1e-3)
    plain = made(clip, "GAN", epochs=3, gan_lr=1e-3)
    mixed, exact = fit(gan, bank(clip)), fit(plain, bank(clip))
    for a, b in zip(mixed, exact, strict=True):
        assert a["penalty"] == pytest.approx(b["penalty"], rel=0.05)


def test_a_critic_without_updates_is_refused(clip: Backbone):
    with pytest.raises(UserError, match="TRAINER.SHIP.GENERATOR.CRITIC_STEPS is 0: give at least 1"):
        made(clip, "GAN", critic_steps=0)
