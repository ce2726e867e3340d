"""A run's settings from nested keys, and the keys that a run does not read."""

from __future__ import annotations

from dataclasses import asdict, make_dataclass
from typing import Any

import pytest

from shipclip.errors import UserError
from shipclip.generators import GENERATORS
from shipclip.learners import LEARNERS
from shipclip.options import merge, nest
from shipclip.settings import Settings, default_tree, nodes_of, ship_tree
from shipclip.unread import contradictions, foreign, unread


def tree(method: str, **keys: Any) -> dict[str, Any]:
    """All keys with their defaults, and some changed: A__B for A.B."""
    out = merge(default_tree(), {"TRAINER": {"NAME": method}, "MODEL": {"BACKBONE": {"NAME": "MiniCLIP"}}})
    out = merge(out, {"DATALOADER": {"TEST": {"BATCH_SIZE": 100}, "NUM_WORKERS": 0}, "DATASET": {"NAME": "MiniWorld"}})
    for key, value in keys.items():
        out = merge(out, nest(key.replace("__", "."), value))
    return out


def test_a_learner_by_itself_has_its_own_options():
    settings = Settings.of(tree("CoOp", TRAINER__COOP__N_CTX=4, TRAINER__COOP__PREC="fp32"))
    assert (settings.learner, settings.options.n_ctx, settings.precision) == (LEARNERS.get("CoOp"), 4, "fp32")
    assert settings.ship is None and settings.generator is None and settings.name == "CoOp"
    assert (settings.batch_size, settings.test_batch_size, settings.workers) == (32, 100, 0)


def test_ship_gives_its_context_to_the_learner():
    settings = Settings.of(tree("SHIP", TRAINER__SHIP__N_CTX=8, TRAINER__COOP__N_CTX=3))
    assert (settings.options.n_ctx, settings.options.ctx_init) == (8, "a photo of a")
    assert type(settings.generator) is GENERATORS.get("VAE").Options


def test_the_generators_own_options_stand_in_one_node():
    settings = Settings.of(tree("SHIP", TRAINER__SHIP__GENERATOR__NAME="GAN", TRAINER__SHIP__GENERATOR__CRITIC_STEPS=2))
    assert settings.generator == GENERATORS.get("GAN").Options(critic_steps=2)
    assert settings.ship.generator.name == "GAN"


def test_ships_generator_alone_stops_after_it():
    assert Settings.of(tree("SHIPGenerator")).ship.generator.only
    assert not Settings.of(tree("SHIP")).ship.generator.only


def test_another_learner_shows_in_the_methods_name():
    assert Settings.of(tree("SHIP")).name == "SHIP"
    assert Settings.of(tree("SHIP", TRAINER__SHIP__LEARNER="GDA")).name == "SHIP+GDA"


@pytest.mark.parametrize(
    ("method", "keys", "sentence"),
    [
        ("Coop", {}, r"TRAINER.NAME is 'Coop': choose one of .*; did you mean CoOp\?"),
        ("SHIPP", {}, r"choose one of .*GDA.*SHIP, SHIPGenerator.*ZeroshotCLIP2; did you mean SHIP\?"),
        (
            "SHIP",
            {"TRAINER__SHIP__LEARNER": "CLIPadapter"},
            "SHIP.LEARNER is 'CLIPadapter': .*did you mean CLIPAdapter",
        ),
        ("SHIP", {"TRAINER__SHIP__LEARNER": "MaPLe"}, "LEARNER is 'MaPLe', which sees images.*CLIPAdapter.*CoOp"),
        ("SHIP", {"TRAINER__SHIP__GENERATOR__NAME": "VEA"}, "GENERATOR.NAME is 'VEA': choose one of .*mean VAE"),
        ("SHIP", {"TRAINER__SHIP__GENERATOR__EPOCHS": 0}, "TRAINER.SHIP.GENERATOR.EPOCHS is 0: give at least 1"),
        ("SHIP", {"TRAINER__SHIP__JOINT_WEIGHT": 0}, "JOINT_WEIGHT and OWN_WEIGHT are both 0, so there is no loss"),
        ("SHIP", {"TRAINER__SHIP__SYNTHETIC_SHARE": -1}, "TRAINER.SHIP.SYNTHETIC_SHARE is -1.0: give at least 0"),
        ("CoOp", {"TRAINER__COOP__PREC": "fp8"}, "TRAINER.COOP.PREC is 'fp8': choose one of fp32, fp16, amp, bf16"),
        ("CoOp", {"DATALOADER__TRAIN_X__BATCH_SIZE": 0}, "DATALOADER.TRAIN_X.BATCH_SIZE is 0: give at least 1"),
    ],
)
def test_what_no_run_can_work_with_is_refused(method: str, keys: dict[str, Any], sentence: str):
    with pytest.raises(UserError, match=sentence):
        Settings.of(tree(method, **keys))


