from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shipclip.reporting import report
from shipclip.reporting.tables import Row, Table, tables_of
from shipclip.reporting.tree import runs_below


def put(folder: Path, figures: dict, train_s: float = 0.0, **facts: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"figures": figures, "time": {"train_s": train_s}, **facts}))
    return folder


def base2new(root: Path, run: str, method: str, seed: int, figures: dict, train_s: float = 0.0) -> Path:
    folder = root / "base2new" / run / "world" / "shots_16" / method / "cfg" / f"seed{seed}"
    return put(folder, figures, train_s, subset=run.partition("_")[2])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    root = tmp_path / "output"
    for seed, base, new in ((1, 80.0, 60.0), (2, 70.0, 50.0)):
        base2new(root, "train_base", "SHIP", seed, {"accuracy": base}, train_s=10.0 * seed)
        base2new(root, "test_new", "SHIP", seed, {"accuracy": new})
        joint = {"accuracy": 0.0, "base_accuracy": base - 20, "new_accuracy": new - 10, "h": 50.0 + seed}
        base2new(root, "test_all", "SHIP", seed, joint, train_s=1e6)  # a time that is not of training
    base2new(root, "test_base", "ZeroshotCLIP", 1, {"accuracy": 50.0})
    base2new(root, "test_new", "ZeroshotCLIP", 1, {"accuracy": 50.0})
    base2new(root, "train_all", "CoOp-all", 1, {"accuracy": 66.0}, train_s=7.0)
    base2new(root, "test_base", "CoOp-all", 1, {"accuracy": 90.0})
    base2new(root, "test_new", "CoOp-all", 1, {"accuracy": 90.0})
    return root


def tables(output: Path, seeds: list[int] | None = None) -> dict[str, Table]:
    return {table.name: table for table in tables_of(runs_below(output), seeds)}


def rows(output: Path, seeds: list[int] | None = None) -> dict[str, Row]:
    return {row.method: row for row in tables(output, seeds)["base2new"].rows}


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
    assert tables(output)["base2new"].body()[-1][0] == "upper bound: CoOp on real shots of all classes"
    assert rows(output)["CoOp-all"].mean("train_s") == 7.0


def test_ship_tunes_the_learner_in_its_settings():
    settings = {"TRAINER.SHIP.LEARNER": "GDA"}
    assert Row("w", 1, "SHIP", "tuned", settings).learner == "GDA"
    names = {"SHIP": "CoOp", "SHIP+TipAdapter": "TipAdapter", "CoCoOp": "CoCoOp"}
    assert {name: Row("w", 1, name, "c").learner for name in names} == names


def test_missing_runs_are_said(output: Path, capsys: pytest.CaptureFixture):
    assert report.main([str(output), "--seeds", "1", "2"]) == 0
    shown = capsys.readouterr().out
    assert "MISSING: zero-shot CLIP, base: seeds 2" in shown
    assert "MISSING: SHIP" not in shown


def test_only_the_seeds_asked_for_count(output: Path):
    assert rows(output, seeds=[2])["SHIP"].mean("base") == 70.0
    assert "ZeroshotCLIP" not in rows(output, seeds=[2])


@pytest.mark.parametrize(
    ("folder", "method", "dataset"),
    [
        ("base2new/test_new/world/shots_16/CoCoOp/c4/seed1", "CoCoOp", "world"),
        ("world/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed1", "CoOp", "world"),
        ("evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/pets/seed1", "CoOp", "pets"),
        ("evaluation/CoCoOp/c4_16shots/pets/seed1", "CoCoOp", "pets"),
    ],
)
def test_coops_own_folders_and_logs_are_read(folder: str, method: str, dataset: str, tmp_path: Path):
    place = tmp_path / "output" / folder
    place.mkdir(parents=True)
    blocks = [f"=> result\n* total: 10\n* correct: 5\n* accuracy: {a}%\n* error: 1%\n" for a in (10.0, 71.5)]
    (place / "log.txt").write_text("* accuracy: 99.0%\n" + "\n".join(blocks))
    (run,) = runs_below(tmp_path / "output")
    assert (run.method, run.dataset, run.shots, run.seed) == (method, dataset, 16, 1)
    assert run.subset == ("new" if "test_new" in folder else "all")
    (table,) = tables_of([run])
    assert table.rows[0].values["new" if run.subset == "new" else "accuracy"] == {1: 71.5}


