"""Runs of a plan by the library: what train.py gives, and one pass over the images for all parts of a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shipclip import checkpoints, loop
from shipclip import method as methods
from shipclip.experiments import plan, work
from shipclip.experiments.asked import settings_of
from shipclip.experiments.job import Chain
from shipclip.experiments.plan import Study
from shipclip.generators.vae import VAE
from shipclip.learners import LEARNERS
from tests.runs import run, same_weights

KEYS = {
    "OPTIM.MAX_EPOCH": "3",
    "FEATURES.VIEWS": "2",
    "TRAINER.SHIP.GENERATOR.EPOCHS": "4",
    "TRAINER.SHIP.GENERATOR.CHECKPOINT_FREQ": "2",
    "TRAIN.CHECKPOINT_FREQ": "1",
}


def study(data: Path, output: Path, *methods: str) -> Study:
    return Study((1,), methods, 2, str(output), str(data), options=tuple(KEYS.items()))


def figures(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())["figures"]


def done(chain: Chain) -> list[str]:
    return [outcome.kind for outcome in work.do(chain, work.Bench()) if outcome.kind != "begun"]


@pytest.fixture(scope="module")
def ship(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """SHIP, base to new, done."""
    chain = plan.base2new(study(data, tmp_path_factory.mktemp("plan"), "SHIP"), "miniworld")[0]
    assert done(chain) == 3 * ["done"]
    return chain


def test_a_run_is_train_pys_to_the_bit(ship: Chain, data: Path, trained: Path):
    folder = Path(ship.jobs[0].folder)
    mine, theirs = figures(folder), figures(trained)
    assert mine.keys() == theirs.keys() and mine["synthetic"] == theirs["synthetic"]
    for key in ("accuracy", "mean_class_accuracy", "macro_f1", "correct", "total"):
        assert mine[key] == theirs[key], key
    assert same_weights(trained, folder, "prompt_learner/model.pth.tar-3", "generator/model.pth.tar-4")
    facts = [json.loads((place / "results.json").read_text()) for place in (folder, trained)]
    same = (
        "method",
        "trainer",
        "dataset",
        "subset",
        "seed",
        "shots",
        "classnames",
        "new_classnames",
        "texts",
        "identity",
    )
    assert [facts[0][key] for key in same] == [facts[1][key] for key in same]
    assert "=> result\n* total:" in (folder / "log.txt").read_text()
    assert (folder / "tensorboard").is_dir()


def test_train_py_takes_a_run_of_a_plan_for_its_own(ship: Chain, data: Path, capsys: pytest.CaptureFixture):
    job = ship.jobs[0]
    run(data, Path(job.folder), "SHIP", "FEATURES.CACHE_DIR", job.cache)
    assert "holds the finished results of this run" in capsys.readouterr().out


def test_a_finished_chain_has_nothing_to_do(ship: Chain):
    assert done(ship) == 3 * ["finished before"]


@pytest.mark.parametrize("name", [cls.__name__ for cls in LEARNERS if cls.each_class_alone])
def test_logits_over_all_classes_hold_those_over_the_new_ones(name: str, data: Path, tmp_path: Path):
    """Of every learner that says so, as it comes from its training on base classes."""
    options = {"CLIPLoRA": {"TRAINER.CLIPLORA.N_ITERS": "2"}, "MaPLe": {"OPTIM.MAX_EPOCH": "1"}}.get(name, {})
    keys = {**KEYS, "OPTIM.MAX_EPOCH": "1", "TEST.NO_TEST": "True", **options}
    chain = plan.base2new(replace(study(data, tmp_path, name), options=tuple(keys.items())), "miniworld")[0]
    training, others = chain.jobs[:-2], chain.jobs[-2:]
    assert name == "ZeroshotCLIP" or done(replace(chain, jobs=training)) == ["done"]
    sessions = []
    for job in others:
        asked = settings_of(job)
        sessions.append(work.opened(job, asked.tree, asked.settings, work.Bench()))
        sessions[-1].load(job.model_dir)
    new, whole = sessions
    expected, labels = methods.logits(new.method)
    found = work.part_of(whole.task, methods.logits(whole.method)[0], new.task)
    assert torch.allclose(found[0], expected, atol=1e-4) and torch.equal(found[1], labels)


def test_the_images_are_looked_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The figures are those of each test by itself."""
    found, passes = [], []
    logits = methods.logits
    monkeypatch.setattr(methods, "logits", lambda method, *split: passes.append(method) or logits(method, *split))
    for output, once in ((tmp_path / "once", True), (tmp_path / "each", False)):
        chain = plan.base2new(study(data, output, "CoOp"), "miniworld")[0]
        if not once:
            monkeypatch.setattr(work.Once, "_compute", lambda self: None)
        passes.clear()
        assert done(chain) == 3 * ["done"] and len(passes) == (1 if once else 3)
        found.append([figures(job.folder) for job in chain.jobs])
    for once, each in zip(*found, strict=True):
        assert once.keys() == each.keys() and once["total"] == each["total"] > 0
        assert once["accuracy"] == each["accuracy"] and once.get("h") == each.get("h")
        assert once["confidence"]["ece"] == pytest.approx(each["confidence"]["ece"], abs=1e-3)


