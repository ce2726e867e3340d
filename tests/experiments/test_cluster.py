"""Plans on a Ray cluster and on Slurm, each in its form for one machine: the figures are those of this process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shipclip.errors import UserError
from shipclip.experiments import cluster, plan
from shipclip.experiments.job import Chain
from shipclip.experiments.outcome import Outcome
from shipclip.experiments.plan import Study
from shipclip.extras import imported
from tests.experiments.test_work import KEYS, figures
from tests.runs import small_elsewhere


@pytest.fixture
def chains(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Chain]:
    """Zero-shot CLIP on base, new and all classes, and one run that cannot be."""
    monkeypatch.setenv("PYTHONPATH", small_elsewhere(tmp_path / "site"))
    study = Study((1,), ("ZeroshotCLIP",), 2, str(tmp_path), str(data), options=tuple(KEYS.items()))
    good = plan.base2new(study, "miniworld")
    bad = plan.learners(replace(study, methods=("CoOp",), options=(("OPTIM.LR", "-1"),)), "miniworld")
    return [*good, *bad]


def check(outcomes: list[Outcome], chains: list[Chain]) -> None:
    told = {outcome.job.folder: outcome for outcome in outcomes}
    assert len(told) == len(outcomes) == 4
    assert all(figures(job.folder)["accuracy"] > 0 for job in chains[0].jobs)
    assert [told[job.folder].kind for chain in chains for job in chain.jobs] == [*(3 * ["done"]), "failed"]
    assert "OPTIM.LR is -1" in told[chains[1].jobs[0].folder].text


def test_slurm_does_a_plan(chains: list[Chain], tmp_path: Path):
    pytest.importorskip("submitit")
    check(list(cluster.on_slurm(chains, tmp_path / "slurm", {"cluster": "local"})), chains)


def test_slurms_options_are_checked(chains: list[Chain], tmp_path: Path):
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match="check --slurm"):
        list(cluster.on_slurm(chains, tmp_path / "slurm", {"cluster": "local", "nonsense": 1}))


def test_ray_does_a_plan_also_when_a_worker_is_killed(
    chains: list[Chain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first process that takes the first chain is killed half-way; the figures are the same."""
    ray = pytest.importorskip("ray")
    mark = tmp_path / "killed"
    kill = f"import os, signal; open({str(mark)!r}, 'x'); os.kill(os.getpid(), signal.SIGKILL)"
    original = cluster.do_all

    def once(chain: Chain, folder: str, threads: int) -> list[Outcome]:
        if len(chain.jobs) == 3 and not os.path.exists(mark):
            exec(kill)
        return original(chain, folder, threads)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        monkeypatch.setattr(cluster, "do_all", once)
        check(list(cluster.on_ray(chains)), chains)
    finally:
        ray.shutdown()
    assert mark.exists()


def test_a_package_that_is_not_there_is_one_sentence():
    with pytest.raises(UserError, match=r"Ray needs not_there, .*pip install 'ship-clip\[ray\]'"):
        imported("not_there", "ray", "Ray")
