"""Whose a folder is: settings, what the run was made from, and what is told of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shipclip import claim, identity, run
from shipclip.backbones.base import Backbone
from shipclip.claim import EVALUATION, TRAINING, Claim
from shipclip.errors import MissingFile, UserError
from shipclip.identity import EDGE, changes, identity_of, summary
from shipclip.task import Item, LabelSpace, Task
from shipclip.texts import Texts

DEFAULTS = {"OUTPUT_DIR": "", "DATALOADER": {"NUM_WORKERS": 4}, "OPTIM": {"LR": 0.0003}, "TRAINER": {"NAME": ""}}


def changed(tree: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The tree with another value at a dotted key."""
    tree = json.loads(json.dumps(tree))
    *nodes, last = key.split(".")
    node = tree
    for name in nodes:
        node = node.setdefault(name, {})
    node[last] = value
    return tree


def test_differences_name_keys_and_skip_what_changes_no_figure():
    other = changed(changed(DEFAULTS, "OUTPUT_DIR", "elsewhere"), "DATALOADER.NUM_WORKERS", 0)
    assert claim.differences(DEFAULTS, other, DEFAULTS) == []
    other = changed(other, "OPTIM.LR", 1.0)
    assert claim.differences(DEFAULTS, other, DEFAULTS) == ["OPTIM.LR 0.0003 here, 1.0 there"]


def test_other_trainers_nodes_make_no_difference():
    """A learner that is added later must not lock the folders of runs that know nothing of it."""
    tree = changed(changed(DEFAULTS, "TRAINER.OWN.A", 1), "TRAINER.OTHER.B", 2)
    saved = run.of_nodes(run.plain(tree), {"OWN"})
    assert saved["TRAINER"] == {"NAME": "", "OWN": {"A": 1}}
    tree = run.of_nodes(changed(changed(tree, "TRAINER.LATER.C", 3), "TRAINER.OTHER.B", 4), {"OWN"})
    assert claim.differences(tree, saved, DEFAULTS) == []
    tree = changed(tree, "TRAINER.OWN.A", 5)
    assert claim.differences(tree, saved, DEFAULTS) == ["TRAINER.OWN.A 5 here, 1 there"]


def test_a_key_that_the_folder_had_not_heard_of_had_its_default_there():
    now = changed(DEFAULTS, "TEST.BASE_PENALTY", 0.0)
    assert claim.differences(now, DEFAULTS, now) == []
    given = changed(now, "TEST.BASE_PENALTY", 1.0)
    assert claim.differences(given, DEFAULTS, now) == ["TEST.BASE_PENALTY 1.0 here, 0.0 there"]


def checkpoint(folder: Path) -> None:
    (folder / run.LEARNER).mkdir(parents=True, exist_ok=True)
    (folder / run.LEARNER / "model.pth.tar-1").touch()


def test_a_folder_of_another_run_is_refused(tmp_path: Path):
    claim.check_settings(tmp_path, DEFAULTS, DEFAULTS)  # nobody's
    Claim(DEFAULTS, {}).write(tmp_path)
    checkpoint(tmp_path)
    claim.check_settings(tmp_path, DEFAULTS, DEFAULTS)
    with pytest.raises(UserError, match=r"another config \(OPTIM.LR 1.0 here, 0.0003 there\): choose another"):
        claim.check_settings(tmp_path, changed(DEFAULTS, "OPTIM.LR", 1.0), DEFAULTS)
    for content in ("{", "[" * 100_000):
        (tmp_path / claim.CLAIM).write_text(content)
        with pytest.raises(UserError, match=r"config\.json is no JSON .*remove it, and the run goes on"):
            claim.check_settings(tmp_path, DEFAULTS, DEFAULTS)


def test_a_claim_with_nothing_behind_it_keeps_nobody_out(tmp_path: Path):
    """A run that was refused, or killed, before its first checkpoint has nothing to lose."""
    Claim(DEFAULTS, {}).write(tmp_path)
    claim.check_settings(tmp_path, changed(DEFAULTS, "OPTIM.LR", 1.0), DEFAULTS)


