"""Keys that somebody gave and that the run does not read: told, so that no setting is lost without a word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass

from .backbones.prompts import words_of
from .learners import Learner, LearnerOptions
from .optim import OptimOptions
from .options import flatten, key_of, tree_of
from .settings import GENERATOR, SHIP, SHIPS_OWN, Settings, default_tree
from .synthesis import GeneratorChoice, ShipOptions

# Of the keys under TRAINER.SHIP, what stage 2 alone reads, and what of that only a learner that is trained.
TRAINED = {"LOGIT_SCALE", "STEP_SCHEDULE", "DROP_LAST", "SYNTHETIC_SHARE", "SYNTHETIC_CLASSES", "SYNTHETIC_WEIGHT"}
TRAINED |= {"FILTER", "JOINT_WEIGHT", "OWN_WEIGHT", "ANCHOR_WEIGHT"}
STAGE_2 = {*TRAINED, "LEARNER", "N_CTX", "CTX_INIT", "SYNTHETIC_SHOTS"}
# Which transform reads them.
OF_A_TRANSFORM = {
    "CROP_PADDING": "random_crop",
    "RRCROP_SCALE": "random_resized_crop",
    **dict.fromkeys(("COLORJITTER_B", "COLORJITTER_C", "COLORJITTER_S", "COLORJITTER_H"), "colorjitter"),
    "RGS_P": "randomgrayscale",
    **dict.fromkeys(("GB_P", "GB_K"), "gaussian_blur"),
}
OF_AN_OPTIMISER = {
    **dict.fromkeys(("SGD_DAMPNING", "SGD_NESTEROV"), ("sgd",)),
    "MOMENTUM": ("sgd", "rmsprop"),
    "RMSPROP_ALPHA": ("rmsprop",),
    **dict.fromkeys(("ADAM_BETA1", "ADAM_BETA2", "ADAM_EPS"), ("adam", "amsgrad", "radam", "adamw")),
}


def unread(settings: Settings, keys: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Those of the keys that a run with these settings does not read.

    Args:
        settings: all of them.
        keys: that somebody gave.
        others: keys that the caller reads by itself.
    """
    known = (foreign_free(settings) - without_effect(settings)) | set(others)
    return [key for key in dict.fromkeys(keys) if key not in known]


def foreign(settings: Settings, keys: Iterable[str]) -> list[str]:
    """Those of the keys under TRAINER that are of another method."""
    known = foreign_free(settings)
    return [key for key in dict.fromkeys(keys) if key.startswith("TRAINER.") and key not in known]


def foreign_free(settings: Settings) -> set[str]:
    """The keys that runs of this method read, some perhaps only with other values of others."""
    shared = {key for key in flatten(default_tree()) if not key.startswith("TRAINER.")}
    own = {key_of(f.name) for f in fields(settings.options)}
    nodes = {settings.learner.node(): own - SHIPS_OWN if settings.ship else own}
    if settings.ship:
        nodes[SHIP] = {key_of(f.name) for f in fields(ShipOptions) if not is_dataclass(getattr(settings.ship, f.name))}
        for cls in (GeneratorChoice, type(settings.generator)):
            nodes[SHIP] |= {f"GENERATOR.{key_of(f.name)}" for f in fields(cls)}
        if "N_CTX" not in own:
            nodes[SHIP] -= {"N_CTX", "CTX_INIT"}
    return {*shared, "TRAINER.NAME"} | {f"TRAINER.{node}.{key}" for node, keys in nodes.items() for key in keys}


