"""A model's classes as a vocabulary: added, taken out, called otherwise or described, without training.

What learned features of a class is not always its name. A prompt learner reads the name behind its learned context;
learners that keep image features (Tip-Adapter, GDA) or weights (linear probe) have them under the class's name; all
others go by texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from .errors import UserError
from .names import plain, refuse_same_tokens, refuse_twins, same
from .rng import stream
from .texts import Texts
from .unknown import UNKNOWN

if TYPE_CHECKING:
    from .bundle import Classifier

ADDED_FEATURES = 16  # synthesized features of an added class, for learners that keep features of each


def add(model: Classifier, names: Sequence[str]) -> None:
    """Classify these as well, from now on, by their names.

    A prompt learner reads the names behind its learned context, which SHIP has tuned on synthesized features. A
    learner that keeps image features (Tip-Adapter, GDA) is given synthesized ones where SHIP made it; else it goes by
    their texts, as the linear probe does. A class that was taken out is what it was before.

    Raises:
        UserError: a name that cannot be told from one that is there, or that is too long.
    """
    names = [plain(name) for name in names]
    away = [name for name in model.hidden if name not in names]
    _refuse_unfit(model, names, [*model.classes, *away], "add_classes")
    model.learner.check_classes([*model.classes, *names])
    model.learner.classifier(names)  # too long a name is told before anything is changed
    fresh = [name for name in names if name not in model.hidden]
    if model.generator is not None and fresh:
        known = model.generator.names
        model.generator.rename([*known, *fresh])
        labels = torch.arange(len(known), len(known) + len(fresh)).repeat_interleave(ADDED_FEATURES)
        features = model.generator.sample(labels, stream(model.learner.seed, "added", *fresh))
        model.learner.add_classes(fresh, features.unflatten(0, (len(fresh), ADDED_FEATURES)))
    model.hidden = tuple(name for name in model.hidden if name not in names)
    model._names = (*model.classes, *names)
    for name in fresh:
        model.images.setdefault(name, 0)


def remove(model: Classifier, names: Sequence[str]) -> None:
    """Classify these no more. What was learned of them stays in the model, and comes back with their names.

    Raises:
        UserError: a name that is no class, or all of them.
    """
    for name in names:
        _there(model, name)
    left = [name for name in model.classes if name not in names]
    if not left:
        raise UserError("a classifier needs a class: leave at least one of them in")
    model.learner.check_classes(left)
    model._names = tuple(left)
    model.hidden = (*model.hidden, *dict.fromkeys(names))


def rename(model: Classifier, old: str, new: str) -> None:
    """Call a class otherwise. Image features and weights that are kept of it stay; what is made of its name, a prompt
    or a text, is made of the new one. Texts of its own go with it.

    Raises:
        UserError: `old` is no class, `new` cannot be told from one that is there, or is too long.
    """
    new = plain(new)
    _there(model, old)
    others = [name for name in (*model.classes, *model.hidden) if name != old]
    _refuse_unfit(model, [new], others, "rename_class")

    def called(names: Sequence[str]) -> list[str]:
        return [new if name == old else name for name in names]

    before = model.learner.names
    model.learner.names = tuple(called(before))
    try:
        model.learner.classifier([new])  # too long a name is told before anything else is changed
    except UserError:
        model.learner.names = before
        raise
    model._names = tuple(called(model.classes))
    if model.generator is not None:
        model.generator.rename(called(model.generator.names))
    model.images = {new if name == old else name: count for name, count in model.images.items()}
    model.records = {kind: dict(zip(called(list(of)), of.values(), strict=True)) for kind, of in model.records.items()}
    if model.gallery is not None:
        model.gallery = model.gallery.renamed(old, new)
    own = model.learner.texts.of_class
    if same(old) in own:
        _describe(model, {(same(new) if name == same(old) else name): texts for name, texts in own.items()})


def set_texts(model: Classifier, texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Describe classes by sentences of their own (CuPL, Pratt et al., ICCV 2023) in place of the template.

    Args:
        model: whose classes they are.
        texts: class name -> sentences; classes that are not among them keep what they have.

    Returns:
        Those of the described classes whose predictions did not change: a prompt learner reads names alone, and a
        weight that was learned stays.

    Raises:
        UserError: texts of a class that is not there, or a sentence that is too long.
    """
    known = {same(name): name for name in model.classes}
    for name, sentences in texts.items():
        if same(name) not in known:
            raise UserError(
                f"there are texts of {name!r}, which is no class of this model: add the class, or mend its name"
            )
        if isinstance(sentences, str) or not sentences:
            raise UserError(f"the texts of {name!r} must be a list of sentences, at least one")
    model.backbone.text_prompts([sentence for sentences in texts.values() for sentence in sentences])
    probe = torch.eye(model.backbone.dim, device=model.backbone.device)
    before = _response(model, probe)
    _describe(model, {**model.learner.texts.of_class, **{same(name): tuple(of) for name, of in texts.items()}})
    if before is None:
        return []
    unchanged = (before == _response(model, probe)).all(dim=0).tolist()
    described = {same(name) for name in texts}
    return [
        name for name, as_before in zip(model.classes, unchanged, strict=True) if as_before and same(name) in described
    ]


@torch.no_grad()
def _response(model: Classifier, probe: torch.Tensor) -> torch.Tensor | None:
    """Logits of a probe, of a learner that sees features."""
    return model.classifier()(probe) if model.learner.sees == "features" else None


def _describe(model: Classifier, of_class: Mapping[str, tuple[str, ...]]) -> None:
    texts: Texts = replace(model.learner.texts, of_class=dict(of_class))
    model.learner.describe(texts)
    if model.generator is not None:
        model.generator.texts = texts
        model.generator.rename(model.generator.names)  # class features are made anew


def _there(model: Classifier, name: str) -> None:
    if name not in model.classes:
        raise UserError(f"there is no class {name!r}: the classes are {', '.join(model.classes[:20])}"
                        f"{' ...' if len(model.classes) > 20 else ''}")  # fmt: skip


def _refuse_unfit(model: Classifier, names: Sequence[str], others: Sequence[str], where: str) -> None:
    """Refuse names that cannot be told from the others, those that were taken out among them, and the name of unknown
    images."""
    refuse_twins([*others, *names], where)
    refuse_same_tokens(model.backbone.tokenizer.encode, [*others, *names], names, model.backbone.name)
    if model.rejection is not None and UNKNOWN in map(str.casefold, names):
        raise UserError(
            f"this model calls images {UNKNOWN!r} that are of none of its classes: name the class otherwise"
        )