@pytest.mark.parametrize("content", ["[]", "3", '{"format": "shipclip-model"}', '{"TRAINER": 3}'])
def test_a_folder_of_something_else_is_never_taken(content: str, tmp_path: Path):
    (tmp_path / claim.CLAIM).write_text(content)
    with pytest.raises(
        UserError, match=r"holds something else \(config.json is no run's\): choose another --output-dir"
    ):
        claim.check_settings(tmp_path, DEFAULTS, DEFAULTS)
    assert (tmp_path / claim.CLAIM).read_text() == content


def test_nobody_is_told_to_remove_a_folder_that_holds_anything_else(tmp_path: Path):
    Claim(DEFAULTS, {}).write(tmp_path)
    checkpoint(tmp_path)
    other = changed(DEFAULTS, "OPTIM.LR", 1.0)
    with pytest.raises(UserError, match="or remove the folder"):
        claim.check_settings(tmp_path, other, DEFAULTS)
    (tmp_path / "base2new").mkdir()
    with pytest.raises(UserError) as found:
        claim.check_settings(tmp_path, other, DEFAULTS)
    assert "or remove" not in str(found.value) and "choose another --output-dir" in str(found.value)


def test_a_training_and_an_evaluation_do_not_share_a_folder(tmp_path: Path):
    (tmp_path / run.FILE).write_text("{}")
    for mine, theirs in ((TRAINING, EVALUATION), (EVALUATION, TRAINING)):
        Claim(DEFAULTS, {}, theirs).write(tmp_path)
        with pytest.raises(UserError, match=rf"holds an? {theirs}, and this is an? {mine}: choose another"):
            claim.check_identity(tmp_path, Claim(DEFAULTS, {}, mine))


def test_the_folder_of_a_training_holds_the_results_of_its_last_epoch(tmp_path: Path):
    checkpoint(tmp_path)
    with pytest.raises(UserError, match="holds an unfinished training: finish it, or choose another --output-dir"):
        claim.is_finished(tmp_path, str(tmp_path), None)
    (tmp_path / run.FILE).write_text("{}")
    assert claim.is_finished(tmp_path, str(tmp_path), None) and claim.is_finished(tmp_path, str(tmp_path), 1)
    with pytest.raises(UserError, match="results of its last epoch: choose another --output-dir for epoch 3"):
        claim.is_finished(tmp_path, str(tmp_path), 3)
    assert claim.is_finished(tmp_path, "", None)


def test_a_run_goes_on_from_its_own_kind_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    other, mine = tmp_path / "other", changed(DEFAULTS, "OPTIM.MAX_EPOCH", 9)
    with pytest.raises(MissingFile, match="no checkpoint of a run in .*check --resume"):
        claim.check_resumed(other, Claim(mine, {}), DEFAULTS)
    checkpoint(other)
    claim.check_resumed(other, Claim(mine, {}), DEFAULTS)
    assert "does not tell what run it is of" in capsys.readouterr().out
    Claim(changed(mine, "OPTIM.MAX_EPOCH", 3), {}).write(other)
    claim.check_resumed(other, Claim(mine, {}), DEFAULTS)  # the same for longer
    with pytest.raises(UserError, match=r"is of another run \(TRAINER.NAME 'SHIP' here, '' there\)"):
        claim.check_resumed(other, Claim(changed(mine, "TRAINER.NAME", "SHIP"), {}), DEFAULTS)


