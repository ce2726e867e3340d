from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from dassl.data.samplers import build_sampler

ITEMS = [SimpleNamespace(label=i % 4, domain="abc"[i % 3]) for i in range(60)]


def build(name: str, batch_size: int = 12, **options):
    return build_sampler(name, data_source=ITEMS, batch_size=batch_size, **options)


def batches(sampler, size: int = 12) -> list[list[int]]:
    indices = list(sampler)
    assert len(indices) == len(sampler)
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def test_random_and_sequential_are_torchs_own():
    assert type(build("RandomSampler")) is torch.utils.data.RandomSampler
    assert list(build("SequentialSampler")) == list(range(60))


def test_random_domains_share_a_batch_equally():
    sampler = build("RandomDomainSampler", n_domain=0)
    found = batches(sampler)
    assert len(found) == 5
    for batch in found:
        assert Counter(ITEMS[i].domain for i in batch) == {"a": 4, "b": 4, "c": 4}
    assert len({i for batch in found for i in batch}) == 60


def test_a_few_random_domains_a_batch():
    first = list(build("RandomDomainSampler", n_domain=2))[:12]
    assert sorted(Counter(ITEMS[i].domain for i in first).values()) == [6, 6]


def test_sequential_domains_come_in_sorted_order():
    for batch in batches(build("SeqDomainSampler")):
        assert "".join(ITEMS[i].domain for i in batch) == "aaaabbbbcccc"


def test_random_classes_have_their_instances_a_batch():
    for batch in batches(build("RandomClassSampler", n_ins=3)):
        counts = Counter(ITEMS[i].label for i in batch)
        assert sorted(counts.values()) == [3, 3, 3, 3]


def test_a_class_short_of_instances_repeats_some():
    items = [SimpleNamespace(label=0, domain=0), *(SimpleNamespace(label=1, domain=0) for _ in range(4))]
    indices = list(build_sampler("RandomClassSampler", data_source=items, batch_size=8, n_ins=4))
    assert Counter(items[i].label for i in indices) == {0: 4, 1: 4}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("RandomOrder", {}, "unknown sampler 'RandomOrder'"),
        ("RandomDomainSampler", {"batch_size": 10}, "10 is not a multiple of the 3 domains"),
        ("RandomClassSampler", {"n_ins": 20}, "12 is smaller than the 20 images a class"),
        ("RandomClassSampler", {"n_ins": 1}, "needs 12 classes, the data has 4"),
        ("SeqDomainSampler", {"batch_size": 90}, "takes 30 images of a domain"),
    ],
)
def test_what_cannot_be_sampled_is_told(name, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(name, **options)
