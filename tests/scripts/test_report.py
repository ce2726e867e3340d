from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from trainers.ship import report


def put(root: Path, run: str, method: str, seed: int, figures: dict, train_s: float | None = None) -> Path:
    folder = root / "base2new" / run / "world" / "shots_16" / method / "cfg" / f"seed{seed}"
    folder.mkdir(parents=True)
    time = {} if train_s is None else {"train_s": train_s}
    (folder / "results.json").write_text(json.dumps({"figures": figures, "time": time}))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    for seed, base, new in ((1, 80.0, 60.0), (2, 70.0, 50.0)):
        put(tmp_path, "train_base", "SHIP", seed, {"accuracy": base}, train_s=10.0 * seed)
        put(tmp_path, "test_new", "SHIP", seed, {"accuracy": new})
        joint = {"accuracy": 0.0, "base_accuracy": base - 20, "new_accuracy": new - 10, "h": 50.0 + seed}
        put(tmp_path, "test_all", "SHIP", seed, joint)
    put(tmp_path, "test_base", "ZeroshotCLIP", 1, {"accuracy": 50.0})
    put(tmp_path, "test_new", "ZeroshotCLIP", 1, {"accuracy": 50.0})
    put(tmp_path, "train_all", "CoOp-all", 1, {"accuracy": 66.0}, train_s=7.0)
    put(tmp_path, "test_base", "CoOp-all", 1, {"accuracy": 90.0})
    put(tmp_path, "test_new", "CoOp-all", 1, {"accuracy": 90.0})
    return tmp_path


def rows(output: Path, **options) -> dict[str, report.Row]:
    return {row.method: row for row in report.collect(output, "world", 16, **options)}


def test_means_and_deviations_by_hand(output: Path):
    ship = rows(output)["SHIP"]
    assert (ship.mean("base"), ship.deviation("base")) == (75.0, 5.0)
    h = (2 * 80 * 60 / 140, 2 * 70 * 50 / 120)  # of each seed
    assert ship.mean("h") == pytest.approx(sum(h) / 2)
    assert ship.deviation("h") == pytest.approx(abs(h[0] - h[1]) / 2)
    assert (ship.mean("joint_base"), ship.mean("joint_new"), ship.mean("joint_h")) == (55.0, 45.0, 51.5)
    assert ship.mean("train_s") == 15.0


def test_the_upper_bound_stands_last_and_is_labelled(output: Path):
    assert list(rows(output)) == ["ZeroshotCLIP", "SHIP", "CoOp-all"]
    table = report.render(report.collect(output, "world", 16), "simple")
    assert table.splitlines()[-1].startswith("upper bound: CoOp on real shots of all classes")
    assert rows(output)["CoOp-all"].mean("train_s") == 7.0


def test_missing_runs_are_said(output: Path, capsys: pytest.CaptureFixture):
    assert report.main([str(output), "--dataset", "world", "--seeds", "1", "2"]) == 0
    shown = capsys.readouterr().out
    assert "MISSING: ZeroshotCLIP, base: seeds 2" in shown
    assert "MISSING: SHIP" not in shown


def test_only_the_seeds_asked_for_count(output: Path):
    assert rows(output, seeds=[2])["SHIP"].mean("base") == 70.0
    assert "ZeroshotCLIP" not in rows(output, seeds=[2])


def test_a_folder_with_only_coops_log_is_read(output: Path):
    folder = output / "base2new" / "test_new" / "world" / "shots_16" / "CoCoOp" / "c4" / "seed1"
    folder.mkdir(parents=True)
    blocks = [f"=> result\n* total: 10\n* correct: 5\n* accuracy: {a}%\n* error: 1%\n" for a in (10.0, 71.5)]
    (folder / "log.txt").write_text("* accuracy: 99.0%\n" + "\n".join(blocks))
    assert rows(output)["CoCoOp"].values == {"new": {1: 71.5}}


def test_an_unfinished_run_counts_as_none(output: Path):
    folder = output / "base2new" / "test_new" / "world" / "shots_16" / "CoOp" / "c" / "seed1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("epoch [1/50] batch [1/25]\n")
    assert "CoOp" not in rows(output)


def test_damaged_results_are_named(output: Path):
    file = put(output, "test_new", "CoOp", 1, {}) / "results.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"CoOp/cfg/seed1/results\.json is damaged.*remove it"):
        rows(output)


def test_the_table_is_written_as_markdown_csv_and_json(output: Path):
    assert report.main([str(output), "--dataset", "world"]) == 0
    stem = output / "base2new" / "world_shots_16"
    assert "| SHIP " in stem.with_suffix(".md").read_text()
    lines = list(csv.DictReader(stem.with_suffix(".csv").open()))
    assert {(line["method"], line["seed"]): line["base"] for line in lines}["SHIP", "2"] == "70.0"
    methods = json.loads(stem.with_suffix(".json").read_text())["methods"]
    (ship,) = [m for m in methods if m["method"] == "SHIP"]
    assert ship["columns"]["base"] == {"mean": 75.0, "std": 5.0, "seeds": {"1": 80.0, "2": 70.0}}


def test_no_results_are_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert report.main([str(tmp_path), "--dataset", "world"]) == 2
    assert "no results of world with 16 shots" in capsys.readouterr().err
