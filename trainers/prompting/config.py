"""Config keys that every trainer here shares; the trainers' own keys stand beside their code."""

from __future__ import annotations

from yacs.config import CfgNode as CN


def extend_cfg(cfg: CN) -> None:
    """Add the shared keys to a Dassl default tree, in place.

    Safe to call on a tree that has them already: the call only restores the defaults.
    """
    # all, base (first half of the sorted labels), new (the rest); gzsl: trained on base, tested on all; dev: base
    # classes alone, their first half playing base, the rest new, tested on images that are not for testing.
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"

    # An image that cannot be read: stop the run, or skip it (leave it out of every split, named in the log).
    cfg.DATASET.ON_BAD_IMAGE = "stop"

    # Taken off base classes' logits where base and new classes stand together (calibrated stacking); reported beside
    # the plain figures. A run on "dev" tells the best one.
    cfg.TEST.BASE_PENALTY = 0.0

    # A CLIP weight file (OpenAI's JIT archive or a state dict); empty: MODEL.BACKBONE.NAME is looked up.
    cfg.MODEL.BACKBONE.PATH = ""

    cfg.OPTIM.ADAM_EPS = 1e-8  # epsilon of the Adam kinds

    cfg.FEATURES = CN()
    # Augmented views of each training image, encoded once and drawn from at random in every epoch.
    # 0 is the faithful, slow setting: a fresh view of each image in each epoch.
    cfg.FEATURES.VIEWS = 10
    # Folder that keeps encoded features, and SHIP's generators trained on them, between runs; empty: they live in
    # memory only.
    cfg.FEATURES.CACHE_DIR = ""
