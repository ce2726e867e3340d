"""Encoding: images through the frozen tower, into memory, or into a store, where several processes share the work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..backbones.base import Backbone
from ..errors import UserError
from ..locks import Lock
from .pixels import Views, read_views
from .store import Store

ENCODE_BATCH = 64
LEAST = 16  # images in a batch that is encoded
CLAIM = 256  # batches that a process takes for itself, or fewer where each would have no share
KEPT_EVERY = 30.0  # seconds between segments: what a kill costs


def encode(backbone: Backbone, views: Views, workers: int = 0) -> Tensor:
    """Encode all views of all images: (V, N, d), float32, on the backbone's device, in one piece of memory.

    Raises:
        BadImage: an image that cannot be read, by name.
    """
    N, done = len(views.items), 0
    out = torch.empty(views.count, N, backbone.dim, device=backbone.device)
    with progress(N) as bar:
        for features in encoded(backbone, views, workers):
            out[:, done : done + features.shape[1]] = features
            done += features.shape[1]
            bar.update(features.shape[1])
    return out


def encoded(backbone: Backbone, views: Views, workers: int = 0, rows: Sequence[int] | None = None) -> Iterator[Tensor]:
    """Features (V, B, d) of batch after batch, of all images or of those with these numbers, each decoded once."""
    size = max(1, ENCODE_BATCH // views.count)
    for images in read_views(views, size, workers, backbone.device.type == "cuda", rows):
        B, V = images.shape[:2]
        with torch.no_grad():
            features = backbone.encode_image(full(images.flatten(0, 1)))[: B * V].unflatten(0, (B, V))  # (B, V, d)
        yield features.transpose(0, 1)


def full(images: Tensor) -> Tensor:
    """A batch with its last image repeated up to LEAST: in smaller ones the tower's last bits are others (matrices are
    multiplied in another order), and a run's bits must not hang on what was encoded before."""
    lacking = LEAST - len(images)
    return images if lacking <= 0 else torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)])


def progress(total: int) -> tqdm:
    return tqdm(total=total, desc="Encoding images", unit="image", delay=2, disable=None)


def fill(
    backbone: Backbone,
    views: Views,
    store: Store,
    images: np.ndarray,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> int:
    """Encode what a store lacks of these views, a claim of images at a time; returns how many images it was.

    Processes that do the same at the same time take other claims, and wait for each other in the end.

    Args:
        images: names of the images in the store, (N, 2).
        share: which of how many shares of the claims are this process's; others' it neither makes nor waits for.

    Raises:
        BadImage: an image that cannot be read, by name.
        OSError: the store cannot be written.
    """
    batch = max(1, ENCODE_BATCH // views.count)
    step = batch * max(1, min(CLAIM, -(-len(images) // (batch * share[1]))))
    starts = range(0, len(images), step)[share[0] :: share[1]]
    claims = [np.arange(start, min(start + step, len(images))) for start in starts]
    lacking = store.find(images, views.first, views.count).missing.any(axis=0)
    total, done = sum(int(lacking[claim].sum()) for claim in claims), 0
    if not total:
        return 0
    with progress(total) as bar:
        for wait in (False, True):
            held = []
            for claim in claims:
                if not lacking[claim].any():
                    continue
                name = hashlib.blake2b(images[claim].tobytes(), digest_size=16).hexdigest()
                try:
                    lock = Lock(store.folder, f"{name}.lock", wait)
                except UserError:  # another process is at it
                    held.append(claim)
                    continue
                with lock:
                    store.refresh()
                    done += _fill_claim(backbone, views, store, images, claim, workers, bar)
            claims = held
    store.refresh()
    return done


def _fill_claim(
    backbone: Backbone, views: Views, store: Store, images: np.ndarray, claim: np.ndarray, workers: int, bar: tqdm
) -> int:
    missing = store.find(images[claim], views.first, views.count).missing  # (V, n)
    bar.total -= int((~missing.any(axis=0)).sum())  # others have made them meanwhile
    done = 0
    for pattern in np.unique(missing.T, axis=0):
        if not pattern.any():
            continue
        rows = claim[(pattern == missing.T).all(axis=1)]
        numbers = np.flatnonzero(pattern)
        wanted = replace(views, first=views.first + int(numbers[0]), count=int(numbers[-1] - numbers[0]) + 1)
        batches: list[np.ndarray] = []
        kept, at, last = 0, 0, time.monotonic()
        for features in encoded(backbone, wanted, workers, rows.tolist()):
            batches.append(features.cpu().numpy())
            at += features.shape[1]
            bar.update(features.shape[1])
            if at == len(rows) or time.monotonic() - last > KEPT_EVERY:
                store.add(images[rows[kept:at]], wanted.first, np.concatenate(batches, axis=1))
                batches, kept, last = [], at, time.monotonic()
        done += len(rows)
    return done
