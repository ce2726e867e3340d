"""The trainer CoOp: context vectors tuned on real features."""

from shipclip.learners.coop import CoOp as Learner

from .ship.base import register

CoOp = register(Learner)