def test_a_run_without_a_folder_gets_one_of_its_own():
    tree = {"SEED": 1, **DEFAULTS}
    name = claim.own_folder(tree, "CoOp-Own-2 shots-seed1", "data")
    assert name.parent == Path("output/runs") and name.name.startswith("CoOp-Own-2_shots-seed1-")
    assert name == claim.own_folder(changed(tree, "DATALOADER.NUM_WORKERS", 0), "CoOp-Own-2 shots-seed1", "data")
    others = [claim.own_folder(changed(tree, "OPTIM.LR", 1.0), "CoOp-Own-2 shots-seed1", "data")]
    others.append(claim.own_folder(tree, "CoOp-Own-2 shots-seed1", "other data"))
    random = changed(tree, "SEED", -1)
    others += [claim.own_folder(random, "x", "data"), claim.own_folder(random, "x", "data")]
    assert len({name, *others}) == 5


# -- what a run is made from --------------------------------------------------------------------------------------


class Weights:
    digest = "w"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").write_bytes(f"{part}{name}{i}".encode() * (1 if i else 2000))
    return tmp_path / "data"


def task_of(root: Path, names: tuple[str, ...] = ("cat", "dog")) -> Task:
    folders = sorted(path.name for path in (root / "train").iterdir())
    items = {
        part: [Item(str(f), i) for i, name in enumerate(folders) for f in sorted((root / part / name).glob("*.png"))]
        for part in ("train", "test")
    }
    return Task("Own", LabelSpace(names, len(names)), items["train"], (), items["test"])


def change_of(root: Path, before: dict[str, Any], names: tuple[str, ...] = ("cat", "dog")) -> str:
    return "; ".join(changes(identity_of(task_of(root, names), root, Weights()), json.loads(json.dumps(before))))


def rename(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "dog").rename(root / part / "hound")


