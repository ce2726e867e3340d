from __future__ import annotations

import itertools

import numpy as np
import pytest

from shipclip.miniclip import world
from shipclip.miniclip.captions import UNSAID, Caption, caption, encode, fits, tokenizer, vocabulary
from shipclip.miniclip.facts import FACTS, values
from shipclip.miniclip.scene import WEB, draw
from shipclip.miniclip.world import COLOURS, KINDS, SHAPES, TEXTURES


def captions(count: int, rate: float, seed: int = 0) -> list[tuple[tuple[int, int, int], list[int], Caption]]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        place = tuple(rng.integers([len(COLOURS), len(TEXTURES), len(SHAPES)]).tolist())
        known = values(draw(rng, WEB), SHAPES[place[2]])
        out.append((place, known, caption(place, known, rate, rng)))
    return out


def test_captions_mention_what_they_say_they_mention():
    for (c, t, s), known, made in captions(400, 0.5):
        kind = KINDS[TEXTURES[t]][s]
        words = made.text.replace(",", " ").replace(".", " ").split()
        named = kind in words
        assert made.says == (list(COLOURS)[c] in words, named or TEXTURES[t] in words, named or SHAPES[s] in words)
        assert made.says[2]  # what is said of a thing is never only its colour
        for fact, value, said in zip(FACTS, known, made.facts, strict=True):
            mentioned = [
                v for v, synonyms in enumerate(fact.words) if any(f" {w} " in f" {' '.join(words)} " for w in synonyms)
            ]
            assert mentioned == ([] if said == UNSAID else [said])
            assert said in (UNSAID, value)


def test_every_token_is_in_the_vocabulary():
    known = set(vocabulary())
    for _, _, made in captions(400, 0.8):
        assert set(encode(made.text)) <= known, made.text
    assert vocabulary()[-2:] == [49406, 49407] and len(known) == len(vocabulary())


def test_quick_token_ids_are_clips():
    for _, _, made in captions(100, 0.5):
        assert encode(made.text) == tokenizer.encode(made.text)


def test_captions_have_a_and_an_in_their_places():
    for _, _, made in captions(400, 0.8):
        words = made.text.split()
        for word, following in itertools.pairwise(words):
            assert word != "a" or following[0] not in "aeiou", made.text
            assert word != "an" or following[0] in "aeiou", made.text


def test_mostly_words_of_the_scene_stand_in_front_of_the_class():
    in_front = behind = 0
    for (_, t, s), _, made in captions(600, 0.5):
        kind = KINDS[TEXTURES[t]][s]
        if f" {kind}" not in made.text:
            continue
        place = made.text.index(f" {kind}")
        for fact, said in zip(FACTS, made.facts, strict=True):
            if said != UNSAID:
                found = min(made.text.find(w) if w in made.text else 10**6 for w in fact.words[said])
                in_front += found < place
                behind += found > place
    assert in_front > 2 * behind > 0


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_at_most_four_facts_are_told(rate: float):
    told = [sum(said != UNSAID for said in made.facts) for _, _, made in captions(50, rate)]
    assert set(told) == ({0} if rate == 0 else {4})


def test_an_image_fits_a_caption_when_all_it_says_holds():
    attributes = np.array([[0, 1, 2], [0, 1, 2], [3, 1, 2]])
    facts = np.array([[0, -1], [1, -1], [0, 1]])
    texts = [
        Caption("", (True, True, True), (0, UNSAID)),
        Caption("", (False, True, True), (UNSAID, UNSAID)),
        Caption("", (False, True, True), (0, 1)),
    ]
    assert fits(attributes, facts, texts).tolist() == [[True, True, False], [False, True, False], [False, True, True]]


def test_descriptions_and_names_are_said_of_every_class():
    phrases = {(place, made.text.split(",")[0].rstrip(".").split()[-1]) for place, _, made in captions(3000, 0.0)}
    assert len({place for place, _ in phrases}) == len(world.classnames())