def test_two_generators_may_not_differ_in_a_keys_default(monkeypatch: pytest.MonkeyPatch):
    base = GENERATORS.get("Gaussian").Options
    other = type("Other", (), {"Options": make_dataclass("O", [("epochs", int, 51)], bases=(base,), frozen=True)})
    monkeypatch.setitem(GENERATORS._known, "Other", other)
    with pytest.raises(TypeError, match="generator Other has another default for EPOCHS"):
        ship_tree()


def test_every_generators_keys_are_there():
    node = ship_tree()["GENERATOR"]
    for cls in GENERATORS:
        for key, value in asdict(cls.Options()).items():
            assert node[key.upper()] == value


OF_OTHERS = [
    ("CoOp", {}, ["TRAINER.COOP.N_CTX", "TRAINER.NAME", "OPTIM.LR"], []),
    ("CoOp", {}, ["TRAINER.COCOOP.N_CTX", "TRAINER.SHIP.N_CTX"], ["TRAINER.COCOOP.N_CTX", "TRAINER.SHIP.N_CTX"]),
    ("SHIP", {}, ["TRAINER.SHIP.N_CTX", "TRAINER.SHIP.GENERATOR.KL_WEIGHT", "TRAINER.COOP.CSC"], []),
    ("SHIP", {}, ["TRAINER.COOP.N_CTX", "TRAINER.COOP.PREC"], ["TRAINER.COOP.N_CTX", "TRAINER.COOP.PREC"]),
    ("SHIP", {}, ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"], ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"]),
    ("SHIP", {"TRAINER__SHIP__GENERATOR__NAME": "GAN"}, ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"], []),
    ("SHIP", {"TRAINER__SHIP__LEARNER": "GDA"}, ["TRAINER.GDA.ALPHA", "TRAINER.SHIP.N_CTX"], ["TRAINER.SHIP.N_CTX"]),
]


@pytest.mark.parametrize(("method", "keys", "given", "wanted"), OF_OTHERS)
def test_keys_of_another_method_are_told(method: str, keys: dict, given: list[str], wanted: list[str]):
    settings = Settings.of(tree(method, **keys))
    assert foreign(settings, given) == wanted
    assert set(wanted) <= set(unread(settings, given))


