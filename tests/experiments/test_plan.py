"""The experiments as data: which runs, and what train.py would be told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import train
from shipclip.errors import UserError
from shipclip.experiments import plan
from shipclip.experiments.job import Chain, Job
from shipclip.experiments.plan import Study
from shipclip.experiments.rows import BEYOND, ROWS
from shipclip.presets import CONFIGS

ONE = Study(seeds=(1,), data="/data")


def jobs(chains: Sequence[Chain]) -> list[Job]:
    return [job for chain in chains for job in chain.jobs]


def told(chains: Sequence[Chain]) -> list[str]:
    """Of each run trainer, seed, subset, and what else tells it apart."""
    out = []
    for job in jobs(chains):
        words = [job.trainer, str(job.seed), job.subset, *(["eval"] if job.eval_only else []), job.overlay]
        words += [f"{key.rpartition('.')[2]} {value}" for key, value in job.options]
        words += [f"{key.rpartition('.')[2]} of {Path(place).parts[1]}" for key, (place, _) in job.asks.items()]
        out.append(" ".join(filter(None, words)))
    return out


def test_every_method_trains_on_base_and_is_tested_on_new_and_jointly():
    chains = plan.base2new(ONE, "miniworld")
    assert told(chains) == [
        *(f"ZeroshotCLIP 1 {subset} eval" for subset in ("base", "new", "all")),
        *("CoOp 1 base", "CoOp 1 new eval", "CoOp 1 all eval"),
        *("CoCoOp 1 base", "CoCoOp 1 new eval", "CoCoOp 1 all eval"),
        *(3 * ["SHIP 1 base", "SHIP 1 new eval", "SHIP 1 all eval"]),  # text features, and tuned
        *("CoOp 1 all", "CoOp 1 base eval", "CoOp 1 new eval", "CoOp 1 all eval"),
    ]
    assert [chain.jobs[0].config for chain in chains[3:6]] == ["miniclip", "miniclip_textpoint", "miniclip_tuned"]
    assert all(job.model_dir in ("", chain.jobs[0].folder) for chain in chains for job in chain.jobs)
    assert len({job.folder for job in jobs(chains)}) == len(jobs(chains))


def test_folders_are_coops():
    found = [job.folder for job in jobs(plan.base2new(Study(seeds=(7,), methods=("SHIP",), shots=4, data="/d"), "dtd"))]
    place = "dtd/shots_4/SHIP/vit_b16/seed7"
    assert found == [f"output/base2new/{part}/{place}" for part in ("train_base", "test_new", "test_all")]


def test_a_config_is_each_methods_own_for_the_data_set():
    def configs(dataset: str, study: Study = ONE) -> list[str]:
        return [study.config_of(name, dataset) for name in ("CoOp", "CoOp-all", "CoCoOp", "SHIP", "SHIP+GDA", "MaPLe")]

    assert configs("dtd") == [
        *("vit_b16_ctxv1", "vit_b16_ctxv1", "vit_b16_c4_ep10_batch1_ctxv1", "vit_b16", "vit_b16"),
        "vit_b16_c2_ep5_batch4_2ctx",
    ]
    assert configs("imagenet")[:2] == 2 * ["vit_b16_ep50_ctxv1"]
    assert configs("imagenet")[3] == "vit_b16_imagenet_reference"
    assert set(configs("miniworld")) == {"miniclip"}
    assert set(configs("dtd", Study(config="vit_b32"))) == {"vit_b32"}
    assert Study(config="vit_b32").config_of("CoOp:rn50", "dtd") == "rn50"


def test_parts_of_base_to_new_may_be_wanted_alone():
    study = Study(seeds=(3,), methods=("CoOp",), data="/data")
    assert told(plan.base2new(study, "dtd", ["train"])) == ["CoOp 3 base"]
    found = jobs(plan.base2new(study, "dtd", ["base", "new"], 10))
    assert [(job.subset, job.eval_only, job.load_epoch) for job in found] == [("base", True, 10), ("new", True, 10)]


def test_a_coop_checkout_has_no_joint_test_of_its_own_trainers():
    study = Study(seeds=(1,), methods=("CoOp", "SHIP"), data="/data", foreign=True)
    assert told(plan.base2new(study, "dtd")) == [
        *("CoOp 1 base", "CoOp 1 new eval", "SHIP 1 base", "SHIP 1 new eval", "SHIP 1 all eval")
    ]
    assert [bool(job.cache) for job in jobs(plan.base2new(study, "dtd"))] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [("caltech101", "DATA=/path/to/data"), ("nothing", "no data set nothing; known: awa2 caltech101")],
)
def test_what_is_missing_is_one_sentence(dataset: str, sentence: str):
    with pytest.raises(UserError, match=sentence):
        Study().check(dataset)


def test_learners_run_alone_and_with_ship():
    study = Study(seeds=(2,), methods=("ZeroshotCLIP", "GDA", "SHIP", "SHIP+GDA:vit_b32"))
    assert told(plan.learners(study, "miniworld")) == [
        *("ZeroshotCLIP 2 gzsl eval", "GDA 2 gzsl", "SHIP 2 gzsl", "SHIP 2 gzsl with_GDA"),
    ]
    folder = jobs(plan.learners(study, "miniworld"))[-1].folder
    assert folder == "output/learners/miniworld/shots_16/SHIP+GDA/vit_b32/seed2"
    in_dev = jobs(plan.learners(Study(subset="dev"), "miniworld"))
    assert all(job.folder.startswith("output/learners_dev/") and job.subset == "dev" for job in in_dev)


def test_every_learner_has_its_overlay_in_the_default_list():
    overlays = {file.stem for file in (CONFIGS / "trainers" / "SHIP").glob("with_*.yaml")}
    assert overlays and overlays == {job.overlay for job in jobs(plan.learners(ONE, "miniworld"))} - {""}


def test_every_experiment_takes_the_tuned_config_where_there_is_one():
    for dataset, config in (("miniworld", "miniclip_tuned"), ("cub", "vit_b16_tuned")):
        for make in (plan.learners, plan.gzsl, plan.few_shot, plan.ablation):
            found = [job for job in jobs(make(ONE, dataset)) if job.trainer == "SHIP" and job.config == config]
            assert found and not any(":" in job.folder for job in found), make
    assert not Study(config="vit_b32", data="/d").tuned("cub")


def test_gzsl_chooses_the_penalty_within_seen_classes_first():
    study = Study(seeds=(1,), methods=("ZeroshotCLIP", "SHIP"))
    chains = plan.gzsl(study, "miniworld")
    assert told(chains) == [
        *("ZeroshotCLIP 1 dev eval", "ZeroshotCLIP 1 gzsl eval BASE_PENALTY of gzsl_dev"),
        *("SHIP 1 dev", "SHIP 1 gzsl BASE_PENALTY of gzsl_dev"),
    ]
    first, then = chains[1].jobs
    assert then.folder == "output/gzsl/miniworld/shots_-1/SHIP/miniclip/seed1" and then.shots == -1
    assert then.asks["TEST.BASE_PENALTY"] == (first.folder, "best_penalty")


def test_cross_dataset_trains_on_the_source_alone():
    study = Study(seeds=(1,), methods=("CoOp", "SHIP", "ZeroshotCLIP"))
    chains = plan.cross_dataset(study, "minisource", ["miniworld"])
    place = "output/cross_dataset/minisource/minisource/shots_16"
    assert told(chains) == [
        *("CoOp 1 all", "CoOp 1 all eval"),
        "SHIP 1 all ONLY True",
        f"SHIP 1 all REAL False FROM {place}/SHIP/miniclip/seed1",
        *(2 * ["ZeroshotCLIP 1 all eval"]),
    ]
    assert chains[0].jobs[1].model_dir == f"{place}/CoOp/miniclip/seed1"
    assert len(plan.targets_of("imagenet")) == 14 and "imagenet" not in plan.targets_of("caltech101")


def test_ablations_change_one_thing_at_a_time():
    rows = ["SHIP", "GAN", "generator-words", "learner-random", "tuned", "tuned-hard"]
    chains = plan.ablation(ONE, "miniworld", rows)
    assert told(chains) == [
        *("SHIP 1 gzsl", "SHIP 1 gzsl NAME GAN", "SHIP 1 gzsl CTX_INIT a_photo_of_a"),
        *("SHIP 1 gzsl CTX_INIT ", "SHIP 1 gzsl", "SHIP 1 gzsl LOGIT_SCALE 30.0"),
    ]
    assert jobs(chains)[-2].folder == "output/ablation/miniworld/shots_16/tuned/miniclip_tuned/seed1"
    with pytest.raises(UserError, match="there is no row of the ablation nonsense; known: "):
        plan.ablation(ONE, "miniworld", ["nonsense"])


def test_runs_that_train_the_same_are_one_chain():
    study = Study(seeds=(1, 2), output="o")
    every = [
        *plan.learners(study, "miniworld"),
        *plan.gzsl(study, "miniworld"),
        *plan.few_shot(study, "miniworld"),
        *plan.ablation(study, "miniworld"),
        *plan.cross_dataset(study, "minisource"),
        *plan.base2new(study, "miniworld"),
    ]
    merged = [chain for chain in plan.joined(every) if chain.needed == 0]
    assert [[job.title for job in chain.jobs] for chain in merged if chain.jobs[0].seed == 1] == [
        ["CoOp seed 1", "CoOp, 16 shots, seed 1"],
        ["SHIP seed 1", "SHIP, 16 shots, seed 1", "SHIP seed 1"],
        ["CLIPAdapter seed 1", "CLIPAdapter, 16 shots, seed 1"],
        ["SHIP:miniclip_tuned seed 1", "SHIP:miniclip_tuned, 16 shots, seed 1", "tuned seed 1"],
    ]
    jobs = [job.folder for chain in every for job in chain.jobs]
    assert sorted(job.folder for chain in plan.joined(every) for job in chain.jobs) == sorted(jobs)
    for of_one_seed in ([chain.jobs[0].seed for chain in merged], [chain.jobs[-1].seed for chain in merged]):
        assert of_one_seed == 4 * [1] + 4 * [2]
    new_each_time = Study(seeds=(-1,), methods=("CoOp",))
    alone = [*plan.learners(new_each_time, "miniworld"), *plan.few_shot(new_each_time, "miniworld", (16,))]
    assert plan.joined(alone) == alone


def test_every_ablation_is_a_setting_of_ship():
    """Names, values and kinds of the rows' options, as train.py takes them."""
    assert not ROWS.keys() & BEYOND.keys() and len(ROWS | BEYOND) > 20
    for job in jobs(plan.ablation(ONE, "miniworld")):
        plain, changed = (
            train.setup_cfg(train.parse_args(["--trainer", "SHIP", *config_of(job), *given]))
            for given in ([], [word or "''" for pair in job.options for word in pair])
        )
        assert (plain != changed) == bool(job.options), job.title


