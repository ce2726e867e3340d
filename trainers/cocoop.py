"""The trainer CoCoOp: context vectors and the meta-net tuned on real features."""

from dassl.engine import TRAINER_REGISTRY

from trainers.learners.cocoop import CoCoOp as Learner
from trainers.prompting.trainer import trainer_of

CoCoOp = trainer_of(Learner)
TRAINER_REGISTRY.register(CoCoOp)
