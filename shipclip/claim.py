"""Whose an output folder is: what was asked for, what it is made from, and whether it is done.

A run that is known to be possible writes its settings and its identity to config.json. From its first checkpoint on the
folder is its own: another run, or the same one over other data, is refused with what differs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import checkpoints
from .errors import MissingFile, UserError
from .files import read_json, write_json
from .identity import PARTS, Identity, changes
from .options import flatten
from .run import FILE, GENERATOR, INDIFFERENT, LEARNER, OF_THE_BACKBONE, of_nodes, plain, read

CLAIM, MADE_FROM, ACT = "config.json", "MADE_FROM", "ACT"
TRAINING, EVALUATION = "training", "evaluation"
# What runs and the pictures of them leave in a folder; where there is anything else, nobody is told to remove it.
OF_A_RUN = re.compile(
    rf"{CLAIM}|{FILE}|{LEARNER}|{GENERATOR}|tensorboard|log\.txt.*|console\.txt|predictions\.csv|cmat\.pt|run\.lock|"
    r"(features|confusion|curves|interpret)\.\w+|.*\.tmp[0-9a-f]{32}"
)


@dataclass(frozen=True)
class Claim:
    """What a run is.

    Attributes:
        tree: all its settings.
        identity: what it is made from.
        act: training, or the evaluation of a trained model.
    """

    tree: Mapping[str, Any]
    identity: Identity
    act: str = TRAINING

    def write(self, folder: Path) -> None:
        write_json(folder / CLAIM, {**self.tree, ACT: self.act, MADE_FROM: self.identity})


def take(
    folder: Path,
    claim: Claim,
    defaults: Mapping[str, Any],
    finished: Callable[[], bool] = lambda: False,
    resume: str = "",
) -> bool:
    """Make a folder, whose lock the caller holds, a run's; false if its results are there.

    Args:
        claim: what the run is.
        defaults: of keys that the folder's earlier run had not heard of.
        finished: tells whether the results are there.
        resume: another folder to go on from.

    Raises:
        UserError: it is another run's, or the same one's over other data, or cannot go on from there.
    """
    check_settings(folder, claim.tree, defaults)
    done = finished()
    check_identity(folder, claim)
    if done:
        return False
    if resume:
        check_resumed(Path(resume), claim, defaults)
    claim.write(folder)
    return True


def check_settings(folder: Path, tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a folder in which a run with other settings has made something: it must be neither resumed nor written
    over. A key that the folder's run had not heard of had its default there.

    Raises:
        UserError: naming what differs, or what else lies there.
    """
    saved = saved_claim(folder)
    if saved is None or not has_made(folder):
        return
    different = differences(tree, saved, defaults)
    if different:
        raise UserError(f"{folder} belongs to a run with another config ({different[0]}): {elsewhere(folder)}")


def check_identity(folder: Path, claim: Claim) -> None:
    """Refuse a folder in which something was made from other data, and a training's for an evaluation or the reverse.

    A run that has not been tested yet may see other test images: nothing is made from them so far.

    Raises:
        UserError: naming what has changed.
    """
    saved = saved_claim(folder)
    if saved is None or not has_made(folder):
        return
    act = saved.get(ACT) or (TRAINING if has_trained(folder) else EVALUATION)
    if act != claim.act:
        raise UserError(f"{folder} holds {_a(act)}, and this is {_a(claim.act)}: {elsewhere(folder)}")
    made_from = saved.get(MADE_FROM)
    if not isinstance(made_from, dict):  # an older version's: it noted nothing
        return
    parts = [part for part in PARTS if part in claim.identity and part in made_from]
    if not (folder / FILE).is_file():
        parts = [part for part in parts if part != "test"]
    changed = changes(claim.identity, made_from, parts)
    if changed:
        raise UserError(f"{folder} was made from other data ({'; '.join(changed[:3])}): {elsewhere(folder)}")


def check_resumed(folder: Path, claim: Claim, defaults: Mapping[str, Any]) -> None:
    """Refuse to go on from a folder (--resume) of another method, other settings or other data; only the run's length
    may be another.

    Raises:
        MissingFile, UserError: no checkpoint there, or naming what differs.
    """
    if not has_trained(folder):
        raise MissingFile(f"there is no checkpoint of a run in {folder}: check --resume")
    saved = saved_claim(folder)
    if saved is None:
        print(f"Note: {folder} does not tell what run it is of, so it is taken as this one's")
        return
    different = [text for text in differences(claim.tree, saved, defaults) if not text.startswith("OPTIM.MAX_EPOCH ")]
    if isinstance(saved.get(MADE_FROM), dict):
        different += changes(claim.identity, saved[MADE_FROM], ["train"])
    if different:
        raise UserError(
            f"{folder} is of another run ({different[0]}), and this one cannot go on from it: check --resume"
        )


