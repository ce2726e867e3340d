from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data.sampler import RandomSampler, Sampler, SequentialSampler

SAMPLERS = [
    "RandomSampler",
    "SequentialSampler",
    "RandomDomainSampler",
    "SeqDomainSampler",
    "RandomClassSampler",
]


class _DomainSampler(Sampler):
    """Batches with equally many images from each of `n_domain` domains."""

    def __init__(self, data_source: list, batch_size: int, n_domain: int):
        self.by_domain = defaultdict(list)
        for index, item in enumerate(data_source):
            self.by_domain[item.domain].append(index)
        self.domains = list(self.by_domain)
        self.n_domain = n_domain if n_domain > 0 else len(self.domains)
        if batch_size % self.n_domain:
            raise ValueError(f"the batch size {batch_size} is not a multiple of the {self.n_domain} domains")
        self.per_domain = batch_size // self.n_domain
        smallest = min(map(len, self.by_domain.values()))
        if smallest < self.per_domain:
            raise ValueError(f"a batch takes {self.per_domain} images of a domain, and one has only {smallest}")
        self.length = len(list(iter(self)))

    def choose(self) -> list[int]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        left = copy.deepcopy(self.by_domain)
        indices: list[int] = []
        while True:
            for domain in self.choose():
                picked = random.sample(left[domain], self.per_domain) if len(left[domain]) >= self.per_domain else []
                indices.extend(picked)
                left[domain] = [index for index in left[domain] if index not in set(picked)]
            if min(map(len, left.values())) < self.per_domain:
                return iter(indices)

    def __len__(self) -> int:
        return self.length


class RandomDomainSampler(_DomainSampler):
    def choose(self) -> list[int]:
        return random.sample(self.domains, self.n_domain)


class SeqDomainSampler(_DomainSampler):
    def choose(self) -> list[int]:
        return self.domains


class RandomClassSampler(Sampler):
    """Batches of `n_ins` images from each of batch_size / n_ins random classes."""

    def __init__(self, data_source: list, batch_size: int, n_ins: int):
        if batch_size < n_ins:
            raise ValueError(f"the batch size {batch_size} is smaller than the {n_ins} images a class")
        self.classes_per_batch, self.n_ins = batch_size // n_ins, n_ins
        self.by_label = defaultdict(list)
        for index, item in enumerate(data_source):
            self.by_label[item.label].append(index)
        if len(self.by_label) < self.classes_per_batch:
            raise ValueError(f"a batch needs {self.classes_per_batch} classes, the data has {len(self.by_label)}")
        self.length = len(list(iter(self)))

    def __iter__(self) -> Iterator[int]:
        groups = {}
        for label, indices in self.by_label.items():
            drawn = list(indices)
            if len(drawn) < self.n_ins:
                drawn = np.random.choice(drawn, size=self.n_ins, replace=True).tolist()
            random.shuffle(drawn)
            groups[label] = [drawn[i : i + self.n_ins] for i in range(0, len(drawn) - self.n_ins + 1, self.n_ins)]
        indices: list[int] = []
        while len(groups) >= self.classes_per_batch:
            for label in random.sample(list(groups), self.classes_per_batch):
                indices.extend(groups[label].pop(0))
                if not groups[label]:
                    del groups[label]
        return iter(indices)

    def __len__(self) -> int:
        return self.length


def build_sampler(
    sampler_type: str,
    cfg: Any = None,
    data_source: list | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler:
    """A sampler by name."""
    if sampler_type == "RandomSampler":
        return RandomSampler(data_source)
    if sampler_type == "SequentialSampler":
        return SequentialSampler(data_source)
    if sampler_type == "RandomDomainSampler":
        return RandomDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "SeqDomainSampler":
        return SeqDomainSampler(data_source, batch_size, n_domain)
    if sampler_type == "RandomClassSampler":
        return RandomClassSampler(data_source, batch_size, n_ins)
    raise ValueError(f"unknown sampler {sampler_type!r}: choose one of {', '.join(SAMPLERS)}")
