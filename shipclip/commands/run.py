"""shipclip run: whole experiments, many runs at once; finished runs are skipped, interrupted ones go on.

shipclip run base2new caltech101 dtd --data /path/to/data     base to new: the paper's comparison
shipclip run base2new all --data /path/to/data                the eleven data sets, with their average
shipclip run learners | few_shot | gzsl | ablation [DATASET]
shipclip run cross_dataset imagenet oxford_pets imagenet_a    from one data set to others
shipclip run figures | experiments                            pictures of the embedded experiments; all there is
shipclip run one CoOp caltech101 --folder output/mine         a single run
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HELP = "whole experiments: many data sets, methods and seeds"
OF_ONE_DATASET = ("base2new", "learners", "few_shot", "gzsl", "ablation")
EXPERIMENTS = (*OF_ONE_DATASET, "cross_dataset", "figures", "experiments", "one")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("experiment", choices=EXPERIMENTS, metavar="experiment", help=", ".join(EXPERIMENTS))
    add("names", nargs="*", help="data sets, as in configs/datasets/; of cross_dataset the source first; default: the "
        "embedded ones; all: the eleven of the paper; of one: a method and a data set")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--methods", nargs="+", default=[], help="trainers, SHIP+LEARNER, CoOp-all, or METHOD:CONFIG")
    add("--shots", type=int, nargs="+", default=[], help="training images a class; -1: all; of few_shot several")
    add("--data", default="", help="root of the data sets; the embedded ones are in data/")
    add("--output", default="output", help="folder of the results")
    add("--config", default="", help="name of every method's config")
    add("--cache", default="", help="folder of encoded images; default: features/ in the output folder")
    add("--subset", default="gzsl", choices=("gzsl", "dev"), help="dev: no look at test images, to choose settings")
    add("--rows", nargs="+", default=[], help="of the ablation")
    add("--parts", nargs="+", default=[], choices=("train", "base", "new", "all"), help="of base2new")
    add("--load-epoch", type=int, default=0, help="of the weights that base2new tests; default: the last")
    add("--folder", default="", help="of one: where its results go; {config} and {seed} stand for its own")
    add("--model-dir", default="", help="of one: the run whose weights are tested; {config} and {seed} as in --folder")
    add("--source", default="", help="of one: the data set of --model-dir, if another")
    add("--jobs", type=int, default=0, help="runs at once; default: one for each GPU, else as many as fit")
    add("--executor", default="local", choices=("local", "ray", "slurm"), help="this machine, a Ray cluster, or Slurm")
    add("--cpus", type=float, default=1, help="of ray: that a chain of runs holds")
    add("--gpus", type=float, default=0, help="of ray: likewise; 0.5 lets two share a GPU")
    add(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="of slurm: submitit's options, as slurm_partition=gpu timeout_min=240 gpus_per_node=1",
    )
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="further settings of every run")
    add("--verbose", action="store_true", help="runs speak on the console, and not in their log.txt alone")
    add("--profile", action="store_true", help="each run tells where its time goes: profile/ in its folder")
    add("--dry-run", action="store_true", help="show the plan, and do nothing")


def run(args: argparse.Namespace) -> int:
    plans, study = plans_of(args)  # a mistake in it is told at once

    from ..experiments.asked import check
    from ..experiments.carry_out import Where, carry_out, draw, tables

    if not study.foreign:
        for job in (job for _, chains in plans for chain in chains for job in chain.jobs):
            if job.seed == study.seeds[0]:  # the other seeds' runs are asked for the same
                check(job)
    if args.dry_run:
        for name, chains in plans:
            print(f"{name}: {sum(len(chain.jobs) for chain in chains)} runs in {len(chains)} chains")
            for job in (job for chain in chains for job in chain.jobs):
                print(f"  {job.title}\n    python train.py {' '.join(shown_words(job))}")
        return 0
    where = Where(args.executor, args.jobs, args.verbose, args.profile, args.cpus, args.gpus, slurm_options(args.slurm))
    failed = carry_out(plans, study, where)
    if args.experiment == "one" or args.parts:
        return 1 if failed else 0
    failed += tables(plans, study)
    if args.experiment in ("figures", "experiments"):
        failed += draw(study)
    return 1 if failed else 0


def slurm_options(pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as submitit takes them, whole numbers as such."""
    split = dict(pair.partition("=")[::2] for pair in pairs)
    return {key: int(value) if value.isdigit() else value for key, value in split.items()}


def shown_words(job: Any) -> list[str]:
    """A run's words, also where the weights that it takes are not there yet."""
    epoch = {} if not job.model_dir or job.load_epoch else {"load_epoch": 1}
    words = replace(job, **epoch).words()
    if epoch:
        place = words.index("--load-epoch")
        del words[place : place + 2]
    return words