def is_finished(folder: Path, model_dir: str, epoch: int | None) -> bool:
    """Whether a folder holds results, and (of an evaluation) still those of the model at hand.

    Raises:
        UserError: it is the very folder of the model, whose training is not finished or whose results are of another
            epoch.
    """
    file = folder / FILE
    if model_dir and is_own(folder, model_dir):
        if not file.is_file():
            raise UserError(f"{folder} holds an unfinished training: finish it, or choose another --output-dir")
        if epoch in (None, checkpoints.last_epoch(folder / LEARNER)):
            return True
        raise UserError(f"{folder} holds the results of its last epoch: choose another --output-dir for epoch {epoch}")
    if not file.is_file():
        return False
    if not model_dir:
        return True
    weights = Path(read(file).get("weights", ""))
    # Retrained since, or other weights: evaluate again.
    return (
        Path(os.path.abspath(model_dir)) in Path(os.path.abspath(weights)).parents
        and weights.is_file()
        and weights.stat().st_mtime < file.stat().st_mtime
        and epoch in (None, _epoch_of(weights))
    )


def saved_claim(folder: Path) -> dict[str, Any] | None:
    """Whose the folder is; None: nobody's.

    Raises:
        UserError: something else lies there, or it is damaged.
    """
    file = folder / CLAIM
    if not file.is_file():
        return (read(folder / FILE)["cfg"] or None) if (folder / FILE).is_file() else None
    saved = read_json(file, "remove it, and the run goes on")
    if not isinstance(saved, dict) or not isinstance(saved.get("TRAINER"), dict):
        raise UserError(f"{folder} holds something else ({CLAIM} is no run's): choose another --output-dir")
    return saved


def is_own(folder: Path, model_dir: str) -> bool:
    """Whether a model is to be evaluated into the folder of its own training."""
    return os.path.abspath(model_dir) == os.path.abspath(folder) and has_trained(folder)


def trained_names(folder: Path) -> Any:
    """The classes of a run of older versions, whose checkpoints did not tell them; None: nobody knows."""
    return read(folder / FILE).get("classnames") if (folder / FILE).is_file() else None


def has_made(folder: Path) -> bool:
    """Whether there is something in a folder that would be lost."""
    return (folder / FILE).is_file() or has_trained(folder)


def has_trained(folder: Path) -> bool:
    return any(checkpoints.last_epoch(folder / part) for part in (LEARNER, GENERATOR))


def elsewhere(folder: Path) -> str:
    """The mend for a folder that is not this run's."""
    alone = all(OF_A_RUN.fullmatch(entry.name) for entry in os.scandir(folder))
    return "choose another --output-dir" + (", or remove the folder" if alone else "")


def differences(tree: Mapping[str, Any], saved: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """What tells a run's settings apart from saved ones, as "KEY here / there"; keys that can't change figures don't
    count, nor do those that are no more."""
    mine, theirs = flatten(plain(tree)), flatten(of_nodes(saved, set(tree.get("TRAINER", {}))))
    theirs = flatten(plain(defaults)) | theirs
    keys = sorted((mine.keys() & theirs.keys()) - INDIFFERENT - OF_THE_BACKBONE)
    return [f"{key} {mine[key]!r} here, {theirs[key]!r} there" for key in keys if mine[key] != theirs[key]]


def own_folder(tree: Mapping[str, Any], title: str, *facts: Any) -> Path:
    """The folder of a run that was given none: the same for the same command, and no other run's. A run with a new seed
    each time (SEED below 0) gets a new folder each time.

    Args:
        tree: all its settings.
        title: what a person calls it.
        facts: what else tells it apart: flags, and where its data lies.
    """
    settings = {k: v for k, v in flatten(plain(tree)).items() if k not in INDIFFERENT | OF_THE_BACKBONE}
    once = os.urandom(8).hex() if settings.get("SEED", -1) < 0 else ""
    digest = hashlib.blake2b(json.dumps([settings, facts, once], sort_keys=True).encode(), digest_size=4)
    return Path("output") / "runs" / f"{re.sub(r'[^A-Za-z0-9+._-]+', '_', title)}-{digest.hexdigest()}"


def _a(act: str) -> str:
    return "an evaluation" if act == EVALUATION else "a training"


def _epoch_of(weights: Path) -> int | None:
    """The epoch in a checkpoint's name; None of the best one."""
    number = weights.name.rpartition("-")[2]
    return int(number) if number.isdigit() else None
