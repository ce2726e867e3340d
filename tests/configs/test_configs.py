from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import train

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = sorted(CONFIGS.glob("trainers/SHIP/with_*.yaml"))  # merged over another of SHIP's
TRAINERS = sorted(set(CONFIGS.glob("trainers/*/*.yaml")) - set(OVERLAYS))


def merged(trainer_file: Path, dataset: str = "miniworld", overlay: Path | None = None):
    return train.setup_cfg(
        train.parse_args(
            [
                *("--trainer", trainer_file.parent.name, "--config-file", str(trainer_file)),
                *(("--config-file", str(overlay)) if overlay else ()),
                *("--dataset-config-file", str(CONFIGS / "datasets" / f"{dataset}.yaml")),
            ]
        )
    )


@pytest.mark.parametrize("file", TRAINERS, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_every_trainers_config_merges(file: Path):
    cfg = merged(file)
    assert cfg.MODEL.BACKBONE.NAME
    assert set(cfg.INPUT.TRANSFORMS) == {"random_resized_crop", "random_flip", "normalize"}


@pytest.mark.parametrize("below", ["miniclip", "vit_b16"])
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda f: f.stem)
def test_every_overlay_changes_the_learner_and_keeps_the_rest(overlay: Path, below: str):
    plain, changed = (merged(CONFIGS / "trainers" / "SHIP" / f"{below}.yaml", overlay=o) for o in (None, overlay))
    assert changed.TRAINER.SHIP.LEARNER == overlay.stem.removeprefix("with_") != plain.TRAINER.SHIP.LEARNER
    assert changed.TRAINER.SHIP.GENERATOR == plain.TRAINER.SHIP.GENERATOR and changed.INPUT == plain.INPUT
    assert changed.MODEL.BACKBONE.NAME == plain.MODEL.BACKBONE.NAME


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("datasets/*.yaml")), ids=lambda f: f.stem)
def test_every_data_set_config_names_a_registered_data_set(file: Path):
    from dassl.data.datasets import DATASET_REGISTRY

    cfg = merged(CONFIGS / "trainers" / "CoOp" / "vit_b16.yaml", file.stem)
    assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()


def test_coops_own_names_are_there():
    names = {f"{f.parent.name}/{f.stem}" for f in TRAINERS}
    for backbone in ("rn50", "rn101", "vit_b32", "vit_b16"):
        assert {f"CoOp/{backbone}", f"CoOp/{backbone}_ep50"} <= names
    assert {"CoOp/vit_b16_ctxv1", "CoOp/vit_b16_ep50_ctxv1", "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1"} <= names


def test_the_reference_config_holds_the_reference_codes_settings():
    cfg = merged(CONFIGS / "trainers" / "SHIP" / "vit_b16_reference.yaml")
    generator, ship, optim = cfg.TRAINER.SHIP.GENERATOR, cfg.TRAINER.SHIP, cfg.OPTIM
    assert (generator.ENCODER_HIDDEN, generator.HIDDEN, generator.ACTIVATION) == (2048, 4096, "relu")
    assert (generator.N_CTX, generator.CTX_INIT, generator.KL_WEIGHT, generator.LR) == (4, "", 1.0, 1e-3)
    assert (generator.EPOCHS, generator.BATCH_SIZE) == (50, 256)
    assert (ship.CTX_INIT, ship.LOGIT_SCALE, ship.STEP_SCHEDULE, ship.DROP_LAST) == ("a photo of a", 100.0, True, False)
    assert (optim.NAME, optim.LR, optim.MOMENTUM, optim.WEIGHT_DECAY) == ("sgd", 0.002, 0.0, 0.0)
    assert (optim.MAX_EPOCH, optim.LR_SCHEDULER, optim.WARMUP_EPOCH) == (200, "cosine", -1)
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.FEATURES.VIEWS) == (256, 0)
    assert (cfg.INPUT.RRCROP_SCALE, cfg.MODEL.BACKBONE.NAME) == ((0.5, 1.0), "ViT-B/16")
    assert (cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION) == ((), "")  # the backbone's: 224 x 224, bicubic


def test_no_trainers_config_says_what_its_backbone_knows():
    for file in TRAINERS:
        given = yaml.safe_load(file.read_text()).get("INPUT", {})
        assert not {"SIZE", "INTERPOLATION", "PIXEL_MEAN", "PIXEL_STD"} & set(given), file


def test_the_learners_that_see_images_have_their_authors_settings():
    cfg = merged(CONFIGS / "trainers" / "MaPLe" / "vit_b16_c2_ep5_batch4_2ctx.yaml")
    maple, optim = cfg.TRAINER.MAPLE, cfg.OPTIM
    assert (optim.NAME, optim.LR, optim.MAX_EPOCH, optim.LR_SCHEDULER) == ("sgd", 0.0035, 5, "cosine")
    assert (optim.WARMUP_EPOCH, optim.WARMUP_TYPE, optim.WARMUP_CONS_LR) == (1, "constant", 1e-5)
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, cfg.DATALOADER.TEST.BATCH_SIZE) == (4, 100)
    assert (maple.N_CTX, maple.PROMPT_DEPTH, maple.CTX_INIT) == (2, 9, "a photo of a")
    cfg = merged(CONFIGS / "trainers" / "CLIPLoRA" / "vit_b16.yaml")
    lora, optim = cfg.TRAINER.CLIPLORA, cfg.OPTIM
    assert (optim.NAME, optim.LR, optim.WEIGHT_DECAY, cfg.INPUT.RRCROP_SCALE) == ("adamw", 2e-4, 1e-2, (0.08, 1.0))
    assert (cfg.DATALOADER.TRAIN_X.BATCH_SIZE, lora.N_ITERS, lora.PREC) == (32, 500, "amp")
    assert (lora.R, lora.ALPHA, lora.DROPOUT_RATE, lora.ENCODER, lora.PARAMS) == (2, 1.0, 0.25, "both", "qkv")


def test_coops_settings_come_from_dassls_defaults():
    cfg = merged(CONFIGS / "trainers" / "CoOp" / "vit_b16_ctxv1.yaml")
    assert (cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.MAX_EPOCH) == (0.9, 5e-4, 200)
    assert (cfg.TRAINER.COOP.CTX_INIT, cfg.TRAINER.COOP.PREC, cfg.OPTIM.WARMUP_CONS_LR) == (
        "a photo of a",
        "fp16",
        1e-5,
    )


def test_flags_win_over_files_and_options_over_flags():
    args = ["--trainer", "CoOp", "--config-file", str(CONFIGS / "trainers" / "CoOp" / "rn50.yaml")]
    cfg = train.setup_cfg(train.parse_args([*args, "--backbone", "ViT-B/32", "--seed", "0"]))
    assert (cfg.MODEL.BACKBONE.NAME, cfg.SEED) == ("ViT-B/32", 0)
    cfg = train.setup_cfg(train.parse_args([*args, "--backbone", "ViT-B/32", "MODEL.BACKBONE.NAME", "RN101"]))
    assert cfg.MODEL.BACKBONE.NAME == "RN101"
