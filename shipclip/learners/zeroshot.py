"""Zero-shot CLIP: hand-written texts, nothing learned (Radford et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from .base import LEARNERS, CosineClassifier, Learner, TrainingFreeOptions


@LEARNERS.register
class ZeroshotCLIP(Learner):
    """Class features of each class's texts: the data set's template, unless the run names others."""

    Options = TrainingFreeOptions
    each_class_alone = True

    def classifier(self, names: Sequence[str], scale: float | None = None) -> CosineClassifier:
        return CosineClassifier(self.text_features(names), self.scale(scale))
