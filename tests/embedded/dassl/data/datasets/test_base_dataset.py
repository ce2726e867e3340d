import copy
import io
import pickle
import random
import sys
import tarfile
import zipfile

import pytest
from dassl.data.datasets import DatasetBase, Datum, build_dataset
from hypothesis import given
from hypothesis import strategies as st


def datum(label: int, name: str = "", domain: int = 0, path: str = __file__) -> Datum:
    return Datum(path, label, domain, name or f"class {label}")


def test_a_datum_has_four_read_only_properties():
    item = datum(3, "owl", domain=1)
    assert (item.impath, item.label, item.domain, item.classname) == (__file__, 3, 1, "owl")
    with pytest.raises(AttributeError):
        item.label = 4


def test_a_missing_image_is_named():
    with pytest.raises(FileNotFoundError, match="there is no image gone"):
        Datum("gone.jpg")


def test_a_datum_is_pickled_as_upstream_does():
    item = datum(3, "owl")
    assert item.__reduce_ex__(pickle.HIGHEST_PROTOCOL)[2] == {
        "_impath": __file__,
        "_label": 3,
        "_domain": 0,
        "_classname": "owl",
    }
    assert (type(item).__module__, type(item).__qualname__) == ("dassl.data.datasets.base_dataset", "Datum")


def test_further_attributes_are_kept_in_pickles_and_copies():
    item = datum(3, "owl")
    item.score = 0.5
    assert pickle.loads(pickle.dumps(item)).score == copy.copy(item).score == 0.5
    assert copy.copy(item).impath == __file__


def test_a_pickle_is_read_without_looking_for_the_file():
    item = pickle.loads(pickle.dumps(datum(3, "owl")).replace(__file__.encode(), b"/" * len(__file__.encode())))
    assert (item.impath, item.classname) == ("/" * len(__file__), "owl")


def test_classes_are_read_from_the_training_images_in_order_of_labels():
    dataset = DatasetBase(train_x=[datum(2, "c"), datum(0, "a"), datum(2, "c")], test=[datum(7)])
    assert dataset.num_classes == 3
    assert dataset.classnames == ["a", "c"]
    assert list(dataset.lab2cname.items()) == [(0, "a"), (2, "c")]
    assert (len(dataset.test), dataset.val, dataset.train_u) == (1, None, None)


def test_a_data_set_without_training_images_is_refused():
    with pytest.raises(ValueError, match="DatasetBase has no labelled training image"):
        DatasetBase(train_x=[])


def test_few_shots_are_drawn_class_by_class_in_order_of_first_appearance():
    items = [datum(label) for label in (4, 4, 1, 4, 1, 4, 9)]
    by_label = {label: [item for item in items if item.label == label] for label in (4, 1, 9)}
    random.seed(5)
    picked = DatasetBase(train_x=items).generate_fewshot_dataset(items, num_shots=2)
    rng = random.Random(5)
    assert picked == rng.sample(by_label[4], 2) + rng.sample(by_label[1], 2) + by_label[9]


def test_a_short_class_may_be_filled_up(capsys):
    items = [datum(0), datum(1), datum(1)]
    picked = DatasetBase(train_x=items).generate_fewshot_dataset(items, num_shots=3, repeat=True)
    assert [item.label for item in picked] == [0, 0, 0, 1, 1, 1]
    assert capsys.readouterr().out == "Creating a 3-shot dataset\n"


def test_below_one_shot_the_lists_stay_as_they_are():
    dataset, items = DatasetBase(train_x=[datum(0)]), [datum(0), datum(0)]
    assert dataset.generate_fewshot_dataset(items) is items
    assert dataset.generate_fewshot_dataset(items, items, num_shots=0) == [items, items]


def test_several_sources_give_several_lists():
    items = [datum(0)]
    assert DatasetBase(train_x=items).generate_fewshot_dataset(items, items, num_shots=1) == [items, items]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 9))
def test_every_class_has_its_shots_or_all_it_has_and_no_image_twice(labels, shots, seed):
    items = [datum(label) for label in labels]
    random.seed(seed)
    picked = DatasetBase(train_x=items).generate_fewshot_dataset(items, num_shots=shots)
    assert len({id(item) for item in picked}) == len(picked)
    for label in set(labels):
        assert sum(item.label == label for item in picked) == min(shots, labels.count(label))


def test_items_are_grouped_by_domain():
    items = [datum(0, domain=1), datum(1, domain=0), datum(2, domain=1)]
    groups = DatasetBase(train_x=items).split_dataset_by_domain(items)
    assert {domain: [i.label for i in group] for domain, group in groups.items()} == {1: [0, 2], 0: [1]}


def test_domains_are_checked():
    dataset = DatasetBase(train_x=[datum(0)])
    dataset.domains = ["photo", "sketch"]
    dataset.check_input_domains(["photo"], ["sketch"])
    with pytest.raises(ValueError, match="unknown domain 'paint'"):
        dataset.check_input_domains(["paint"], ["sketch"])


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_is_downloaded_and_unpacked_beside_it(tmp_path, kind):
    archive = tmp_path / f"source.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("images/a.txt", "a")
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as file:
            info = tarfile.TarInfo("images/a.txt")
            info.size = 1
            file.addfile(info, io.BytesIO(b"a"))
    target = tmp_path / "data" / f"set.{kind}"
    DatasetBase(train_x=[datum(0)]).download_data(archive.as_uri(), str(target), from_gdrive=False)
    assert (tmp_path / "data" / "images" / "a.txt").read_text() == "a"


def test_google_drive_without_gdown_is_told_with_the_mend(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ImportError, match=r"pip install gdown, or put the file at .*a\.zip"):
        DatasetBase(train_x=[datum(0)]).download_data("https://drive.google.com/x", str(tmp_path / "a.zip"))


def test_another_kind_of_archive_is_refused(tmp_path):
    (tmp_path / "b.rar").write_text("no archive")
    with pytest.raises(ValueError, match=r"a\.rar is neither a zip nor a tar archive"):
        DatasetBase(train_x=[datum(0)]).download_data((tmp_path / "b.rar").as_uri(), str(tmp_path / "a.rar"))


def test_an_unknown_data_set_is_answered_with_the_nearest_name(cfg, capsys):
    assert build_dataset(cfg).num_classes == 4
    assert capsys.readouterr().out == "Loading dataset: Drawn\n"
    cfg.DATASET.NAME = "Draw"
    with pytest.raises(ValueError, match=r"DATASET\.NAME is 'Draw'.*did you mean Drawn\?"):
        build_dataset(cfg)