def test_an_unfinished_run_counts_as_none(output: Path):
    folder = output / "base2new" / "test_new" / "world" / "shots_16" / "CoOp" / "c" / "seed1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("epoch [1/50] batch [1/25]\n")
    assert "CoOp" not in rows(output)


def test_damaged_results_are_named(output: Path, capsys: pytest.CaptureFixture):
    file = base2new(output, "test_new", "CoOp", 1, {}) / "results.json"
    file.write_text("{")
    assert report.main([str(output)]) == 2
    assert re.search(r"CoOp/cfg/seed1/results\.json cannot be read.*remove it", capsys.readouterr().err)
    file.write_text('{"figures": {"accuracy": null}}')  # nothing was measured
    assert report.main([str(output)]) == 0 and "CoOp" not in rows(output)


def test_a_page_that_cannot_be_written_is_one_sentence(output: Path, capsys: pytest.CaptureFixture):
    (output / "there.md").mkdir()
    for place in (output / "there.md", output / "base2new" / "cfg.md" / "x.md"):
        place.parent.mkdir(exist_ok=True) if place.name == "there.md" else place.parent.write_text("a file")
        assert report.main([str(output), "--out", str(place)]) == 2
        error = capsys.readouterr().err
        assert f"{place} cannot be written" in error and error.count("\n") == 1


def test_variants_of_coops_folders_are_rows_of_their_own(tmp_path: Path):
    for variant, accuracy in (("nctx4_cscFalse_ctpend", 60.0), ("nctx16_cscTrue_ctpend", 70.0)):
        for place in (f"world/CoOp/rn50_16shots/{variant}/seed1", f"evaluation/CoOp/rn50_16shots/{variant}/pets/seed1"):
            (tmp_path / place).mkdir(parents=True)
            (tmp_path / place / "log.txt").write_text(f"=> result\n* accuracy: {accuracy}%\n")
    rows = [row for table in tables_of(runs_below(tmp_path)) for row in table.rows if not row.average]
    found = [(row.dataset, row.config, row.mean("accuracy")) for row in rows]
    configs = ("rn50, nctx16_cscTrue_ctpend", "rn50, nctx4_cscFalse_ctpend")
    assert sorted(found) == [
        (name, config, accuracy)
        for name in ("pets", "world")
        for config, accuracy in zip(configs, (70.0, 60.0), strict=True)
    ]


def test_kgcoops_and_zero_shot_folders_are_read(tmp_path: Path):
    for part, accuracy in (("train_base", 80.0), ("test_new", 60.0)):
        place = tmp_path / "base2new" / part / "pets" / "shots_16_8.0" / "KgCoOp" / "c4" / "seed1"
        place.mkdir(parents=True)
        (place / "log.txt").write_text(f"=> result\n* accuracy: {accuracy}%\n")
    place = tmp_path / "ZeroshotCLIP" / "vit_b16" / "pets"
    place.mkdir(parents=True)
    (place / "log.txt").write_text("=> result\n* accuracy: 88.0%\n")
    zero_shot, kg = (run for run in sorted(runs_below(tmp_path), key=lambda run: run.method, reverse=True)[::2])
    assert (zero_shot.method, zero_shot.config, zero_shot.dataset) == ("ZeroshotCLIP", "vit_b16", "pets")
    assert (kg.method, kg.config, kg.shots) == ("KgCoOp", "c4, 8.0", 16)
    row = next(row for table in tables_of(runs_below(tmp_path)) for row in table.rows if row.method == "KgCoOp")
    assert row.mean("h") == pytest.approx(2 * 80 * 60 / 140)


def test_the_log_of_a_resumed_run_goes_on_in_another_file(tmp_path: Path):
    place = tmp_path / "base2new" / "test_new" / "pets" / "shots_16" / "CoOp" / "c" / "seed1"
    place.mkdir(parents=True)
    (place / "log.txt").write_text("epoch [1/2]\n")
    (place / "log.txt-2026-01-01-00-00-00").write_text("epoch [2/2]\n=> result\n* accuracy: 50.0%\n")
    (tmp_path / "base2new" / "log.txt").mkdir()  # no log
    (run,) = runs_below(tmp_path)
    assert run.figures == {"accuracy": 50.0}


