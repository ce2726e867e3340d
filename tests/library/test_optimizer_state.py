"""An optimiser takes back what its like remembered, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from shipclip.errors import UserError
from shipclip.optim import OPTIMISERS, OptimOptions, build_optimizer
from shipclip.optimizer_state import restore


def stepped(name: str, shape: tuple[int, ...] = (3, 2)) -> torch.optim.Optimizer:
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = build_optimizer([parameter], OptimOptions(name=name))
    parameter.grad = torch.ones(shape)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_its_like_remembered_is_taken_back(name: str):
    optimizer, state = stepped(name), stepped(name).state_dict()
    restore(optimizer, state, "optimizer", "model.pth.tar-1")
    assert all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(state["state"][0][key]))
        for key, value in optimizer.state_dict()["state"][0].items()
        if value is not None
    )


DAMAGE: dict[str, Any] = {
    "a number": 1.0,
    "nothing": None,
    "text": "x",
    "another shape": torch.ones(2),
    "complex": torch.ones(3, 2, dtype=torch.complex64),
    "not finite": torch.full((3, 2), float("nan")),
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("damage", [*DAMAGE, "missing"])
def test_what_is_another_ones_is_refused(name: str, damage: str):
    state = copy.deepcopy(stepped(name).state_dict())
    own = state["state"][0]
    key = next(key for key, value in own.items() if isinstance(value, torch.Tensor) and value.dim())
    if damage == "missing":
        del own[key]
    else:
        own[key] = DAMAGE[damage]
    with pytest.raises(UserError, match=r"the optimizer in model.pth.tar-1 is not this run's"):
        restore(stepped(name), state, "optimizer", "model.pth.tar-1")