def without_effect(settings: Settings) -> set[str]:
    """The keys that these very settings leave without a say."""
    ship, learner = settings.ship, settings.learner
    trained = issubclass(learner.Options, LearnerOptions) and not (ship and ship.generator.only)
    out = _of_the_optimiser(settings, trained) | _of_ship(settings, trained)
    for key in learner.ignored(settings.options):
        node = SHIP if ship and key in SHIPS_OWN else learner.node()
        out.add(key if "." in key else f"TRAINER.{node}.{key}")
    out |= {f"INPUT.{key}" for key, name in OF_A_TRANSFORM.items() if name not in settings.input.transforms}
    if not trained:
        out |= {"TRAIN.CHECKPOINT_FREQ", "TEST.FINAL_MODEL", "DATALOADER.TRAIN_X.BATCH_SIZE"}
    if settings.test.no_test:
        out |= {"TEST.FINAL_MODEL", "TEST.SPLIT", "TEST.BASE_PENALTY", "TEST.PREDICTIONS", "DATALOADER.TEST.BATCH_SIZE"}
    if settings.dataset.subsample_classes in ("base", "new"):
        out |= {"TEST.BASE_PENALTY"}
    if learner.sees == "images":
        out |= {"FEATURES.VIEWS", "FEATURES.CACHE_DIR", "FEATURES.STORE_DTYPE"}
    elif not ship and not trained and learner.prepare is Learner.prepare:
        out |= {"FEATURES.VIEWS", *(f"INPUT.{key}" for key in OF_A_TRANSFORM)}
    return out


def _of_ship(settings: Settings, trained: bool) -> set[str]:
    ship, out = settings.ship, set()
    if not ship:
        return out
    if not trained:
        out |= TRAINED
    if settings.learner.prepare is Learner.prepare:
        out |= {"SYNTHETIC_SHOTS"}
    if not ship.real:
        out |= {"SYNTHETIC_SHARE", "SYNTHETIC_CLASSES", "SYNTHETIC_SHOTS"}
    if ship.generator.from_:  # it is taken over with the options that it was trained with
        choice = {key_of(f.name) for f in fields(GeneratorChoice)} - {"FROM", "ONLY"}
        out |= {f"GENERATOR.{key}" for key in {*choice, *tree_of(type(settings.generator))}}
    o = settings.generator
    if words_of(getattr(o, "ctx_init", "")) not in (0, getattr(o, "n_ctx", 0)):  # they set the number of vectors
        out |= {"GENERATOR.N_CTX"}
    if ship.generator.only:
        out |= STAGE_2
        if settings.method == GENERATOR:
            out |= {"GENERATOR.ONLY"}
    return {f"TRAINER.SHIP.{key}" for key in out}


def _of_the_optimiser(settings: Settings, trained: bool) -> set[str]:
    o = settings.optim
    if not trained:
        return {f"OPTIM.{key}" for key in tree_of(OptimOptions)}
    out = {key for key, names in OF_AN_OPTIMISER.items() if o.name not in names}
    if o.lr_scheduler == "cosine":
        out |= {"STEPSIZE", "GAMMA"}
    if o.warmup_epoch <= 0:
        out |= {"WARMUP_TYPE", "WARMUP_CONS_LR", "WARMUP_MIN_LR", "WARMUP_RECOUNT"}
    else:
        out |= {"WARMUP_MIN_LR" if o.warmup_type == "constant" else "WARMUP_CONS_LR"}
    return {f"OPTIM.{key}" for key in out}


def contradictions(settings: Settings) -> list[str]:
    """Notes on settings that leave each other without a say, whoever gave them."""
    o, notes = settings.optim, []
    trained = issubclass(settings.learner.Options, LearnerOptions)
    by_epoch = trained and not (settings.ship and (settings.ship.step_schedule or settings.ship.generator.only))
    counted = "OPTIM.MAX_EPOCH" not in settings.learner.ignored(settings.options)
    if by_epoch and counted and o.max_epoch <= o.warmup_epoch:
        notes.append(
            f"Note: OPTIM.WARMUP_EPOCH {o.warmup_epoch} leaves none of OPTIM.MAX_EPOCH {o.max_epoch}, so OPTIM.LR is "
            "never reached"
        )
    return notes


def notes(settings: Settings, given: Iterable[str], shipped: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """What was asked for and has no effect, a sentence each.

    Args:
        given: keys that somebody set.
        shipped: keys of files that come with the project; of these another method's alone are told.
        others: keys that the caller reads by itself.
    """
    lost = unread(settings, given, others)
    lost += [key for key in foreign(settings, shipped) if key not in lost]
    return [f"Note: nothing reads {key} in a run of {settings.name}" for key in lost] + contradictions(settings)