def test_rows_that_differ_can_be_told_apart(tmp_path: Path):
    for name, weight in (("a", 0.1), ("b", 0.3)):
        put(tmp_path / name / "run", {"accuracy": 1.0}, cfg=cfg("SHIP", KL_WEIGHT=weight))
    found = sorted(row.differs for table in tables_of(runs_below(tmp_path)) for row in table.rows)
    assert found == ["", ""]  # two experiments
    put(tmp_path / "a" / "other", {"accuracy": 1.0}, cfg=cfg("SHIP", KL_WEIGHT=0.3))
    found = sorted(row.differs for table in tables_of(runs_below(tmp_path)) for row in table.rows)
    assert found == ["", "KL_WEIGHT 0.1", "KL_WEIGHT 0.3"]


def test_names_with_marks_keep_tables_whole(tmp_path: Path):
    place = "base2new/train_base/world/shots_16/A^b$c~{d}|e/c/seed1"
    put(tmp_path / place, {"accuracy": 1.0}, subset="base")
    found = tables_of(runs_below(tmp_path))
    assert r"A\textasciicircum{}b\$c\textasciitilde{}\{d\}|e" in report.as_latex(found, tmp_path)
    assert r"{d}\|e" in report.as_markdown(found, tmp_path)


def cfg(trainer: str, **options: Any) -> dict[str, Any]:
    return {"TRAINER": {"NAME": trainer, "SHIP": options}, "OUTPUT_DIR": str(options), "SEED": 1}


def test_runs_in_any_folders_are_grouped_by_what_differs(tmp_path: Path):
    """Two seeds of one setting are a row; another setting is another row that says in what it differs."""
    for name, seed, weight, accuracy in (("a", 1, 1.0, 60.0), ("b", 2, 1.0, 62.0), ("c", 1, 0.1, 70.0)):
        facts = {"trainer": "SHIP", "dataset": "Pets", "seed": seed, "subset": "all", "shots": 4}
        put(tmp_path / name, {"accuracy": accuracy}, cfg=cfg("SHIP", KL_WEIGHT=weight), **facts)
    (table,) = tables_of(runs_below(tmp_path))
    assert table.facts == {"data set": "Pets", "shots": 4}
    found = sorted((row.differs, row.mean("accuracy")) for row in table.rows)
    assert found == [("KL_WEIGHT 0.1", 70.0), ("KL_WEIGHT 1.0", 61.0)]
    assert sorted(row.mean("accuracy") for row in table.rows) == [61.0, 70.0]


def test_an_ablations_rows_say_in_what_they_differ(tmp_path: Path):
    joint = {
        "own_base_accuracy": 60.0,
        "own_new_accuracy": 40.0,
        "base_accuracy": 50.0,
        "new_accuracy": 30.0,
        "h": 37.5,
    }
    quality = {"synthetic": {"new": {"frechet": 0.5, "cosine": 0.7, "synthetic_to_real": 60.0}}}
    for name, weight in (("SHIP", 1.0), ("filter", 1.0), ("kl-0.1", 0.1)):
        place = tmp_path / "ablation" / "world" / "shots_16" / name / "cfg" / "seed1"
        put(place, joint | quality, subset="gzsl", cfg=cfg("SHIP", KL_WEIGHT=weight))
    (table,) = tables_of(runs_below(tmp_path))
    assert {row.method: row.differs for row in table.rows} == {"SHIP": "", "filter": "", "kl-0.1": "KL_WEIGHT 0.1"}
    assert table.columns[:5] == ["base", "new", "h", "joint_h", "frechet"] and "settings" in table.keys
    assert table.rows[0].mean("h") == pytest.approx(48.0) and table.rows[0].cell("frechet") == "0.50"


