"""Rejected images: the rule, its rate, the baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import shipclip
from shipclip import cli
from shipclip.confidence import PLAIN
from shipclip.detection import auroc, fpr_at
from shipclip.errors import UserError
from shipclip.rejection import fit_rejection, thresholds
from shipclip.trials import HeldOut
from shipclip.unknown import BASELINES, SCORES, Evidence, told_apart
from tests.in_use.conftest import SHORT


def evidence(B: int = 12, C: int = 5) -> Evidence:
    rng = torch.Generator().manual_seed(0)
    cosines = torch.rand(B, C, generator=rng)
    return Evidence(5 * torch.randn(B, C, generator=rng), cosines, 21.0, torch.rand(B, generator=rng))


def test_scores_are_what_their_papers_say():
    e = evidence()
    for i in range(12):
        z, s = e.logits[i].double(), e.cosines[i].double()
        wanted = {
            "logit": z.max(),
            "energy": z.exp().sum().log(),
            "probability": z.exp().max() / z.exp().sum(),
            "similarity": s.max(),
            "neighbour": e.near[i],
            "MCM": s.exp().max() / s.exp().sum(),  # Ming et al., eq. 1 with temperature 1
            "CLIP's maximum": (21 * s).exp().max() / (21 * s).exp().sum(),
        }
        for name, score in {**SCORES, **BASELINES}.items():
            assert score(e)[i].item() == pytest.approx(wanted[name].item(), rel=1e-5), name


def held_out(n: int = 400) -> HeldOut:
    """Classes 0 to 2 are shown, 3 was taken away; unknown images are far from training images, but not sure to be."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    logits = torch.randn(n, 4, generator=rng) + 3 * torch.nn.functional.one_hot(labels, 4)
    near = torch.where(labels == 3, 0.6, 0.9) + 0.1 * torch.randn(n, generator=rng)
    away = torch.tensor([False, False, False, True]).expand(n, 4)
    features = torch.nn.functional.normalize(torch.randn(n, 8, generator=rng), dim=1)
    return HeldOut(logits, labels, away, away, torch.ones(n, 4), features, near)


def fitted(rate: float):
    text = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    return fit_rejection(held_out(), PLAIN, text, 20.0, rate)


def test_the_best_score_is_chosen():
    rule, figures = fitted(0.05)
    assert rule.shown.score == "neighbour"
    of = figures["scores"]
    assert of["this model's rule"] == of["neighbour"] and of["neighbour"]["auroc"] > 90 > of["MCM"]["auroc"]
    held = held_out()
    known, unknown = held.near[held.labels < 3], held.near[held.labels == 3]
    assert of["neighbour"] == {"auroc": auroc(known, unknown), "fpr95": fpr_at(known, unknown)}


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5])
def test_no_more_known_images_are_rejected_than_was_asked_for(rate: float):
    rule, figures = fitted(rate)
    held, limit = held_out(), rule.shown.threshold
    known, unknown = held.near[held.labels < 3], held.near[held.labels == 3]
    share, most = (known < limit).double().mean().item(), known.sort().values[int(rate * 301 - 1)]
    assert share <= rate and (unknown < limit).sum() == (unknown < most).sum()
    assert abs(figures["rejected"]["shown"] - 100 * share) < 4 and figures["images"] == {"shown": 300, "unknown": 100}


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_neither_kind_of_class_loses_more_than_the_rate_whichever_is_predicted(rate: float):
    """Images of classes by name that are taken for shown ones look unknown, and count all the same."""
    rng = torch.Generator().manual_seed(0)
    shown = [torch.randn(300, generator=rng).add(2).sort().values, torch.randn(20, generator=rng).sort().values]
    named = [torch.randn(60, generator=rng).sort().values, torch.randn(140, generator=rng).add(2).sort().values]
    unknown = [torch.randn(200, generator=rng).sort().values, torch.randn(200, generator=rng).add(1).sort().values]
    limits = thresholds(rate, [list(cells) for cells in zip(shown, named, strict=True)], unknown)

    def rejected(parts: list[torch.Tensor], limits: list[float]) -> int:
        return sum(int((scores < limit).sum()) for scores, limit in zip(parts, limits, strict=True))

    assert rejected(shown, limits) <= rate * 320 and rejected(named, limits) <= rate * 200
    alone = [float(torch.cat(cells).quantile(rate / 2)) for cells in zip(shown, named, strict=True)]
    assert rejected(named, alone) > rate * 200 or rejected(unknown, limits) >= rejected(unknown, alone)
    more = [limit + 0.3 for limit in limits]
    assert rejected(shown, more) > rate * 320 or rejected(named, more) > rate * 200


