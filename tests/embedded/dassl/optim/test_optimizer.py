import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_optimizer
from dassl.optim.radam import RAdam
from torch import nn


@pytest.fixture
def optim_cfg():
    return get_cfg_default().OPTIM


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("amsgrad", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
        ("radam", RAdam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_each_name_gives_its_optimiser_with_the_configs_rate_and_decay(optim_cfg, name, kind):
    optim_cfg.NAME, optim_cfg.LR, optim_cfg.WEIGHT_DECAY = name, 0.5, 0.25
    optim = build_optimizer(nn.Linear(2, 2), optim_cfg)
    assert type(optim) is kind
    assert (optim.defaults["lr"], optim.defaults["weight_decay"]) == (0.5, 0.25)
    assert optim.defaults.get("amsgrad", False) is (name == "amsgrad")


def test_sgd_takes_momentum_and_its_kin(optim_cfg):
    optim_cfg.NAME, optim_cfg.SGD_NESTEROV = "sgd", True
    defaults = build_optimizer(nn.Linear(2, 2), optim_cfg).defaults
    assert (defaults["momentum"], defaults["dampening"], defaults["nesterov"]) == (0.9, 0, True)


@pytest.mark.parametrize("name", ["adam", "amsgrad", "radam", "adamw"])
def test_adams_eps_can_be_set_and_may_be_absent(optim_cfg, name):
    optim_cfg.NAME, optim_cfg.ADAM_EPS, optim_cfg.ADAM_BETA1 = name, 1e-3, 0.8
    defaults = build_optimizer(nn.Linear(2, 2), optim_cfg).defaults
    assert (defaults["eps"], defaults["betas"]) == (1e-3, (0.8, 0.999))
    del optim_cfg["ADAM_EPS"]
    assert build_optimizer(nn.Linear(2, 2), optim_cfg).defaults["eps"] == 1e-8


def test_frozen_parameters_are_in_but_do_not_move(optim_cfg):
    optim_cfg.NAME = "sgd"
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    optim = build_optimizer(model, optim_cfg)
    model(torch.ones(1, 2)).sum().backward()
    optim.step()
    assert len(optim.param_groups[0]["params"]) == 2
    assert torch.equal(model.bias, before)


def test_parameters_may_be_given_in_place_of_a_module(optim_cfg):
    model = nn.Linear(2, 2)
    assert build_optimizer([model.weight], optim_cfg).param_groups[0]["params"] == [model.weight]
    optim = build_optimizer(model, optim_cfg, param_groups=[{"params": model.bias, "lr": 0.1}])
    assert optim.param_groups[0]["params"] == [model.bias]


def test_staged_rates_make_two_groups_the_base_first(optim_cfg):
    optim_cfg.STAGED_LR, optim_cfg.NEW_LAYERS, optim_cfg.LR = True, "head", 1.0
    model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 1), "neck": nn.Linear(2, 2)})
    base, new = build_optimizer(nn.DataParallel(model), optim_cfg).param_groups
    assert base["lr"] == pytest.approx(0.1) and new["lr"] == 1.0
    assert [p.shape for p in new["params"]] == [(1, 2), (1,)]
    assert len(base["params"]) == 4


def test_staged_rates_warn_where_they_cannot_work(optim_cfg):
    optim_cfg.STAGED_LR, optim_cfg.NEW_LAYERS = True, ("haed",)
    model = nn.ModuleDict({"head": nn.Linear(2, 1)})
    with pytest.warns(UserWarning, match="haed"):
        build_optimizer(model, optim_cfg)
    with pytest.warns(UserWarning, match="ignored"):
        build_optimizer(model, optim_cfg, param_groups=model.parameters())
    with pytest.raises(TypeError, match="needs a module"):
        build_optimizer(list(model.parameters()), optim_cfg)


def test_an_unknown_name_is_refused(optim_cfg):
    optim_cfg.NAME = "lion"
    with pytest.raises(ValueError, match="OPTIM.NAME is 'lion'"):
        build_optimizer(nn.Linear(1, 1), optim_cfg)