def test_the_parts_of_a_pass_are_rows_and_columns(data: Path, tmp_path: Path):
    from shipclip.data import DATASETS, DatasetOptions, task_of

    source = DATASETS.get("MiniWorld")(data)
    whole, new = (task_of(source, DatasetOptions("MiniWorld", subsample_classes=s), 1) for s in ("all", "new"))
    n = len(whole.labels.names)
    logits = torch.arange(len(whole.test))[:, None] * 1000.0 + torch.arange(n)
    got, labels = work.part_of(whole, logits, new)
    at = {item.impath: i for i, item in enumerate(whole.test)}
    column = {name: i for i, name in enumerate(whole.labels.names)}
    expected = [[at[i.impath] * 1000.0 + column[name] for name in new.labels.names] for i in new.test]
    assert got.tolist() == expected and labels.tolist() == [item.label for item in new.test]
    assert work.part_of(new, logits, whole) is None


@pytest.mark.parametrize("name", ["SHIP", "CLIPAdapter", "TipAdapter"])
def test_what_two_experiments_train_is_trained_once(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = study(data, tmp_path, name)
    (one,), two = plan.learners(own, "miniworld"), plan.few_shot(own, "miniworld", (1, 2))
    merged, less = plan.joined([one, *two])
    assert less is two[0] and [job.folder for job in merged.jobs] == [one.jobs[0].folder, two[1].jobs[0].folder]
    epochs: list[int] = []
    train = loop._train
    monkeypatch.setattr(loop, "_train", lambda stage, seed, epoch: epochs.append(epoch) or train(stage, seed, epoch))
    assert done(merged) == 2 * ["done"]
    assert len(epochs) == {"SHIP": 4 + 3, "CLIPAdapter": 3, "TipAdapter": 0}[name]
    first, second = (Path(job.folder) for job in merged.jobs)
    assert figures(first) == figures(second)
    kept = sorted(file.relative_to(second) for file in second.rglob("model.pth.tar-*"))
    assert len(kept) == (2 if name == "SHIP" else 1)
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in kept)
    facts = [json.loads((place / "results.json").read_text()) for place in (first, second)]
    assert [one["experiment"] for one in facts] == ["learners", "few_shot"]
    assert facts[0]["identity"] == facts[1]["identity"]
    took = checkpoints.seconds_of(checkpoints.read(checkpoints.find(first / "prompt_learner")))
    assert facts[1]["time"]["train_s"] >= round(took, 3) > 0  # what it takes, not what was left
    assert "* accuracy:" in (second / "log.txt").read_text() and "Resumed from" in (second / "log.txt").read_text()
    assert "nothing reads RESUME" not in (second / "log.txt").read_text()


