"""A run's settings from nested keys, and the keys that a run does not read."""

from __future__ import annotations

from dataclasses import asdict, make_dataclass
from typing import Any

import pytest

from shipclip.errors import UserError
from shipclip.generators import GENERATORS
from shipclip.learners import LEARNERS
from shipclip.options import merge, nest, tree_of
from shipclip.settings import Settings, nodes_of, ship_tree, unread


def tree(method: str, **keys: Any) -> dict[str, Any]:
    """All keys under TRAINER with their defaults, and some changed: A__B for A.B."""
    nodes = {cls.node(): tree_of(cls.Options) for cls in LEARNERS}
    out = {
        "TRAINER": {"NAME": method, "SHIP": ship_tree(), **nodes},
        "MODEL": {"BACKBONE": {"NAME": "MiniCLIP"}},
        "DATASET": {"NAME": "MiniWorld"},
        "DATALOADER": {"TRAIN_X": {"BATCH_SIZE": 32}, "TEST": {"BATCH_SIZE": 100}, "NUM_WORKERS": 0},
    }
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


UNREAD = [
    ("CoOp", {}, ["TRAINER.COOP.N_CTX", "TRAINER.NAME", "OPTIM.LR"], []),
    ("CoOp", {}, ["TRAINER.COCOOP.N_CTX", "TRAINER.SHIP.N_CTX"], ["TRAINER.COCOOP.N_CTX", "TRAINER.SHIP.N_CTX"]),
    ("SHIP", {}, ["TRAINER.SHIP.N_CTX", "TRAINER.SHIP.GENERATOR.KL_WEIGHT", "TRAINER.COOP.CSC"], []),
    ("SHIP", {}, ["TRAINER.COOP.N_CTX", "TRAINER.COOP.PREC"], ["TRAINER.COOP.N_CTX", "TRAINER.COOP.PREC"]),
    ("SHIP", {}, ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"], ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"]),
    ("SHIP", {"TRAINER__SHIP__GENERATOR__NAME": "GAN"}, ["TRAINER.SHIP.GENERATOR.CRITIC_STEPS"], []),
    ("SHIP", {"TRAINER__SHIP__LEARNER": "GDA"}, ["TRAINER.GDA.ALPHA", "TRAINER.SHIP.N_CTX"], ["TRAINER.SHIP.N_CTX"]),
]


@pytest.mark.parametrize(("method", "keys", "given", "wanted"), UNREAD)
def test_keys_that_the_run_does_not_read_are_told(method: str, keys: dict, given: list[str], wanted: list[str]):
    assert unread(Settings.of(tree(method, **keys)), given) == wanted


def test_the_nodes_that_a_run_reads():
    assert nodes_of(tree("CoOp")) == {"COOP"} and nodes_of(tree("ZeroshotCLIP2")) == {"ZEROSHOTCLIP"}
    assert nodes_of(tree("SHIP", TRAINER__SHIP__LEARNER="GDA")) == {"SHIP", "GDA"}
    assert nodes_of(tree("SomebodyElses")) == set()
