"""The captions that MiniCLIP is trained with: of a class, by its name or by what it looks like, and of the scene."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.random import Generator

from ..backbones.openai import package
from .facts import FACTS, PHOTO, SCENE, THING
from .world import COLOURS, KINDS, SHAPES, TEXTURES, names_of

SOS, EOT = 49406, 49407
UNSAID = -2
AT_MOST = 4  # facts in one caption

FRAMES = ("a {} of a {}", "a {} of a {}", "a {} of the {}", "the {} of a {}", "this is a {} of a {}", "one {} of a {}")
MEDIA = ("photo", "photo", "photo", "picture", "image")
ORDERS = ("{c} {t} {s}", "{c} {t} {s}", "{t} {c} {s}", "{s}, {c} and {t}", "{c} {s}, {t}")

tokenizer = package().simple_tokenizer.SimpleTokenizer()


@dataclass(frozen=True)
class Caption:
    """A text, and what it says.

    Attributes:
        text: the words.
        says: which of colour, texture and shape.
        facts: the value of each fact, UNSAID where it says nothing of it.
    """

    text: str
    says: tuple[bool, bool, bool]
    facts: tuple[int, ...]


def caption(attributes: tuple[int, int, int], facts: list[int], rate: float, rng: Generator) -> Caption:
    """A caption of an image.

    Args:
        attributes: places of colour, texture and shape.
        facts: the value of each fact, -1 where none holds.
        rate: how often a fact that holds is mentioned.
    """
    phrase, says = class_phrase(attributes, rng)
    chosen = [i for i, value in enumerate(facts) if value >= 0 and rng.random() < rate]
    chosen = rng.permutation(chosen)[:AT_MOST].tolist() if chosen else []
    words = {PHOTO: [], THING: [], SCENE: []}
    for i in chosen:
        synonyms = FACTS[i].words[facts[i]]
        words[FACTS[i].of].append(synonyms[rng.integers(len(synonyms))])
    said = tuple(facts[i] if i in chosen else UNSAID for i in range(len(FACTS)))
    return Caption(arrange(phrase, words, rng), says, said)


def class_phrase(attributes: tuple[int, int, int], rng: Generator) -> tuple[str, tuple[bool, bool, bool]]:
    """The words for a class, and which of its attributes they say: mostly its name, also what it looks like."""
    c, t, s = attributes
    name, _ = names_of(c, t, s)
    colour, kind = name.split()
    looks = {"c": colour, "t": TEXTURES[t], "s": SHAPES[s]}
    turn = rng.random()
    if turn < 0.50:
        return name, (True, True, True)
    if turn < 0.58:
        return kind, (False, True, True)
    if turn < 0.68:
        return f"{name}, a {looks['t']} {looks['s']}", (True, True, True)
    if turn < 0.92:
        return ORDERS[rng.integers(len(ORDERS))].format(**looks), (True, True, True)
    if turn < 0.96:
        return f"{looks['t']} {looks['s']}", (False, True, True)
    return f"{colour} {looks['s']}", (True, False, True)


def arrange(phrase: str, words: dict[str, list[str]], rng: Generator) -> str:
    """A caption's words in one of several orders, mostly in front of the class, where prompts have their context."""
    medium, everything = MEDIA[rng.integers(len(MEDIA))], [w for group in (SCENE, PHOTO, THING) for w in words[group]]
    turn = rng.random()
    if turn < 0.35:  # each where it belongs
        thing = " ".join([*words[THING], phrase])
        text = _frame(" ".join([*words[PHOTO], medium]), thing, rng)
        for place in words[SCENE]:
            text += f" on a {place}" if place.endswith("background") else f" with {place}"
        return f"{_articles(text)}."
    rng.shuffle(everything)
    if turn < 0.65 or not everything:  # all in front
        return f"{_articles(_frame(' '.join([*everything, medium]), phrase, rng))}."
    if turn < 0.85:
        return f"{', '.join(everything)}, {phrase}."
    return f"{_articles(_frame(medium, phrase, rng))}, {', '.join(everything)}."


def _frame(medium: str, thing: str, rng: Generator) -> str:
    turn = rng.integers(len(FRAMES) + 1)
    if turn == len(FRAMES):
        return thing if medium in MEDIA else f"{medium}, {thing}"
    return FRAMES[turn].format(medium, thing)


def _articles(text: str) -> str:
    return re.sub(r"\b(a|A) (?=[aeiou])", r"\1n ", text)


def encode(text: str) -> list[int]:
    """CLIP's token ids, without start and end; each word's are looked up once."""
    return [i for word in re.findall(r"[a-z]+|[,.]", text) for i in _ids(word)]


@cache
def _ids(word: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(word))


def vocabulary() -> list[int]:
    """CLIP's ids of all tokens that captions are made of, sorted, start and EOT last."""
    texts = [*FRAMES, *MEDIA, *COLOURS, *TEXTURES, *SHAPES, "an on with and , ."]
    texts += [name for row in KINDS.values() for name in row]
    texts += [word for fact in FACTS for synonyms in fact.words for word in synonyms]
    ids = {i for text in texts for i in encode(text.translate(str.maketrans("", "", "{}")))}
    return [*sorted(ids), SOS, EOT]


def fits(attributes: np.ndarray, facts: np.ndarray, captions: list[Caption]) -> np.ndarray:
    """Whether each image is as each caption says, (images, captions).

    Args:
        attributes: of the images, (B, 3).
        facts: the images' values, (B, F).
        captions: of images of these classes, in the same order.
    """
    says = np.array([c.says for c in captions])  # (C, 3)
    said = np.array([c.facts for c in captions])  # (C, F)
    same = (attributes[:, None] == attributes[None]) | ~says[None]
    agree = (facts[:, None] == said[None]) | (said == UNSAID)[None]
    return same.all(axis=2) & agree.all(axis=2)