def test_runs_that_differ_in_stage_2_alone_make_their_synthetic_features_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []
    make = VAE.make
    monkeypatch.setattr(VAE, "make", lambda self, *given: made.append(len(given[0])) or make(self, *given))
    one, other = plan.ablation(study(data, tmp_path), "miniworld", ["SHIP", "own-alone"])
    bench = work.Bench()
    monkeypatch.setattr(bench.samples, "spared_since", lambda: 1000.0)  # an epoch's features took so many seconds
    assert [outcome.kind for chain in (one, other) for outcome in work.do(chain, bench)] == 2 * ["begun", "done"]
    tested = 3 * 72  # the test images' labels, for how good the generator is: measured once as well
    assert sum(made) == 3 * 64 + tested  # three epochs of two whole batches
    alone = replace(other.jobs[0], folder=str(tmp_path / "alone"), cache="")
    assert done(Chain((alone,))) == ["done"]
    assert sum(made) == 2 * (3 * 64 + tested)
    results = json.loads((Path(other.jobs[0].folder) / "results.json").read_text())
    assert results["time"]["train_s"] > 3000  # as long as it would have taken alone
    assert figures(other.jobs[0].folder) == figures(alone.folder) != figures(one.jobs[0].folder)
    assert same_weights(Path(alone.folder), Path(other.jobs[0].folder), "prompt_learner/model.pth.tar-3")


def test_one_of_the_same_runs_that_fails_does_not_keep_the_others_from_theirs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own = study(data, tmp_path, "CLIPAdapter")
    (merged,) = plan.joined([*plan.learners(own, "miniworld"), *plan.few_shot(own, "miniworld", (2,))])
    Path(merged.jobs[0].folder).parent.mkdir(parents=True)
    Path(merged.jobs[0].folder).write_text("no folder")
    assert done(merged) == ["failed", "done"]


def test_a_failed_run_is_told_and_takes_those_with_it_that_need_it(data: Path, tmp_path: Path):
    chain = plan.base2new(study(data, tmp_path, "CoOp"), "miniworld")[0]
    bad = replace(chain.jobs[0], options=(("OPTIM.LR", "-1"),))
    outcomes = list(work.do(replace(chain, jobs=(bad, *chain.jobs[1:])), work.Bench()))
    assert [outcome.kind for outcome in outcomes] == ["begun", "failed"]
    assert "OPTIM.LR is -1" in outcomes[1].text
    assert not (Path(bad.folder) / "results.json").exists()


def test_a_bug_keeps_its_traceback(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chain = plan.base2new(study(data, tmp_path, "CoOp"), "miniworld", ["train"])[0]
    monkeypatch.setattr(work, "opened", lambda *_: 1 / 0)
    outcome = list(work.do(chain, work.Bench()))[-1]
    console = Path(chain.jobs[0].folder) / "console.txt"
    assert outcome.kind == "failed" and str(console) in outcome.text
    assert "ZeroDivisionError" in console.read_text() and "Traceback" in console.read_text()


def test_a_penalty_comes_from_the_run_before(data: Path, tmp_path: Path):
    own = replace(study(data, tmp_path, "CoOp"), shots=2)
    chain = plan.gzsl(own, "miniworld")[0]
    assert done(chain) == 2 * ["done"]
    penalty = figures(chain.jobs[0].folder)["best_penalty"]
    content = json.loads((Path(chain.jobs[1].folder) / "results.json").read_text())
    assert content["cfg"]["TEST"]["BASE_PENALTY"] == penalty


def test_an_unknown_key_is_one_sentence(data: Path, tmp_path: Path):
    chain = plan.learners(
        Study((1,), ("CoOp",), 2, str(tmp_path), str(data), options=(("OPTIM.LX", "1"),)), "miniworld"
    )[0]
    outcome = list(work.do(chain, work.Bench()))[-1]
    assert outcome.kind == "failed" and "unknown config key OPTIM.LX; did you mean OPTIM.LR?" in outcome.text
