import math
import pickle

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from torch import nn

# LR 0.002, 50 epochs, one epoch of constant warm-up at 1e-5, to six digits.
COSINE_50 = """
1e-05, 0.002, 0.00199803, 0.00199211, 0.00198229, 0.00196858, 0.00195106, 0.00192978, 0.00190483, 0.00187631,
0.00184433, 0.00180902, 0.00177051, 0.00172897, 0.00168455, 0.00163742, 0.00158779, 0.00153583, 0.00148175,
0.00142578, 0.00136812, 0.00130902, 0.00124869, 0.00118738, 0.00112533, 0.00106279, 0.001, 0.000937209, 0.000874667,
0.000812619, 0.00075131, 0.000690983, 0.000631875, 0.000574221, 0.000518246, 0.000464173, 0.000412215, 0.000362576,
0.000315453, 0.000271031, 0.000229487, 0.000190983, 0.000155672, 0.000123693, 9.51729e-05, 7.02235e-05, 4.89435e-05,
3.14168e-05, 1.77127e-05, 7.8853e-06, 1.97327e-06"""
COSINE_10 = "1e-05, 0.002, 0.00195106, 0.00180902, 0.00158779, 0.00130902, 0.001, 0.000690983, 0.000412215, 0.000190983"


def build(**options):
    optim_cfg = get_cfg_default().OPTIM
    coop = {
        "NAME": "sgd",
        "LR": 0.002,
        "LR_SCHEDULER": "cosine",
        "WARMUP_EPOCH": 1,
        "WARMUP_TYPE": "constant",
    }
    for name, value in {**coop, **options}.items():
        optim_cfg[name] = value
    optim = build_optimizer(nn.Linear(1, 1), optim_cfg)
    return optim, build_lr_scheduler(optim, optim_cfg)


def rates(optim, sched, epochs: int) -> list[float]:
    """The rate in use in each of the next epochs."""
    used = []
    for _ in range(epochs):
        used.append(optim.param_groups[0]["lr"])
        assert sched.get_last_lr() == [used[-1]]
        optim.step()
        sched.step()
    return used


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def test_cosine_over_50_epochs_after_a_constant_warm_up():
    assert rates(*build(MAX_EPOCH=50), 51) == pytest.approx(numbers(COSINE_50), rel=5e-6)


def test_cosine_over_10_epochs_after_a_constant_warm_up():
    assert rates(*build(MAX_EPOCH=10), 10) == pytest.approx(numbers(COSINE_10), rel=5e-6)


def test_200_epochs_end_above_zero():
    assert rates(*build(MAX_EPOCH=200), 200)[-2:] == pytest.approx([1.11013e-06, 4.9344e-07], rel=5e-6)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 1), (10, 1), (50, 1), (50, 5), (200, 1)])
def test_after_the_warm_up_the_cosine_starts_from_its_beginning(epochs, warmup):
    closed = [1e-5 if e < warmup else 0.001 * (1 + math.cos(math.pi * (e - warmup) / epochs)) for e in range(epochs)]
    assert rates(*build(MAX_EPOCH=epochs, WARMUP_EPOCH=warmup), epochs) == pytest.approx(closed, abs=1e-12)


def test_without_warm_up_the_cosine_reaches_zero():
    closed = [0.001 * (1 + math.cos(math.pi * e / 20)) for e in range(21)]
    assert rates(*build(MAX_EPOCH=20, WARMUP_EPOCH=-1), 21) == pytest.approx(closed, abs=1e-12)


def test_linear_warm_up():
    used = rates(*build(MAX_EPOCH=50, WARMUP_TYPE="linear", WARMUP_EPOCH=3), 5)
    assert used == pytest.approx([1e-5, 0.002 / 3, 0.004 / 3, 0.002, 0.001 * (1 + math.cos(math.pi / 50))], abs=1e-12)


def test_without_recount_the_inner_counter_starts_after_the_warm_up():
    used = rates(*build(MAX_EPOCH=50, WARMUP_RECOUNT=False), 4)
    assert used == pytest.approx([1e-05, 0.002, 0.00199408, 0.00198425], rel=3e-6)


def test_single_step_drops_every_stepsize_epochs():
    used = rates(*build(LR_SCHEDULER="single_step", STEPSIZE=(9, 2), WARMUP_EPOCH=-1), 5)
    assert used == pytest.approx([0.002, 0.002, 0.0002, 0.0002, 0.00002], rel=1e-12)


def test_single_step_without_a_stepsize_never_drops():
    assert rates(*build(LR_SCHEDULER="single_step", MAX_EPOCH=6, WARMUP_EPOCH=-1), 6) == [0.002] * 6


def test_multi_step_drops_at_the_listed_epochs():
    used = rates(*build(LR_SCHEDULER="multi_step", STEPSIZE=(1, 3), WARMUP_EPOCH=-1), 4)
    assert used == pytest.approx([0.002, 0.0002, 0.0002, 0.00002], rel=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "single_step", "multi_step"])
@pytest.mark.parametrize("warmup", ["constant", "linear"])
@pytest.mark.parametrize("done", [0, 1, 2, 5])
def test_a_resumed_schedule_goes_on_where_it_was(tmp_path, kind, warmup, done):
    options = {
        "LR_SCHEDULER": kind,
        "WARMUP_TYPE": warmup,
        "WARMUP_EPOCH": 2,
        "MAX_EPOCH": 12,
        "STEPSIZE": (2, 3),
    }
    whole = rates(*build(**options), 12)
    optim, sched = build(**options)
    rates(optim, sched, done)
    torch.save({"optim": optim.state_dict(), "sched": sched.state_dict()}, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)
    optim, sched = build(**options)
    optim.load_state_dict(saved["optim"])
    sched.load_state_dict(saved["sched"])
    assert rates(optim, sched, 12 - done) == whole[done:]


def test_the_state_holds_plain_values_only():
    _, sched = build(MAX_EPOCH=50)
    state = sched.state_dict()
    assert type(state["successor"]) is dict
    assert b"torch" not in pickle.dumps(state)


def test_every_parameter_group_follows_the_schedule():
    optim_cfg = get_cfg_default().OPTIM
    optim_cfg.NAME, optim_cfg.LR_SCHEDULER, optim_cfg.MAX_EPOCH = "sgd", "cosine", 4
    optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_TYPE = 1, "constant"
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.1)]
    optim = build_optimizer(None, optim_cfg, groups)
    sched = build_lr_scheduler(optim, optim_cfg)
    for expected in ([1e-5, 1e-5], [1.0, 0.1], [0.5 + 0.5 * math.cos(math.pi / 4)] * 2):
        scale = [1.0, 0.1] if expected[0] not in (1e-5, 1.0) else [1.0, 1.0]
        assert sched.get_last_lr() == pytest.approx([e * s for e, s in zip(expected, scale, strict=True)])
        optim.step()
        sched.step()


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"LR_SCHEDULER": "plateau"}, ValueError, "OPTIM.LR_SCHEDULER is 'plateau'"),
        ({"WARMUP_TYPE": "square"}, ValueError, "OPTIM.WARMUP_TYPE is 'square'"),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, TypeError, "list of epochs"),
    ],
)
def test_a_wrong_setting_is_named(options, error, sentence):
    with pytest.raises(error, match=sentence):
        build(**options)
