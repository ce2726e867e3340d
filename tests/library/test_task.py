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
    assert labels.with_names(["e", "a"]).by_name == ("c", "d", "e")
    labels.refuse_trained(["c", "d"], "the file")
    with pytest.raises(UserError, match="the file names 'b', which has images already: take it out"):
        labels.refuse_trained(["c", "b"], "the file")
