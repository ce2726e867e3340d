"""Each learner's logits and updates against a plain, separate formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shipclip import checkpoints
from shipclip.backbones import frozen_text
from shipclip.backbones.base import Backbone, normalise
from shipclip.features.bank import FeatureBank
from shipclip.learners import LEARNERS, Learner, clip_lora, coop, maple, tip_adapter
from shipclip.texts import Texts

NAMES = ["cat", "dog", "sea_or_lake"]
OTHERS = ["dog", "very long-tailed tit", "cat"]  # two trained classes in another order, one unseen


def learner(clip: Backbone, name: str, **changed) -> Learner:
    kind = LEARNERS.get(name)
    return kind(clip, NAMES, kind.Options(**changed), 0, Texts())


def bank(clip: Backbone, views: int = 2) -> FeatureBank:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(4)
    centres = torch.randn(3, clip.dim, generator=rng)
    features = normalise(centres[labels] + 0.5 * torch.randn(views, 12, clip.dim, generator=rng))
    return FeatureBank(features, labels)


def text(clip: Backbone, names: list[str]) -> np.ndarray:
    return clip.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names]).double().numpy()


def images(clip: Backbone) -> torch.Tensor:
    return normalise(torch.randn(5, clip.dim, generator=torch.Generator().manual_seed(1)))


def test_clip_adapter_by_its_equations(clip: Backbone):
    adapter = learner(clip, "CLIPAdapter", ratio=0.3)
    x, names = images(clip), OTHERS
    down, _, up, _ = adapter.adapter
    w1, w2 = (layer.weight.detach().double().numpy() for layer in (down, up))
    assert w1.shape == (clip.dim // 4, clip.dim) and down.bias is None
    v = x.double().numpy()
    mixed = 0.3 * np.maximum(w2 @ np.maximum(w1 @ v.T, 0), 0).T + 0.7 * v
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    wanted = clip.logit_scale * mixed @ text(clip, names).T
    np.testing.assert_allclose(adapter.classifier(names)(x).detach().numpy(), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["CoOp", "CLIPAdapter", "LinearProbe"])
def test_training_takes_its_own_logit_scale_and_testing_clips(name: str, clip: Backbone):
    changed, plain = learner(clip, name, logit_scale=3.0), learner(clip, name)
    x, labels = images(clip), torch.tensor([0, 1, 2, 0, 1])
    logits = plain.classifier(NAMES)(x)
    assert torch.equal(changed.classifier(NAMES)(x), logits)
    soft = F.cross_entropy(logits / clip.logit_scale * 3, labels)
    assert changed.loss(x, labels)["loss"].item() == pytest.approx(soft.item(), rel=1e-5)
    assert plain.loss(x, labels)["loss"].item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["TipAdapter", "TipAdapterF"])
def test_tip_adapter_by_its_equation(name: str, clip: Backbone):
    tip, data, x = learner(clip, name, alpha=1.5, beta=3.0), bank(clip), images(clip)
    tip.prepare(data, None)
    wanted = clip.logit_scale * x.double().numpy() @ text(clip, OTHERS).T
    for i in range(len(x)):
        for n in range(len(data)):
            key = data.features[:, n].mean(dim=0)
            key = key / key.norm()
            vote = 1.5 * math.exp(-3.0 * (1 - float(x[i] @ key)))
            trained = NAMES[data.labels[n]]
            if trained in OTHERS:
                wanted[i, OTHERS.index(trained)] += vote
    np.testing.assert_allclose(tip.classifier(OTHERS)(x).detach().numpy(), wanted, rtol=1e-3, atol=1e-3)


def test_only_tip_adapter_f_trains_its_keys(clip: Backbone):
    plain, tip, data = learner(clip, "TipAdapter"), learner(clip, "TipAdapterF"), bank(clip)
    plain.prepare(data, None), tip.prepare(data, None)
    assert plain.training_free and not any(p.requires_grad for p in plain.parameters())
    assert not tip.training_free
    assert [name for name, p in tip.named_parameters() if p.requires_grad] == ["keys"]
    before = tip.keys.detach().clone()
    optimizer = torch.optim.SGD(tip.parameters(), lr=0.1)
    tip.loss(data.features[0], data.labels)["loss"].backward()
    gradient = tip.keys.grad.clone()
    optimizer.step()
    torch.testing.assert_close(tip.keys.detach(), before - 0.1 * gradient)
    assert gradient.abs().sum() > 0


def test_the_linear_probe_starts_from_text_and_makes_plain_logistic_updates(clip: Backbone):
    probe, data = learner(clip, "LinearProbe"), bank(clip)
    x, scale = images(clip), clip.logit_scale
    np.testing.assert_allclose(
        probe.classifier(NAMES)(x).detach().numpy(), scale * x.numpy() @ text(clip, NAMES).T, rtol=1e-3, atol=1e-3
    )
    features, labels = data.features[0], data.labels
    weight, bias = probe.weight.detach().clone(), probe.bias.detach().clone()
    optimizer = torch.optim.SGD(probe.parameters(), lr=0.01)
    probe.loss(features, labels)["loss"].backward()
    optimizer.step()
    residual = F.one_hot(labels, 3) - (scale * features @ weight.T + bias).softmax(dim=1)  # the logistic gradient
    torch.testing.assert_close(probe.weight.detach(), weight + 0.01 * scale * residual.T @ features / 12)
    torch.testing.assert_close(probe.bias.detach(), bias + 0.01 * residual.mean(dim=0))


def test_the_linear_probe_leaves_unseen_classes_to_text(clip: Backbone):
    probe, x = learner(clip, "LinearProbe"), images(clip)
    torch.nn.init.normal_(probe.weight), torch.nn.init.normal_(probe.bias)
    logits = probe.classifier(OTHERS)(x).detach()
    for column, (name, label) in enumerate(zip(OTHERS, (1, None, 0), strict=True)):
        if label is None:
            wanted = clip.logit_scale * x @ torch.tensor(text(clip, [name])[0]).float()
        else:
            wanted = clip.logit_scale * x @ probe.weight[label] + probe.bias[label]
        torch.testing.assert_close(logits[:, column], wanted.detach(), rtol=1e-3, atol=1e-3)


def test_gda_by_bayes_rule(clip: Backbone):
    """Differences of the Gaussians' logits are log odds of normal densities with one covariance."""
    gda, data, x = learner(clip, "GDA", alpha=2.0), bank(clip), images(clip)
    gda.prepare(data, None)
    v = data.features.reshape(-1, clip.dim).double().numpy()
    y = np.tile(data.labels.numpy(), 2)
    means = np.stack([v[y == c].mean(axis=0) for c in range(3)])
    centred = v - means[y]
    n, d = centred.shape
    covariance = centred.T @ centred / (n - 1)
    precision = d * np.linalg.inv((n - 1) * covariance + np.trace(covariance) * np.eye(d))
    difference = x.double().numpy()[:, None] - means  # (B, C, d)
    log_density = -0.5 * np.einsum("bcd,de,bce->bc", difference, precision, difference)
    wanted = clip.logit_scale * x.double().numpy() @ text(clip, NAMES).T + 2.0 * log_density
    found = gda.classifier(NAMES)(x).double().numpy()
    wanted, found = wanted - wanted[:, :1], found - found[:, :1]  # what is the same for all classes cancels
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2 * np.abs(wanted).max())


