from __future__ import annotations

import pytest
import torch

from shipclip.backbones.base import Backbone
from shipclip.backbones.prompts import ClassTokens, PromptLearner
from tests.clips import tokenize


def spelled(clip: Backbone, learner: PromptLearner, classes: ClassTokens) -> list[list[int]]:
    """The token ids whose embeddings each prompt consists of."""
    prompts = learner(classes)
    table = clip.model.token_embedding.weight
    rows = []
    for suffix, length in zip(prompts.suffix[0], prompts.lengths.tolist(), strict=True):
        vectors = torch.cat([prompts.prefix[0], suffix[:length]])
        rows.append(torch.cdist(vectors, table).argmin(dim=1).tolist())
    return rows


def test_words_at_the_end_spell_the_same_tokens_as_the_sentence(clip: Backbone):
    learner = PromptLearner(clip, 16, "a_photo_of_a")
    classes = clip.class_tokens(["sea_or_lake", "kite (bird of prey)"], learner.n_ctx)
    sentences = tokenize(["a photo of a sea or lake.", "a photo of a kite (bird of prey)."])
    wanted = [row[: row.argmax() + 1].tolist() for row in sentences]
    assert learner.n_ctx == 4
    assert spelled(clip, learner, classes) == wanted


@pytest.mark.parametrize(
    ("position", "words"), [("front", "sea or lake a photo of a ."), ("middle", "a photo sea or lake of a .")]
)
def test_positions_move_the_name_through_the_context(clip: Backbone, position: str, words: str):
    learner = PromptLearner(clip, 16, "a photo of a", position=position)
    classes = clip.class_tokens(["sea or lake", "cat"], 4)
    row = tokenize(words)[0]
    assert spelled(clip, learner, classes)[0] == row[: row.argmax() + 1].tolist()


def test_the_number_of_vectors_counts_tokens_not_words(clip: Backbone):
    words = "a photomicrograph of a"
    assert PromptLearner(clip, 16, words).n_ctx == len(clip.tokenizer.encode(words)) > 4


def test_each_class_has_its_own_context_with_csc(clip: Backbone):
    learner, classes = PromptLearner(clip, 4, n_classes=2), clip.class_tokens(["cat", "dog"], 4)
    clip.text(learner(classes))[0, 0].sum().backward()
    assert learner.ctx.shape == (2, 4, clip.width)
    assert learner.ctx.grad[0].abs().sum() > 0
    assert learner.ctx.grad[1].abs().sum() == 0


def test_only_the_context_is_saved(clip: Backbone):
    assert list(PromptLearner(clip, 4).state_dict()) == ["ctx"]


def test_the_same_generator_gives_the_same_context(clip: Backbone):
    first, second = (PromptLearner(clip, 4, rng=torch.Generator().manual_seed(3)).ctx for _ in range(2))
    assert torch.equal(first, second)
    assert first.std().item() == pytest.approx(0.02, rel=0.15)


def test_a_name_too_long_for_the_context_is_refused_by_name(clip: Backbone):
    with pytest.raises(ValueError, match=r"class name 'word word.*needs 87 tokens with 4 context vectors.*77"):
        clip.class_tokens(["cat", "word " * 79 + "word"], 4)


def test_the_longest_name_that_fits_is_taken(clip: Backbone):
    name = " ".join(["word"] * 70)  # SOS, 4 vectors, 70 words, full stop, EOT
    classes = clip.class_tokens([name], 4)
    assert classes.lengths.tolist() == [72]
    assert clip.text(PromptLearner(clip, 4)(classes)).shape == (1, 1, clip.dim)


@pytest.mark.parametrize("names", [[], [""], ["cat", "_"]])
def test_missing_names_are_refused(clip: Backbone, names: list[str]):
    with pytest.raises(ValueError, match="class"):
        clip.class_tokens(names, 4)


def test_an_unknown_position_is_refused(clip: Backbone):
    with pytest.raises(ValueError, match="'start'.*end, middle, front"):
        PromptLearner(clip, 4, position="start")
