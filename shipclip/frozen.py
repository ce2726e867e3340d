"""A model as one function of images, as it is now: what `predict` computes and what is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from .confidence import distance_scores
from .gallery import nearest_similarity
from .unknown import Evidence

if TYPE_CHECKING:
    from .bundle import Classifier


class Said(NamedTuple):
    """What a model says of B images.

    Attributes:
        probabilities: of the classes, (B, C).
        unknown: which images are of none of them, (B,) bool; all False where the model rejects nothing.
        features: by the frozen image tower, (B, d).
    """

    probabilities: Tensor
    unknown: Tensor
    features: Tensor


class Frozen(nn.Module):
    """Preprocessed images (B, 3, R, R) to what a model says of them.

    Class features, the learner's own and those that unknown images are told by, are made once, here.
    """

    @torch.no_grad()
    def __init__(self, model: Classifier):
        super().__init__()
        names, backbone = model.classes, model.backbone
        self.encode, self.scale = backbone.encode_image, backbone.logit_scale
        self.sees, self.classify = model.learner.sees, model.classifier()
        self.calibration, self.rejection = model.calibration, model.rejection
        shown = torch.tensor([bool(model.images.get(name)) for name in names])
        scores = torch.ones(len(names))
        if model.calibration.distance_aware:
            scores = distance_scores(model.learner, names, shown)
        self.register_buffer("factors", model.calibration.factors(scores).to(backbone.device))
        self.register_buffer("by_name", ~shown.to(backbone.device))
        if model.rejection is not None:
            keys = model.gallery.among(names) if model.gallery is not None else torch.zeros(0, backbone.dim)
            keys = keys if len(keys) else torch.zeros(1, backbone.dim)  # near nothing
            self.register_buffer("keys", keys.to(backbone.device))
            self.register_buffer("text", model.learner.text_features(names))

    def forward(self, images: Tensor) -> Said:
        return self.judge(*self.calibrated(images))

    def judge(self, logits: Tensor, features: Tensor) -> Said:
        """From calibrated logits (B, C) and features (B, d)."""
        if self.rejection is None:
            unknown = torch.zeros_like(logits[:, 0], dtype=torch.bool)
        else:
            unknown = self.rejection.margin(self._evidence(logits, features), self.by_name) < 0
        return Said(logits.softmax(dim=1), unknown, features)

    def calibrated(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Calibrated logits (B, C) and features (B, d)."""
        features = self.encode(images)
        logits = self.classify(images.to(features.device) if self.sees == "images" else features).float()
        return self.calibration(logits, self.factors), features

    def seen(self, images: Tensor) -> Evidence:
        """What known images are told from unknown ones by; of a model that rejects some."""
        return self._evidence(*self.calibrated(images))

    def _evidence(self, logits: Tensor, features: Tensor) -> Evidence:
        return Evidence(logits, features @ self.text.T, self.scale, nearest_similarity(features, self.keys))
