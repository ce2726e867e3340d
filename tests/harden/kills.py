"""Kills at random moments: a run that is killed and started again ends to the bit as any other, and leaves no litter.

Runs are forked from a process that has imported everything, so that a kill hits the run and not the imports. The script
is killed with all its processes.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn.linear_model  # noqa: F401  which runs import when they measure a generator
import torch
import torch._dynamo  # which torch's optimisers do
import torchvision  # noqa: F401  which runs do when they read an image

import train
from shipclip.miniclip import world
from shipclip.presets import CONFIGS
from tests.runs import SMALL, arguments, small_elsewhere

from .fuzz import LITTER, REPOSITORY

GENERATOR = "TRAINER.SHIP.GENERATOR"
LONGER = {"OPTIM.MAX_EPOCH": 6, f"{GENERATOR}.EPOCHS": 8, "DATASET.SUBSAMPLE_CLASSES": "gzsl"}  # more to be killed in
AT_ONCE = 4  # kills of one run
OVERLAYS = sorted(file.stem.removeprefix("with_") for file in CONFIGS.glob("trainers/SHIP/with_*.yaml"))
CASES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    **{name: (name, {}, ()) for name in ("ZeroshotCLIP", "CoOp", "CoCoOp", "CLIPAdapter", "TipAdapter", "TipAdapterF")},
    **{name: (name, {}, ()) for name in ("LinearProbe", "GDA", "SHIPGenerator")},
    "MaPLe": ("MaPLe", {"OPTIM.MAX_EPOCH": 3}, ()),
    "CLIPLoRA": ("CLIPLoRA", {"TRAINER.CLIPLORA.N_ITERS": 3}, ()),
    **{f"SHIP, {name}": ("SHIP", {f"{GENERATOR}.NAME": name}, ()) for name in ("VAE", "GAN", "MLP", "Gaussian")},
    **{
        f"SHIP+{name}": ("SHIP", {}, ("--config-file", str(CONFIGS / "trainers" / "SHIP" / f"with_{name}.yaml")))
        for name in OVERLAYS
    },
    "CoOp, best_val": ("CoOp", {"TEST.FINAL_MODEL": "best_val"}, ()),
    "CoOp, CSC": (
        "CoOp",
        {"TRAINER.COOP.CSC": True, "TRAINER.COOP.CTX_INIT": "", "DATASET.SUBSAMPLE_CLASSES": "all"},
        (),
    ),
    "SHIP, fresh views": ("SHIP", {"FEATURES.VIEWS": 0}, ()),
    "SHIP, tuned": ("SHIP", {}, ("--config-file", str(CONFIGS / "trainers" / "SHIP" / "miniclip_tuned.yaml"))),
}


@dataclass
class Tally:
    """What was done: runs that were killed, kills, and runs that did not end as the others."""

    runs: int = 0
    kills: int = 0
    wrong: int = 0


def run(kills: int, seed: int, folder: Path, methods: tuple[str, ...] = (), scripts: bool = True) -> int:
    """Spread the kills over all methods, a tenth of them over a script; returns what went another way."""
    rng = random.Random(seed)
    torch.set_num_threads(1)
    world.SPLITS = SMALL
    tally, names = Tally(), [name for name in CASES if not methods or name in methods]
    of_scripts = kills // 10 if scripts else 0
    left = kills - of_scripts
    for number, name in enumerate(names):
        share = left // (len(names) - number)
        left -= share
        before = (tally.kills, time.time())
        for text in of_a_method(name, share, rng, folder / "runs", tally):
            print(f"    {name}: {text}", flush=True)
        print(f"{name}: {tally.kills - before[0]} kills ({time.time() - before[1]:.0f} s)", flush=True)
        shutil.rmtree(folder / "runs", ignore_errors=True)
    if of_scripts:
        before = (tally.kills, time.time())
        for text in of_a_script(of_scripts, rng, folder / "script", tally):
            print(f"    base2new.sh: {text}", flush=True)
        print(f"base2new.sh: {tally.kills - before[0]} kills ({time.time() - before[1]:.0f} s)", flush=True)
    print(f"{tally.kills} kills in {tally.runs} runs, {tally.wrong} of which ended otherwise or left litter")
    return tally.wrong


# -- runs -------------------------------------------------------------------------------------------------------


def of_a_method(name: str, kills: int, rng: random.Random, folder: Path, tally: Tally) -> Iterator[str]:
    """Kill runs of a method; yields what is wrong with one."""
    whole, began = folder / "whole", time.time()
    status = ended(started(words_of(name, folder / "data", whole, folder / "cache")))
    seconds, done, trial = time.time() - began, 0, 0
    if status:
        tally.wrong += 1
        yield f"the run that nobody kills ends with {status}"
        return
    while done < kills and trial < 4 * kills:
        trial += 1
        place = folder / f"trial{trial}"
        # Every other run has its own cold cache and data, so that writing these is killed as well.
        own = place if trial % 2 else folder
        words = words_of(name, own / "data", place / "run", own / "cache")
        wanted, hits = min(AT_ONCE, kills - done), 0
        while hits < wanted and killed(started(words), rng.uniform(0, seconds)):  # one that has ended is not hit again
            hits += 1
        status = ended(started(words, folder / "told"))
        done, tally.kills, tally.runs = done + hits, tally.kills + hits, tally.runs + bool(hits)
        wrong = [*different(whole, place / "run"), *litter(place, folder)]
        if status:
            wrong = [f"status {status}: {(folder / 'told').read_text().strip()}"]
        tally.wrong += bool(wrong)
        yield from wrong
        shutil.rmtree(place, ignore_errors=True)


def words_of(name: str, data: Path, output: Path, cache: Path) -> list[str]:
    trainer, options, flags = CASES[name]
    given = {**LONGER, "FEATURES.CACHE_DIR": cache, **options}
    flags = (*flags, "--eval-only") if trainer == "ZeroshotCLIP" else flags
    return arguments(data, output, trainer, *(word for pair in given.items() for word in pair), flags=flags)


def started(words: list[str], told: Path = Path(os.devnull)) -> int:
    """A process with a run in it; its errors go to the file `told`."""
    process = os.fork()
    if process:
        return process
    status = 3
    try:
        with open(told, "w") as errors, redirect_stdout(io.StringIO()), redirect_stderr(errors):
            status = train.main(words)
    finally:
        os._exit(status)


def killed(process: int, seconds: float) -> bool:
    """Kill a process after a while; whether it was still running."""
    end = time.time() + seconds
    while time.time() < end:
        if os.waitpid(process, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


# -- a script ---------------------------------------------------------------------------------------------------


def of_a_script(kills: int, rng: random.Random, folder: Path, tally: Tally) -> Iterator[str]:
    """Kill base2new.sh with all its processes; yields what is wrong."""
    folder.mkdir(parents=True)
    began = time.time()
    status = script(folder, "whole").wait()
    seconds, done = time.time() - began, 0
    if status:
        tally.wrong += 1
        yield f"the script that nobody kills ends with {status}"
        return
    while done < kills:
        place = folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        wanted = min(10, kills - done)
        for _ in range(wanted):
            process = script(folder, "killed")
            try:
                process.wait(timeout=rng.uniform(0.5, seconds / 3))
                break  # it has ended
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                done, tally.kills = done + 1, tally.kills + 1
        status, tally.runs = script(folder, "killed").wait(), tally.runs + 1
        done += not done
        wrong = [f"status {status}"] if status else [*different(folder / "whole", place), *litter(place)]
        tally.wrong += bool(wrong)
        yield from wrong


def script(folder: Path, name: str) -> subprocess.Popen:
    options = {"OPTIM.MAX_EPOCH": 3, "FEATURES.VIEWS": 2, f"{GENERATOR}.EPOCHS": 4, "TRAIN.CHECKPOINT_FREQ": 1}
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": small_elsewhere(folder),
        "OUTPUT": str(folder / name / "output"),
        "DATA": str(folder / name / "data"),
        "METHODS": "ZeroshotCLIP CoOp SHIP",
        "SHOTS": "2",
        "JOBS": "1",
        "OMP_NUM_THREADS": "1",
        "OPTS": " ".join(f"{key} {value}" for key, value in options.items()),
    }
    command = ["bash", str(REPOSITORY / "scripts" / "ship" / "base2new.sh"), "miniworld", "1"]
    return subprocess.Popen(command, env=environment, stdout=-3, stderr=-3, start_new_session=True)


# -- the end ----------------------------------------------------------------------------------------------------


def different(whole: Path, other: Path) -> list[str]:
    """What tells two trees of runs apart: figures, and weights to the bit."""
    wrong = []
    for file in sorted(whole.rglob("results.json")):
        twin = other / file.relative_to(whole)
        if not twin.is_file():
            wrong.append(f"{twin} is missing")
        elif json.loads(file.read_text())["figures"] != json.loads(twin.read_text())["figures"]:
            wrong.append(f"other figures in {twin}")
    for file in sorted(whole.rglob("model*.pth.tar*")):
        if "features" in file.parts or "cache" in file.parts:
            continue
        twin = other / file.relative_to(whole)
        if file.parent.name == "generator" and not twin.exists() and file != newest(file.parent):
            continue  # a generator that was kept beside the encoded images is taken over as it was in the end
        if not twin.is_file() or not same(*(torch.load(f, weights_only=True)["state_dict"] for f in (file, twin))):
            wrong.append(f"other weights in {twin}")
    return wrong


def newest(folder: Path) -> Path:
    return max(folder.glob("model.pth.tar-*"), key=lambda file: int(file.name.rpartition("-")[2]))


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

    return first.keys() == second.keys() and all(equal(value, second[name]) for name, value in first.items())


def litter(*folders: Path) -> list[str]:
    found = {file for folder in folders for file in folder.rglob("*") if LITTER.fullmatch(file.name)}
    return [f"litter: {file}" for file in sorted(found)]
