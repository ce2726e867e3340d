"""Damage: to bytes, to plain data, to tensors; and files that would run something if they were trusted."""

from __future__ import annotations

import copy
import os
import pickle
from random import Random
from typing import Any

import torch
from hypothesis import strategies as st

from .fuzz import CANARY

ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\ufeff",
    "\u200b",
    "\ud800",
    "nan",
    "inf",
    "-1",
    "1e999",
    "None",
    "True",
    "[]",
    "{}",
    "{0}",
    "%s",
)
ODD_TEXTS += (
    "../..",
    "/dev/null",
    "#",
    "a" * 5000,
    "ﬁ",
    "İ",
    "狐",
    "a\tb",
    "a\nb",
    "\x1b[31m",
    "'",
    '"',
    "\\",
    "9" * 5000,
)

numbers = st.one_of(
    st.integers(-3, 40),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, 0.5, 1e-12, 1e30, -0.0]),
)
texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=12))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
randoms = st.integers(0, 2**32 - 1).map(Random)


def damaged(content: bytes, rng: Random) -> bytes:
    """Bytes flipped, cut, doubled, or something else altogether."""
    out, way = bytearray(content), rng.randrange(7)
    if way <= 2:
        for _ in range(1 if way == 0 else rng.randint(2, 40)):
            if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif way == 3:
        out = out[: rng.randrange(len(out) + 1)]
    elif way == 4:
        place = rng.randrange(len(out) + 1)
        out[place:place] = rng.randbytes(rng.randint(1, 60))
    elif way == 5:
        out = bytearray(
            rng.choice([b"", b"<!DOCTYPE html><html>404</html>", b"PK\3\4rubbish", rng.randbytes(300), hostile(rng)])
        )
    else:
        place = rng.randrange(len(out) + 1)
        out = out[:place] + out[place + rng.randint(1, 200) :]
    return bytes(out)


class _Runs:
    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.folder}/{CANARY}",)


def hostile(rng: Random, folder: str = ".") -> bytes:
    """A pickle that runs a command where it is loaded, by one of several ways in."""
    command = f"touch {folder}/{CANARY}"
    ways = [
        pickle.dumps(_Runs(folder)),
        pickle.dumps({"state_dict": {}, "epoch": 1, "scheduler": _Runs(folder)}),
        b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.",
        b"cbuiltins\nexec\n(S'import os; os.system(\"" + command.encode() + b"\")'\ntR.",
        b"ctorch.optim.sgd\n__builtins__\n.",
        b"cdassl.optim.radam\nRAdam\n(S'x'\ntR.",
    ]
    return rng.choice(ways)


def changed(data: Any, rng: Random, value: Any) -> Any:
    """Plain data with one place, however deep, put away, doubled, or made another value."""
    places, value = [], copy.deepcopy(value)

    def look(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                look(node[key])

    if not isinstance(data, (dict, list)):
        return value
    look(data)
    if not places or rng.random() < 0.05:
        return value
    node, key = rng.choice(places)
    if rng.random() < 0.5:  # what stands in another place
        elsewhere, there = rng.choice(places)
        value = copy.deepcopy(elsewhere[there])
    way = rng.randrange(6)
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, list):
        node.insert(key, node[key])
    elif way == 2 and isinstance(node, dict):
        node[str(value)] = node.pop(key)
    else:
        node[key] = value
    return data


def changed_tensors(state: dict[str, Any], rng: Random) -> dict[str, Any]:
    """A state dict with one tensor renamed, put away, reshaped, of another kind, or with numbers that are none."""
    state = dict(state)
    names = [name for name, value in state.items() if isinstance(value, torch.Tensor)]
    if not names:
        return state
    name = rng.choice(names)
    tensor = state[name].clone()
    way = rng.randrange(9)
    if way == 0:
        state[rng.choice(["x", "", "ctx", f"{name}.y", name.upper()])] = state.pop(name)
    elif way == 1:
        del state[name]
    elif way == 2:
        state[name] = tensor.reshape(-1)
    elif way == 3:
        state[name] = tensor[:-1] if tensor.dim() and len(tensor) else tensor[None]
    elif way == 4:
        state[name] = torch.cat([tensor, tensor]) if tensor.dim() else tensor[None]
    elif way == 5:
        state[name] = torch.full_like(tensor.float(), rng.choice([float("nan"), float("inf")]))
    elif way == 6:
        state[name] = tensor.to(rng.choice([torch.int64, torch.bool, torch.float64, torch.complex64]))
    elif way == 7:
        state[name] = rng.choice([None, 3, "x", [1.0], {}, {"names": [1]}, {"names": "x"}])
    else:
        state[name] = tensor.new_zeros((0,) * max(tensor.dim(), 1))
    return state
