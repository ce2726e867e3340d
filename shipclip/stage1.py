"""SHIP's first stage: a generator is trained, gone on with, or taken as it was trained before.

Stage 1 is a function of base images' features, class names, options and seed. Runs that differ in stage 2 alone (a
learner, its loss) share one generator: with FEATURES.CACHE_DIR it is kept there, beside the encoded images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints, loop
from .backbones.base import Backbone
from .errors import MissingFile, UserError
from .features.bank import FeatureBank
from .features.source import Batch, Batches, FeatureSource, feature_batches
from .generators import GENERATORS, FeatureGenerator
from .locks import Lock
from .options import read
from .run import FILE, GENERATOR, Run, device_name, versions
from .run import read as read_results
from .synthesis import GeneratorChoice
from .texts import Texts

VERSION = 6  # of the file and of what training does; another one finds no generator of this one's
COLLAPSED_KL = 0.1  # nats; below it every latent gives nearly the same feature


def fit(generator: FeatureGenerator, source: FeatureSource, choice: GeneratorChoice, run: Run) -> FeatureGenerator:
    """Train a generator on a source's training features, or go on from its last checkpoint in the run's folder."""
    stage = stage_of(generator, source)
    start = run.resume(GENERATOR, stage)
    kept = None if start else shared_file(generator, source, choice.name)
    with made_once(kept, run):
        if kept and kept.is_file():
            try:
                take(generator, kept, run)
                return finished(generator)
            except UserError as error:  # a cache is not needed
                print(f"Note: the generator that was kept is trained anew: {error}")
        train(generator, stage, start, choice, run, kept)
    return finished(generator)


@contextlib.contextmanager
def made_once(kept: Path | None, run: Run) -> Iterator[None]:
    """A generator that is to be kept is made by one run: others that want the same one wait for it, and find it there.
    If the one is killed, the next makes it. Where there are no locks each makes its own."""
    lock, seconds = None, run.train_seconds()
    if kept and not kept.is_file():
        with contextlib.suppress(OSError):  # it cannot be kept there either, and is needed all the same
            try:
                lock = Lock(kept.parent)
            except UserError:
                print("Another run trains the same generator on the same features: waiting for it", flush=True)
                lock = Lock(kept.parent, wait=True)
                run.begin_training(seconds)  # to wait is no training
    with lock or contextlib.nullcontext():
        yield


def train(
    generator: FeatureGenerator, stage: loop.Stage, start: int, choice: GeneratorChoice, run: Run, kept: Path | None
) -> None:
    """The epochs from `start` on; at the end the generator is kept for other runs as well."""
    history: list[dict[str, float]] = []
    began = time.time()

    def on_epoch(epoch: loop.Epoch) -> None:
        number, every = epoch.number, choice.checkpoint_freq
        losses = generator.summarise(epoch.mean)
        history.append(losses)
        tell(generator, number, losses, (time.time() - began) / (number - start), run)
        if number == stage.epochs or (every > 0 and number % every == 0):
            run.save(GENERATOR, stage, number)
        if number == stage.epochs and kept:
            state = {**stage.state(), "losses": history, "seconds": time.time() - began}
            try:
                checkpoints.save(kept.parent, state, number)
            except OSError as error:
                print(f"Note: the generator could not be kept in {kept.parent} ({error.strerror}) for other runs")

    loop.run(stage, generator.seed, start, on_epoch)


def stage_of(generator: FeatureGenerator, source: FeatureSource) -> loop.Stage:
    """The generator's updates on batches of base images' features."""
    options, optimizer = generator.options, generator.optimizer()
    batches = Batches(options.batch_size, drop_last=False)
    bank: list[FeatureBank] = []  # of the epoch at hand

    def batches_of(epoch: int, rng: torch.Generator) -> Iterator[Batch]:
        bank[:] = [source.training_bank(epoch)]
        return feature_batches(bank[0], rng, batches)

    def update(batch: Batch, rng: torch.Generator, epoch: int) -> loop.Losses:
        x, labels = batch
        values = generator.train_batch(optimizer, x, labels, rng, epoch)
        return dict(zip(generator.losses, values, strict=True))

    return loop.Stage(
        name="stage1",
        module=generator,
        batches=batches_of,
        update=update,
        epochs=generator.epochs,
        lr_key="TRAINER.SHIP.GENERATOR.LR",
        optimizer=optimizer,
        scaler=generator.scaler,
        finish=lambda: generator.finish(bank[0]),
    )


def finished(generator: FeatureGenerator) -> FeatureGenerator:
    return generator.eval().requires_grad_(False)


def load(folder: str | Path, backbone: Backbone, names: Sequence[str], seed: int, texts: Texts) -> FeatureGenerator:
    """The generator of a finished run, for these class names, with the options that it was trained with.

    Raises:
        MissingFile: no finished run of SHIP there.
    """
    file = Path(folder) / FILE
    saved = read_results(file)["cfg"].get("TRAINER", {}).get("SHIP") if file.is_file() else None
    if not saved or not checkpoints.last_epoch(Path(folder) / GENERATOR):
        raise MissingFile(
            f"there is no finished run of SHIP with a generator in {folder}: check TRAINER.SHIP.GENERATOR.FROM"
        )
    cls = GENERATORS.get(saved["GENERATOR"]["NAME"], f"the generator of {folder}")
    generator = cls(backbone, names, read(cls.Options, saved["GENERATOR"]), seed, texts)
    found = checkpoints.find(Path(folder) / GENERATOR)
    checkpoint = checkpoints.load(found, generator)
    print(f'Took the generator from "{found}" (epoch = {checkpoint["epoch"]})')
    return finished(generator)


def shared_file(generator: FeatureGenerator, source: FeatureSource, name: str) -> Path | None:
    """Where this very generator is kept between runs; None where nothing is kept, or no two runs see the same."""
    features = source.features
    if not (features.cache_dir and features.views) or source.seed != generator.seed or not source.repeats:
        return None
    folder = Path(features.cache_dir).expanduser() / "generators" / key(generator, source.training_bank(0), name)
    return folder / f"model.pth.tar-{generator.epochs}"


def key(generator: FeatureGenerator, bank: FeatureBank, name: str) -> str:
    """A digest of all that the generator depends on, to the bit."""
    return digest([VERSION, name, *facts(generator)], [*bank.blocks(), bank.labels])


def key_of_trained(generator: FeatureGenerator, *further: Any, tensors: Iterable[Tensor] = ()) -> str:
    """A digest of all that a trained generator's samples depend on besides what is drawn."""
    return digest([type(generator).__name__, *facts(generator), *further], [*generator.state_dict().values(), *tensors])


