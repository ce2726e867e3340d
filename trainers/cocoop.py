"""The trainer CoCoOp: context vectors and the meta-net tuned on real features."""

from shipclip.learners.cocoop import CoCoOp as Learner

from .ship.base import register

CoCoOp = register(Learner)
