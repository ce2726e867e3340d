from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shipclip.backbones.base import Backbone, normalise
from shipclip.errors import UserError
from shipclip.features.bank import FeatureBank
from shipclip.features.source import Batches, FeatureOptions, FeatureSource, PixelSource, feature_batches
from shipclip.features.transforms import InputOptions
from shipclip.task import Item, LabelSpace, Task


def bank(n: int = 10, views: int = 4) -> FeatureBank:
    features = normalise(torch.randn(views, n, 3, generator=torch.Generator().manual_seed(0)))
    return FeatureBank(features, torch.arange(n))


def test_an_epoch_shows_each_image_once_under_one_of_its_views():
    how = Batches(4, drop_last=False)
    batches = list(feature_batches(bank(), torch.Generator().manual_seed(1), how))
    assert [len(x) for x, _ in batches] == [4, 4, 2] and how.count(10) == 3
    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(10)) != labels.tolist()
    for features, labels in batches:
        for x, label in zip(features, labels.tolist(), strict=True):
            assert (bank().features[:, label] == x).all(dim=1).any()


@pytest.mark.parametrize(
    ("n", "batch", "drop", "wanted"),
    [(800, 32, True, 25), (304, 32, True, 9), (20, 32, True, 1), (20, 32, False, 1), (33, 32, False, 2)],
)
def test_the_number_of_batches_follows_dassl(n: int, batch: int, drop: bool, wanted: int):
    how = Batches(batch, drop)
    assert how.count(n) == len(list(feature_batches(bank(n, 1), torch.Generator(), how))) == wanted


@pytest.fixture
def task(tmp_path: Path) -> Task:
    items = []
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 255, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        items.append(Item(str(tmp_path / f"{i}.png"), i % 2))
    return Task("Own", LabelSpace(("cat", "dog"), 2), items, items[:1], items[3:])


def features(clip: Backbone, task: Task, views: int) -> FeatureSource:
    return FeatureSource(clip, task, InputOptions(), FeatureOptions(views), seed=1)


def test_one_bank_serves_all_epochs(clip: Backbone, task: Task):
    source = features(clip, task, 3)
    assert source.training_bank(0) is source.training_bank(5)
    assert source.training_bank(0).features.shape == (3, 5, clip.dim)


def test_without_views_each_epoch_has_its_own(clip: Backbone, task: Task):
    source, kept = features(clip, task, 0), features(clip, task, 3)
    torch.testing.assert_close(source.training_bank(2).features[0], kept.training_bank(0).features[2])
    assert not torch.allclose(source.training_bank(0).features, source.training_bank(1).features, atol=1e-4)


def test_tests_show_each_image_once_in_order(clip: Backbone, task: Task):
    found = list(features(clip, task, 3).test_batches("train", 2))
    assert [len(x) for x, _ in found] == [2, 2, 1]
    assert torch.cat([labels for _, labels in found]).tolist() == [0, 1, 0, 1, 0]
    pixels = list(PixelSource(clip, task, InputOptions(), FeatureOptions(), seed=1).test_batches("train", 2))
    for (x, labels), (images, same) in zip(found, pixels, strict=True):
        torch.testing.assert_close(clip.encode_image(images), x, rtol=1e-4, atol=1e-5)
        assert torch.equal(labels, same)


def test_images_come_in_the_order_of_features_each_with_the_epochs_view(clip: Backbone, task: Task):
    pixels, kept = PixelSource(clip, task, InputOptions(), FeatureOptions(), seed=1), features(clip, task, 3)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    found = list(pixels.train_batches(2, torch.Generator().manual_seed(0), Batches(2)))
    assert [len(x) for x, _ in found] == [2, 2]  # the smaller last one is left out
    encoded = torch.cat([clip.encode_image(x) for x, _ in found])
    torch.testing.assert_close(encoded, kept.training_bank(0).features[2, order[:4]], rtol=1e-4, atol=1e-5)
    assert torch.cat([labels for _, labels in found]).tolist() == (order[:4] % 2).tolist()


def test_views_below_none_are_refused(clip: Backbone, task: Task):
    with pytest.raises(UserError, match="FEATURES.VIEWS is -1: give at least 0"):
        features(clip, task, -1)
