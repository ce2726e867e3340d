import pytest
from dassl.config import cfg_default, clean_cfg, get_cfg_default
from yacs.config import CfgNode


def test_a_fresh_tree_shares_nothing_with_the_defaults():
    cfg = get_cfg_default()
    cfg.OPTIM.LR = 1.0
    cfg.INPUT.PIXEL_MEAN.append(0.0)
    assert get_cfg_default().OPTIM.LR == cfg_default.OPTIM.LR == 0.0003
    assert len(get_cfg_default().INPUT.PIXEL_MEAN) == 3


def test_sgd_has_momentum_and_weight_decay_by_default():
    optim = get_cfg_default().OPTIM
    assert (optim.MOMENTUM, optim.WEIGHT_DECAY, optim.ADAM_EPS) == (0.9, 5e-4, 1e-8)


def test_the_classes_are_not_subsampled_by_default():
    assert get_cfg_default().DATASET.SUBSAMPLE_CLASSES == "all"


def test_strings_from_files_are_evaluated(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text('INPUT:\n  SIZE: "(32, 32)"\n  TRANSFORMS: ["normalize"]\nOPTIM:\n  WARMUP_CONS_LR: 1e-5\n')
    cfg = get_cfg_default()
    cfg.merge_from_file(str(file))
    assert cfg.INPUT.SIZE == (32, 32)
    assert cfg.INPUT.TRANSFORMS == ("normalize",)
    assert cfg.OPTIM.WARMUP_CONS_LR == 1e-5


@pytest.mark.parametrize(
    "option",
    [("OPTIM.LR", "1"), ("OPTIM.MAX_EPOCH", "1.5"), ("USE_CUDA", "1"), ("OPTIM.MAX_EPOCH", "True")],
)
def test_a_value_of_another_type_is_refused(option):
    with pytest.raises(ValueError, match="Type mismatch"):
        get_cfg_default().merge_from_list(list(option))


def test_an_unknown_key_is_refused():
    with pytest.raises(AssertionError, match="Non-existent"):
        get_cfg_default().merge_from_list(["OPTIM.RATE", "1.0"])


def test_a_frozen_tree_cannot_be_changed():
    cfg = get_cfg_default()
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.SEED = 1


def test_clean_cfg_keeps_the_name_and_the_chosen_trainers_node():
    cfg = get_cfg_default()
    cfg.TRAINER.COOP, cfg.TRAINER.SHIP = CfgNode({"N_CTX": 4}), CfgNode({"N_CTX": 4})
    clean_cfg(cfg, "CoOp")
    assert sorted(cfg.TRAINER) == ["COOP", "NAME"]
