"""Who trains together: one process, or the ranks of Horovod (`horovod_backend`). One seam, two implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Backend(Protocol):
    """What a fit needs of the processes that train together."""

    @property
    def rank(self) -> int:
        """Number of this process, 0 to size - 1; rank 0 writes."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def average_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Mean of each gradient over the processes, inside a TensorFlow graph."""

    def total(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum of an array over the processes, the same in all."""

    def broadcast(self, content: bytes) -> bytes:
        """What rank 0 gave."""


class SingleProcess:
    """One process, alone."""

    rank = 0
    size = 1

    def average_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """The gradients themselves."""
        return gradients

    def total(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The values themselves."""
        return values

    def broadcast(self, content: bytes) -> bytes:
        """The content itself."""
        return content
