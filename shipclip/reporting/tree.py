"""Runs in a tree of results, from results.json or from CoOp's log.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..options import flatten
from ..run import FILE, INDIFFERENT, OF_THE_BACKBONE, read

# The layouts of CoOp's and of this project's scripts, from the right.
LAYOUTS = (
    r"(?:(?P<part>train|test)_(?P<subset>base|new|all)/)?"
    r"(?P<dataset>[^/]+)/shots_(?P<shots>-?\d+)(?:_(?P<variant>[^/]+))?/(?P<method>[^/]+)/(?P<config>[^/]+)/"
    r"seed(?P<seed>-?\d+)$",
    r"evaluation/(?P<method>[^/]+)/(?P<config>[^/]+)_(?P<shots>\d+)shots/(?:(?P<variant>[^/]*nctx[^/]*)/)?"
    r"(?P<dataset>[^/]+)/seed(?P<seed>\d+)$",
    r"(?P<dataset>[^/]+)/(?P<method>[^/]+)/(?P<config>[^/]+)_(?P<shots>\d+)shots/(?:(?P<variant>[^/]+)/)?"
    r"seed(?P<seed>\d+)$",
    r"(?P<method>ZeroshotCLIP2?)/(?P<config>[^/]+)/(?P<dataset>[^/]+)$",
)
# The scripts' folders; those on validation images end in _dev.
EXPERIMENTS = ("base2new", "cross_dataset", "gzsl", "learners", "ablation", "few_shot")
# Config keys that may differ between the runs of one row.
OF_A_RUN = {
    *INDIFFERENT,
    *OF_THE_BACKBONE,
    "SEED",
    "DATASET.NAME",
    "DATASET.NUM_SHOTS",
    "DATASET.SUBSAMPLE_CLASSES",
    "TEST.BASE_PENALTY",
    "TRAINER.SHIP.GENERATOR.FROM",
    "TRAINER.SHIP.GENERATOR.ONLY",
}


@dataclass
class Run:
    """One run's folder.

    Attributes:
        experiment: the script's folder, else what of the path stands before the layout.
        dataset, shots, method, config, seed, subset: what was run; the method is the trainer where no path tells more.
        trained: whether this folder holds the training, and so its time.
        figures, time: of results.json.
        settings: the flat config, without keys that may differ between the runs of one row.
    """

    folder: Path
    experiment: str
    dataset: str
    shots: int
    method: str
    config: str
    seed: int
    subset: str
    trained: bool
    figures: dict[str, Any]
    time: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def runs_below(root: Path) -> list[Run]:
    """All finished runs below a folder, sorted by path.

    Raises:
        UserError: a results.json that cannot be read, by name.
    """
    found = (file for name in (FILE, "log.txt") for file in root.rglob(name))
    folders = {file.parent for file in found if file.is_file()}
    return [run for folder in sorted(folders) if (run := read_run(folder, root)) is not None]


def read_run(folder: Path, root: Path) -> Run | None:
    """The run in a folder; None if it is not finished."""
    content = read_results(folder)
    if content is None:
        return None
    path = folder.resolve().as_posix()
    found = next((match for layout in LAYOUTS if (match := re.search(layout, path))), None)
    facts = found.groupdict() if found else {}
    prefix = Path(path[: found.start()] if found else folder.resolve().parent)
    settings = {key: value for key, value in flatten(content.get("cfg", {})).items() if key not in OF_A_RUN}
    subset = content.get("subset", facts.get("subset") or "all")
    return Run(
        folder,
        experiment_of(prefix, root.resolve()),
        facts.get("dataset") or content.get("dataset", ""),
        int(facts.get("shots") or content.get("shots", -1)),
        facts.get("method") or content.get("method") or content.get("trainer", folder.name),
        ", ".join(filter(None, (facts.get("config"), facts.get("variant")))) or content.get("config", ""),
        int(facts.get("seed") or content.get("seed", -1)),
        subset,
        facts.get("part") != "test",
        content.get("figures", {}),
        content.get("time", {}),
        settings,
    )


def experiment_in(path: Path) -> str:
    """The path from one of the scripts' folders on; empty where there is none in it."""
    for i in range(len(path.parts) - 1, -1, -1):
        if path.parts[i].removesuffix("_dev") in EXPERIMENTS:
            return "/".join(path.parts[i:])
    return ""


def experiment_of(prefix: Path, root: Path) -> str:
    """From one of the scripts' folders on, else the path below the root, else the root's name."""
    if found := experiment_in(prefix):
        return found
    below = prefix.relative_to(root).as_posix() if prefix.is_relative_to(root) else "."
    return root.name if below == "." else below


def read_results(folder: Path) -> dict[str, Any] | None:
    """results.json; without one the last accuracy after "=> result" in the log; else None."""
    if (folder / FILE).is_file():
        return read(folder / FILE)
    result = re.findall(r"=> result.*?\* accuracy: ([\d.]+)%", read_log(folder), re.DOTALL)
    return {"figures": {"accuracy": float(result[-1])}} if result else None


def read_log(folder: Path) -> str:
    """log.txt, and the log.txt-<time> in which upstream's Dassl goes on after an interruption."""
    files = sorted(file for file in folder.glob("log.txt*") if file.is_file())
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
