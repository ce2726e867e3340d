import re

import pytest
import torch
from dassl.evaluation import build_evaluator

LABELS = torch.tensor([0] * 5 + [1] * 3)
PREDICTED = torch.tensor([0, 0, 0, 0, 1, 1, 2, 1])


def evaluated(cfg, **kwargs):
    evaluator = build_evaluator(cfg, lab2cname={0: "face", 1: "sea lion", 2: "owl"}, **kwargs)
    evaluator.process(torch.eye(3)[torch.tensor([2])], torch.tensor([1]))
    evaluator.reset()
    scores = torch.eye(3)[PREDICTED]
    for part in (slice(0, 3), slice(3, 8)):
        evaluator.process(scores[part], LABELS[part])
    return evaluator.evaluate()


def test_figures_are_in_percent_and_accuracy_comes_first(cfg):
    results = evaluated(cfg)
    assert list(results) == ["accuracy", "error_rate", "macro_f1"]
    assert results["accuracy"] == 75.0 and results["error_rate"] == 25.0
    # class 0: precision 1, recall 4/5; class 1: precision 2/3, recall 2/3; class 2 does not occur
    assert results["macro_f1"] == pytest.approx(100 * (8 / 9 + 2 / 3) / 2)


def test_the_printed_block_has_the_form_that_parsers_read(cfg, capsys):
    evaluated(cfg)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "Loading evaluator: Classification",
        "=> result",
        "* total: 8",
        "* correct: 6",
        "* accuracy: 75.00%",
        "* error: 25.00%",
        "* macro_f1: 77.78%",
    ]
    assert re.search(r"\* accuracy: ([\.\deE+-]+)%", out)[1] == "75.00"


def test_per_class_results_are_listed_by_label(cfg, capsys):
    cfg.TEST.PER_CLASS_RESULT = True
    results = evaluated(cfg)
    assert results["perclass_accuracy"] == pytest.approx((80 + 200 / 3) / 2)
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "=> per-class result",
        "* class: 0 (face)\ttotal: 5\tcorrect: 4\tacc: 80.00%",
        "* class: 1 (sea lion)\ttotal: 3\tcorrect: 2\tacc: 66.67%",
        "* average: 73.33%",
    ]


def test_per_class_results_need_class_names(cfg):
    cfg.TEST.PER_CLASS_RESULT = True
    with pytest.raises(ValueError, match="lab2cname"):
        build_evaluator(cfg)


def test_the_confusion_matrix_is_saved_with_rows_that_add_up_to_one(cfg):
    cfg.TEST.COMPUTE_CMAT = True
    evaluated(cfg)
    matrix = torch.load(f"{cfg.OUTPUT_DIR}/cmat.pt", weights_only=True)
    expected = torch.tensor([[0.8, 0.2, 0.0], [0.0, 2 / 3, 1 / 3], [0.0, 0.0, 0.0]], dtype=torch.double)
    assert torch.allclose(matrix, expected)


def test_nothing_to_evaluate_is_an_error(cfg):
    with pytest.raises(ValueError, match="nothing to evaluate"):
        build_evaluator(cfg).evaluate()


def test_an_unknown_evaluator_is_refused(cfg):
    cfg.TEST.EVALUATOR = "Classificaton"
    with pytest.raises(ValueError, match="did you mean Classification"):
        build_evaluator(cfg)
