"""The trainers ZeroshotCLIP, one hand-written prompt a class, and ZeroshotCLIP2, CoOp's ensemble of prompts."""

from dassl.engine import TRAINER_REGISTRY

from shipclip.learners.zeroshot import ZeroshotCLIP as Learner

from .ship.base import register

ZeroshotCLIP = register(Learner)


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """The normalised mean over seven ImageNet templates and, but for ImageNet, the data set's own."""