def facts(generator: FeatureGenerator) -> list[Any]:
    """What a generator's numbers depend on besides its weights: also device, threads and versions."""
    backbone = generator.backbone
    machine = [device_name(backbone.device), torch.get_num_threads(), versions()]
    texts = [list(generator.texts.templates), sorted(generator.texts.of_class.items())]
    return [backbone.fingerprint, generator.names, texts, generator.seed, asdict(generator.options), machine]


def digest(facts: list[Any], tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256(json.dumps(facts).encode())
    for tensor in tensors:
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def take(generator: FeatureGenerator, file: Path, run: Run) -> None:
    """Take over a generator that was trained before, with its losses, and leave it in the run's folder as well."""
    saved = checkpoints.load(file, generator)
    epoch, seconds = saved["epoch"], saved.get("seconds", 0.0)
    print(f'Stage 1 was run before, on the same features with the same options: took "{file}"')
    run.begin_training(run.train_seconds() + seconds)  # they belong to the training of this run as well
    for number, losses in enumerate(saved.get("losses", []), start=1):
        tell(generator, number, losses, seconds / epoch, run)
    if run.folder:
        checkpoints.adopt(file, run.place(GENERATOR))


def tell(generator: FeatureGenerator, epoch: int, losses: dict[str, float], seconds: float, run: Run) -> None:
    """An epoch's line in the log and its scalars; a warning after the last one if the posterior has collapsed."""
    last = generator.epochs
    scalars = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
    print(f"generator epoch [{epoch}/{last}] time {seconds:.3f} {scalars}")
    for name, value in losses.items():
        run.scalar(f"generator/{name}", value, epoch - 1)
    if epoch == last and losses.get("kl", COLLAPSED_KL) < COLLAPSED_KL:
        print(
            f"Warning: the KL term ends at {losses['kl']:.3f} nats, below {COLLAPSED_KL}: the posterior has "
            "collapsed and all latents give nearly the same feature; lower TRAINER.SHIP.GENERATOR.KL_WEIGHT"
        )


def need_new(names: Sequence[str], subset: str) -> None:
    """Refuse to synthesize features of no class."""
    if not names:
        raise UserError(
            f"SHIP needs names of new classes, and DATASET.SUBSAMPLE_CLASSES {subset} leaves none over: train on base, "
            "name a file of class names in TRAINER.SHIP.NEW_CLASSNAMES, or (with images of your own) write them into "
            "classnames.txt"
        )
