"""Every other learner of the library as a trainer of its own name.

CoOp, CoCoOp and ZeroshotCLIP have files beside this folder: in a CoOp checkout those trainers are that checkout's own.
So is any other of a name that is registered already (MaPLe in MaPLe's checkout).
"""

from dassl.engine import TRAINER_REGISTRY

from shipclip.learners import LEARNERS

from .base import register

COOPS_OWN = ("CoOp", "CoCoOp", "ZeroshotCLIP")

for _name in LEARNERS.names():
    if _name not in COOPS_OWN and _name not in TRAINER_REGISTRY.registered_names():
        register(LEARNERS.get(_name))
