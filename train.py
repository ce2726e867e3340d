"""One run: flags -> config -> trainer -> training and test, or --eval-only.

Flags, the order of merging and the output's layout are CoOp's: defaults, --dataset-config-file, --config-file,
the other flags, then KEY VALUE pairs; later ones win.
"""

from __future__ import annotations

import argparse
import contextlib
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
import trainers.zsclip  # noqa: F401  importing registers them
from shipclip import run as runs
from shipclip.presets import CONFIGS, default_config, is_embedded
from shipclip.errors import TOLD, MissingFile, UserError, sentence
from shipclip.options import flatten, unknown_key
from shipclip.reporting.tree import experiment_in
from shipclip.settings import Settings, nodes_of, unread
from trainers.ship.base import refuse_nothing_trained
from trainers.ship.config import extend_cfg, follow_backbone, plain

TOLD_HERE = (*TOLD, torch.OutOfMemoryError)


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit status: 0, or 2 after a mistake of the user's that one sentence can name."""
    args = parse_args(argv)
    try:
        cfg = setup_cfg(args)
        if is_finished(cfg, args):
            print(f"{cfg.OUTPUT_DIR} holds the finished results of this run, so there is nothing to do")
            return 0
        run(cfg, args)
    except TOLD_HERE as error:
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
    add("--trainer", default="", help=f"{', '.join(TRAINER_REGISTRY.registered_names())} (TRAINER.NAME)")
    add("--backbone", default="", help="CLIP's name (MODEL.BACKBONE.NAME)")
    add("--head", default="", help="MODEL.HEAD.NAME")
    add("--eval-only", action="store_true", help="only evaluate")
    add("--model-dir", default="", help="with --eval-only: the trained run's folder")
    add("--load-epoch", type=int, default=None, help="with --eval-only: which epoch; default: the last")
    add("--no-train", action="store_true", help="build everything, train nothing")
    add("--experiment", default="", help="what results.json calls the experiment; default: told by the output's path")
    add("opts", nargs=argparse.REMAINDER, default=[], help="further config as KEY VALUE pairs")
    return parser.parse_args(argv)


def setup_cfg(args: argparse.Namespace) -> CN:
    """The run's frozen config."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    follow_backbone(cfg)
    args.given = args.opts[::2]  # keys that somebody set
    if not args.trainer and "TRAINER.NAME" not in args.opts and not args.config_file:
        raise no_trainer()
    if args.dataset_config_file:
        merge_file(cfg, args.dataset_config_file, args.given)
    elif "DATASET.NAME" not in args.opts:
        use_embedded_dataset(cfg)
    for file in args.config_file or [default_config_file(cfg, args)]:
        merge_file(cfg, file, args.given)
    reset_cfg(cfg, args)
    merge_options(cfg, args.opts)
    if not cfg.TRAINER.NAME:
        raise no_trainer()
    cfg.freeze()
    return cfg


def no_trainer() -> UserError:
    return UserError(f"no trainer is chosen: give --trainer {', '.join(TRAINER_REGISTRY.registered_names())}")


def use_embedded_dataset(cfg: CN) -> None:
    """Where no data set is named: MiniWorld, 16 shots of its base classes."""
    merge_file(cfg, str(CONFIGS / "datasets" / "miniworld.yaml"), [])
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES = "data", 16, "base"


def default_config_file(cfg: CN, args: argparse.Namespace) -> str:
    """The trainer's config file where none is named: ViT-B/16's, on the embedded data sets MiniCLIP's."""
    options = dict(zip(args.opts[::2], args.opts[1::2], strict=False))
    name = args.trainer or options.get("TRAINER.NAME", "")
    backbone = options.get("MODEL.BACKBONE.NAME", args.backbone)
    small = is_embedded(options.get("DATASET.NAME", cfg.DATASET.NAME)) or backbone == "MiniCLIP"
    return str(default_config(name, small))


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


