"""A run knows its data: a finished run of other data is never taken for this one, nor a broken one gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import shipclip
import train
from shipclip import loop, method, tuning
from shipclip.errors import UserError
from shipclip.files import write_text
from shipclip.locks import Lock
from shipclip.method import Method
from tests.runs import SMALL, Killed, arguments, kill_at_call, run, same_weights, status

BASE, NEW = ("cat", "dog", "fox"), ("owl", "yak")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photographs(tmp_path / "photos")


def photographs(root: Path) -> Path:
    """Three classes with three images, two by name alone; test images of all."""
    for number, name in enumerate((*BASE, *NEW)):
        for part, count in (("train", 3 if name in BASE else 0), ("test", 2)):
            for i in range(count):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                Image.effect_noise((64, 64), 20 + 20 * number).save(root / part / name / f"{i}.png")
    write_text(root / "classnames.txt", "\n".join(NEW))
    return root


def command(root: Path, output: Path | None, trainer: str = "CoOp", *options: Any, flags: tuple[str, ...] = ()) -> list:
    given = [str(option) for option in options]
    short = {"OPTIM.MAX_EPOCH": "2", "FEATURES.VIEWS": "1", "TRAINER.SHIP.GENERATOR.EPOCHS": "2"}
    short |= {"TRAIN.CHECKPOINT_FREQ": "1"}
    given += [word for pair in short.items() if pair[0] not in given for word in pair]
    config = f"configs/trainers/{trainer}/miniclip.yaml"
    flags = ("--root", str(root), "--trainer", trainer, "--config-file", config, "--seed", "1", *flags)
    flags += ("--output-dir", str(output)) if output else ()
    return [*flags, "DATASET.NAME", "ImageFolder", *given]


def changed_by(photos: Path, name: str) -> None:
    """Other photographs in the same place."""
    train_ = photos / "train"
    if name == "added":
        for i in (7, 8):
            shutil.copy(train_ / "cat" / "0.png", train_ / "cat" / f"{i}.png")
    elif name == "removed":
        (train_ / "fox" / "2.png").unlink()
    elif name == "replaced":
        Image.effect_noise((64, 64), 5).save(train_ / "dog" / "1.png")
    elif name == "renamed class":
        for part in ("train", "test"):
            (photos / part / "dog").rename(photos / part / "wolf")
    elif name == "another name":
        write_text(photos / "classnames.txt", "owl\ngnu\n")
        (photos / "test" / "yak").rename(photos / "test" / "gnu")
    elif name == "a name more":
        write_text(photos / "classnames.txt", "owl\nyak\ngnu\n")
    elif name == "texts":
        write_text(photos / "prompts.json", json.dumps({"cat": ["a cat."], "dog": ["a dog."]}))


TRAIN = {
    "added": "2 train images more (of 'cat')",
    "removed": "1 train image less (of 'fox')",
    "replaced": "other train images of 'dog'",
    "renamed class": "the class 'dog' is 'wolf' now",
    "another name": "the class 'yak' is 'gnu' now",
    "a name more": "1 class more ('gnu')",
    "texts": "the texts of the classes have changed",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs and a finished run on them, for tests that copy both."""
    root = tmp_path_factory.mktemp("finished")
    assert train.main(command(photographs(root / "photos"), root / "o")) == 0
    return root


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs and a run on them that broke off, for tests that copy both."""
    root = tmp_path_factory.mktemp("broken")
    with pytest.MonkeyPatch.context() as patch:
        kill_at_call(patch, tuning, "training_batches", 2)
        with pytest.raises(Killed):
            train.main(command(photographs(root / "photos"), root / "o"))
    return root


@pytest.mark.parametrize("change", TRAIN)
def test_a_finished_run_of_other_data_is_not_taken_for_this_one(change: str, finished: Path, tmp_path: Path, capsys):
    photos = shutil.copytree(finished, tmp_path, dirs_exist_ok=True) / "photos"
    before = (tmp_path / "o" / "results.json").read_bytes()
    changed_by(photos, change)
    assert train.main(command(photos, tmp_path / "o")) == 2
    error = capsys.readouterr().err
    assert f"was made from other data ({TRAIN[change]}" in error and error.count("\n") == 1
    assert (tmp_path / "o" / "results.json").read_bytes() == before


@pytest.mark.parametrize("change", TRAIN)
def test_a_broken_run_does_not_go_on_over_other_data(change: str, broken: Path, tmp_path: Path, capsys):
    photos = shutil.copytree(broken, tmp_path, dirs_exist_ok=True) / "photos"
    changed_by(photos, change)
    assert train.main(command(photos, tmp_path / "o")) == 2
    assert f"was made from other data ({TRAIN[change]}" in capsys.readouterr().err
    assert not (tmp_path / "o" / "results.json").exists()


def test_the_same_photographs_in_another_place_are_the_same_run(photos: Path, tmp_path: Path, capsys):
    assert train.main(command(photos, tmp_path / "o")) == 0
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)  # without times of change
    assert train.main(command(tmp_path / "copy", tmp_path / "o")) == 0
    assert "holds the finished results of this run" in capsys.readouterr().out


def test_other_test_images_are_none_of_the_trainings_business(photos: Path, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, loop, "run", 1)
        with pytest.raises(Killed):
            train.main(command(photos, tmp_path / "o"))
    (photos / "test" / "cat" / "1.png").unlink()
    assert train.main(command(photos, tmp_path / "o")) == 0
    assert json.loads((tmp_path / "o" / "results.json").read_text())["figures"]["total"] == 9


def test_a_run_that_an_image_stopped_goes_on_without_it(photos: Path, tmp_path: Path, capsys):
    bad = photos / "test" / "fox" / "0.png"
    bad.write_bytes(b"")
    assert train.main(command(photos, tmp_path / "o")) == 2 and "cannot be read" in capsys.readouterr().err
    assert (tmp_path / "o" / "prompt_learner" / "model.pth.tar-2").exists()
    assert train.main(command(photos, tmp_path / "o", "CoOp", "DATASET.ON_BAD_IMAGE", "skip")) == 0
    assert "Resumed from" in (tmp_path / "o" / "log.txt").read_text()


def test_a_generator_that_is_taken_over_is_known_by_its_bytes(data: Path, tmp_path: Path, capsys):
    run(data, tmp_path / "g", "SHIPGenerator")
    taken = ("TRAINER.SHIP.GENERATOR.FROM", tmp_path / "g")
    run(data, tmp_path / "o", "SHIP", *taken)
    shutil.rmtree(tmp_path / "g")
    run(data, tmp_path / "g", "SHIPGenerator", "TRAINER.SHIP.GENERATOR.KL_WEIGHT", 0.5)
    assert status(data, tmp_path / "o", "SHIP", *taken) == 2
    assert "the generator that is taken over is another" in capsys.readouterr().err


# -- the claim ----------------------------------------------------------------------------------------------------


def test_a_run_that_was_refused_after_it_was_built_claims_nothing(data: Path, tmp_path: Path, capsys):
    """SHIP with no class left over: known only when the data set has been read."""
    assert status(data, tmp_path / "o", "SHIP", "DATASET.SUBSAMPLE_CLASSES", "all") == 2
    assert "leaves none over" in capsys.readouterr().err
    assert not (tmp_path / "o" / "config.json").exists()
    run(data, tmp_path / "o", "SHIP")


def test_without_a_folder_a_run_gets_one_of_its_own(photos: Path, tmp_path: Path, monkeypatch, capsys):
    root = Path.cwd()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(root / "configs")
    (tmp_path / "output" / "base2new").mkdir(parents=True)  # the demonstration's results
    for options in ((), ("OPTIM.LR", 0.1, "OUTPUT_DIR", "")):
        assert train.main(command(photos, None, "CoOp", *options)) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("The results go to")]
    folders = [Path(line.removeprefix("The results go to ")) for line in told]
    assert len(set(folders)) == 2 and all((folder / "results.json").is_file() for folder in folders)
    assert {folder.parent for folder in folders} == {Path("output/runs")}
    assert train.main(command(photos, None)) == 0
    assert f"{folders[0]} holds the finished results" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "output").iterdir()) == ["base2new", "runs"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["configs", "output", "photos"]


def test_nothing_trained_is_evaluated_into_the_folder_of_its_training(data: Path, tmp_path: Path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, tuning, "training_batches", 2)
        with pytest.raises(Killed):
            status(data, tmp_path / "o", "CoOp")
    itself = ("--eval-only", "--model-dir", str(tmp_path / "o"))
    assert status(data, tmp_path / "o", "CoOp", flags=itself) == 2
    assert "holds an unfinished training: finish it" in capsys.readouterr().err
    run(data, tmp_path / "e", "CoOp", flags=itself)
    assert "Warning: that model is half trained, for 1 of 3 epochs" in (tmp_path / "e" / "log.txt").read_text()
    whole = run(data, tmp_path / "o", "CoOp")
    assert run(data, tmp_path / "o", "CoOp", flags=itself) == whole  # its own results, left as they are
    assert "holds the finished results" in capsys.readouterr().out
    assert status(data, tmp_path / "e", "CoOp") == 2
    assert "holds an evaluation, and this is a training" in capsys.readouterr().err


@pytest.mark.parametrize("epoch", [None, "3"])
def test_the_best_model_evaluated_into_its_own_folder_is_recognised(
    epoch: str | None, data: Path, tmp_path: Path, capsys
):
    best = ("TEST.FINAL_MODEL", "best_val")
    whole = run(data, tmp_path / "o", "CoOp", *best)
    flags = ("--eval-only", "--model-dir", str(tmp_path / "o"), *(("--load-epoch", epoch) if epoch else ()))
    assert run(data, tmp_path / "o", "CoOp", *best, flags=flags) == whole
    assert "holds the finished results" in capsys.readouterr().out


def test_a_run_goes_on_from_a_folder_of_its_own_kind_alone(data: Path, tmp_path: Path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, tuning, "training_batches", 2)
        with pytest.raises(Killed):
            status(data, tmp_path / "coop", "CoOp")
    resume = ("--resume", str(tmp_path / "coop"))
    assert status(data, tmp_path / "ship", "SHIP", flags=resume) == 2
    assert "is of another run" in capsys.readouterr().err
    assert status(data, tmp_path / "lr", "CoOp", "OPTIM.LR", 0.1, flags=resume) == 2
    assert "is of another run (OPTIM.LR 0.1 here, 0.01 there)" in capsys.readouterr().err
    assert status(data, tmp_path / "typo", "CoOp", flags=("--resume", str(tmp_path / "cop"))) == 2
    assert "there is no checkpoint of a run in" in capsys.readouterr().err
    went_on = run(data, tmp_path / "on", "CoOp", flags=resume)
    whole = run(data, tmp_path / "whole", "CoOp")
    assert went_on["figures"] == whole["figures"]
    assert same_weights(tmp_path / "on", tmp_path / "whole", "prompt_learner/model.pth.tar-3")


@pytest.mark.parametrize("trainer", ["SHIP", "TipAdapterF"])
def test_a_run_that_goes_on_from_a_finished_one_has_all_that_it_has(trainer: str, data: Path, tmp_path: Path):
    best = () if trainer == "TipAdapterF" else ("TEST.FINAL_MODEL", "best_val")
    whole = run(data, tmp_path / "whole", trainer, *best)
    went_on = run(data, tmp_path / "on", trainer, *best, flags=("--resume", str(tmp_path / "whole")))
    assert went_on["figures"] == whole["figures"]
    kept = {file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.pth.tar*")}
    last = {file for file in kept if file.name in ("model-best.pth.tar", "model.pth.tar-3", "model.pth.tar-4")}
    assert {file.relative_to(tmp_path / "on") for file in (tmp_path / "on").rglob("*.pth.tar*")} == last
    assert all((tmp_path / "on" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes() for file in last)
    flags = ("--eval-only", "--model-dir", str(tmp_path / "on"))
    assert run(data, tmp_path / "test", trainer, *best, flags=flags)["figures"] == whole["figures"]


def test_the_best_epoch_before_a_run_went_on_counts(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An epoch's validation accuracies are 9, 1, 2, 3: the first stays the best, though another folder has it."""
    told = iter([9.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(method, "test", lambda method, split: {"accuracy": next(told)})
    best = ("TEST.FINAL_MODEL", "best_val")
    run(data, tmp_path / "short", "CoOp", *best, "OPTIM.MAX_EPOCH", "2")
    flags = ("--resume", str(tmp_path / "short"))
    run(data, tmp_path / "long", "CoOp", *best, "OPTIM.MAX_EPOCH", "4", flags=flags)
    assert next(told, None) is None
    assert same_weights(tmp_path / "long", tmp_path / "short", "prompt_learner/model-best.pth.tar")


def test_a_folder_that_another_process_writes_is_refused_with_its_number(data: Path, tmp_path: Path, capsys):
    code = (
        f"import sys; from shipclip.locks import Lock; l = Lock({str(tmp_path / 'o')!r}); print('held', flush=True); "
    )
    holder = subprocess.Popen([sys.executable, "-c", code + "sys.stdin.read()"], stdin=-1, stdout=-1, text=True)
    assert holder.stdout.readline() == "held\n"
    try:
        assert status(data, tmp_path / "o", "CoOp") == 2
        error = capsys.readouterr().err
        assert f"is written by process {holder.pid} on " in error and error.count("\n") == 1
        assert [p.name for p in (tmp_path / "o").iterdir()] == ["run.lock"]  # no log between the other's lines
    finally:
        holder.kill()
        holder.communicate()
    run(data, tmp_path / "o", "CoOp")  # a dead one holds nothing
    assert not (tmp_path / "o" / "run.lock").exists()


TWO_AT_ONCE = f"""
import os, sys, train
from shipclip.miniclip import world

world.SPLITS = {SMALL}
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        status = 3
        try:
            status = train.main(sys.argv[1:])
        finally:
            os._exit(status)
print("ended:", *sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_two_runs_at_once_end_as_one(data: Path, tmp_path: Path):
    """One of them trains, the other is refused; no line of the one stands in the log of the other."""
    command = [sys.executable, "-c", TWO_AT_ONCE, *arguments(data, tmp_path / "o", "CoOp")]
    done = subprocess.run(command, cwd=Path(train.__file__).parent, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] in ("ended: 0 0", "ended: 0 2"), done.stdout + done.stderr
    log = (tmp_path / "o" / "log.txt").read_text()
    assert log.count("Started ") == 1 and log.count("\nepoch [1/3]") == 1


# -- fit ----------------------------------------------------------------------------------------------------------

SHORT = {"OPTIM.MAX_EPOCH": 2, "TRAINER.SHIP.GENERATOR.EPOCHS": 2}


def fit(photos: Path, folder: Path | str = "", **changed: Any) -> shipclip.Classifier:
    facts = {"backbone": "MiniCLIP", "options": SHORT, "output_dir": folder, "calibrate": False}
    return shipclip.fit(photos, **{**facts, **changed})


def test_a_fit_goes_on_in_its_folder_over_the_same_data_alone(photos: Path, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, tuning, "training_batches", 2)
        with pytest.raises(Killed):
            fit(photos, tmp_path / "m", options={**SHORT, "TRAIN.CHECKPOINT_FREQ": 1})
    changed_by(photos, "added")
    with pytest.raises(UserError, match=r"made from other data \(2 train images more \(of 'cat'\)\)"):
        fit(photos, tmp_path / "m", options={**SHORT, "TRAIN.CHECKPOINT_FREQ": 1})
    for i in (7, 8):
        (photos / "train" / "cat" / f"{i}.png").unlink()
    with pytest.raises(UserError, match="belongs to a run with another config"):
        fit(photos, tmp_path / "m", options={**SHORT, "OPTIM.LR": 0.7})
    went_on = fit(photos, tmp_path / "m", options={**SHORT, "TRAIN.CHECKPOINT_FREQ": 1})
    assert torch.equal(went_on.learner.ctx, fit(photos).learner.ctx)
    assert not (tmp_path / "m" / "run.lock").exists()


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "shots": ({"DATASET.NUM_SHOTS": 1}, "options has DATASET.NUM_SHOTS, for which there is the argument shots"),
    "precision": ({"TRAINER.COOP.PREC": "bf16"}, "options has TRAINER.COOP.PREC, .* the argument precision"),
    "ship's precision": ({"TRAINER.SHIP.PREC": "bf16"}, "the argument precision"),
    "seed": ({"SEED": 3}, "the argument seed"),
    "backbone": ({"MODEL.BACKBONE.NAME": "RN50"}, "the argument backbone: give that"),
    "learner": ({"TRAINER.SHIP.LEARNER": "GDA"}, "the argument learner"),
    "best without validation": (
        {"TEST.FINAL_MODEL": "best_val"},
        "best_val needs validation images, and ImageFolder has",
    ),
    "only a generator": ({"TRAINER.SHIP.GENERATOR.ONLY": True}, "GENERATOR.ONLY leaves no classifier: leave it out"),
    "range": ({"OPTIM.MAX_EPOCH": 0}, "OPTIM.MAX_EPOCH is 0: give at least 1"),
    "choice": ({"DATASET.ON_BAD_IMAGE": "skipp"}, "DATASET.ON_BAD_IMAGE is 'skipp': choose one of stop, skip"),
}


@pytest.mark.parametrize("option", LOST)
def test_an_option_of_fit_is_not_lost(option: str, photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Method, "classifier", lambda *_: pytest.fail("it was trained"))
    options, sentence = LOST[option]
    with pytest.raises(UserError, match=sentence):
        fit(photos, options={**SHORT, **options}, calibrate=True)


def test_epochs_are_given_once(photos: Path):
    with pytest.raises(UserError, match=r"options has OPTIM.MAX_EPOCH, for which there is the argument epochs"):
        fit(photos, epochs=3)


def test_a_fit_says_what_is_odd_before_it_holds_images_out(photos: Path, capsys: pytest.CaptureFixture):
    fit(photos, options={**SHORT, "OPTIM.ADAM_EPS": 1e-3}, calibrate=True)
    told = capsys.readouterr().out
    for sentence in ("Note: nothing reads OPTIM.ADAM_EPS", "Warning: MiniCLIP has never seen the words of"):
        assert told.count(sentence) == 1 and told.index(sentence) < told.index("to calibrate it on the rest")


def test_options_of_fit_that_have_no_effect_are_told(photos: Path, capsys: pytest.CaptureFixture):
    lost = {"OPTIM.ADAM_EPS": 1e-3, "TRAINER.GDA.ALPHA": 1.0, "TEST.PREDICTIONS": True}
    fit(photos, options={**SHORT, **lost}, shots=1)
    told = capsys.readouterr().out
    assert all(f"Note: nothing reads {key} in a fit of SHIP\n" in told for key in lost)
    assert told.count("nothing reads") == 3


def test_the_best_model_is_kept_without_a_folder_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    shutil.copytree(photos / "train", photos / "val")
    options = {**SHORT, "OPTIM.MAX_EPOCH": 4, "TEST.FINAL_MODEL": "best_val", "OPTIM.LR": 1.0}
    without, kept = fit(photos, options=options), fit(photos, tmp_path / "m", options=options)
    assert torch.equal(without.learner.ctx, kept.learner.ctx)
    assert "Deploy the model with the best val" in capsys.readouterr().out


def test_a_test_that_is_not_wanted_is_not_made(photos: Path):
    assert fit(photos, options={**SHORT, "TEST.NO_TEST": True}).figures == {}


def test_names_that_are_the_same_tokens_are_refused_wherever_they_come_from(photos: Path):
    model = fit(photos, learner="TipAdapter")
    with pytest.raises(UserError, match="'a & b' and 'a &amp; b' are the same tokens to MiniCLIP"):
        model.add_classes(["a & b", "a &amp; b"])
    with pytest.raises(UserError, match="are the same tokens to MiniCLIP"):
        fit(photos, new_names=["a & b", "a &amp; b"])
    paths = sorted((photos / "train").rglob("*.png"))
    labels = [{"cat": "a & b", "dog": "a &amp; b"}.get(p.parent.name, "fox") for p in paths]
    with pytest.raises(UserError, match="are the same tokens to MiniCLIP"):
        shipclip.fit(images=paths, labels=labels, backbone="MiniCLIP", learner="TipAdapter")


def test_a_folder_is_free_after_a_fit_that_failed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        kill_at_call(patch, tuning, "training_batches", 1)
        with pytest.raises(Killed):
            fit(photos, tmp_path / "m")
    Lock(tmp_path / "m").release()
