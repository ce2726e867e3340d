"""Checkpoints as upstream wrote them: the warm-up scheduler's state holds the scheduler it wraps, an object."""

import pickle

import pytest
import torch
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_checkpoint
from torch import nn


@pytest.fixture
def old_file(cfg, tmp_path) -> str:
    cfg.OPTIM.MAX_EPOCH = 12
    model = nn.Linear(3, 2)
    optim = build_optimizer(model, cfg.OPTIM)
    sched = build_lr_scheduler(optim, cfg.OPTIM)
    for _ in range(5):
        model(torch.ones(1, 3)).sum().backward()
        optim.step()
        sched.step()
    state = {
        "state_dict": model.state_dict(),
        "epoch": 5,
        "optimizer": optim.state_dict(),
        "scheduler": {name: value for name, value in vars(sched).items() if name != "optimizer"},
        "val_result": None,
    }
    torch.save(state, tmp_path / "old")
    return str(tmp_path / "old")


def test_torch_itself_refuses_such_a_file(old_file):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(old_file, weights_only=True)


def test_it_is_read_as_plain_data(old_file):
    checkpoint = load_checkpoint(old_file)
    assert sorted(checkpoint["state_dict"]) == ["bias", "weight"]
    assert checkpoint["optimizer"]["param_groups"][0]["momentum"] == 0.9
    successor = checkpoint["scheduler"]["successor"]
    assert (type(successor), successor["last_epoch"], successor["T_max"]) == (dict, 4, 12.0)
    assert "optimizer" not in successor


def test_the_old_non_zip_format_is_read_too(old_file, tmp_path):
    plain = load_checkpoint(old_file)
    model = nn.Linear(3, 2)
    optim = torch.optim.SGD(model.parameters(), lr=1.0)
    state = {**plain, "scheduler": {"successor": torch.optim.lr_scheduler.StepLR(optim, 3)}}
    torch.save(state, tmp_path / "older", _use_new_zipfile_serialization=False)
    checkpoint = load_checkpoint(str(tmp_path / "older"))
    assert checkpoint["scheduler"]["successor"]["step_size"] == 3
    assert torch.equal(checkpoint["state_dict"]["weight"], plain["state_dict"]["weight"])


def test_resuming_it_continues_the_schedule(cfg, old_file):
    cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR = 12, 0.002
    optims = [build_optimizer(nn.Linear(3, 2), cfg.OPTIM) for _ in range(2)]
    cfg.OPTIM.LR = 0.0003
    whole = build_lr_scheduler(build_optimizer(nn.Linear(3, 2), cfg.OPTIM), cfg.OPTIM)
    resumed = build_lr_scheduler(optims[0], cfg.OPTIM)
    checkpoint = load_checkpoint(old_file)
    optims[0].load_state_dict(checkpoint["optimizer"])
    resumed.load_state_dict(checkpoint["scheduler"])
    for _ in range(5):
        whole.optimizer.step()
        whole.step()
    for _ in range(6):
        for sched in (whole, resumed):
            sched.optimizer.step()
            sched.step()
        assert resumed.get_last_lr() == pytest.approx(whole.get_last_lr(), rel=1e-12)
        assert optims[0].param_groups[0]["lr"] == resumed.get_last_lr()[0]


class Evil:
    def __init__(self, call, *args) -> None:
        self.call = call, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("as_zip", [True, False])
def test_what_could_run_code_is_refused_by_name_and_not_run(tmp_path, as_zip):
    trace = tmp_path / "trace"
    state = {"state_dict": {}, "epoch": 1, "scheduler": Evil(open, str(trace), "w")}
    torch.save(state, tmp_path / "evil", _use_new_zipfile_serialization=as_zip)
    with pytest.raises(ValueError, match=r"evil cannot be read safely .it holds (io|_io)\.open, which is not admitted"):
        load_checkpoint(str(tmp_path / "evil"))
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, torch.load, torch.nn.Linear])
def test_nothing_beyond_the_list_is_found(tmp_path, function):
    torch.save({"epoch": Evil(function, "1", "2")}, tmp_path / "evil")
    with pytest.raises(ValueError, match="is not admitted"):
        load_checkpoint(str(tmp_path / "evil"))
