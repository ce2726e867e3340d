"""The trainer CoOp: context vectors tuned on real features."""

from dassl.engine import TRAINER_REGISTRY

from trainers.learners.coop import CoOp as Learner
from trainers.prompting.trainer import trainer_of

CoOp = trainer_of(Learner)
TRAINER_REGISTRY.register(CoOp)
