"""ONNX Runtime on arrays that lie ready in memory, one session of one thread a process: the most that a map can reach on these cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

Batch = tuple[npt.NDArray[np.float32], ...]
_INPUTS = ("reflectance", "valid", "day")
# Filled in each process of a pool when it starts.
_ready: dict[str, Any] = {}


@dataclass(frozen=True)
class Kept:
    """Batches in one file, which all processes map into their memory: its path, and the shapes of the arrays in their order."""

    file: str
    shapes: tuple[tuple[int, ...], ...]


def keep(file: str, batches: Sequence[Batch]) -> Kept:
    """Write batches of reflectance, valid and day in the graph's own layout."""
    arrays = [np.ascontiguousarray(one, np.float32) for batch in batches for one in batch]
    np.save(file, np.concatenate([np.zeros(0, np.float32), *(one.ravel() for one in arrays)]))
    return Kept(file, tuple(one.shape for one in arrays))


def take(kept: Kept) -> list[Batch]:
    """The batches as views of the mapped file; they are read once here, so that they lie in memory."""
    flat = np.load(kept.file, mmap_mode="r")
    flat.max(initial=0)
    ends = np.cumsum([np.prod(shape, dtype=np.int64) for shape in kept.shapes])
    arrays = [flat[end - np.prod(shape) : end].reshape(shape) for shape, end in zip(kept.shapes, ends, strict=True)]
    return [tuple(arrays[first : first + len(_INPUTS)]) for first in range(0, len(arrays), len(_INPUTS))]


def start(model: bytes, blocks: Sequence[Kept]) -> None:
    """Make this process ready: a session of one thread, and the batches of all blocks."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    _ready["session"] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _ready["blocks"] = [take(one) for one in blocks]


def run_block(number: int) -> Any:
    """(n,) index of the highest logit of each series of a block, in the order of its batches."""
    found = []
    for batch in _ready["blocks"][number]:
        logits, _ = _ready["session"].run(["logits", "features"], dict(zip(_INPUTS, batch, strict=True)))
        found.append(logits.argmax(axis=1))
    return np.concatenate([np.zeros(0, np.int64), *found])


def run_blocks(pool: Pool, count: int) -> list[Any]:
    """What `run_block` gives of blocks 0 to count - 1, in their order, one at a time in each process of the pool."""
    return pool.map(run_block, range(count), chunksize=1)