def test_gda_borrows_the_mean_of_an_unseen_class_from_its_neighbours(clip: Backbone):
    """And the covariance around its text feature; it is estimated anew."""
    gda, data = learner(clip, "GDA", alpha=1.0), bank(clip)
    gda.prepare(data, None)
    t = torch.tensor(text(clip, ["tit"])[0]).float()
    mean = (data.features.flatten(0, 1).sum(dim=0) + 16 * t) / (24 + 16)  # fewer than 64 features: all are near
    x = images(clip)
    centred = data.features.flatten(0, 1) - t
    ridge = centred.T @ centred + centred.square().sum() / 23 * torch.eye(clip.dim)
    precision = clip.dim * torch.linalg.inv(ridge)
    wanted = clip.logit_scale * x @ t + x @ precision @ mean - mean @ precision @ mean / 2
    torch.testing.assert_close(gda.classifier(["tit"])(x)[:, 0], wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["CLIPAdapter", "TipAdapter", "TipAdapterF", "LinearProbe", "GDA"])
def test_a_checkpoint_brings_classes_and_shapes_with_it(name: str, clip: Backbone, tmp_path: Path):
    trained = learner(clip, name)
    trained.prepare(bank(clip), None)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter)
    file = checkpoints.save(str(tmp_path), {"state_dict": trained.state_dict()}, 1)
    other = LEARNERS.get(name)(clip, ["goat"], trained.options, 1, Texts())  # as a run that only evaluates builds it
    checkpoints.load(file, other)
    x = images(clip)
    torch.testing.assert_close(other.classifier(OTHERS)(x), trained.classifier(OTHERS)(x))


