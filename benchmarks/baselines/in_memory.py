"""The very batches that the feed gives, kept in memory: no reader, no shuffling, no copy, nothing but the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Arrays = dict[str, Any]


def keep(batches: Iterable[Arrays]) -> list[Arrays]:
    """All batches, each in memory of its own, so that none is a view of a larger array."""
    return [{name: values.copy() for name, values in batch.items()} for batch in batches]


def replay(kept: list[Arrays]) -> Iterator[Arrays]:
    """The kept batches in their order."""
    return iter(kept)
