"""Order and batches of an epoch: all chance in them follows from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from eespark.train.data import Arrays


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A seed from 1 to 2**31 - 1 that follows from the arguments alone; 0 would mean unseeded to Petastorm."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{rank}".encode()).digest()
    return 1 + int.from_bytes(digest[:8], "little") % (2**31 - 2)


def shuffled_batches(
    chunks: Iterable[Arrays], batch: int, buffer_rows: int, rng: np.random.Generator, *, balanced: bool = False
) -> Iterator[Arrays]:
    """Batches of exactly `batch` rows from chunks of any size, drawn from a buffer; what remains is dropped.

    Args:
        chunks: Arrays with equal first axes.
        batch: Rows of each batch.
        buffer_rows: Rows that stay in the buffer while more may come.
        rng: Source of the order.
        balanced: Draw as many rows as there are, with replacement, each class of the buffer as likely as the others.
    """
    pool: Arrays = {}
    for chunk in chunks:
        pool = {name: np.concatenate([pool[name], chunk[name]]) for name in chunk} if pool else chunk
        if len(pool["label"]) < buffer_rows + batch:
            continue
        pool = _permuted(pool, rng, balanced)
        while len(pool["label"]) >= buffer_rows + batch:
            yield {name: values[:batch] for name, values in pool.items()}
            pool = {name: values[batch:] for name, values in pool.items()}
    if pool:
        pool = _permuted(pool, rng, balanced)
        for start in range(0, len(pool["label"]) - batch + 1, batch):
            yield {name: values[start : start + batch] for name, values in pool.items()}


def _permuted(arrays: Arrays, rng: np.random.Generator, balanced: bool) -> Arrays:
    label = arrays["label"]
    if balanced:
        _, place, counts = np.unique(label, return_inverse=True, return_counts=True)
        weights = 1 / counts[place]
        order = rng.choice(len(label), len(label), p=weights / weights.sum())
    else:
        order = rng.permutation(len(label))
    return {name: values[order] for name, values in arrays.items()}
