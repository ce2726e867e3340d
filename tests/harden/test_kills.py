"""The short version: a kill of a run with a generator, on a cold cache."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from . import kills


def test_a_killed_run_ends_to_the_bit_as_another():
    """In a process of its own: a run is forked, which one that has used a GPU or threads cannot stand."""
    command = [sys.executable, "-m", "tests.harden", "--inputs", "0", "--kills", "1", "--seed", "1"]
    command += ["--methods", "SHIP, VAE", "--no-script"]
    found = subprocess.run(command, cwd=kills.REPOSITORY, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1 kills in 1 runs, 0 of which ended otherwise or left litter" in found.stdout


def test_what_differs_and_what_is_left_behind_is_seen(tmp_path: Path):
    """The comparison would be worth nothing if it could not fail."""
    model = Path("prompt_learner") / "model.pth.tar-1"
    for name, weight in (("whole", 0.0), ("other", 1.0)):
        (tmp_path / name / model).parent.mkdir(parents=True)
        (tmp_path / name / "results.json").write_text(json.dumps({"figures": {"accuracy": weight}}))
        torch.save({"state_dict": {"ctx": torch.full((2,), weight)}}, tmp_path / name / model)
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert kills.different(whole, whole) == []
    assert len(kills.different(whole, other)) == 2
    (other / "results.json").unlink()
    assert "is missing" in kills.different(whole, other)[0]
    (other / f"log.txt.tmp{'0' * 32}").touch()
    assert len(kills.litter(tmp_path)) == 1
