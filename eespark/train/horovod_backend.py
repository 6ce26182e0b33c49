"""The ranks of Horovod; imported only in processes that Horovod started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import horovod.tensorflow as hvd
import numpy as np
import numpy.typing as npt
import tensorflow as tf


class HorovodRanks:
    """Processes that Horovod started; making one joins them."""

    def __init__(self) -> None:
        """Join the other ranks; waits until all are there."""
        hvd.init()
        self.rank: int = hvd.rank()
        self.size: int = hvd.size()

    def average_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Mean of each gradient over the ranks."""
        dense = [tf.convert_to_tensor(one) for one in gradients]
        averaged: Sequence[Any] = hvd.grouped_allreduce(dense, op=hvd.Average)
        return averaged

    def total(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum over the ranks."""
        summed: npt.NDArray[np.float64] = hvd.allreduce(tf.constant(values, tf.float64), op=hvd.Sum).numpy()
        return summed

    def broadcast(self, content: bytes) -> bytes:
        """What rank 0 gave, sent as its length and its bytes."""
        size = int(hvd.broadcast(tf.constant([len(content)], tf.int64), 0).numpy()[0])
        own = np.frombuffer(content, np.uint8) if self.rank == 0 else np.zeros(size, np.uint8)
        return bytes(hvd.broadcast(tf.constant(own), 0).numpy().tobytes())