@pytest.mark.parametrize("name", sorted(LEARNERS.names()))
def test_a_learner_classifies_any_names_with_any_scale(name: str, clip: Backbone):
    one = learner(clip, name).eval()
    one.prepare(bank(clip), None)
    x = images(clip) if one.sees == "features" else torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        logits = [one.classifier(OTHERS, scale)(x) for scale in (None, clip.logit_scale)]
    assert logits[0].shape == (5, 3)
    torch.testing.assert_close(*logits)


def test_classes_of_one_name_keep_their_own_places(clip: Backbone):
    """ImageNet has two missiles and two sunglasses."""
    kind = LEARNERS.get("LinearProbe")
    twins = kind(clip, ["cat", "missile", "missile"], kind.Options(), 0, Texts())
    assert twins.places(["cat", "missile", "missile"]).tolist() == [0, 1, 2]
    assert twins.places(["missile", "dog", "missile", "cat"]).tolist() == [1, -1, 2, 0]


def test_text_features_are_those_of_float32_also_within_autocast(clip: Backbone):
    first, second = learner(clip, "CLIPAdapter"), learner(clip, "CLIPAdapter")
    with torch.autocast("cpu", torch.bfloat16):
        found = first.text_features(NAMES)
    assert torch.equal(found, second.text_features(NAMES))


@pytest.mark.parametrize("name", ["CLIPAdapter", "LinearProbe", "TipAdapterF"])
def test_cosines_are_not_rounded_within_autocast(name: str, clip: Backbone):
    """Logits of cosines around 0.25 are 25 and more, and bfloat16 tells 25 from 25.1 and nothing between."""
    one = learner(clip, name).eval()
    one.prepare(bank(clip), None)
    x = images(clip)
    if name == "CLIPAdapter":
        one.options = replace(one.options, ratio=0.0)  # the adapter itself is in half precision
    with torch.no_grad():
        wanted = one.classifier(NAMES)(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = one.classifier(NAMES)(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["CoOp", "MaPLe", "CLIPLoRA"])
def test_features_made_within_autocast_have_unit_length(name: str, clip: Backbone, monkeypatch: pytest.MonkeyPatch):
    """The modules' pass gives bfloat16, whose norms were off by up to 0.002."""
    monkeypatch.setattr(frozen_text, "suits", lambda *given: False)
    one = learner(clip, name).eval()
    x = images(clip) if one.sees == "features" else torch.randn(5, 3, 32, 32)
    seen: list[torch.Tensor] = []
    for module in (coop, maple, clip_lora):
        monkeypatch.setattr(module, "normalise", lambda found: seen.append(normalise(found)) or seen[-1])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = one.classifier(NAMES)(x)
    assert seen and logits.dtype == torch.float32
    for found in seen:
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:-1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("names", [NAMES, OTHERS, ["very long-tailed tit"]])
def test_votes_of_many_classes_are_summed_and_not_multiplied(
    names: list[str], clip: Backbone, monkeypatch: pytest.MonkeyPatch
):
    tip, x = learner(clip, "TipAdapterF"), images(clip)
    tip.prepare(bank(clip), None)
    found = []
    for limit in (1 << 20, 0):
        monkeypatch.setattr(tip_adapter, "ONE_HOT", (limit, limit))
        classify = tip.classifier(names)
        assert classify.votes.dim() == (2 if limit else 1)
        tip.zero_grad()
        classify(x).square().sum().backward()
        found.append((classify(x).detach(), tip.keys.grad.clone()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
