"""One run: flags -> config -> trainer -> training and test, or --eval-only.

Flags, the order of merging and the output's layout are CoOp's: defaults, --dataset-config-file, --config-file,
the other flags, then KEY VALUE pairs; later ones win.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import embedded

import dassl
import torch
from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.utils import set_random_seed, setup_logger
from yacs.config import CfgNode as CN

import datasets  # noqa: F401  registers the data sets
import trainers.cocoop
import trainers.coop
import trainers.ship
import trainers.zsclip
from trainers.learners import LEARNERS
from trainers.prompting import results
from trainers.prompting.files import write_json
from trainers.prompting.config import extend_cfg as extend_shared_cfg

USER_ERRORS = (ValueError, KeyError, OSError, FloatingPointError, AssertionError, torch.OutOfMemoryError)


CONFIGS = Path(__file__).resolve().parent / "configs"
DEFAULT_CONFIGS = {
    "ZeroshotCLIP": "vit_b16",
    "ZeroshotCLIP2": "vit_b16",
    "CoOp": "vit_b16_ctxv1",
    "CoCoOp": "vit_b16_c4_ep10_batch1_ctxv1",
    "SHIP": "vit_b16",
    **{name: "vit_b16" for name in LEARNERS.registered_names() if name not in ("CoOp", "CoCoOp")},
}


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit status: 0, or 2 after a mistake of the user's that one sentence can name."""
    args = parse_args(argv)
    try:
        cfg = setup_cfg(args)
        if is_finished(cfg, args):
            print(f"{cfg.OUTPUT_DIR} holds the finished results of this run, so there is nothing to do")
            return 0
        run(cfg, args)
    except USER_ERRORS as error:
        tell(error)
        return 2
    return 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", default="", help="folder of the data sets (DATASET.ROOT)")
    add("--output-dir", default="", help="folder of this run's results (OUTPUT_DIR)")
    add("--resume", default="", help="folder of a run to go on with; default: the output folder itself")
    add("--seed", type=int, default=None, help="0 or more makes the run repeat; negative: a random seed")
    add("--source-domains", nargs="+", default=(), help="source domains (domain adaptation)")
    add("--target-domains", nargs="+", default=(), help="target domains (domain adaptation)")
    add("--transforms", nargs="+", default=(), help="training transforms (INPUT.TRANSFORMS)")
    add(
        "--config-file",
        action="append",
        default=[],
        help="YAML file of the trainer; default: its ViT-B/16 file; if given again, later files win",
    )
    add("--dataset-config-file", default="", help="YAML file of the data set; default: the embedded MiniWorld")
    add("--trainer", default="", help=f"{', '.join(DEFAULT_CONFIGS)} (TRAINER.NAME)")
    add("--backbone", default="", help="CLIP's name (MODEL.BACKBONE.NAME)")
    add("--head", default="", help="MODEL.HEAD.NAME")
    add("--eval-only", action="store_true", help="only evaluate")
    add("--model-dir", default="", help="with --eval-only: the trained run's folder")
    add("--load-epoch", type=int, default=None, help="with --eval-only: which epoch; default: the last")
    add("--no-train", action="store_true", help="build everything, train nothing")
    add("opts", nargs=argparse.REMAINDER, default=[], help="further config as KEY VALUE pairs")
    return parser.parse_args(argv)


def extend_cfg(cfg: CN) -> None:
    """Add this project's keys to Dassl's defaults."""
    extend_shared_cfg(cfg)
    for part in (trainers.zsclip, *map(LEARNERS.get, LEARNERS.registered_names()), trainers.ship):
        part.extend_cfg(cfg)


def setup_cfg(args: argparse.Namespace) -> CN:
    """The run's frozen config."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    if args.dataset_config_file:
        merge_file(cfg, args.dataset_config_file)
    elif "DATASET.NAME" not in args.opts:
        use_embedded_dataset(cfg)
    for file in args.config_file or [default_config_file(cfg, args)]:
        merge_file(cfg, file)
    reset_cfg(cfg, args)
    merge_options(cfg, args.opts)
    if not cfg.TRAINER.NAME:
        raise ValueError(f"no trainer is chosen: give --trainer {', '.join(DEFAULT_CONFIGS)}")
    cfg.freeze()
    return cfg


def use_embedded_dataset(cfg: CN) -> None:
    """Where no data set is named: MiniWorld, 16 shots of its base classes."""
    merge_file(cfg, str(CONFIGS / "datasets" / "miniworld.yaml"))
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES = "data", 16, "base"


def default_config_file(cfg: CN, args: argparse.Namespace) -> str:
    """The trainer's config file where none is named: ViT-B/16's, on the embedded data set MiniCLIP's."""
    options = dict(zip(args.opts[::2], args.opts[1::2], strict=False))
    dataset = options.get("DATASET.NAME", cfg.DATASET.NAME)
    folder = CONFIGS / "trainers" / args.trainer.replace("ZeroshotCLIP2", "ZeroshotCLIP")
    name = (
        "miniclip"
        if dataset in ("MiniWorld", "MiniSource", "MiniSourceShifted")
        else DEFAULT_CONFIGS.get(args.trainer, "")
    )
    if not name or not folder.is_dir():
        known = ", ".join(DEFAULT_CONFIGS)
        raise ValueError(
            f"the trainer {args.trainer!r} has no config of its own: give --config-file, or --trainer {known}"
        )
    return str(folder / f"{name}.yaml")


