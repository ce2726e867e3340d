"""Pictures and the words of prompts, from whole runs on a small MiniWorld."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shipclip import method as methods
from shipclip.opening import open_run
from shipclip.reporting import figures, interpret, pictures
from shipclip.reporting.tables import Row
from tests.runs import run


@pytest.fixture(scope="module")
def ship(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ship") / "run"
    run(data, folder, "SHIP", "DATASET.SUBSAMPLE_CLASSES", "gzsl")
    return folder


def is_picture(stem: Path) -> bool:
    with Image.open(stem.with_suffix(".png")) as image:
        drawn = np.asarray(image.convert("L")).std() > 5 and min(image.size) > 300
    return drawn and "<svg" in stem.with_suffix(".svg").read_text()


def test_a_run_is_opened_as_it_was(ship: Path, data: Path):
    opened = open_run(ship)
    saved = json.loads((ship / "results.json").read_text())
    assert opened.backbone.resolution == 64 and opened.task.subset == "gzsl"
    logits, labels = methods.logits(opened)
    assert 100 * (logits.argmax(dim=1) == labels).double().mean() == pytest.approx(saved["figures"]["accuracy"])
    again = methods.quality(opened)["synthetic"]["new"]
    assert again["frechet"] == pytest.approx(saved["figures"]["synthetic"]["new"]["frechet"])


@pytest.mark.parametrize("picture", ["features", "confusion", "curves"])
def test_pictures_of_a_run(picture: str, ship: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert figures.main([picture, str(ship), "--out", str(tmp_path)]) == 0
    assert is_picture(tmp_path / picture) and f"{picture}.png" in capsys.readouterr().out


def test_losses_are_read_from_the_log(ship: Path):
    found = figures.losses_in((ship / "log.txt").read_text())
    titles = [title for title, epoch, _ in found if epoch == 1]
    assert titles == ["stage 1: squared error of x", "stage 1: KL (nats)", "stage 2: cross entropy"]
    assert max(epoch for title, epoch, _ in found if title.startswith("stage 1")) == 4
    assert max(epoch for title, epoch, _ in found if title.startswith("stage 2")) == 3


def test_an_epoch_that_was_run_again_counts_once():
    line = "epoch [{}/3] batch [2/2] time 0.1 (0.1) data 0.0 (0.0) loss 1.0 ({}) acc 0.0 (0.0) lr 0.1 eta 0:00:00"
    log = "\n".join(line.format(epoch, loss) for epoch, loss in ((1, 3.0), (2, 9.0), (2, 2.0), (3, 1.0)))
    assert [value for _, _, value in figures.losses_in(log)] == [3.0, 2.0, 1.0]


def test_a_run_that_measured_nothing_still_has_its_generator(data: Path, tmp_path: Path):
    run(data, tmp_path / "a", "SHIP", "TRAINER.SHIP.MEASURE", False)
    assert open_run(tmp_path / "a").generator is not None


def test_a_run_on_base_classes_is_shown_with_all_classes(data: Path, tmp_path: Path):
    run(data, tmp_path / "a", "SHIP")
    args = figures.argparse.Namespace(picture="confusion", folders=[str(tmp_path / "a")], root="")
    method, halves = figures.open_ship(args)
    assert {half: len(labels) for half, labels in halves.items()} == {"base": 36, "new": 36}
    assert len(method.task.labels.names) == 72


def test_a_run_of_another_method_has_no_generator(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run(data, tmp_path / "a", "CoOp")
    assert figures.main(["features", str(tmp_path / "a")]) == 2
    assert "is no run of SHIP: it has no generator" in capsys.readouterr().err


def test_the_confusion_of_a_perfect_generator_is_the_diagonal(ship: Path, monkeypatch: pytest.MonkeyPatch):
    opened = open_run(ship)
    bank = opened.source.bank("test")
    means = torch.stack([bank.features[0, bank.labels == i].mean(dim=0) for i in range(72)])

    class Perfect:
        def sample(self, labels, rng):
            return means[labels]

    opened.generator, drawn = Perfect(), {}
    monkeypatch.setattr(figures, "open_run", lambda *arguments, **options: opened)
    monkeypatch.setattr(pictures, "confusion", lambda shares, names, n: drawn.update(shares=shares, names=names, n=n))
    args = figures.argparse.Namespace(picture="confusion", folders=["x"], root="")
    figures.confusion(args)
    np.testing.assert_allclose(drawn["shares"], np.eye(72))
    assert drawn["n"] == 36 and drawn["names"][0] == "red zat"


def rows() -> list[Row]:
    out = []
    for i, method in enumerate(("ZeroshotCLIP", "CoOp", "SHIP", "CLIPAdapter", "SHIP+CLIPAdapter")):
        for shots in (1, 4, 16):
            values = {c: {1: 60.0 + i + k, 2: 61.0 + i} for k, c in enumerate(("base", "new", "h", "joint_base"))}
            values |= {"joint_new": {1: 55.0, 2: 58.0}, "joint_h": {1: 56.0 + i, 2: 57.0}}
            out.append(Row("world", shots, method, "c", values=values))
    return out


def test_points_of_one_number_of_shots_stand_about_their_tick():
    only = [row for row in rows() if row.shots == 4]
    for ax in pictures.few_shot_curves(only).axes:
        places = [line.get_xdata()[0] for line in ax.get_lines() if len(line.get_xdata()) == 1]
        assert len(places) >= 5 and np.exp(np.mean(np.log(places))) == pytest.approx(4, rel=0.01)
        low, high = np.log2(ax.get_xlim())
        assert abs((2 - low) / (high - low) - 0.5) < 0.01  # the tick is in the middle
        assert all(abs(np.log2(place) - 2) < 0.2 * (high - low) for place in places)


def test_signs_that_no_font_has_are_told_and_others_are_not(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    def picture(name: str) -> str:
        figure = pictures.Figure(figsize=(2, 1))
        figure.text(0.1, 0.5, name)
        pictures.save(figure, tmp_path / "p")
        return capsys.readouterr().out

    assert picture("Käfer") == ""
    monkeypatch.setitem(pictures.matplotlib.rcParams, "font.family", ["DejaVu Sans"])
    assert "no font here has 2 signs of the picture (熊狐): install one" in picture("狐熊")


def test_curves_and_scatter_tell_methods_apart(tmp_path: Path):
    curves = pictures.few_shot_curves(rows())
    assert [text.get_text() for text in curves.axes[1].get_legend().get_texts()][:2] == ["zero-shot CLIP", "CoOp"]
    assert [label.get_text() for label in curves.axes[0].get_xticklabels()] == ["1", "4", "16"]
    pictures.save(curves, tmp_path / "curves")
    scatter = pictures.base_against_new([row for row in rows() if row.shots == 16])
    labels = [text.get_text() for text in scatter.axes[1].get_legend().get_texts()]
    assert labels[:2] == ["alone", "with SHIP's features"] and labels.count("CLIPAdapter") == 1
    pictures.save(scatter, tmp_path / "scatter")
    assert is_picture(tmp_path / "curves") and is_picture(tmp_path / "scatter")
    assert all(ax.get_xlabel().endswith("(%)") for ax in scatter.axes)


def test_configs_of_one_method_have_lines_of_their_own():
    def lines(rows: list[Row]) -> list[str]:
        return [text.get_text() for text in pictures.few_shot_curves(rows).axes[1].get_legend().get_texts()]

    def row(shots: int, config: str) -> Row:
        return Row("world", shots, "CoOp", config, values={c: {1: 60.0, 2: 61.0} for c in ("h", "joint_h")})

    assert lines([row(1, "ep50"), row(4, "ep50"), row(1, "ep200"), row(4, "ep200")]) == ["CoOp, ep50", "CoOp, ep200"]
    assert lines([row(1, "ep50"), row(4, "ep100"), row(16, "ep200")]) == ["CoOp"]  # CoOp's protocol: one line


def test_a_few_close_points_do_not_fill_the_picture():
    scatter = pictures.base_against_new([row for row in rows() if row.shots == 16 and row.method == "CoOp"])
    for ax in scatter.axes:
        assert np.ptp(ax.get_xlim()) >= pictures.SPAN and np.ptp(ax.get_ylim()) >= pictures.SPAN


def scattered(*points: tuple[str, str, float, float]) -> list[Row]:
    """Rows of one seed: method, config, accuracy on base and on new classes."""
    return [
        Row("world", 16, m, c, values={"base": {1: b}, "new": {1: n}, "joint_base": {1: b}, "joint_new": {1: n}})
        for m, c, b, n in points
    ]


def test_an_accuracy_of_zero_leaves_the_lines_of_equal_h_as_they_are():
    for ax in pictures.base_against_new(scattered(("GDA", "a", 0.0, 72.0), ("SHIP", "a", 84.0, 0.0))).axes:
        heights = [float(text.get_text()[2:]) for text in ax.texts if text.get_text().startswith("H ")]
        assert len(heights) >= 3 and min(heights) > 0
        (lines,) = [one for one in ax.collections if hasattr(one, "levels")]
        corners = np.concatenate([path.vertices for path in lines.get_paths() if len(path.vertices)])
        assert corners.min() > 0


def test_configs_are_named_within_the_picture_and_where_points_lie_together_once():
    together = [("CLIPAdapter", "tuned", 84.0, 82.0), ("SHIP", "tuned", 84.1, 82.1), ("CoOp", "tuned", 50.0, 50.0)]
    rows = scattered(*together, *((name, "usual", 60.0 + i, 60.0) for i, (name, *_) in enumerate(together)))
    figure = pictures.base_against_new([*rows, *scattered(("ZeroshotCLIP", "usual", 40.0, 40.0))])
    figure.canvas.draw()
    for ax in figure.axes:
        names = [text for text in ax.texts if text.get_text() == "tuned"]
        assert len(names) == 2  # of the two together, and of CoOp
        assert all(name.get_window_extent().x1 <= ax.get_window_extent().x1 for name in names)


def test_equal_pictures_are_equal_files(tmp_path: Path):
    for name in ("a", "b"):
        pictures.save(pictures.few_shot_curves(rows()), tmp_path / name / "curves")
    for kind in ("png", "svg"):
        assert (tmp_path / "a" / f"curves.{kind}").read_bytes() == (tmp_path / "b" / f"curves.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["features", "nowhere"], "name the folder of a finished run"),
        (["curves", "nowhere"], "name the folder of a trained run"),
        (["shots", "nowhere"], "there are no results of base and new classes"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: list[str], sentence: str, tmp_path: Path, capsys):
    assert figures.main([arguments[0], str(tmp_path / arguments[1])]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


# -- interpret --------------------------------------------------------------------------------------------------


def test_words_of_images_prior_and_line_are_written(ship: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    command = ["--model-dir", str(ship), "--images", "3", "--steps", "4", "--out", str(tmp_path)]
    assert interpret.main(command) == 0
    lines = (tmp_path / "interpret.md").read_text().splitlines()
    assert len(lines) == 2 + 3 + 3 + 4 and "p_4 + r" in lines[0]
    assert "image of red zat" in lines[2]
    first, last = (line.split("|")[2:] for line in (lines[8], lines[11]))
    assert first == lines[2].split("|")[2:] and last == lines[3].split("|")[2:]  # the line's ends are the images
    assert is_picture(tmp_path / "interpret")
    assert "interpret.png" in capsys.readouterr().out


def test_a_prompt_at_a_words_embedding_reads_that_word(ship: Path):
    generator = open_run(ship).generator
    vocabulary = interpret.Vocabulary(generator.backbone, 2)
    assert "star" in vocabulary.words and "photosynthesis" not in vocabulary.words  # which MiniCLIP has never met
    with torch.no_grad():
        for parameter in generator.generator.parameters():
            parameter.zero_()  # r = 0
        generator.prompt.ctx[2] = 3 * vocabulary.embeddings[vocabulary.words.index("star")]
        (word, similarity), _ = vocabulary.read(generator, torch.zeros(generator.backbone.dim))[2]
    assert word == "star" and similarity == pytest.approx(1, abs=1e-4)


def test_a_run_without_prompts_has_nothing_to_say(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run(data, tmp_path / "a", "SHIP", "TRAINER.SHIP.GENERATOR.NAME", "MLP")
    assert interpret.main(["--model-dir", str(tmp_path / "a")]) == 2
    assert "has no generator with an encoder and prompts" in capsys.readouterr().err
