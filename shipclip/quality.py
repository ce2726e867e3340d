"""How good synthetic features are, measured against real ones of the same classes."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import UserError
from .files import read_json, write_json
from .generators import FeatureGenerator
from .rng import stream
from .stage1 import key_of_trained
from .synthesis import Sampler

VERSION = 1  # of what is measured; another one finds no figures of this one's


def of_generator(
    generator: FeatureGenerator, real: Tensor, labels: Tensor, names: list[str], seed: int, cache_dir: str = ""
) -> dict[str, Any]:
    """`measure`, once for all runs that share a generator: with FEATURES.CACHE_DIR its figures are kept there."""
    if not cache_dir:
        return measure(generator, real, labels, names, seed)
    key = key_of_trained(generator, VERSION, names, seed, version("scikit-learn"), tensors=[real, labels])
    file = Path(cache_dir).expanduser() / "quality" / f"{key}.json"
    try:
        found = read_json(file, "remove it")
        if isinstance(found, dict) and "classes" in found:
            return found
    except UserError:  # there is none, or a damaged one: a cache is not needed
        pass
    found = measure(generator, real, labels, names, seed)
    try:
        write_json(file, found)
    except OSError as error:
        print(f"Note: the figures of synthetic features could not be kept in {file.parent} ({error.strerror})")
    return found


def measure(generator: Sampler, real: Tensor, labels: Tensor, names: list[str], seed: int) -> dict[str, Any]:
    """Compare real features (N, d) of labels (N,) with as many synthetic ones of the same labels.

    Returns:
        frechet: Frechet distance between the two sets, mean over classes (unit-length features, so 0 ... 4).
        cosine: cosine similarity of a synthetic and a real feature of one class, mean over pairs, then classes.
        mean_cosine: cosine similarity of the two class means, mean over classes.
        synthetic_to_real: accuracy in percent on real features of a logistic regression trained on synthetic ones.
        real_to_synthetic: the reverse.
        classes: the first three for each class, by name.
    """
    real, labels = real.cpu(), labels.cpu()
    synthetic = generator.sample(labels, stream(seed, "quality")).cpu()
    rows: dict[str, dict[str, float]] = {}
    for label in labels.unique().tolist():
        a, b = real[labels == label].double(), synthetic[labels == label].double()
        mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
        name = names[label] if names.count(names[label]) == 1 else f"{names[label]} ({label})"
        rows[name] = {
            "frechet": frechet_distance(a, b),
            "cosine": float(mean_a @ mean_b),
            "mean_cosine": float(torch.cosine_similarity(mean_a, mean_b, dim=0)),
        }
    out: dict[str, Any] = {
        key: sum(row[key] for row in rows.values()) / len(rows) for key in ("frechet", "cosine", "mean_cosine")
    }
    if len(rows) > 1:
        out["synthetic_to_real"] = transfer_accuracy(synthetic, real, labels)
        out["real_to_synthetic"] = transfer_accuracy(real, synthetic, labels)
    return {**out, "classes": rows}


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two sets of features, (N, d) and (M, d).

    Heusel et al., NeurIPS 2017. One feature alone has no spread, S = 0.
    """
    mean = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    a, b = centred(a), centred(b)
    # The singular values of A B^T are the square roots of the eigenvalues of S_a S_b, S = A^T A.
    return float(mean + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum())


def centred(x: Tensor) -> Tensor:
    """A with A^T A = covariance of x: (N, d)."""
    return (x - x.mean(dim=0)) / max(len(x) - 1, 1) ** 0.5


def transfer_accuracy(train: Tensor, test: Tensor, labels: Tensor) -> float:
    """Accuracy in percent on `test` of a logistic regression trained on `train`, both (N, d), of the same labels."""
    from sklearn.linear_model import LogisticRegression  # slow to import, and most runs need it once or never

    model = LogisticRegression(C=100.0, max_iter=300)  # features are of unit length: little shrinkage
    model.fit(train.numpy(), labels.numpy())
    return 100 * float((model.predict(test.numpy()) == labels.numpy()).mean())
