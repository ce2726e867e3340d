import os

import pytest
import torch
from dassl.utils import (
    count_num_param,
    init_network_weights,
    load_checkpoint,
    load_pretrained_weights,
    open_all_layers,
    open_specified_layers,
    resume_from_checkpoint,
    save_checkpoint,
)
from torch import nn


def state_of(model: nn.Module, epoch: int = 1) -> dict:
    return {"state_dict": model.state_dict(), "epoch": epoch, "optimizer": None, "scheduler": None}


def test_a_checkpoint_has_its_epoch_in_the_name_and_is_pointed_to(tmp_path, capsys):
    save_checkpoint(state_of(nn.Linear(2, 2), 7), str(tmp_path / "m"))
    assert sorted(os.listdir(tmp_path / "m")) == ["checkpoint", "model.pth.tar-7"]
    assert (tmp_path / "m" / "checkpoint").read_text() == "model.pth.tar-7\n"
    assert f"Checkpoint saved to {tmp_path / 'm' / 'model.pth.tar-7'}\n" in capsys.readouterr().out


def test_the_best_checkpoint_is_a_copy(tmp_path):
    save_checkpoint(state_of(nn.Linear(2, 2), 7), str(tmp_path), is_best=True)
    best, last = (load_checkpoint(str(tmp_path / f"model{end}")) for end in ("-best.pth.tar", ".pth.tar-7"))
    assert best["epoch"] == last["epoch"] == 7
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in best["state_dict"].items())


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    model = nn.Linear(2, 2)
    save_checkpoint(state_of(model), str(tmp_path))
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint({**state_of(model), "val_result": lambda: 0}, str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model.pth.tar-1"]
    assert load_checkpoint(str(tmp_path / "model.pth.tar-1"))["epoch"] == 1


def test_the_prefix_of_data_parallel_is_taken_off_and_the_given_state_left_alone(tmp_path):
    state = state_of(nn.DataParallel(nn.Linear(2, 2)))
    save_checkpoint(state, str(tmp_path))
    assert list(load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]) == ["weight", "bias"]
    assert list(state["state_dict"]) == ["module.weight", "module.bias"]


def test_resume_takes_the_file_that_is_pointed_to(tmp_path):
    models = [nn.Linear(2, 2) for _ in range(3)]
    save_checkpoint(state_of(models[0], 1), str(tmp_path))
    save_checkpoint(state_of(models[1], 2), str(tmp_path), model_name="model-best.pth.tar")
    assert resume_from_checkpoint(str(tmp_path), models[2]) == 2
    assert torch.equal(models[2].weight, models[1].weight)


@pytest.mark.parametrize("pointer", [None, "model.pth.tar-99\n", ""])
def test_resume_without_a_good_pointer_takes_the_highest_epoch(tmp_path, pointer):
    for epoch in (9, 10):
        save_checkpoint(state_of(nn.Linear(2, 2), epoch), str(tmp_path))
    (tmp_path / "checkpoint").unlink()
    if pointer is not None:
        (tmp_path / "checkpoint").write_text(pointer)
    assert resume_from_checkpoint(str(tmp_path), nn.Linear(2, 2)) == 10


def test_resume_from_an_empty_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        resume_from_checkpoint(str(tmp_path), nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        (nn.Linear(3, 2), r"weight is \(2, 3\) in the file, \(2, 2\) in the model"),
        (nn.Linear(2, 2, bias=False), "only the model has bias"),
        (nn.Bilinear(2, 2, 2), r"weight is \(2, 2, 2\) in the file, \(2, 2\) in the model"),
        (nn.BatchNorm1d(2), r"weight is \(2,\) in the file"),
    ],
)
def test_a_misfit_is_told_by_file_tensor_and_shapes(tmp_path, saved, sentence):
    save_checkpoint(state_of(saved), str(tmp_path))
    with pytest.raises(ValueError, match=f"^{tmp_path}/model.pth.tar-1 does not fit the model: {sentence}"):
        resume_from_checkpoint(str(tmp_path), nn.Linear(2, 2))


def test_a_tensor_without_a_place_is_named(tmp_path):
    save_checkpoint(state_of(nn.Linear(2, 2)), str(tmp_path))
    with pytest.raises(ValueError, match="only the file has bias"):
        resume_from_checkpoint(str(tmp_path), nn.Linear(2, 2, bias=False))


def test_no_path_and_no_file_are_told_apart():
    with pytest.raises(ValueError, match="no checkpoint file is given"):
        load_checkpoint(None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint("nowhere")


@pytest.mark.parametrize("keep", [0, 100, -40])
def test_a_truncated_checkpoint_is_named(tmp_path, keep):
    save_checkpoint(state_of(nn.Linear(2, 2)), str(tmp_path))
    file = tmp_path / "model.pth.tar-1"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.pth\.tar-1") as raised:
        load_checkpoint(str(file))
    assert "\n" not in str(raised.value)


def test_pretrained_weights_are_copied_where_name_and_size_match(tmp_path, capsys):
    source = nn.DataParallel(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 5)))
    source.module[1].running_mean.fill_(4.0)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w")
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    before = model[2].weight.clone()
    load_pretrained_weights(model, str(tmp_path / "w"))
    assert torch.equal(model[0].weight, source.module[0].weight)
    assert torch.equal(model[1].running_mean, torch.full((3,), 4.0))
    assert torch.equal(model[2].weight, before)
    assert "['2.weight', '2.bias']" in capsys.readouterr().out


def test_pretrained_weights_that_do_not_match_at_all_give_a_warning(tmp_path):
    torch.save(nn.Linear(7, 7).state_dict(), tmp_path / "w")
    with pytest.warns(UserWarning, match="no tensor's name and size match"):
        load_pretrained_weights(nn.Linear(2, 2), str(tmp_path / "w"))


def test_parameters_are_counted():
    model = nn.Linear(3, 2)
    assert count_num_param(model) == 8
    assert count_num_param(params=[{"params": model.weight}, {"params": list(model.parameters())}]) == 14
    with pytest.raises(ValueError):
        count_num_param()


def test_only_the_named_layers_are_open():
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    open_specified_layers(model, "b")
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True]
    assert (model["a"].training, model["b"].training) == (False, True)
    open_all_layers(model)
    assert all(p.requires_grad for p in model.parameters()) and model["a"].training
    with pytest.raises(ValueError, match="no layer 'c'"):
        open_specified_layers(model, ["c"])


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
def test_layers_start_anew(kind):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8))
    nn.init.constant_(model[1].weight, 3.0)
    init_network_weights(model, kind)
    assert model[0].weight.std() > 0 and not model[2].bias.any()
    assert torch.equal(model[1].weight, torch.ones(8))
