import pytest
import torch
from dassl.metrics import compute_accuracy, compute_distance_matrix

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.9, 0.0, 0.1]])
LABELS = torch.tensor([1, 1, 0, 0])


def test_accuracy_is_in_percent_one_tensor_for_each_k():
    top1, top2, top3 = compute_accuracy(SCORES, LABELS, topk=(1, 2, 3))
    assert top1.shape == (1,)
    assert (top1.item(), top2.item(), top3.item()) == (50.0, 75.0, 100.0)


def test_of_several_outputs_the_first_counts():
    assert compute_accuracy((SCORES, None), LABELS)[0].item() == 50.0


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_agree_with_the_plain_formula(metric):
    a, b = torch.randn(3, 5, dtype=torch.double), torch.randn(4, 5, dtype=torch.double)
    found = compute_distance_matrix(a, b, metric)
    for i in range(3):
        for j in range(4):
            plain = (a[i] - b[j]).square().sum()
            if metric == "cosine":
                plain = 1 - torch.cosine_similarity(a[i], b[j], dim=0)
            assert found[i, j] == pytest.approx(plain.item())


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="'manhattan'"):
        compute_distance_matrix(SCORES, SCORES, "manhattan")
