from __future__ import annotations

import pytest

from shipclip.errors import UserError
from shipclip.task import LabelSpace, base_count


@pytest.mark.parametrize(("classes", "base"), [(100, 50), (37, 19), (10, 5), (47, 24), (397, 199)])
def test_base_is_the_larger_half(classes: int, base: int):
    assert base_count(classes) == base


def test_classes_without_images_stand_behind_those_with_some():
    labels = LabelSpace(("a", "b", "c"), n_trained=2, n_base=2, further=("d",))
    assert (labels.trained, labels.by_name, labels.known) == (("a", "b"), ("c", "d"), ("a", "b", "c", "d"))
    assert labels.with_names({"e": "line 1", "c": "line 2", "d": "line 3"}).by_name == ("c", "d", "e")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("b", "x.txt, line 2 names 'b', and the class 'b' has images already: take it out"),
        ("_B", "x.txt, line 2 names '_B', and the class 'b' has images already: take it out"),
        ("D", "x.txt, line 2 names 'D', which CLIP cannot tell from 'd': name them differently"),
    ],
)
def test_a_new_name_that_clip_reads_as_one_that_is_there_is_refused(name: str, sentence: str):
    labels = LabelSpace(("a", "b", "c"), n_trained=2, n_base=2, further=("d",))
    with pytest.raises(UserError, match=sentence):
        labels.with_names({"e": "x.txt, line 1", name: "x.txt, line 2"})