CHANGES = {
    "2 train images more (of 'cat')": lambda r: [(r / "train/cat" / f"new{i}.png").write_bytes(b"x") for i in "ab"],
    "1 test image less (of 'dog')": lambda r: (r / "test/dog/1.png").unlink(),
    "other train images of 'dog'": lambda r: (r / "train/dog/1.png").write_bytes(b"traincat1"),
    "other test images of 'cat'": lambda r: (r / "test/cat/1.png").rename(r / "test/cat/9.png"),
    "1 train image more (of 'dog'); 1 train image less (of 'cat')": lambda r: (r / "train/cat/0.png").rename(
        r / "train/dog/7.png"
    ),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_what_has_changed_among_the_images_is_told(sentence: str, root: Path):
    before = identity_of(task_of(root), root, Weights())
    assert change_of(root, before) == ""
    CHANGES[sentence](root)
    assert change_of(root, before) == sentence


@pytest.mark.parametrize(("at_hand", "first", "pools"), [(1e9, 1, 0), (-1e-9, 1, 3), (-1e-9, 2, 3), (-1e-9, 3, 0)])
def test_slow_files_are_asked_for_many_at_once(
    at_hand: float, first: int, pools: int, root: Path, monkeypatch: pytest.MonkeyPatch
):
    before, made, pool = identity_of(task_of(root), root, Weights()), [], identity.ThreadPoolExecutor
    monkeypatch.setattr(identity, "ThreadPoolExecutor", lambda n: (made.append(n), pool(n))[1])
    for name, value in (("BLOCK", 3), ("FIRST", first), ("AT_HAND", at_hand)):
        monkeypatch.setattr(identity, name, value)
    assert identity_of(task_of(root), root, Weights()) == before
    assert len(made) == pools


def test_what_has_changed_among_the_classes_is_told(root: Path):
    before = identity_of(task_of(root), root, Weights())
    assert change_of(root, before, ("cat", "hound")) == "the class 'dog' is 'hound' now"
    assert change_of(root, before, ("cat", "dog", "fox", "owl")) == "2 classes more ('fox', 'owl')"
    assert change_of(root, before, ("dog", "cat")).startswith("the order of the class names has changed")
    rename(root)
    assert "the class 'dog' is 'hound' now" in change_of(root, before, ("cat", "hound"))


def test_weights_texts_and_a_generator_count_too(root: Path):
    before = identity_of(task_of(root), root, Weights())
    other = {**before, "backbone": "v", "texts": "t", "generator": "g"}
    told = "; ".join(changes(before, other))
    assert "the backbone has other weights" in told and "the texts of the classes have changed" in told
    assert "the generator that is taken over is another" in told
    texts = Task(**{**vars(task_of(root)), "texts": Texts(("a {}.",))})
    assert changes(identity_of(texts, root, Weights()), before) == ["the texts of the classes have changed"]
    assert summary(before) != summary(other) and len(summary(before)) == 32


def test_a_root_that_moves_or_is_copied_without_its_times_is_the_same_data(root: Path, tmp_path: Path):
    before = identity_of(task_of(root), root, Weights())
    moved = root.rename(tmp_path / "elsewhere")
    for file in moved.rglob("*.png"):
        file.write_bytes(file.read_bytes())
    assert change_of(moved, before) == ""
    assert change_of(moved, {**before, "classes": ["cat", "dog"]}) == ""


@pytest.mark.parametrize("place", [0, EDGE - 1, -1, -EDGE])
def test_one_byte_at_either_end_of_an_image_of_the_same_size_is_seen(place: int, root: Path):
    before, file = identity_of(task_of(root), root, Weights()), root / "train/cat/0.png"
    content = bytearray(file.read_bytes())
    assert len(content) > 2 * EDGE
    content[place] ^= 1
    file.write_bytes(content)
    assert change_of(root, before) == "other train images of 'cat'"


def test_images_that_were_left_out_as_damaged_count_as_they_were_listed(root: Path):
    whole = task_of(root)
    less = Task(**{**vars(whole), "train": whole.train[1:], "whole": {"train": whole.train}})
    assert identity_of(less, root, Weights()) == identity_of(whole, root, Weights())


def test_images_in_memory_are_seen_by_their_pixels():
    def one(colour: str) -> dict[str, Any]:
        items = [Item(Image.new("RGB", (4, 4), colour), 0)]
        return identity_of(Task("images", LabelSpace(("cat",), 1), items), "", Weights())

    assert one("red") == one("red") and changes(one("red"), one("blue")) == ["other train images of 'cat'"]


def test_two_classes_of_one_name_are_told_apart_by_their_place(root: Path):
    before = identity_of(task_of(root, ("missile", "missile")), root, Weights())
    assert change_of(root, before, ("missile", "missile")) == ""
    (root / "train/dog/0.png").unlink()
    assert change_of(root, before, ("missile", "missile")) == "1 train image less (of 'missile')"


def test_a_run_over_other_data_is_refused_and_one_that_is_not_tested_yet_may_see_other_test_images(
    root: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    Claim(DEFAULTS, identity_of(task_of(root), root, Weights())).write(folder)
    (root / "test/cat/1.png").unlink()
    mine = Claim(DEFAULTS, identity_of(task_of(root), root, Weights()))
    claim.check_identity(folder, mine)  # nothing is made yet
    checkpoint(folder)
    claim.check_identity(folder, mine)
    (folder / run.FILE).write_text("{}")
    with pytest.raises(UserError, match=r"was made from other data \(1 test image less \(of 'cat'\)\): choose another"):
        claim.check_identity(folder, mine)
    (folder / run.FILE).unlink()
    (root / "train/cat/1.png").unlink()
    with pytest.raises(UserError, match=r"other data \(1 train image less \(of 'cat'\)\)"):
        claim.check_identity(folder, Claim(DEFAULTS, identity_of(task_of(root), root, Weights())))


def test_a_folder_of_a_version_that_noted_no_data_is_taken_as_it_is(root: Path, tmp_path: Path, clip: Backbone):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / claim.CLAIM).write_text(json.dumps({**DEFAULTS, "TRAINER": {}}))
    checkpoint(tmp_path / "run")
    claim.check_identity(tmp_path / "run", Claim(DEFAULTS, identity_of(task_of(root), root, clip)))