def merge_file(cfg: CN, file: str, given: list[str]) -> None:
    if not os.path.isfile(file):
        raise MissingFile(f"there is no config file {file}: check --config-file and --dataset-config-file")
    try:
        with open(file, encoding="utf-8") as stream:
            loaded = CN.load_cfg(stream)
        if not isinstance(loaded, CN):
            raise UserError(f"{file} holds no keys: write KEY: value there")
        cfg.merge_from_other_cfg(loaded)
        given += flatten(loaded)
    except KeyError as error:
        raise told_key(cfg, error, f" in {file}") from error
    except UserError:
        raise
    except Exception as error:  # YAML's parser and yacs raise many kinds
        raise UserError(f"{file}: {sentence(error)}") from error


def merge_options(cfg: CN, options: list[str]) -> None:
    if len(options) % 2:
        raise UserError(f"options come as KEY VALUE pairs, and {options[-1]!r} stands alone")
    for key, value in zip(options[::2], options[1::2], strict=True):
        try:
            cfg.merge_from_list([key, '"{}"' if value == "{}" else value])  # the shortest template, not an empty dict
        except (KeyError, AssertionError, AttributeError) as error:
            raise told_key(cfg, KeyError(f"Non-existent config key: {key}"), "") from error
        except (ValueError, SyntaxError) as error:
            raise UserError(f"{key} is {value!r}: {sentence(error)}") from error


def told_key(cfg: CN, error: KeyError, where: str) -> UserError:
    return unknown_key(str(error.args[0]).split(": ")[-1], list(flatten(cfg)), where)


def is_finished(cfg: CN, args: argparse.Namespace) -> bool:
    """Whether the output folder holds this very run's results.

    Raises:
        UserError: it belongs to a run with another config, which must be neither resumed nor written over.
    """
    folder, tree = Path(cfg.OUTPUT_DIR), plain(cfg)
    defaults = get_cfg_default()
    extend_cfg(defaults)
    runs.check_claim(folder, runs.of_nodes(tree, nodes_of(tree)), plain(defaults))
    return runs.is_finished(folder, args.model_dir if args.eval_only else "", args.load_epoch)


def run(cfg: CN, args: argparse.Namespace) -> None:
    """Build the trainer, then train and test, or only test."""
    if cfg.TRAINER.NAME not in TRAINER_REGISTRY.registered_names():
        raise no_trainer()
    settings = Settings.of(plain(cfg))
    if args.eval_only:
        refuse_nothing_trained(settings, args.model_dir)
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    with logged(cfg.OUTPUT_DIR):
        print_header(cfg, args)
        for key in unread(settings, args.given):
            print(f"Note: nothing reads {key} in a run of {settings.name}")
        if torch.cuda.is_available() and cfg.USE_CUDA:
            torch.backends.cudnn.benchmark = False  # benchmarking picks kernels by time, so runs would not repeat
            torch.backends.cudnn.deterministic = True
        trainer = build_trainer(cfg)
        runs.claim(Path(cfg.OUTPUT_DIR), runs.of_nodes(plain(cfg), nodes_of(cfg)))
        configs = [Path(file).stem for file in args.config_file or [default_config_file(cfg, args)]]
        experiment = args.experiment or experiment_in(Path(cfg.OUTPUT_DIR).absolute())
        trainer.facts = {"config": configs[0], "experiment": experiment.split("/")[0]}
        if args.eval_only:
            trainer.load_model(args.model_dir, epoch=args.load_epoch)
            trainer.test()
        elif not args.no_train:
            trainer.train()


@contextlib.contextmanager
def logged(folder: str):
    """Standard output goes to log.txt as well, and an error's traceback to it alone."""
    console = sys.stdout
    setup_logger(folder)
    log = getattr(sys.stdout, "file", None)
    try:
        yield
    except TOLD_HERE as error:
        if log:
            log.write(f"{traceback.format_exc()}error: {sentence(error)}\n")
        raise
    finally:
        if sys.stdout is not console:
            sys.stdout.flush()
            sys.stdout = console
        if log:
            log.close()


def print_header(cfg: CN, args: argparse.Namespace) -> None:
    """One line on what runs with what; arguments and the whole config go to log.txt alone."""
    versions = ", ".join(f"{name} {value}" for name, value in runs.versions().items())
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
    """One sentence on the console."""
    print(f"error: {sentence(error)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
