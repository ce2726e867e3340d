"""Confidence in tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import shipclip
from shipclip.errors import UserError
from shipclip.reporting import figures, report
from shipclip.reporting.confidence_pictures import coverage, diagrams, reliability
from tests.in_use.conftest import chosen, chosen_folder, photos
from tests.runs import run

__all__ = ["chosen", "chosen_folder", "photos"]


@pytest.fixture(scope="module")
def tested(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gzsl")
    run(data, folder, "ZeroshotCLIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl", flags=("--eval-only",))
    return folder


def test_a_runs_results_have_them(tested: Path):
    found = json.loads((tested / "results.json").read_text())["figures"]["confidence"]
    assert {"ece", "adaptive_ece", "brier", "aurc", "openworld_auc", "base", "new", "own_base", "own_new"} <= set(found)
    assert sum(found["new"]["bins"]["count"]) + sum(found["base"]["bins"]["count"]) == sum(found["bins"]["count"])


def test_the_report_shows_them_when_asked(tested: Path, capsys: pytest.CaptureFixture, tmp_path: Path):
    found = json.loads((tested / "results.json").read_text())["figures"]["confidence"]
    assert report.main([str(tested), "--confidence", "--out", str(tmp_path / "t.json")]) == 0
    out = capsys.readouterr().out
    assert "ECE, new alone" in out and "OpenworldAUC" in out and f"{found['new']['ece']:.1f}" in out
    (table,) = json.loads((tmp_path / "t.json").read_text())["tables"]
    assert table["rows"][0]["columns"]["openworld_auc"]["mean"] == found["openworld_auc"]
    assert report.main([str(tested)]) == 0
    assert "ECE" not in capsys.readouterr().out


def test_old_results_without_them_are_still_shown(tested: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    content = json.loads((tested / "results.json").read_text())
    del content["figures"]["confidence"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert report.main([str(tmp_path)]) == 0
    with pytest.raises(UserError, match="has no test and no held-out images"):
        reliability([str(tmp_path)])


def test_a_diagram_shows_every_bin_where_it_is(tested: Path):
    figure = reliability([str(tested)])
    found = json.loads((tested / "results.json").read_text())["figures"]["confidence"]
    upper = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in upper] == ["all images", "images of base classes", "images of new classes"]
    for ax, of in zip(upper, (found, found["base"], found["new"]), strict=True):
        line = ax.lines[1]
        assert list(line.get_xdata()) == of["bins"]["confidence"] and list(line.get_ydata()) == of["bins"]["accuracy"]


def test_a_models_diagram_has_both_sides(chosen: shipclip.Classifier, chosen_folder: Path, tmp_path: Path):
    sides = diagrams(chosen.figures)
    assert list(sides) == ["before calibration", "after calibration"] and set(sides["after calibration"]) == {
        *("", "base", "new")
    }
    labels = [text.get_text() for text in reliability([str(chosen_folder)]).axes[0].get_legend().get_texts()]
    assert len(labels) == 2 and labels[0].startswith("after calibration: ECE")
    assert figures.main(["reliability", str(chosen_folder), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "reliability.png").is_file() and (tmp_path / "reliability.svg").is_file()


def test_a_curve_goes_from_the_most_confident_image_to_all(tested: Path, chosen_folder: Path):
    figure: Figure = coverage([str(tested), str(chosen_folder)])
    lines = figure.axes[0].lines
    assert len(lines) == 2
    found = json.loads((tested / "results.json").read_text())["figures"]
    assert lines[0].get_xdata()[-1] == 100
    assert lines[0].get_ydata()[-1] == pytest.approx(100 - found["accuracy"], abs=1e-2)


def test_a_folder_of_neither_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert figures.main(["reliability", str(tmp_path)]) == 2
    assert "there is neither results.json nor config.json" in capsys.readouterr().err
