import torch
from dassl.metrics import compute_accuracy

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.9, 0.0, 0.1]])
LABELS = torch.tensor([1, 1, 0, 0])


def test_accuracy_is_in_percent_one_tensor_for_each_k():
    top1, top2, top3 = compute_accuracy(SCORES, LABELS, topk=(1, 2, 3))
    assert top1.shape == (1,)
    assert (top1.item(), top2.item(), top3.item()) == (50.0, 75.0, 100.0)


def test_of_several_outputs_the_first_counts():
    assert compute_accuracy((SCORES, None), LABELS)[0].item() == 50.0
