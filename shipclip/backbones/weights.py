"""Weight files: TorchScript archives, saved state dicts and safetensors, read without running anything in them."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..checkpoints import refuse_damaged
from ..errors import MissingFile, UserError, first_line

DRAWS = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}


class Unfilled(TorchFunctionMode):
    """Within it parameters are made without their random values: for models whose weights are all read next; drawing
    them takes longer than that."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensor = args[0] if args else kwargs.get("tensor")
        if function in DRAWS and isinstance(tensor, nn.Parameter):
            return tensor
        return function(*args, **kwargs)


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a weight file by name, and the activation that an archive's code has ("" where it does not tell).

    Raises:
        MissingFile, UserError: with one sentence that names the file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFile(f"there is no CLIP weight file at {path}: check MODEL.BACKBONE.PATH")
    activation = ""
    with open(path, "rb") as file:
        if file.read(100).lstrip().lower().startswith((b"<!doctype", b"<html")):
            raise UserError(f"{path} is a web page and no weights: download them anew")
    try:
        refuse_damaged(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(path)
        elif _is_torchscript(path):
            activation = _activation_of(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # OpenAI's files stay in this format
                tensors = torch.jit.load(str(path), map_location="cpu").state_dict()
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = first_line(error).partition(". ")[0]
        raise UserError(
            f"{path} cannot be read as CLIP weights ({reason}): it is damaged, or of another kind, or holds more "
            "than tensors"
        ) from error
    if isinstance(tensors, dict) and isinstance(tensors.get("state_dict"), dict):
        tensors = tensors["state_dict"]
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"{path} holds no state dict: save model.state_dict() there")
    return {key.removeprefix("module."): value for key, value in tensors.items()}, activation


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _activation_of(path: Path) -> str:
    """What the archive's code calls in its MLPs: OpenAI's QuickGELU is x * sigmoid(1.702 x)."""
    with zipfile.ZipFile(path) as archive:
        code = [name for name in archive.namelist() if name.endswith(".py")]
        text = "\n".join(archive.read(name).decode("utf-8", "replace") for name in code)
    if re.search(r"QuickGELU|1\.702", text):
        return "quickgelu"
    return "gelu" if re.search(r"\bgelu\(", text) else ""
