"""The columns of tables: how they are called, and which an experiment shows."""

HEADINGS = {
    "accuracy": "accuracy",
    "base": "base",
    "new": "new",
    "h": "H",
    "joint_base": "joint base",
    "joint_new": "joint new",
    "joint_h": "joint H",
    "u": "U",
    "s": "S",
    "gzsl_h": "H",
    "calibrated_u": "U, calibrated",
    "calibrated_s": "S, calibrated",
    "calibrated_h": "H, calibrated",
    "frechet": "Frechet, new",
    "cosine": "cosine, new",
    "synthetic_to_real": "synthetic to real, new",
    "real_to_synthetic": "real to synthetic, new",
    "train_s": "training (s)",
    "ece": "ECE",
    "base_ece": "ECE, base",
    "new_ece": "ECE, new",
    "own_base_ece": "ECE, base alone",
    "own_new_ece": "ECE, new alone",
    "adaptive_ece": "adaptive ECE",
    "brier": "Brier",
    "aurc": "AURC",
    "openworld_auc": "OpenworldAUC",
}
DIGITS = {"frechet": 2, "cosine": 2, "brier": 3}  # others 1
HARMONIC = {  # means of two columns
    "h": ("base", "new"),
    "joint_h": ("joint_base", "joint_new"),
    "gzsl_h": ("u", "s"),
    "calibrated_h": ("calibrated_u", "calibrated_s"),
}
BASE_NEW = ("base", "new", "h", "joint_base", "joint_new", "joint_h")
QUALITY = ("frechet", "cosine", "synthetic_to_real", "real_to_synthetic")
CONFIDENCE = {  # column -> where a test's figures have it, below "confidence"
    "ece": ("ece",),
    "base_ece": ("base", "ece"),
    "new_ece": ("new", "ece"),
    "own_base_ece": ("own_base", "ece"),
    "own_new_ece": ("own_new", "ece"),
    "adaptive_ece": ("adaptive_ece",),
    "brier": ("brier",),
    "aurc": ("aurc",),
    "openworld_auc": ("openworld_auc",),
}
VIEWS = {  # which columns an experiment shows
    "gzsl": ("u", "s", "gzsl_h", "calibrated_u", "calibrated_s", "calibrated_h"),
    "cross_dataset": ("accuracy",),
    "ablation": ("base", "new", "h", "joint_h", *QUALITY, "train_s"),
}
EXPLANATIONS = {
    "base": "base, new: each among its own classes; H: their harmonic mean, of each seed, then averaged.",
    "joint_base": "joint: base and new images among all classes together.",
    "u": "U, S: unseen and seen classes among all classes, mean over classes; H: their harmonic mean.",
    "calibrated_u": "calibrated: a penalty on seen classes' logits, chosen within the seen classes (it may be 0).",
    "frechet": "Frechet, cosine: synthetic against real test features of new classes, mean over classes; synthetic to "
    "real: accuracy on real of a logistic regression trained on synthetic ones, and the reverse.",
    "ece": "ECE: expected calibration error in percent, 15 bins of equal width (adaptive: of equal size), among all "
    "classes or, alone, among base or new ones. AURC: area under the risk-coverage curve in percent.",
    "openworld_auc": "OpenworldAUC: pairs of a base and a new image, in percent, each right among its own, in order.",
}
