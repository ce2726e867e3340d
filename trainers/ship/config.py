"""SHIP's config keys, under TRAINER.SHIP. The defaults are the reference code's settings."""

from __future__ import annotations

from yacs.config import CfgNode as CN


def extend_cfg(cfg: CN) -> None:
    """Add TRAINER.SHIP to a Dassl default tree, in place."""
    cfg.TRAINER.SHIP = ship = CN()
    ship.PREC = "fp32"  # fp32, fp16, amp, bf16
    ship.NEW_CLASSNAMES = ""  # file with a new class's name a line; empty: the data set's new half

    # Stage 1: the generator of features.
    ship.GENERATOR = CN()
    ship.GENERATOR.NAME = "VAE"
    ship.GENERATOR.N_CTX = 4  # L, global context vectors
    ship.GENERATOR.CTX_INIT = ""  # start them from these words; empty: N(0, 0.02)
    ship.GENERATOR.ENCODER_HIDDEN = 2048
    ship.GENERATOR.HIDDEN = 4096
    ship.GENERATOR.ACTIVATION = "relu"  # between the generator's layers: relu or leaky_relu (slope 0.2)
    ship.GENERATOR.KL_WEIGHT = 1.0
    ship.GENERATOR.LR = 1e-3  # AdamW, torch's other defaults, no schedule
    ship.GENERATOR.EPOCHS = 50
    ship.GENERATOR.BATCH_SIZE = 256
    ship.GENERATOR.CHECKPOINT_FREQ = 10  # epochs between checkpoints; the last is always kept

    # Stage 2: a fresh CoOp context on real and synthetic features (OPTIM holds its optimiser).
    ship.N_CTX = 4
    ship.CTX_INIT = "a photo of a"  # sets the number of vectors
    ship.LOGIT_SCALE = 100.0  # the reference code's constant in training
    ship.STEP_SCHEDULE = True  # the learning rate steps with each batch, not with each epoch
    ship.DROP_LAST = False  # keep the last, smaller batch of an epoch
