import os
import re
from pathlib import Path

import pytest
import torch
from dassl.engine import TrainerXU, build_trainer
from dassl.utils import load_checkpoint, set_random_seed

BATCH_LINE = re.compile(
    r"epoch \[\d+/\d+\] batch \[\d+/\d+\] time \d\.\d{3} \(\d\.\d{3}\) data \d\.\d{3} \(\d\.\d{3}\) "
    r"loss \d+\.\d{4} \(\d+\.\d{4}\) lr (\d\.\d{4}e[+-]\d\d) eta \d+:\d\d:\d\d"
)


def test_hooks_are_called_in_order(toy):
    trainer = toy(OPTIM__MAX_EPOCH=2)
    trainer.train()
    epoch = ["before_epoch", "run_epoch", "after_epoch"]
    built = ["check_cfg", "build_data_loader", "build_model"]
    assert trainer.calls == [*built, "before_train", *epoch, *epoch, "after_train", "test"]


def test_attributes_that_trainers_read_are_there(toy):
    trainer = toy()
    assert (trainer.epoch, trainer.start_epoch, trainer.max_epoch) == (0, 0, 3)
    assert trainer.dm.dataset.classnames == list(trainer.lab2cname.values())
    assert (trainer.num_classes, trainer.num_source_domains, str(trainer.device)) == (4, 0, "cpu")
    assert (trainer.output_dir, trainer.train_loader_u) == (trainer.cfg.OUTPUT_DIR, None)
    assert (trainer._writer, trainer.best_result) == (None, -float("inf"))
    assert list(trainer._models) == list(trainer._optims) == list(trainer._scheds) == ["learner"]


def test_both_end_signals_stand_before_the_result(toy, capsys):
    toy().train()
    lines = capsys.readouterr().out.splitlines()
    fixed = [
        "No checkpoint found, train from scratch",
        "Finish training",
        "Finished training",
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
    ]
    assert [line for line in lines if line in fixed] == fixed
    assert any(line.startswith("Initialize tensorboard (log_dir=") for line in lines)
    assert re.fullmatch(r"Elapsed: \d:\d\d:\d\d", lines[-1])


def test_with_few_batches_each_has_its_line_with_the_next_epochs_rate_on_the_last(toy, capsys):
    toy().train()
    found = [match[1] for line in capsys.readouterr().out.splitlines() if (match := BATCH_LINE.fullmatch(line))]
    assert found == ["1.0000e-05", "1.0000e-02", "1.0000e-02", "7.5000e-03", "7.5000e-03", "2.5000e-03"]


@pytest.mark.parametrize(("every", "lines"), [(1, 6), (2, 3), (3, 6), (0, 0)])
def test_lines_come_every_print_freq_batches(toy, capsys, every, lines):
    toy(TRAIN__PRINT_FREQ=every).train()
    assert len(re.findall("^epoch ", capsys.readouterr().out, re.MULTILINE)) == lines


def test_the_last_epoch_is_saved(toy, capsys):
    trainer = toy()
    trainer.train()
    folder = Path(trainer.output_dir, "learner")
    assert sorted(os.listdir(folder)) == ["checkpoint", "model.pth.tar-3"]
    saved = load_checkpoint(str(folder / "model.pth.tar-3"))
    assert list(saved) == ["state_dict", "epoch", "optimizer", "scheduler", "val_result"]
    assert (saved["epoch"], saved["val_result"]) == (3, None)
    assert f"Checkpoint saved to {folder}/model.pth.tar-3" in capsys.readouterr().out


def test_checkpoints_can_be_kept_along_the_way(toy):
    trainer = toy(TRAIN__CHECKPOINT_FREQ=2, OPTIM__MAX_EPOCH=5)
    trainer.train()
    files = sorted(os.listdir(f"{trainer.output_dir}/learner"))
    assert files == ["checkpoint", "model.pth.tar-2", "model.pth.tar-4", "model.pth.tar-5"]


def test_a_resumed_run_ends_as_an_uninterrupted_one(toy, cfg, tmp_path, capsys):
    def run(folder, stop_after=None):
        trainer = toy(OPTIM__MAX_EPOCH=6, TRAIN__CHECKPOINT_FREQ=1, OUTPUT_DIR=str(tmp_path / folder))
        kept = trainer.after_epoch

        def before_epoch():
            set_random_seed(trainer.epoch)  # the base class leaves the random streams to the trainer

        def after_epoch():
            kept()
            if trainer.epoch + 1 == stop_after:
                raise KeyboardInterrupt

        trainer.before_epoch, trainer.after_epoch = before_epoch, after_epoch
        set_random_seed(0)
        torch.nn.init.ones_(trainer.model[2].weight)
        torch.nn.init.zeros_(trainer.model[2].bias)
        trainer.train()
        return trainer.model[2].weight.detach().clone()

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("parts", stop_after=4)
    capsys.readouterr()
    assert torch.equal(run("parts"), whole)
    out = capsys.readouterr().out
    assert f"Found checkpoint at {tmp_path / 'parts'} (will resume training)" in out
    assert "epoch [5/6]" in out and "epoch [4/6]" not in out


def test_a_finished_folder_is_only_tested_again(toy, capsys):
    toy().train()
    trainer = toy()
    capsys.readouterr()
    trainer.train()
    assert trainer.start_epoch == 3 and "run_epoch" not in trainer.calls and trainer.calls[-1] == "test"