SHIP, GENERATOR = "TRAINER.SHIP", "TRAINER.SHIP.GENERATOR"
WITHOUT_EFFECT = [
    ("CoOp", {}, ["TRAINER.COOP.N_CTX", "TRAINER.COOP.CSC"], []),
    ("CoOp", {"TRAINER__COOP__CTX_INIT": "a photo"}, ["TRAINER.COOP.N_CTX", "TRAINER.COOP.CSC"], ...),
    ("SHIP", {}, [f"{SHIP}.N_CTX"], []),  # 4, as CTX_INIT has words
    ("SHIP", {"TRAINER__SHIP__N_CTX": 8}, [f"{SHIP}.N_CTX", "TRAINER.COOP.CSC", "TRAINER.COOP.N_CTX"], ...),
    ("SHIP", {"TRAINER__SHIP__CTX_INIT": ""}, [f"{SHIP}.N_CTX", "TRAINER.COOP.CSC"], []),
    ("SHIP", {}, [f"{SHIP}.SYNTHETIC_SHOTS"], ...),
    ("SHIP", {"TRAINER__SHIP__LEARNER": "GDA"}, [f"{SHIP}.SYNTHETIC_SHOTS"], []),
    ("SHIP", {"TRAINER__SHIP__LEARNER": "GDA"}, [f"{SHIP}.OWN_WEIGHT", "OPTIM.LR", "TEST.FINAL_MODEL"], ...),
    ("SHIP", {"TRAINER__SHIP__REAL": False}, [f"{SHIP}.SYNTHETIC_SHARE"], ...),
    ("SHIP", {"TRAINER__SHIP__GENERATOR__FROM": "x"}, [f"{GENERATOR}.KL_WEIGHT", f"{GENERATOR}.NAME"], ...),
    ("SHIP", {"TRAINER__SHIP__GENERATOR__FROM": "x"}, [f"{GENERATOR}.FROM", f"{SHIP}.OWN_WEIGHT"], []),
    ("SHIP", {"TRAINER__SHIP__GENERATOR__CTX_INIT": "a photo"}, [f"{GENERATOR}.N_CTX"], ...),
    ("SHIPGenerator", {}, [f"{SHIP}.LEARNER", "OPTIM.LR", f"{GENERATOR}.ONLY"], ...),
    ("CoOp", {}, ["OPTIM.MOMENTUM", "OPTIM.SGD_NESTEROV", "OPTIM.STAGED_LR", "DATASET.VAL_PERCENT"], ...),
    ("CoOp", {"OPTIM__NAME": "sgd"}, ["OPTIM.MOMENTUM", "OPTIM.SGD_NESTEROV"], []),
    ("CoOp", {"OPTIM__NAME": "sgd"}, ["OPTIM.ADAM_BETA1", "OPTIM.RMSPROP_ALPHA", "OPTIM.WARMUP_TYPE"], ...),
    ("CoOp", {"OPTIM__LR_SCHEDULER": "cosine"}, ["OPTIM.STEPSIZE", "OPTIM.GAMMA"], ...),
    ("CoOp", {"OPTIM__WARMUP_EPOCH": 1}, ["OPTIM.WARMUP_MIN_LR", "OPTIM.WARMUP_TYPE"], []),
    ("CoOp", {"OPTIM__WARMUP_EPOCH": 1}, ["OPTIM.WARMUP_CONS_LR"], ...),
    ("CoOp", {}, ["INPUT.CROP_PADDING", "INPUT.COLORJITTER_B", "INPUT.GB_K", "INPUT.CUTOUT_N"], ...),
    ("CoOp", {}, ["INPUT.RRCROP_SCALE", "FEATURES.VIEWS", "TEST.BASE_PENALTY", "DATASET.NUM_SHOTS"], []),
    ("CoOp", {"DATASET__SUBSAMPLE_CLASSES": "base"}, ["TEST.BASE_PENALTY"], ...),
    ("CoOp", {"TEST__NO_TEST": True}, ["TEST.PREDICTIONS", "TEST.FINAL_MODEL"], ...),
    ("MaPLe", {}, ["FEATURES.VIEWS", "FEATURES.CACHE_DIR"], ...),
    ("CLIPLoRA", {}, ["OPTIM.MAX_EPOCH", "OPTIM.WARMUP_EPOCH"], ...),
    ("CLIPLoRA", {"TRAINER__CLIPLORA__N_ITERS": 0}, ["OPTIM.MAX_EPOCH", "OPTIM.WARMUP_EPOCH"], []),
    ("ZeroshotCLIP", {}, ["FEATURES.VIEWS", "OPTIM.LR", "DATALOADER.TRAIN_X.BATCH_SIZE"], ...),
    ("TipAdapter", {}, ["FEATURES.VIEWS", "DATASET.TEMPLATE"], []),
]


@pytest.mark.parametrize(("method", "keys", "given", "wanted"), WITHOUT_EFFECT)
def test_keys_that_have_no_effect_are_told(method: str, keys: dict, given: list[str], wanted: Any):
    """`...`: all of them."""
    assert unread(Settings.of(tree(method, **keys)), given) == (given if wanted is ... else wanted)


def test_keys_that_the_caller_reads_are_not_told():
    assert unread(Settings.of(tree("CoOp")), ["OUTPUT_DIR", "USE_CUDA"]) == ["OUTPUT_DIR", "USE_CUDA"]
    assert unread(Settings.of(tree("CoOp")), ["OUTPUT_DIR", "USE_CUDA"], ["OUTPUT_DIR", "USE_CUDA"]) == []


def test_a_warm_up_that_leaves_no_epoch_is_told():
    keys = {"OPTIM__MAX_EPOCH": 2, "OPTIM__WARMUP_EPOCH": 2}
    assert "OPTIM.LR is never reached" in contradictions(Settings.of(tree("CoOp", **keys)))[0]
    assert not contradictions(Settings.of(tree("CoOp", **{**keys, "OPTIM__WARMUP_EPOCH": 1})))
    assert not contradictions(Settings.of(tree("CLIPLoRA", **keys)))  # it counts updates


def test_the_nodes_that_a_run_reads():
    assert nodes_of(tree("CoOp")) == {"COOP"} and nodes_of(tree("ZeroshotCLIP2")) == {"ZEROSHOTCLIP"}
    assert nodes_of(tree("SHIP", TRAINER__SHIP__LEARNER="GDA")) == {"SHIP", "GDA"}
    assert nodes_of(tree("SomebodyElses")) == set()
