"""The YAML files that come with the project, and which of them a method takes where none is named."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

_HERE = Path(__file__).resolve().parent
# In a wheel they lie within the package, in a checkout beside it.
CONFIGS = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parent / "configs"
EMBEDDED = ("MiniWorld", "MiniWorldApart", "MiniSource", "MiniSourceShifted")  # data sets that MiniCLIP is made for

OTHERS = {  # methods whose file for ViT-B/16 is not called vit_b16
    "CoOp": "vit_b16_ctxv1",
    "CoCoOp": "vit_b16_c4_ep10_batch1_ctxv1",
    "MaPLe": "vit_b16_c2_ep5_batch4_2ctx",
}
FOLDERS = {"ZeroshotCLIP2": "ZeroshotCLIP", "SHIPGenerator": "SHIP"}  # methods that share another's files


def is_embedded(dataset: str) -> bool:
    return dataset in EMBEDDED


def default_config(method: str, small: bool) -> Path:
    """The config file of a method: MiniCLIP's if `small`, else ViT-B/16's.

    Raises:
        UserError: a method that has none.
    """
    folder = CONFIGS / "trainers" / FOLDERS.get(method, method)
    file = folder / f"{'miniclip' if small else OTHERS.get(method, 'vit_b16')}.yaml"
    if not method or not file.is_file():
        known = sorted(place.name for place in (CONFIGS / "trainers").iterdir())
        raise UserError(
            f"the trainer {method!r} has no config of its own: give --config-file, or --trainer {', '.join(known)}"
        )
    return file
