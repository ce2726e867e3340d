"""SHIP's config keys, under TRAINER.SHIP. The defaults are the reference code's settings."""

from __future__ import annotations

from yacs.config import CfgNode as CN


def extend_cfg(cfg: CN) -> None:
    """Add TRAINER.SHIP to a Dassl default tree, in place."""
    cfg.TRAINER.SHIP = ship = CN()
    ship.PREC = "fp32"  # fp32, fp16, amp, bf16
    ship.NEW_CLASSNAMES = ""  # file with a new class's name a line; empty: the data set's new half
    ship.MEASURE = True  # at the test, compare synthetic features with the test images' (Frechet distance and so on)

    # Stage 1: the generator of features.
    ship.GENERATOR = CN()
    ship.GENERATOR.NAME = "VAE"  # VAE, GAN, MLP (a decoder learned from scratch) or Gaussian
    ship.GENERATOR.FROM = ""  # folder of a finished SHIP run whose generator is taken as it is: no stage 1
    ship.GENERATOR.ONLY = False  # stop after stage 1
    ship.GENERATOR.N_CTX = 4  # L, global context vectors
    ship.GENERATOR.CTX_INIT = ""  # start them from these words; empty: N(0, 0.02)
    ship.GENERATOR.ENCODER_HIDDEN = 2048
    ship.GENERATOR.HIDDEN = 4096
    ship.GENERATOR.ACTIVATION = "relu"  # between the generator's layers: relu or leaky_relu (slope 0.2)
    ship.GENERATOR.KL_WEIGHT = 1.0
    ship.GENERATOR.KL_ANNEAL = 0  # epochs over which KL_WEIGHT is reached linearly; 0: at once
    ship.GENERATOR.FREE_BITS = 0.0  # nats of KL that cost nothing
    ship.GENERATOR.LATENT = "prior"  # sample from N(0, I), or from the base images' posteriors ("posterior")
    ship.GENERATOR.CONTRAST_WEIGHT = 0.0  # real features must find their class among the batch's synthetic ones
    ship.GENERATOR.ANCHOR_WEIGHT = 0.0  # pull synthetic features to the class's text feature
    ship.GENERATOR.LR = 1e-3  # AdamW, torch's other defaults, no schedule
    ship.GENERATOR.EPOCHS = 50
    ship.GENERATOR.BATCH_SIZE = 256
    ship.GENERATOR.CHECKPOINT_FREQ = 10  # epochs between checkpoints; the last is always kept
    ship.GENERATOR.CRITIC_HIDDEN = 4096  # GAN: width of the critic
    ship.GENERATOR.CRITIC_STEPS = 5  # GAN: the critic's updates for each of the generator's
    ship.GENERATOR.PENALTY = 10.0  # GAN: weight of the gradient penalty
    ship.GENERATOR.GAN_LR = 1e-4  # GAN: Adam's learning rate

    # Stage 2: a fresh learner on real and synthetic features (OPTIM holds its optimiser). Learners other than CoOp
    # and CoCoOp take their options from their own node, TRAINER.<LEARNER>.
    ship.LEARNER = "CoOp"  # a name in trainers/learners
    ship.N_CTX = 4
    ship.CTX_INIT = "a photo of a"  # sets the number of vectors
    ship.LOGIT_SCALE = 100.0  # the reference code's constant in training
    ship.STEP_SCHEDULE = True  # the learning rate steps with each batch, not with each epoch
    ship.DROP_LAST = False  # keep the last, smaller batch of an epoch
    ship.REAL = True  # False: synthetic features alone, of all classes of the data set (cross-data-set transfer)
    ship.SYNTHETIC_SHARE = 1.0  # synthetic features for each real one
    ship.SYNTHETIC_CLASSES = "new"  # of new classes alone, or of "all"
    ship.SYNTHETIC_WEIGHT = 1.0  # of a synthetic feature in the loss; a real one has 1
    ship.SYNTHETIC_SHOTS = 0  # features of each new class that a learner is prepared with; 0: as a base class has
    ship.FILTER = False  # leave out synthetic features that zero-shot CLIP takes for another class
    ship.JOINT_WEIGHT = 1.0  # cross entropy among all classes
    ship.OWN_WEIGHT = 0.0  # cross entropy of base features among base classes, of new among new ones
    ship.ANCHOR_WEIGHT = 0.0  # pull class features to the hand-written prompts' (KgCoOp, Yao et al., CVPR 2023)
