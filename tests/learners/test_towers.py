"""Learners that reach into the towers: where they start, and what they learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shipclip.backbones.base import Backbone
from shipclip.backbones.openai import random_clip, wrap
from shipclip.errors import UserError
from shipclip.learners import LEARNERS
from shipclip.texts import Texts
from tests.clips import FP32

NAMES = ["cat", "sea_or_lake"]


@pytest.fixture(scope="module")
def deep() -> Backbone:
    """Three layers in both towers."""
    return wrap(random_clip(64, 32, 3, 128, 16, 77, 49408, 64, 2, 3), FP32, "deep")


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return wrap(random_clip(64, 64, (1, 1, 1, 1), 32, None, 77, 49408, 64, 1, 1), FP32, "RN-1")


def made(clip: Backbone, name: str, seed: int = 0, texts: Texts | None = None, **changed: Any) -> Any:
    cls = LEARNERS.get(name)
    return cls(clip, NAMES, cls.Options(**changed), seed, texts or Texts())


def pixels() -> torch.Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize("name", ["MaPLe", "CLIPLoRA"])
def test_a_step_lowers_the_loss_and_leaves_clip_alone(name: str, deep: Backbone):
    learner, before = made(deep, name), wrap(deep.model, FP32).fingerprint
    optimizer, losses = torch.optim.SGD(learner.parameters(), lr=1e-3), []
    for _ in range(8):
        loss = learner.loss(pixels(), LABELS)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert wrap(deep.model, FP32).fingerprint == before


@pytest.mark.parametrize("name", ["MaPLe", "CLIPLoRA"])
def test_the_same_seed_starts_alike_and_another_does_not(name: str, deep: Backbone):
    first, again, other = made(deep, name), made(deep, name), made(deep, name, seed=1)
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert pairs and all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["MaPLe", "CLIPLoRA"])
def test_a_resnet_is_refused_by_name(name: str, resnet: Backbone):
    with pytest.raises(UserError, match=f"{name} reaches into both towers.*and RN-1 is not so"):
        made(resnet, name)


# -- CLIP-LoRA ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("templates", [("a photo of a {}.",), ("a {}.", "art of the {}.")])
def test_lora_starts_as_zero_shot_clip(templates: tuple[str, ...], deep: Backbone):
    texts = Texts(templates)
    lora = made(deep, "CLIPLoRA", texts=texts).eval()
    wanted = deep.logit_scale * deep.encode_image(pixels()) @ texts.features(deep, NAMES).T
    torch.testing.assert_close(lora.classifier(NAMES)(pixels()), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("encoder", "layers"), [("both", (3, 3)), ("text", (3, 0)), ("vision", (0, 3))])
def test_lora_updates_the_towers_that_it_is_told(encoder: str, layers: tuple[int, int], deep: Backbone):
    lora = made(deep, "CLIPLoRA", encoder=encoder, params="qv")
    assert (len(lora.text), len(lora.vision)) == layers
    names = {name.rpartition(".")[2] for name, _ in lora.named_parameters()}
    assert names == {"q_A", "q_B", "v_A", "v_B"}


def test_dropout_is_a_function_of_seed_and_epoch_and_off_in_a_test(deep: Backbone):
    lora = made(deep, "CLIPLoRA", dropout_rate=0.5)
    for name, parameter in lora.named_parameters():
        if name.endswith("_B"):
            torch.nn.init.normal_(parameter, std=0.2)

    def loss(epoch: int) -> float:
        lora.begin_epoch(epoch)
        return lora.loss(pixels(), LABELS)["loss"].item()

    assert loss(0) == loss(0) != loss(1)
    lora.eval()
    assert loss(0) == loss(1)


def test_the_length_of_training_is_counted_in_updates_a_shot(deep: Backbone):
    lora = made(deep, "CLIPLoRA", n_iters=5)
    optimizer = torch.optim.SGD(lora.parameters(), lr=0.1)
    assert lora.schedule(optimizer, shots=4)[1] == 20
    assert lora.schedule(optimizer, shots=-1)[1] == 5  # all images
    assert made(deep, "CLIPLoRA", n_iters=0).schedule(optimizer, shots=4) is None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"params": "qkvo"}, "PARAMS is 'qkvo': give some of q, k and v"),
        ({"params": ""}, "PARAMS is '': give some of q, k and v"),
        ({"encoder": "image"}, "ENCODER is 'image': choose one of both, text, vision"),
        ({"r": 0}, "TRAINER.CLIPLORA.R is 0: give at least 1"),
        ({"dropout_rate": 1.0}, "DROPOUT_RATE is 1.0: give at least 0 and less than 1"),
    ],
)
def test_what_lora_cannot_work_with_is_refused(changed: dict[str, Any], sentence: str, deep: Backbone):
    with pytest.raises(UserError, match=sentence):
        made(deep, "CLIPLoRA", **changed)


# -- MaPLe ----------------------------------------------------------------------------------------------------


def test_words_that_are_no_vectors_stay_in_front_of_the_name(deep: Backbone):
    maple = made(deep, "MaPLe", n_ctx=2, ctx_init="a photo of a")
    torch.testing.assert_close(maple.ctx, deep.embed_words("a photo"), check_dtype=False)
    assert maple.words == "of a"
    features = maple.class_features(NAMES, {0: maple.ctx})
    torch.testing.assert_close(features, deep.encode_texts(["a photo of a cat.", "a photo of a sea or lake."]))


def test_more_vectors_than_words_start_at_random(deep: Backbone):
    maple = made(deep, "MaPLe", n_ctx=5, ctx_init="a photo of a")
    assert maple.words == "" and maple.ctx.shape == (5, 64)
    assert maple.ctx.std().item() == pytest.approx(0.02, rel=0.2)


def test_words_are_not_cut_within_a_word(deep: Backbone):
    with pytest.raises(UserError, match="MAPLE.N_CTX is 2, and .* cannot be cut there: give 1 or more than 4"):
        made(deep, "MaPLe", n_ctx=2, ctx_init="a photomicrograph of")


def test_each_layer_has_vectors_and_a_map_of_its_own(deep: Backbone):
    maple = made(deep, "MaPLe", prompt_depth=3)
    text, image = maple.vectors()
    assert [v.shape for v in text.values()] == [(2, 64)] * 3 and [v.shape for v in image.values()] == [(2, 128)] * 3
    maple.loss(pixels(), LABELS)["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in maple.parameters())
    assert [*made(deep, "MaPLe", prompt_depth=1).state_dict()] == ["ctx", "proj.weight", "proj.bias"]


@pytest.mark.parametrize("changed", [{"n_ctx": 0}, {"prompt_depth": 0}])
def test_maple_needs_a_vector_and_a_layer(changed: dict[str, int], deep: Backbone):
    with pytest.raises(UserError, match=r"TRAINER.MAPLE.\w+ is 0: give at least 1"):
        made(deep, "MaPLe", **changed)
