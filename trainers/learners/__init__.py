"""Learners, a file each. Every module here is imported, so a new learner needs nothing but its file and a config.

Each is the second stage of SHIP where TRAINER.SHIP.LEARNER names it, and a Dassl trainer of its own name. The trainers
CoOp and CoCoOp stand in trainers/coop.py and trainers/cocoop.py: in a CoOp checkout they are that checkout's own.
"""

from importlib import import_module
from pkgutil import iter_modules

from dassl.engine import TRAINER_REGISTRY

from trainers.prompting.learner import LEARNERS
from trainers.prompting.trainer import trainer_of

COOPS_OWN = ("CoOp", "CoCoOp")

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
for _name in LEARNERS.registered_names():
    if _name not in COOPS_OWN:
        TRAINER_REGISTRY.register(trainer_of(LEARNERS.get(_name)))

__all__ = ["LEARNERS"]