def plans_of(args: argparse.Namespace) -> tuple[list[tuple[str, list[Any]]], Any]:
    """Each experiment's name and its chains of runs.

    Raises:
        UserError: a data set or method that is not known, or options that contradict each other.
    """
    from ..errors import UserError
    from ..experiments import plan

    foreign = is_foreign()
    if args.executor != "local" and foreign:
        raise UserError("a CoOp checkout's own trainers are run on this machine alone: leave out --executor")
    if args.profile and foreign:
        raise UserError("--profile is of this project's own train.py, and this is another checkout: leave it out")
    for pair in args.slurm:
        if "=" not in pair:
            raise UserError(f"--slurm takes KEY=VALUE, not {pair!r}")
    for flag, given, executor in (
        ("--slurm", args.slurm, "slurm"),
        ("--jobs", args.jobs, "local"),
        ("--verbose", args.verbose, "local"),
        ("--profile", args.profile, "local"),
        ("--gpus", args.gpus, "ray"),
    ):
        if given and args.executor != executor:
            raise UserError(f"{flag} is for --executor {executor}: leave one of the two out")
    if len(args.opts) % 2:
        raise UserError(f"--opts takes KEY VALUE pairs, and {args.opts[-1]!r} stands alone")
    study = plan.Study(
        seeds=tuple(args.seeds),
        methods=tuple(args.methods),
        shots=args.shots[0] if args.shots else None,
        output=args.output,
        data=args.data,
        config=args.config,
        cache=args.cache,
        options=tuple(zip(args.opts[::2], args.opts[1::2], strict=True)),
        subset=args.subset,
        foreign=foreign,
        **({"configs": Path("configs")} if foreign else {}),
    )
    if foreign and args.experiment not in ("base2new", "one"):
        raise UserError(f"{args.experiment} needs this project's own data sets; in a CoOp checkout run base2new")
    if len(args.shots) > 1 and args.experiment != "few_shot":
        raise UserError(f"--shots takes one number, and {len(args.shots)} are given: run few_shot for several")
    names = list(plan.ELEVEN) if args.names == ["all"] else args.names
    if args.experiment == "one":
        return [("one", one(args, study))], study
    if args.experiment in OF_ONE_DATASET:
        chains = []
        for name in names or ["miniworld"]:
            study.check(name)
            chains += of_dataset(args, study, name)
        return [(args.experiment, chains)], study
    if args.experiment == "cross_dataset":
        source, *targets = names or ["minisource"]
        for name in (source, *(targets or plan.targets_of(source))):
            study.check(name)
        return [("cross_dataset", plan.cross_dataset(study, source, targets))], study
    if names:
        raise UserError(f"{args.experiment} is of the embedded data sets: leave out {' '.join(names)}")
    return everything(study, args.rows, args.experiment == "experiments"), study


def of_dataset(args: argparse.Namespace, study: Any, name: str) -> list[Any]:
    from ..experiments import plan

    if args.experiment == "base2new":
        return plan.base2new(study, name, args.parts, args.load_epoch)
    if args.experiment == "few_shot":
        return plan.few_shot(study, name, args.shots or (1, 2, 4, 8, 16))
    if args.experiment == "ablation":
        return plan.ablation(study, name, args.rows)
    return {"learners": plan.learners, "gzsl": plan.gzsl}[args.experiment](study, name)


def everything(study: Any, rows: list[str], all_of_them: bool) -> list[tuple[str, list[Any]]]:
    """What is run on the embedded data sets; for the pictures alone the learners and the curves."""
    from ..experiments import plan
    from ..experiments.rows import ROWS

    out = [("learners", plan.learners(study, "miniworld")), ("few_shot", plan.few_shot(study, "miniworld"))]
    if all_of_them:
        out.insert(1, ("gzsl", plan.gzsl(study, "miniworld")))
        out.append(("ablation", plan.ablation(study, "miniworld", rows or list(ROWS))))
        out.append(("cross_dataset", plan.cross_dataset(study, "minisource")))
    return out


def one(args: argparse.Namespace, study: Any) -> list[Any]:
    from ..errors import UserError
    from ..experiments.job import Chain

    if len(args.names) != 2 or not args.folder:
        raise UserError("one needs a method, a data set and --folder, as in shipclip run one CoOp dtd --folder f")
    method, dataset = args.names
    study.check(dataset)
    folder = args.folder.replace("{config}", study.config_of(method, dataset))
    model = args.model_dir.replace("{config}", study.config_of(method, args.source or dataset))
    chains = []
    for seed in study.seeds:
        place = folder.replace("{seed}", str(seed))
        job = study.job(method, dataset, seed, place, "all", f"{method} seed {seed}", shots=study.shots)
        if model:
            job = replace(job, eval_only=True, model_dir=model.replace("{seed}", str(seed)), load_epoch=args.load_epoch)
        chains.append(Chain((job,)))
    return chains


def is_foreign() -> bool:
    """Whether this is a checkout of CoOp's kind, with a train.py and data sets of its own."""
    return Path("train.py").is_file() and not (Path("shipclip").is_dir() and Path("datasets").is_dir())
