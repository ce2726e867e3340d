import pytest
import torch
from dassl.engine import TrainerBase
from dassl.optim import build_lr_scheduler, build_optimizer
from torch import nn


class Pair(TrainerBase):
    """Two models, the second without optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
        self.optim = torch.optim.SGD(self.a.parameters(), lr=0.5)
        self.register_model("a", self.a, self.optim)
        self.register_model("b", self.b)


def test_a_name_is_registered_once():
    with pytest.raises(AssertionError, match="'a' is registered already"):
        Pair().register_model("a", nn.Linear(1, 1))


def test_registering_before_init_is_an_attribute_error():
    class Hasty(TrainerBase):
        def __init__(self):
            self.register_model("m", nn.Linear(1, 1))

    with pytest.raises(AttributeError, match=r"super\(\)\.__init__"):
        Hasty()


def test_names_are_checked():
    pair = Pair()
    assert pair.get_model_names() == ["a", "b"]
    assert pair.get_model_names("b") == ["b"]
    with pytest.raises(AssertionError, match="'c'"):
        pair.get_model_names(["c"])


def test_modes_are_set_on_registered_models_only():
    pair = Pair()
    pair.frozen = nn.Linear(1, 1).eval()
    pair.set_model_mode("train")
    assert pair.a.training and pair.b.training and not pair.frozen.training
    pair.set_model_mode("test", "b")
    assert pair.a.training and not pair.b.training
    with pytest.raises(KeyError):
        pair.set_model_mode("training")


def test_an_update_goes_down_the_gradient():
    pair = Pair()
    before = pair.a.weight.detach().clone()
    pair.a.weight.grad = torch.full((1, 2), 100.0)  # of an earlier step
    pair.model_backward_and_update(pair.a(torch.tensor([[1.0, 2.0]])).sum())
    assert torch.allclose(pair.a.weight, before - 0.5 * torch.tensor([[1.0, 2.0]]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(value):
    pair = Pair()
    loss = pair.a(torch.ones(1, 2)).sum() * value
    with pytest.raises(FloatingPointError, match="not finite"):
        pair.model_backward_and_update(loss)
    finite = pair.a(torch.ones(1, 2)).sum()
    for losses in ((loss, finite), (finite, loss)):
        with pytest.raises(FloatingPointError):
            pair.prograd_backward_and_update(*losses)


@pytest.mark.parametrize(
    ("a", "b", "lambda_", "gradient"),
    [
        ([1.0, 0.0], [1.0, 1.0], 1.0, [1.0, 0.0]),  # acute: as it is
        ([1.0, 0.0], [0.0, 3.0], 1.0, [1.0, 0.0]),  # right angle: as it is
        ([1.0, 0.0], [-1.0, 1.0], 1.0, [0.5, 0.5]),  # obtuse: without its part against b
        ([1.0, 0.0], [-1.0, 1.0], 0.5, [0.75, 0.25]),
        ([2.0, 0.0], [-7.0, 0.0], 1.0, [0.0, 0.0]),
        ([2.0, 1.0], [0.0, 0.0], 1.0, [2.0, 1.0]),
    ],
)
def test_prograd_takes_off_what_goes_against_the_other_loss(a, b, lambda_, gradient):
    pair = Pair()
    before = pair.a.weight.detach().clone()
    shared = pair.a.weight * 1  # both losses use one graph
    losses = [(shared * torch.tensor(g)).sum() for g in (a, b)]
    pair.prograd_backward_and_update(*losses, lambda_)
    assert torch.allclose(pair.a.weight, before - 0.5 * torch.tensor([gradient]))


def test_prograd_leaves_a_parameter_of_one_loss_alone():
    pair = Pair()
    before = pair.a.weight.detach().clone()
    pair.prograd_backward_and_update(pair.a(torch.ones(1, 2)).sum(), pair.b(torch.ones(1, 2)).sum())
    assert torch.allclose(pair.a.weight, before - 0.5)


def test_the_rate_is_the_first_optimisers():
    pair = Pair()
    assert pair.get_current_lr() == 0.5
    assert pair.get_current_lr("b") == 0.0


def test_models_are_saved_and_loaded_by_name(tmp_path, capsys):
    saved, other = Pair(), Pair()
    saved.save_model(4, str(tmp_path))
    other.load_model(str(tmp_path), epoch=5)
    assert torch.equal(other.a.weight, saved.a.weight) and torch.equal(other.b.weight, saved.b.weight)
    assert f"Load {tmp_path}/a/model.pth.tar-5 to a (epoch = 5)" in capsys.readouterr().out


def test_without_an_epoch_the_best_model_is_looked_for(tmp_path):
    Pair().save_model(4, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no model at .*a/model-best\.pth\.tar"):
        Pair().load_model(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"model\.pth\.tar-9"):
        Pair().load_model(str(tmp_path), epoch=9)


def test_no_folder_loads_nothing(capsys):
    Pair().load_model("")
    assert "skipped" in capsys.readouterr().out


def test_a_model_of_another_shape_is_told(tmp_path):
    Pair().save_model(0, str(tmp_path))
    other = Pair()
    other._models["b"] = nn.Linear(3, 1, bias=False)
    with pytest.raises(
        ValueError, match=r"b/model\.pth\.tar-1 .*weight is \(1, 2\) in the file, \(1, 3\) in the model"
    ):
        other.load_model(str(tmp_path), epoch=1)


def test_a_run_with_a_model_never_saved_starts_from_scratch(tmp_path, capsys):
    Pair().save_model(0, str(tmp_path))
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    assert Pair().resume_model_if_exist(str(tmp_path)) == 0
    assert capsys.readouterr().out.endswith("No checkpoint found, train from scratch\n")


def test_a_trainer_without_models_starts_from_scratch(tmp_path, capsys):
    assert TrainerBase().resume_model_if_exist(str(tmp_path)) == 0
    assert capsys.readouterr().out == "No checkpoint found, train from scratch\n"


def test_schedules_are_stepped_where_there_are_any(cfg):
    pair = Pair()
    optim = build_optimizer(pair.b, cfg.OPTIM)
    pair._scheds["b"] = build_lr_scheduler(optim, cfg.OPTIM)
    optim.step()
    pair.update_lr()
    assert pair._scheds["b"].get_last_lr() == [cfg.OPTIM.LR]


def test_scalars_without_a_writer_go_nowhere():
    Pair().write_scalar("a", 1.0, 1)
