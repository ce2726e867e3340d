"""SHIP's first stage as a part of a run: a generator is trained, gone on with, or taken as it was trained before.

Stage 1 is a function of base images' features, class names, options and seed. Runs that differ in stage 2 alone (a
learner, its loss) share one generator: with FEATURES.CACHE_DIR it is kept there, beside the encoded images.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from dassl.utils import load_checkpoint
from yacs.config import CfgNode as CN

from trainers.prompting import checkpoints, results
from trainers.prompting.features import FeatureBank
from trainers.prompting.files import replacing
from trainers.prompting.runs import restore

VERSION = 2  # of the file and of what training does; another one finds no generator of this one's
COLLAPSED_KL = 0.1  # nats; below it every latent gives nearly the same feature
INDIFFERENT = ("FROM", "ONLY", "CHECKPOINT_FREQ")  # options that don't change the generator


def fit(trainer: Any, bank_of_epoch: Any) -> None:
    """Train trainer.generator, or go on from its last checkpoint in OUTPUT_DIR/generator.

    Args:
        trainer: SHIP.
        bank_of_epoch: gives the base images' features, the same bank or fresh views each epoch.
    """
    generator, cfg = trainer.generator, trainer.cfg
    options = cfg.TRAINER.SHIP.GENERATOR
    folder = os.path.join(trainer.output_dir, "generator")
    last, every = options.EPOCHS, options.CHECKPOINT_FREQ
    optimizer = generator.optimizer()
    start = 0
    for place in (folder, os.path.join(cfg.RESUME or trainer.output_dir, "generator")):
        if checkpoints.last_epoch(place):
            start = checkpoints.resume(place, generator, optimizer, scaler=generator.scaler)
            break
    kept = None
    if cfg.FEATURES.CACHE_DIR and cfg.FEATURES.VIEWS and cfg.SEED >= 0 and not start:
        kept = Path(cfg.FEATURES.CACHE_DIR) / "generators" / key(trainer, bank_of_epoch(0)) / f"model.pth.tar-{last}"
        if kept.is_file():
            take(trainer, kept, folder)
            return
    history: list[dict[str, float]] = []
    began = time.time()

    def on_epoch(epoch: int, losses: dict[str, float]) -> None:
        history.append(losses)
        tell(trainer, epoch, losses, (time.time() - began) / (epoch - start))
        if epoch == last or (every > 0 and epoch % every == 0):
            state = {"state_dict": generator.state_dict(), "optimizer": optimizer.state_dict()}
            if generator.scaler:
                state["scaler"] = generator.scaler.state_dict()
            checkpoints.save(folder, state, epoch)
            if epoch == last and kept:
                seconds = time.time() - began
                checkpoints.save(str(kept.parent), {**state, "losses": history, "seconds": seconds}, epoch)

    generator.fit(bank_of_epoch, optimizer, start, on_epoch)


def take(trainer: Any, file: Path, folder: str) -> None:
    """Take over a generator that was trained before, with its losses, and leave it in the run's folder as well."""
    epoch = checkpoints.load(file, trainer.generator)
    print(f'Stage 1 was run before, on the same features with the same options: took "{file}"')
    saved = load_checkpoint(str(file))
    trainer.reused_seconds = saved["seconds"]  # belong to the training of this run as well
    for number, losses in enumerate(saved["losses"], start=1):
        tell(trainer, number, losses, saved["seconds"] / epoch)
    with replacing(Path(folder) / f"model.pth.tar-{epoch}") as temporary:
        shutil.copyfile(file, temporary)


def tell(trainer: Any, epoch: int, losses: dict[str, float], seconds: float) -> None:
    """An epoch's line in the log and its scalars; a warning after the last one if the posterior has collapsed."""
    last = trainer.cfg.TRAINER.SHIP.GENERATOR.EPOCHS
    scalars = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
    print(f"generator epoch [{epoch}/{last}] time {seconds:.3f} {scalars}")
    for name, value in losses.items():
        trainer.write_scalar(f"generator/{name}", value, epoch - 1)
    if epoch == last and losses.get("kl", COLLAPSED_KL) < COLLAPSED_KL:
        print(
            f"Warning: the KL term ends at {losses['kl']:.3f} nats, below {COLLAPSED_KL}: the posterior has "
            "collapsed and all latents give nearly the same feature; lower TRAINER.SHIP.GENERATOR.KL_WEIGHT"
        )


def key(trainer: Any, bank: FeatureBank) -> str:
    """A digest of all that the generator depends on, to the bit: also device, threads and versions."""
    options = {name: value for name, value in trainer.cfg.TRAINER.SHIP.GENERATOR.items() if name not in INDIFFERENT}
    machine = [results.device_name(trainer.device), torch.get_num_threads(), results.versions()]
    facts = [VERSION, trainer.clip.fingerprint, trainer.names, trainer.seed, options, machine]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for tensor in (bank.features, bank.labels):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]


def options_of_run(folder: str, options: CN) -> CN:
    """The generator's options that a finished run was trained with, for a run that takes its generator over.

    Raises:
        FileNotFoundError: no finished run of SHIP there.
    """
    file = Path(folder) / results.FILE
    saved = results.read(file)["cfg"] if file.is_file() else {}
    if "SHIP" not in saved.get("TRAINER", {}) or not checkpoints.last_epoch(os.path.join(folder, "generator")):
        raise FileNotFoundError(
            f"there is no finished run of SHIP with a generator in {folder}: check TRAINER.SHIP.GENERATOR.FROM"
        )
    merged = options.clone()
    merged.defrost()
    restore(merged, saved["TRAINER"]["SHIP"]["GENERATOR"])
    return merged
