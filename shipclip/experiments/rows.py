"""The rows of the ablation: what is changed in SHIP's config, under TRAINER. "tuned" rows change the config that
validation chose."""

from __future__ import annotations

# The paper's ablations, and the tuned config with one piece taken out. CLIP's: its own logit scale.
ROWS: dict[str, dict[str, str]] = {
    "SHIP": {},
    "GAN": {"SHIP.GENERATOR.NAME": "GAN"},
    "MLP": {"SHIP.GENERATOR.NAME": "MLP"},
    "Gaussian": {"SHIP.GENERATOR.NAME": "Gaussian"},
    "TextPoint": {"SHIP.GENERATOR.NAME": "TextPoint"},
    "residuals": {"SHIP.GENERATOR.OBSERVATION": "residuals"},
    "generator-words": {"SHIP.GENERATOR.CTX_INIT": "a_photo_of_a"},
    "learner-random": {"SHIP.CTX_INIT": ""},
    "kl-0.01": {"SHIP.GENERATOR.KL_WEIGHT": "0.01"},
    "kl-0.1": {"SHIP.GENERATOR.KL_WEIGHT": "0.1"},
    "L-1": {"SHIP.GENERATOR.N_CTX": "1"},
    "L-16": {"SHIP.GENERATOR.N_CTX": "16"},
    "hidden-quarter": {"SHIP.GENERATOR.HIDDEN": "256", "SHIP.GENERATOR.ENCODER_HIDDEN": "128"},
    "hidden-double": {"SHIP.GENERATOR.HIDDEN": "2048", "SHIP.GENERATOR.ENCODER_HIDDEN": "1024"},
    "share-0.25": {"SHIP.SYNTHETIC_SHARE": "0.25"},
    "share-4": {"SHIP.SYNTHETIC_SHARE": "4.0"},
    "tuned": {},
    "tuned-hard": {"SHIP.LOGIT_SCALE": "CLIP's"},
    "tuned-ratio-0.2": {"CLIPADAPTER.RATIO": "0.2"},
    "tuned-Gaussian": {"SHIP.GENERATOR.NAME": "Gaussian"},
    "tuned-TextPoint": {"SHIP.GENERATOR.NAME": "TextPoint"},
    "tuned-mean": {"SHIP.GENERATOR.OBSERVATION": "mean"},
}

# Options that nothing hangs on: tried within the base classes alone (--subset dev), not on test images.
BEYOND: dict[str, dict[str, str]] = {
    "weight-0.5": {"SHIP.SYNTHETIC_WEIGHT": "0.5"},
    "of-all-classes": {"SHIP.SYNTHETIC_CLASSES": "all"},
    "filter": {"SHIP.FILTER": "True"},
    "posterior": {"SHIP.GENERATOR.LATENT": "posterior"},
    "kl-anneal": {"SHIP.GENERATOR.KL_ANNEAL": "25"},
    "free-bits": {"SHIP.GENERATOR.FREE_BITS": "10.0"},
    "own-and-joint": {"SHIP.OWN_WEIGHT": "1.0"},
    "own-alone": {"SHIP.OWN_WEIGHT": "1.0", "SHIP.JOINT_WEIGHT": "0.0"},
    "anchor": {"SHIP.ANCHOR_WEIGHT": "1.0"},
    "contrast": {"SHIP.GENERATOR.CONTRAST_WEIGHT": "1.0"},
    "text-anchor": {"SHIP.GENERATOR.ANCHOR_WEIGHT": "1.0"},
    "tuned-joint-alone": {"SHIP.OWN_WEIGHT": "0.0"},
    "tuned-share-2": {"SHIP.SYNTHETIC_SHARE": "2.0"},
    "tuned-contrast": {"SHIP.GENERATOR.CONTRAST_WEIGHT": "1.0"},
    "tuned-anchor": {"SHIP.GENERATOR.ANCHOR_WEIGHT": "1.0"},
    "tuned-posterior": {"SHIP.GENERATOR.LATENT": "posterior"},
}
