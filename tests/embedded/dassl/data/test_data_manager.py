import copy

import pytest
import torch
import torchvision.transforms as T
from dassl.data import DataManager, DatasetWrapper
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import build_dataset
from dassl.data.transforms import build_transform
from PIL import Image


def loader_of(cfg, count: int, batch_size: int, is_train: bool):
    items = (build_dataset(cfg).train_x * 3)[:count]
    return build_data_loader(cfg, "RandomSampler", items, batch_size, is_train=is_train, tfm=T.ToTensor())


@pytest.mark.parametrize(
    ("count", "batch_size", "is_train", "batches"),
    [
        (40, 16, True, 2),
        (40, 16, False, 3),
        (20, 32, True, 1),
        (32, 32, True, 1),
        (33, 32, True, 1),
        (3, 2, False, 2),
    ],
)
def test_a_short_last_batch_is_dropped_in_training_if_there_is_a_full_one(cfg, count, batch_size, is_train, batches):
    assert len(loader_of(cfg, count, batch_size, is_train)) == batches


def test_an_empty_loader_is_an_assertion_error(cfg):
    with pytest.raises(AssertionError, match="a loader is empty"):
        build_data_loader(cfg, data_source=[])


def test_an_item_has_label_domain_path_index_and_image(cfg):
    item = build_dataset(cfg).train_x[11]
    found = DatasetWrapper(cfg, [item], transform=T.ToTensor())[0]
    assert (found["label"], found["domain"], found["index"]) == (1, 1, 0)
    assert found["impath"] == item.impath
    assert found["img"].shape == (3, 10, 12)


def test_without_a_transform_the_image_is_pils(cfg):
    assert isinstance(DatasetWrapper(cfg, build_dataset(cfg).test)[0]["img"], Image.Image)


def test_several_transforms_give_several_images(cfg):
    found = DatasetWrapper(cfg, build_dataset(cfg).test, [T.ToTensor(), T.Grayscale(), T.ToTensor()])[0]
    assert [key for key in found if key.startswith("img")] == ["img", "img2", "img3"]


def test_k_views_are_made_in_training_only(cfg):
    cfg.DATALOADER.K_TRANSFORMS = 3
    items = build_dataset(cfg).test
    assert len(DatasetWrapper(cfg, items, T.ToTensor(), is_train=True)[0]["img"]) == 3
    assert DatasetWrapper(cfg, items, T.ToTensor(), is_train=False)[0]["img"].shape == (3, 10, 12)
    with pytest.raises(ValueError, match="K_TRANSFORMS above 1 needs a transform"):
        DatasetWrapper(cfg, items, is_train=True)


def test_img0_is_resized_and_normalised_only(cfg):
    cfg.DATALOADER.RETURN_IMG0 = True
    items = build_dataset(cfg).test
    found = DatasetWrapper(cfg, items, T.ToTensor())[0]["img0"]
    image = Image.open(items[0].impath).resize((8, 8), Image.BILINEAR)
    plain = T.Normalize(cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD)(T.ToTensor()(image))
    assert torch.equal(found, plain)


def test_the_manager_builds_data_set_loaders_and_summary(cfg, capsys):
    dm = DataManager(cfg)
    assert dm.dataset.classnames == ["fox", "owl", "bee", "elk"]
    assert (dm.num_classes, dm.num_source_domains, dm.lab2cname[3]) == (4, 0, "elk")
    assert (len(dm.train_loader_x), dm.train_loader_u, len(dm.val_loader), len(dm.test_loader)) == (
        1,
        None,
        1,
        1,
    )
    out = capsys.readouterr().out
    for row in ("Dataset    Drawn", "# classes  4", "# train_x  40", "# val      12", "# test     20"):
        assert row in out
    assert out.index("Building transform_train") < out.index("Building transform_test")


def test_evaluation_takes_the_images_in_order(cfg):
    labels = torch.cat([batch["label"] for batch in DataManager(cfg).test_loader])
    assert labels.tolist() == [label for label in range(4) for _ in range(5)]


def test_custom_transforms_take_the_place_of_the_configs(cfg, capsys):
    dm = DataManager(cfg, custom_tfm_train=[T.ToTensor(), T.ToTensor()], custom_tfm_test=T.ToTensor())
    assert {"img", "img2"} <= set(next(iter(dm.train_loader_x)))


def test_a_loader_can_be_copied_and_given_another_transform(cfg):
    loader = copy.deepcopy(DataManager(cfg).train_loader_x)
    loader.dataset.transform = build_transform(cfg, is_train=False)
    again = torch.utils.data.DataLoader(
        loader.dataset, loader.batch_size, sampler=loader.sampler, num_workers=loader.num_workers
    )
    assert next(iter(again))["img"].shape == (32, 3, 8, 8)


def test_unlabelled_images_follow_the_labelled_ones_loader(cfg):
    from dassl.data.datasets import DATASET_REGISTRY, DatasetBase

    class Unlabelled(DatasetBase):
        def __init__(self, cfg):
            items = DATASET_REGISTRY.get("Drawn")(cfg).train_x
            super().__init__(train_x=items, train_u=items[:8], test=items)

    DATASET_REGISTRY.register(Unlabelled, force=True)
    cfg.DATASET.NAME, cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TRAIN_U.BATCH_SIZE = (
        "Unlabelled",
        4,
        8,
    )
    assert DataManager(cfg).train_loader_u.batch_size == 4
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    dm = DataManager(cfg)
    assert (dm.train_loader_u.batch_size, dm.val_loader) == (8, None)
