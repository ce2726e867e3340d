"""Chains on this machine's workers, with a stub for train.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shipclip.experiments import carry_out, local, plan
from shipclip.experiments.display import Display
from shipclip.experiments.job import Chain, Job
from shipclip.experiments.outcome import Outcome
from shipclip.experiments.plan import Study

# Ends the worker that started it, the first time or always; else leaves a log as CoOp's trainers do.
STUB = """
import os, pathlib, signal, sys
value = lambda key: sys.argv[sys.argv.index(key) + 1]
out = pathlib.Path(value("--output-dir"))
out.mkdir(parents=True, exist_ok=True)
seed, been = value("--seed"), out / "been"
if seed == "3" or (seed in ("2", "5") and not been.exists()):
    been.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
(out / "log.txt").write_text(f"=> result\\n* accuracy: 5{seed}.00%\\n")
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """Of seeds 1 to 5; the worker is lost once with seed 2 and once with seed 5 of its chain, and always with seed 3,
    whose chain goes on to seed 4."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "train.py").write_text(STUB)
    study = Study(seeds=(1, 2, 3, 4, 5), methods=("CoOp",), output=str(folder / "out"), foreign=True)
    one, two, three, four, five = plan.base2new(study, "miniworld", ["train"])
    chains = [one, Chain((*two.jobs, *five.jobs), needed=0), Chain((*three.jobs, *four.jobs), needed=0)]
    return list(local.run(chains, 2, {"train_py": str(folder)}))


def test_what_a_lost_run_is_needed_for_is_lost_with_it():
    chain = plan.base2new(Study(seeds=(1,), methods=("CoOp",)), "miniworld")[0]
    train, new, joint = chain.jobs
    assert local.after(chain, train) is None and local.after(chain, joint) is None
    assert local.after(chain, new) == Chain((joint,), needed=0)


def test_every_run_is_told_of_once_at_its_end(outcomes: list[Outcome]):
    ends = {outcome.job.seed: outcome for outcome in outcomes if outcome.kind != "begun"}
    assert len(ends) == len([outcome for outcome in outcomes if outcome.kind != "begun"]) == 5
    assert {seed: ends[seed].text for seed in (1, 2, 4, 5)} == {seed: f"accuracy: 5{seed}.00%" for seed in (1, 2, 4, 5)}


def test_a_run_whose_worker_is_lost_is_done_again(outcomes: list[Outcome]):
    begun = [outcome.job.seed for outcome in outcomes if outcome.kind == "begun"]
    assert begun.count(2) == begun.count(5) == 2 and begun.count(1) == begun.count(4) == 1


def test_a_run_that_loses_its_worker_again_has_failed(outcomes: list[Outcome]):
    failed = [outcome for outcome in outcomes if outcome.kind == "failed"]
    assert [outcome.job.seed for outcome in failed] == [3]
    assert "its process ended by signal 9, 2 times" in failed[0].text and "--jobs" in failed[0].text


def test_a_chain_that_would_wait_for_a_generator_lets_others_go_first():
    study = Study(seeds=(1,), methods=("SHIP", "SHIP+GDA", "SHIP+CLIPAdapter", "CoOp"))
    ship, gda, adapter, coop = chains = plan.learners(study, "miniworld")
    queue = local.Queue(chains)
    assert queue.next([]) is ship
    assert queue.next([ship]) is coop  # the others would wait for SHIP's generator
    queue.left.append(coop)
    assert queue.next([ship, coop]) is coop
    assert queue.next([ship, coop]) is gda  # better to wait beside it than to do nothing
    queue.done(ship)
    assert queue.next([gda]) is adapter and queue.next([gda]) is None


def test_a_generator_is_shared_by_runs_that_differ_in_stage_2_alone():
    study = Study(seeds=(1,), output="o")
    runs = {chain.title: chain.jobs[0] for chain in plan.ablation(study, "miniworld")}
    ship = runs["SHIP seed 1"].generator
    assert ship and runs["share-4 seed 1"].generator == runs["learner-random seed 1"].generator == ship
    for other in ("GAN", "kl-0.1", "tuned"):
        assert runs[f"{other} seed 1"].generator not in (ship, None)
    (more,) = plan.learners(Study(seeds=(2,), output="o", methods=("SHIP",)), "miniworld")
    assert more.generators and ship not in more.generators
    of_target = [job.generator for chain in plan.cross_dataset(study, "minisource") for job in chain.jobs]
    assert len([one for one in of_target if one]) == 1  # the source's; a target's run takes it from there
    dev, last = next(chain for chain in plan.gzsl(study, "miniworld") if chain.title.startswith("SHIP seed")).jobs
    assert dev.generator != last.generator and not plan.gzsl(study, "miniworld")[0].generators


def test_workers_share_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local, "cores", lambda: 8)
    monkeypatch.setattr(local, "gpu_count", lambda: 0)
    monkeypatch.setattr(local, "free_memory", lambda: 100 * local.MEMORY)
    assert local.default_jobs(small=True) == 4 and local.default_jobs(small=False) == 1
    monkeypatch.setattr(local, "free_memory", lambda: 3 * local.MEMORY - 1)
    assert local.default_jobs(small=True) == 2  # what fits into memory
    monkeypatch.setattr(local, "gpu_count", lambda: 6)
    assert local.default_jobs(small=True) == local.default_jobs(small=False) == 6


def job(title: str, folder: str = "f") -> Job:
    return replace(
        plan.learners(Study(seeds=(1,), methods=("CoOp",)), "miniworld")[0].jobs[0], title=title, folder=folder
    )


def test_the_lines_tell_of_every_run(capsys: pytest.CaptureFixture):
    with Display(3) as display:
        display.tell(Outcome(job("a"), "begun"))
        display.tell(Outcome(job("a"), "done", 3.2, "accuracy: 1.00%"))
        display.tell(Outcome(job("b"), "finished before"))
        display.tell(Outcome(job("c", "place"), "failed", 1.0, "why"))
    printed = capsys.readouterr()
    assert printed.out == "a: accuracy: 1.00% (3 s)\nb: finished before\n"
    assert printed.err == "c: FAILED (why), see place\n" and display.failed == ["c: place"]


def test_the_live_table_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    from rich.console import Console

    display = Display(4)
    display.began -= 60
    display.tell(Outcome(job("done"), "done", 60.0, ""))
    display.tell(Outcome(job("at work"), "begun", worker=1))
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(display.table())
    text = console.export_text()
    assert "at work" in text and "1 of 4 runs, 0 failed" in text
    assert "1.0 runs a minute" in text and "about 3 min left" in text


@pytest.mark.parametrize(
    ("name", "data", "stem"),
    [
        ("base2new", ["dtd"], "dtd_shots_16"),
        ("base2new", list(plan.ELEVEN), "eleven_shots_16"),
        ("few_shot", ["miniworld"], "miniworld"),
        ("cross_dataset", ["imagenet", "dtd"], "imagenet_shots_16"),
    ],
)
def test_tables_are_called_after_their_data(name: str, data: list[str], stem: str):
    assert carry_out.stem_of(name, [replace(job("x"), dataset=one) for one in data]) == stem


def test_a_chain_is_called_after_its_first_run():
    assert Chain((job("first"), job("second"))).title == "first"
