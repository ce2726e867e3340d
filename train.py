"""One run: flags -> config -> trainer -> training and test, or --eval-only.

Flags, the order of merging and the output's layout are CoOp's: defaults, --dataset-config-file, --config-file,
the other flags, then KEY VALUE pairs; later ones win.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import embedded  # an installed Dassl wins over the embedded one

import dassl
import torch
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY, build_trainer
from dassl.evaluation import EVALUATOR_REGISTRY
from yacs.config import CfgNode as CN

import datasets  # noqa: F401  registers the data sets
import trainers.cocoop
import trainers.coop
import trainers.ship
import trainers.zsclip  # noqa: F401  importing registers them
from shipclip import profiling
from shipclip.claim import own_folder
from shipclip.data import DATASETS
from shipclip.errors import TOLD, MissingFile, UserError, sentence, told
from shipclip.files import read_yaml
from shipclip.learners import LEARNERS
from shipclip.log import ENDS, Tee, headline, logged, shots_of
from shipclip.machine import keep_memory, leave_quickly
from shipclip.method import tell_unknown
from shipclip.options import flatten, one_of
from shipclip.presets import CONFIGS, default_config, is_embedded
from shipclip.reporting.tree import experiment_in
from shipclip.rng import seed_everything
from shipclip.run import of_nodes
from shipclip.session import EVALUATION, TRAINING, refuse_nothing_trained, taken
from shipclip.settings import Settings, nodes_of
from shipclip.unread import notes
from trainers.ship.config import extend_cfg, follow_backbone, plain, put, put_all

# What our trainers read beside the library's own keys.
READ_HERE = ("OUTPUT_DIR", "VERBOSE", "USE_CUDA", "MODEL.INIT_WEIGHTS")
READ_HERE += ("TEST.EVALUATOR", "TEST.PER_CLASS_RESULT", "TEST.COMPUTE_CMAT")


@told
def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit status: 0, or 2 after a mistake of the user's that one sentence can name."""
    args = parse_args(argv)
    leave_quickly()
    keep_memory()
    try:
        run(setup_cfg(args), args)
    except TOLD as error:
        if isinstance(error, UserError) or getattr(error, "errno", None) != errno.ENOSPC:
            raise
        raise UserError(f"the disk is full ({sentence(error)}): make room, and the same command goes on") from error
    except ENDS as error:  # too little memory
        raise UserError(sentence(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # torch has no kind of its own for the CPU's
            raise
        raise UserError("there is not enough memory: lower the sizes and batch sizes that were set") from error
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
    add("--profile", action="store_true", help="show where the time goes, with traces in the output folder")
    add("--experiment", default="", help="what results.json calls the experiment; default: told by the output's path")
    add("opts", nargs=argparse.REMAINDER, default=[], help="further config as KEY VALUE pairs")
    return parser.parse_args(argv)


def setup_cfg(args: argparse.Namespace) -> CN:
    """The run's frozen config."""
    check_flags(args)
    cfg = get_cfg_default()
    extend_cfg(cfg)
    follow_backbone(cfg)
    args.given, args.shipped = args.opts[::2], []  # keys that somebody set, and those of the files that come with it
    if not args.trainer and "TRAINER.NAME" not in args.opts and not args.config_file:
        raise no_trainer()
    if args.dataset_config_file:
        merge_file(cfg, args.dataset_config_file, args)
    elif "DATASET.NAME" not in args.opts:
        use_embedded_dataset(cfg, args)
    for file in args.config_file or [default_config_file(cfg, args)]:
        merge_file(cfg, file, args)
    reset_cfg(cfg, args)
    merge_options(cfg, args.opts)
    if not cfg.TRAINER.NAME:
        raise no_trainer()
    if cfg.TRAINER.NAME not in TRAINER_REGISTRY.registered_names():
        LEARNERS.get(cfg.TRAINER.NAME, "TRAINER.NAME", tuple(TRAINER_REGISTRY.registered_names()))
    if cfg.DATASET.NAME not in DATASET_REGISTRY.registered_names():
        DATASETS.get(cfg.DATASET.NAME, "DATASET.NAME", tuple(DATASET_REGISTRY.registered_names()))
    one_of(cfg.TEST.EVALUATOR, "TEST.EVALUATOR", EVALUATOR_REGISTRY.registered_names())
    cfg.freeze()
    return cfg


def check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, or that nothing would read."""
    if args.eval_only and args.no_train:
        raise UserError("--eval-only and --no-train contradict each other: give one of them")
    for flag, value in (("--model-dir", args.model_dir), ("--load-epoch", args.load_epoch)):
        if value not in ("", None) and not args.eval_only:
            raise UserError(f"{flag} is for --eval-only: give that too, or leave {flag} out")
    if args.resume and args.eval_only:
        raise UserError("--resume is for training: with --eval-only name the model in --model-dir")
    if args.load_epoch is not None and args.load_epoch < 1:
        raise UserError(f"--load-epoch is {args.load_epoch}: give at least 1, or leave it out for the last")


def no_trainer() -> UserError:
    return UserError(f"no trainer is chosen: give --trainer {', '.join(TRAINER_REGISTRY.registered_names())}")


def use_embedded_dataset(cfg: CN, args: argparse.Namespace) -> None:
    """Where no data set is named: MiniWorld, 16 shots of its base classes."""
    merge_file(cfg, str(CONFIGS / "datasets" / "miniworld.yaml"), args)
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
    for value, key in (
        (args.root, "DATASET.ROOT"),
        (args.output_dir, "OUTPUT_DIR"),
        (args.resume, "RESUME"),
        (args.source_domains, "DATASET.SOURCE_DOMAINS"),
        (args.target_domains, "DATASET.TARGET_DOMAINS"),
        (args.transforms, "INPUT.TRANSFORMS"),
        (args.trainer, "TRAINER.NAME"),
        (args.backbone, "MODEL.BACKBONE.NAME"),
        (args.head, "MODEL.HEAD.NAME"),
    ):
        if value:
            put(cfg, key, value)
            args.given.append(key)
    if args.seed is not None:
        cfg.SEED = args.seed


def merge_file(cfg: CN, file: str, args: argparse.Namespace) -> None:
    if not os.path.isfile(file):
        raise MissingFile(f"there is no config file {file}: check --config-file and --dataset-config-file")
    content = read_yaml(Path(file))
    put_all(cfg, content, f" in {file}")
    shipped = CONFIGS.resolve() in Path(file).resolve().parents
    (args.shipped if shipped else args.given).extend(flatten(content))


def merge_options(cfg: CN, options: list[str]) -> None:
    if len(options) % 2:
        raise UserError(f"options come as KEY VALUE pairs, and {options[-1]!r} stands alone")
    for key, value in zip(options[::2], options[1::2], strict=True):
        put(cfg, key, unquoted(value))


def unquoted(value: str) -> Any:
    """A text that was given in quotes once more, or a list of texts, as yacs takes them."""
    if value[:1] in ("'", '"', "[", "("):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            found = ast.literal_eval(value)
            return found if isinstance(found, (str, list, tuple)) else value
    return value


def run(cfg: CN, args: argparse.Namespace) -> None:
    """Build the trainer, then train and test, or only test."""
    settings = Settings.of(plain(cfg))
    alone = "OUTPUT_DIR" not in args.given or not cfg.OUTPUT_DIR
    if alone:
        cfg = with_folder_of_its_own(cfg, args)
    if args.eval_only:
        refuse_nothing_trained(settings, args.model_dir)
    seed_everything(cfg.SEED)
    told = io.StringIO()
    with contextlib.redirect_stdout(Tee(sys.stdout, told)):  # the log is the folder's, which is not taken yet
        device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        print(headline(settings, device, f" ({'embedded' if is_embedded_dassl() else 'installed'} Dassl)"))
        if alone:
            print(f"The results go to {cfg.OUTPUT_DIR}")
        for note in notes(settings, args.given, args.shipped, READ_HERE):
            print(note)
        trainer = build_trainer(cfg)
    if args.no_train:
        print("--no-train: everything is in place, nothing is trained")
        return
    session = trainer.session
    configs = [Path(file).stem for file in args.config_file or [default_config_file(cfg, args)]]
    experiment = args.experiment or experiment_in(Path(cfg.OUTPUT_DIR).absolute())
    session.facts = {"config": configs[0], "experiment": experiment.split("/")[0]}
    act = EVALUATION if args.eval_only else TRAINING
    with taken(session, act, args.model_dir, args.load_epoch) as to_do:
        if not to_do:
            print(f"{cfg.OUTPUT_DIR} holds the finished results of this run, so there is nothing to do")
            return
        place = os.path.join(cfg.OUTPUT_DIR, profiling.FOLDER) if args.profile else ""
        facts = {"Arguments": vars(args), "Config": cfg}
        with logged(cfg.OUTPUT_DIR, told.getvalue(), facts), profiling.profiled(place, trainer.device):
            if args.eval_only:
                trainer.load_model(args.model_dir, epoch=args.load_epoch)
                tell_unknown(session.method.backbone, session.task.labels.known)
                trainer.test()
            else:
                trainer.train()


def is_embedded_dassl() -> bool:
    return Path(embedded.__file__).parent in Path(dassl.__file__).parents


def with_folder_of_its_own(cfg: CN, args: argparse.Namespace) -> CN:
    """The config with a folder for a run that was given none."""
    dataset, act = cfg.DATASET, "eval" if args.eval_only else ""
    settings = Settings.of(plain(cfg))
    title = (settings.name, dataset.NAME, dataset.SUBSAMPLE_CLASSES, shots_of(settings), f"seed{cfg.SEED}", act)
    facts = (os.path.abspath(dataset.ROOT), args.eval_only, args.model_dir, args.load_epoch, cfg.RESUME)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = str(own_folder(of_nodes(plain(cfg), nodes_of(cfg)), "-".join(filter(None, title)), *facts))
    cfg.freeze()
    return cfg


if __name__ == "__main__":
    sys.exit(main())