def test_generalized_zero_shot_figures_have_a_table_of_their_own(tmp_path: Path):
    figures = {"base_accuracy": 1.0, "new_accuracy": 1.0, "own_base_accuracy": 1.0, "own_new_accuracy": 1.0}
    figures |= {"base_mean_class_accuracy": 60.0}
    figures |= {"new_mean_class_accuracy": 40.0, "mean_class_h": 48.0, "calibrated_mean_class_h": 50.0}
    put(tmp_path / "gzsl" / "cub" / "shots_-1" / "SHIP" / "c" / "seed1", figures, subset="gzsl")
    put(tmp_path / "gzsl_dev" / "cub" / "shots_-1" / "SHIP" / "c" / "seed1", figures, subset="dev")
    found = tables(tmp_path)
    assert set(found) == {"gzsl", "gzsl, validation within the base classes"}
    assert found["gzsl"].header() == ["method", "seeds", "U", "S", "H", "H, calibrated"]
    assert found["gzsl"].body() == [["SHIP", "1", "40.0", "60.0", "48.0", "50.0"]]
    del figures["calibrated_mean_class_h"]  # a penalty of 0
    put(tmp_path / "gzsl" / "cub" / "shots_-1" / "CoOp" / "c" / "seed1", figures, subset="gzsl")
    assert tables(tmp_path)["gzsl"].body()[0] == ["CoOp", "1", "40.0", "60.0", "48.0", "48.0"]


def test_data_sets_are_averaged_as_in_coops_tables(tmp_path: Path):
    """CoOp's published average: H of the averaged accuracies, not the average of H."""
    for dataset, base, new in (("birds", 90.0, 50.0), ("cars", 60.0, 80.0)):
        for method in ("CoOp", "SHIP") if dataset == "birds" else ("CoOp",):
            place = f"{dataset}/shots_16/{method}/c/seed1"
            put(tmp_path / "base2new" / "train_base" / place, {"accuracy": base}, subset="base")
            put(tmp_path / "base2new" / "test_new" / place, {"accuracy": new}, subset="new")
    table = tables(tmp_path)["base2new"]
    mean = table.rows[-1]
    assert [row.method for row in table.rows if row.average] == ["CoOp"]  # SHIP lacks a data set
    assert (mean.dataset, mean.mean("base"), mean.mean("new")) == ("average of 2", 75.0, 65.0)
    assert mean.mean("h") == pytest.approx(2 * 75 * 65 / 140)
    assert "as in CoOp's tables" in table.notes[-1]


def test_a_transfer_is_averaged_over_its_targets(tmp_path: Path):
    for dataset, accuracy in (("imagenet", 70.0), ("birds", 60.0), ("cars", 40.0)):
        place = f"cross_dataset/imagenet/{dataset}/shots_16/CoOp/c/seed1"
        put(tmp_path / place, {"accuracy": accuracy}, subset="all")
    (table,) = tables_of(runs_below(tmp_path))
    assert (table.rows[-1].dataset, table.rows[-1].mean("accuracy")) == ("average of 2", 50.0)


def test_every_format_holds_the_table(output: Path, capsys: pytest.CaptureFixture):
    Image.new("RGB", (4, 4)).save(output / "a picture.png")
    files = [output / f"table{suffix}" for suffix in report.FORMATS]
    assert report.main([str(output), *(word for file in files for word in ("--out", str(file)))]) == 0
    text = {file.suffix: file.read_text() for file in files}
    assert "| SHIP " in text[".md"] and "75.0 +- 5.0" in text[".md"]
    lines = list(csv.DictReader(text[".csv"].splitlines()))
    assert {(line["method"], line["seed"]): line["base"] for line in lines}["SHIP", "2"] == "70.0"
    (table,) = json.loads(text[".json"])["tables"]
    (ship,) = [row for row in table["rows"] if row["method"] == "SHIP"]
    assert ship["columns"]["base"] == {"mean": 75.0, "std": 5.0, "seeds": {"1": 80.0, "2": 70.0}}
    assert r"75.0 $\pm$ 5.0" in text[".tex"] and r"\begin{tabular}" in text[".tex"]
    assert "75.0&nbsp;±&nbsp;5.0" in text[".html"] and 'src="data:image/png;base64,' in text[".html"]
    assert not re.search(r'(src|href)="(?!data:)', text[".html"])  # nothing is loaded from elsewhere
    assert text[".txt"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["."], "there are no results below"),
        (["nowhere"], "there is no folder"),
        ([".", "--out", "a.xls"], "has no suffix of a format: use one of .md"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], sentence: str, tmp_path: Path, capsys):
    folder, *rest = arguments
    assert report.main([str(tmp_path / folder), *rest]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
