import pytest
import torch
from dassl.utils import AverageMeter, MetricMeter


def test_the_mean_weighs_by_count():
    meter = AverageMeter()
    meter.update(1.0, n=3)
    meter.update(torch.tensor(5.0))
    assert (meter.val, meter.sum, meter.count, meter.avg) == (5.0, 8.0, 4, 2.0)
    meter.reset()
    assert meter.avg == 0


def test_the_moving_mean_forgets():
    meter = AverageMeter(ema=True)
    meter.update(10.0)
    meter.update(0.0)
    assert meter.avg == pytest.approx(0.9)


def test_metrics_print_value_and_mean():
    meter = MetricMeter(delimiter=" | ")
    meter.update({"loss": 1.0, "acc": torch.tensor(50.0)})
    meter.update({"loss": 2.0, "acc": 100.0})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (1.5000) | acc 100.0000 (75.0000)"


def test_metrics_take_only_dicts():
    with pytest.raises(TypeError, match="takes a dict, got list"):
        MetricMeter().update([1.0])