def test_resume_takes_another_folder_if_given(toy, tmp_path):
    toy(OPTIM__MAX_EPOCH=2).train()
    trainer = toy(RESUME=str(tmp_path / "out"), OUTPUT_DIR=str(tmp_path / "next"), OPTIM__MAX_EPOCH=3)
    trainer.train()
    assert trainer.start_epoch == 2
    assert os.listdir(tmp_path / "next" / "learner")


def test_the_best_model_on_validation_is_kept_and_deployed(toy, capsys, monkeypatch):
    trainer = toy(TEST__FINAL_MODEL="best_val", OPTIM__MAX_EPOCH=4)
    results = iter([10.0, 30.0, 30.0, 20.0, 99.0])
    splits = []

    def test(split=None):
        splits.append(split)
        return next(results)

    monkeypatch.setattr(trainer, "test", test)
    trainer.train()
    assert splits == ["val", "val", "val", "val", None]
    best = load_checkpoint(f"{trainer.output_dir}/learner/model-best.pth.tar")
    assert (best["epoch"], best["val_result"]) == (2, 30.0)
    out = capsys.readouterr().out
    assert "Deploy the model with the best val performance" in out
    assert "(epoch = 2, val_result = 30.0)" in out
    assert torch.equal(trainer.model[2].weight, best["state_dict"]["2.weight"])


def test_after_a_resume_the_best_model_so_far_is_remembered(toy, monkeypatch):
    for epochs, results in ((2, [50.0, 40.0, 0.0]), (4, [45.0, 47.0, 0.0])):
        trainer = toy(TEST__FINAL_MODEL="best_val", OPTIM__MAX_EPOCH=epochs)
        values = iter(results)
        monkeypatch.setattr(trainer, "test", lambda split=None, values=values: next(values))
        trainer.train()
    assert load_checkpoint(f"{trainer.output_dir}/learner/model-best.pth.tar")["epoch"] == 1


def test_without_testing_nothing_is_evaluated(toy):
    trainer = toy(TEST__NO_TEST=True, TEST__FINAL_MODEL="best_val")
    trainer.train()
    assert "test" not in trainer.calls


def test_test_returns_the_accuracy_and_learns_to_tell_colours(toy):
    set_random_seed(0)
    trainer = toy(OPTIM__MAX_EPOCH=40, OPTIM__LR=0.2, TRAIN__PRINT_FREQ=0)
    trainer.train()
    assert trainer.test() == 100.0


@pytest.mark.parametrize(("split", "evaluated"), [("val", "val"), ("test", "test"), ("other", "test")])
def test_the_split_is_chosen_by_config(toy, capsys, split, evaluated):
    toy(TEST__SPLIT=split).test()
    assert f"Evaluate on the *{evaluated}* set" in capsys.readouterr().out


def test_a_test_takes_the_keywords_of_dassls_forks(toy, capsys):
    trainer = toy()
    assert trainer.test(is_final=True) == trainer.test()  # ATPrompt's --eval-only
    assert "Evaluate on the *test* set" in capsys.readouterr().out


def test_without_validation_images_the_test_set_is_taken(toy, capsys):
    trainer = toy()
    trainer.val_loader = None
    trainer.test("val")
    assert "Evaluate on the *test* set" in capsys.readouterr().out


def test_tensorboard_gets_training_and_test_curves(toy):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = toy(TEST__FINAL_MODEL="best_val")
    trainer.train()
    events = EventAccumulator(f"{trainer.output_dir}/tensorboard")
    events.Reload()
    measured = {f"{split}/{name}" for split in ("val", "test") for name in ("accuracy", "error_rate", "macro_f1")}
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/lr", *measured}
    assert [event.step for event in events.Scalars("train/loss")] == list(range(6))
    assert [event.step for event in events.Scalars("val/accuracy")] == [0, 1, 2]
    assert [event.step for event in events.Scalars("test/accuracy")] == [2]


def test_evaluation_alone_writes_no_curves(toy):
    trainer = toy()
    trainer.test()
    assert not os.path.exists(f"{trainer.output_dir}/tensorboard")


def test_an_unknown_trainer_is_answered_with_the_nearest_name(cfg, capsys):
    cfg.TRAINER.NAME = "Toy"
    build_trainer(cfg)
    assert capsys.readouterr().out.startswith("Loading trainer: Toy\n")
    cfg.TRAINER.NAME = "Toi"
    with pytest.raises(ValueError, match=r"TRAINER\.NAME is 'Toi'.*did you mean Toy\?"):
        build_trainer(cfg)


@pytest.mark.parametrize(("count", "steps"), [("train_x", 5), ("train_u", 2), ("smaller_one", 2)])
def test_labelled_and_unlabelled_batches_come_in_pairs(cfg, count, steps):
    class Pairs(TrainerXU):
        def __init__(self, cfg):
            self.seen = []
            super().__init__(cfg)

        def build_model(self): ...

        def forward_backward(self, batch_x, batch_u):
            self.seen.append(self.parse_batch_train(batch_x, batch_u)[2].shape[0])

    cfg.TRAIN.COUNT_ITER, cfg.DATALOADER.TRAIN_X.BATCH_SIZE = count, 8
    trainer = Pairs(cfg)
    trainer.train_loader_u = list(trainer.train_loader_x)[:2]
    trainer.run_epoch()
    assert trainer.seen == [8] * steps
    assert trainer.num_batches == steps