def test_the_rate_holds_on_new_images():
    """Another image falls below the threshold with a probability of at most the rate."""
    rng, count = torch.Generator().manual_seed(0), 0
    for _ in range(400):
        scores, unknown = torch.rand(40, generator=rng), torch.rand(20, generator=rng).sort().values
        (limit,) = thresholds(0.1, [[scores[:39].sort().values]], [unknown])
        count += int(scores[39] < limit)
    assert 0.05 < count / 400 <= 0.1 + 0.03


def test_without_unknown_images_each_kind_has_the_rate():
    scores = torch.arange(100.0)
    assert thresholds(0.05, [[scores], [scores + 7]], [scores[:0], scores[:0]]) == [4.0, 11.0]


@pytest.fixture(scope="module")
def rejecting(photos: Path) -> shipclip.Classifier:
    return shipclip.fit(photos, backbone="MiniCLIP", learner="TipAdapter", reject=0.1, options=SHORT)


def test_predict_says_unknown(rejecting: shipclip.Classifier, photos: Path, others: Path):
    known, unknown = rejecting.predict(photos / "test"), rejecting.predict(others)
    for p in (*known, *unknown):
        assert p.name == ("unknown" if p.unknown else p.top[0][0])
        assert p.probability == p.top[0][1] and p.top[0][0] in rejecting.classes
    rate = lambda found: sum(p.unknown for p in found) / len(found)  # noqa: E731
    assert rate(unknown) > rate(known)


def test_training_images_are_known(rejecting: shipclip.Classifier, photos: Path):
    if rejecting.rejection.shown.score == "neighbour":
        found = rejecting.predict(photos / "train")
        assert not any(p.unknown for p in found if rejecting.images[p.top[0][0]])


def test_it_is_the_same_after_saving(rejecting: shipclip.Classifier, photos: Path, others: Path, tmp_path: Path):
    opened = shipclip.load(rejecting.save(tmp_path / "m"))
    assert opened.rejection == rejecting.rejection
    assert opened.predict([photos / "test", others]) == rejecting.predict([photos / "test", others])
    assert "An image is called unknown where" in (tmp_path / "m" / "README.md").read_text()


def test_figures_of_known_and_unknown_images_are_measured(
    rejecting: shipclip.Classifier, photos: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    found = told_apart(rejecting, photos / "test", others)
    assert found["images"] == {"known": 32, "unknown": 8}
    share = 100 * sum(p.unknown for p in rejecting.predict(photos / "test")) / 32
    assert found["rejected"]["known"] == pytest.approx(share)
    assert set(found["scores"]) == {"this model's rule", *SCORES, *BASELINES}
    rejecting.save(tmp_path / "m")
    command = [
        "unknown",
        tmp_path / "m",
        "--known",
        photos / "test",
        "--unknown",
        others,
        "--json",
        tmp_path / "f.json",
    ]
    assert cli.main([str(word) for word in command]) == 0
    assert json.loads((tmp_path / "f.json").read_text())["scores"] == found["scores"]
    assert "MCM" in capsys.readouterr().out


def test_a_model_that_rejects_nothing_says_so(photos: Path):
    model = shipclip.fit(photos, backbone="MiniCLIP", learner="TipAdapter", calibrate=False, options=SHORT)
    assert not any(p.unknown for p in model.predict(photos / "test"))
    with pytest.raises(UserError, match="names a class for every image: fit it with a rate"):
        told_apart(model, photos / "test", photos / "test")


def test_a_class_that_was_taken_out_is_unknown_again(rejecting: shipclip.Classifier, photos: Path, tmp_path: Path):
    model = shipclip.load(rejecting.save(tmp_path / "m"))
    name = model.classes[0]
    keys = len(model.frozen().keys)
    model.remove_classes([name])
    assert len(model.frozen().keys) == keys - model.images[name]