def config_of(job: Job) -> list[str]:
    return ["--config-file", f"configs/trainers/SHIP/{job.config}.yaml"]


def test_few_shot_runs_every_number_of_shots():
    found = jobs(plan.few_shot(Study(seeds=(1,), methods=("SHIP",)), "miniworld", (1, 4)))
    assert [(job.shots, Path(job.folder).parts[3]) for job in found] == [(1, "shots_1"), (4, "shots_4")]


def test_the_words_are_train_pys():
    job = jobs(plan.learners(Study(seeds=(5,), methods=("SHIP+GDA",), options=(("OPTIM.LR", "0.1"),)), "miniworld"))[0]
    args = train.parse_args(job.words())
    assert args.config_file == ["configs/trainers/SHIP/miniclip.yaml", "configs/trainers/SHIP/with_GDA.yaml"]
    assert (args.seed, args.trainer, args.root, args.output_dir) == (5, "SHIP", "data", job.folder)
    cfg = train.setup_cfg(args)
    assert (cfg.OPTIM.LR, cfg.DATASET.NUM_SHOTS, cfg.TRAINER.SHIP.LEARNER) == (0.1, 16, "GDA")


def test_weights_that_are_not_there_are_one_sentence(tmp_path: Path):
    job = jobs(plan.base2new(Study(output=str(tmp_path), methods=("CoOp",), seeds=(1,)), "miniworld"))[1]
    with pytest.raises(UserError, match=r"there is no trained model in .*train_base.*: train it first"):
        job.words()