def reset_cfg(cfg: CN, args: argparse.Namespace) -> None:
    """Take over the flags that were given."""
    for value, node, key in (
        (args.root, cfg.DATASET, "ROOT"),
        (args.output_dir, cfg, "OUTPUT_DIR"),
        (args.resume, cfg, "RESUME"),
        (args.source_domains, cfg.DATASET, "SOURCE_DOMAINS"),
        (args.target_domains, cfg.DATASET, "TARGET_DOMAINS"),
        (args.transforms, cfg.INPUT, "TRANSFORMS"),
        (args.trainer, cfg.TRAINER, "NAME"),
        (args.backbone, cfg.MODEL.BACKBONE, "NAME"),
        (args.head, cfg.MODEL.HEAD, "NAME"),
    ):
        if value:
            node[key] = value
    if args.seed is not None:
        cfg.SEED = args.seed


def merge_file(cfg: CN, file: str) -> None:
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no config file {file}: check --config-file and --dataset-config-file")
    try:
        cfg.merge_from_file(file)
    except KeyError as error:
        raise unknown_key(cfg, error, f" in {file}") from error
    except (ValueError, AssertionError) as error:
        raise ValueError(f"{file}: {error}") from error


def merge_options(cfg: CN, options: list[str]) -> None:
    if len(options) % 2:
        raise ValueError(f"options come as KEY VALUE pairs, and {options[-1]!r} stands alone")
    for key, value in zip(options[::2], options[1::2], strict=True):
        try:
            cfg.merge_from_list([key, value])
        except (KeyError, AssertionError, AttributeError) as error:
            raise unknown_key(cfg, KeyError(f"Non-existent config key: {key}"), "") from error


def unknown_key(cfg: CN, error: KeyError, where: str) -> ValueError:
    key = str(error.args[0]).split(": ")[-1]
    near = difflib.get_close_matches(key, list(results.flatten(cfg)), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return ValueError(f"unknown config key {key}{where}{hint}")


def is_finished(cfg: CN, args: argparse.Namespace) -> bool:
    """Whether the output folder holds this very run's results.

    Raises:
        ValueError: it belongs to a run with another config, which must be neither resumed nor written over.
    """
    folder = Path(cfg.OUTPUT_DIR)
    claim, file = folder / "config.json", folder / results.FILE
    if claim.is_file():
        try:
            saved = json.loads(claim.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{claim} is damaged ({error}): remove it, and the run goes on") from error
        different = results.differences(cfg, nodes_of(cfg), saved)
        if different:
            raise ValueError(
                f"{folder} belongs to a run with another config ({different[0]}): choose another --output-dir, "
                "or remove the folder"
            )
    if not file.is_file():
        return False
    weights = results.read(file).get("weights", "")
    if not args.eval_only or not args.model_dir:
        return True
    # Retrained since, or other weights: evaluate again.
    return (
        os.path.abspath(weights).startswith(os.path.abspath(args.model_dir))
        and os.path.isfile(weights)
        and os.path.getmtime(weights) < file.stat().st_mtime
        and args.load_epoch in (None, int(weights.rpartition("-")[2]))
    )


def nodes_of(cfg: CN) -> set[str]:
    """The nodes under TRAINER that the run's trainer reads."""
    if cfg.TRAINER.NAME not in TRAINER_REGISTRY.registered_names():
        return set()  # build_trainer will say so
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    return trainer.nodes(cfg) if hasattr(trainer, "nodes") else set(cfg.TRAINER)


def run(cfg: CN, args: argparse.Namespace) -> None:
    """Build the trainer, then train and test, or only test."""
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    write_json(Path(cfg.OUTPUT_DIR) / "config.json", results.as_dict(cfg, nodes_of(cfg)))
    print_header(cfg, args)
    if torch.cuda.is_available() and cfg.USE_CUDA:
        torch.backends.cudnn.benchmark = False  # benchmarking picks kernels by time, so runs would not repeat
        torch.backends.cudnn.deterministic = True

    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
    elif not args.no_train:
        trainer.train()


def print_header(cfg: CN, args: argparse.Namespace) -> None:
    """One line on what runs with what; arguments and the whole config go to log.txt alone."""
    versions = ", ".join(f"{name} {value}" for name, value in results.versions().items())
    embedded_dassl = Path(embedded.__file__).parent in Path(dassl.__file__).parents
    print(
        f"{cfg.TRAINER.NAME} on {cfg.DATASET.NAME} ({cfg.DATASET.SUBSAMPLE_CLASSES} classes, "
        f"{cfg.DATASET.NUM_SHOTS} shots, seed {cfg.SEED}), {cfg.MODEL.BACKBONE.PATH or cfg.MODEL.BACKBONE.NAME}\n"
        f"{'GPU' if torch.cuda.is_available() and cfg.USE_CUDA else 'CPU'}, {versions} "
        f"({'embedded' if embedded_dassl else 'installed'} Dassl)"
    )
    log = getattr(sys.stdout, "file", None)
    if log:
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        log.write(f"Started {started}\nArguments: {vars(args)}\nConfig:\n{cfg}\n")


def tell(error: BaseException) -> None:
    """One sentence on the console; the whole traceback goes to log.txt alone."""
    sentence = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    sentence = sentence.encode("utf-8", "backslashreplace").decode()  # a file name may be no text
    log = getattr(sys.stdout, "file", None)
    if log:
        log.write(f"{traceback.format_exc()}error: {sentence}\n")
        log.flush()
    print(f"error: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
