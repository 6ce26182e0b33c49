"""Look-up tables of a scene in windows: bilinear between their nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eespark.errors import FormatError

Floats = npt.NDArray[np.float64]
Power = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """A part of a scene, in its own pixels.

    Attributes:
        row: First line.
        col: First sample.
        rows: Lines.
        cols: Samples.
    """

    row: int
    col: int
    rows: int
    cols: int

    @property
    def lines(self) -> Floats:
        """(rows,) line numbers."""
        return np.arange(self.row, self.row + self.rows, dtype=np.float64)

    @property
    def samples(self) -> Floats:
        """(cols,) sample numbers."""
        return np.arange(self.col, self.col + self.cols, dtype=np.float64)


@dataclass(frozen=True)
class LookUpTable:
    """Values at nodes of an image, bilinear between them and constant outside; nodes may lie beyond the image.

    Attributes:
        lines: (n,) ascending line numbers.
        samples: (m,) ascending sample numbers.
        values: (n, m).
    """

    lines: Floats
    samples: Floats
    values: Floats

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.lines), len(self.samples)) or not self.values.size:
            raise FormatError(f"needed a table of {len(self.lines)} lines x {len(self.samples)} samples, found {self.values.shape}")
        for name, nodes in (("lines", self.lines), ("samples", self.samples)):
            if (np.diff(nodes) <= 0).any():
                raise FormatError(f"needed ascending {name} in a look-up table, found {nodes[:4].tolist()}...; fetch the product again")
        if not np.isfinite(self.values).all():
            raise FormatError("needed numbers in a look-up table, found NaN or infinity; fetch the product again")

    @classmethod
    def from_vectors(cls, lines: Sequence[float], samples: Sequence[Floats], values: Sequence[Floats]) -> LookUpTable:
        """The table of vectors that may have nodes of their own: on all nodes of all vectors, which changes nothing between them.

        Args:
            lines: (n,) line of each vector.
            samples: (n,) of (m_i,) sample numbers.
            values: (n,) of (m_i,).
        """
        for nodes, told in zip(samples, values, strict=True):
            if len(nodes) != len(told) or not len(nodes):
                raise FormatError(f"needed a value for each sample of a vector, found {len(told)} for {len(nodes)}; fetch it again")
        nodes = np.unique(np.concatenate(list(samples))) if len(samples) else np.zeros(0)
        rows = [np.interp(nodes, at, told) for at, told in zip(samples, values, strict=True)]
        return cls(np.asarray(lines, np.float64), nodes, np.array(rows).reshape(len(rows), len(nodes)))


def node_weights(nodes: Floats, at: Floats) -> tuple[slice, Floats]:
    """The nodes that linear interpolation needs at some places, and their weights.

    Args:
        nodes: (n,) ascending.
        at: (k,) ascending.

    Returns:
        Slice of the m nodes, and (k, m) weights, two of which are not 0 in each row; outside the nodes the nearest has weight 1.
    """
    place = np.clip(at, nodes[0], nodes[-1])
    left = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, max(len(nodes) - 2, 0))
    first, last = int(left.min()), int(min(left.max() + 1, len(nodes) - 1))
    weights = np.zeros((len(at), last - first + 1))
    if len(nodes) == 1:
        weights[:, 0] = 1
        return slice(0, 1), weights
    share = (place - nodes[left]) / (nodes[left + 1] - nodes[left])
    rows = np.arange(len(at))
    weights[rows, left - first] = 1 - share
    weights[rows, left + 1 - first] += share
    return slice(first, last + 1), weights


def table_window(table: LookUpTable, window: Window) -> Power:
    """(rows, cols) of a table in a window, bilinear."""
    wanted, weights = node_weights(table.lines, window.lines)
    return blend(weights, at_samples(table, wanted, window.samples))


def at_samples(table: LookUpTable, wanted: slice, samples: Floats) -> Floats:
    """(m, cols) of the wanted vectors."""
    return np.stack([np.interp(samples, table.samples, values) for values in table.values[wanted]])


def blend(weights: Floats, vectors: Floats) -> Power:
    """(rows, cols) of weights (rows, m) and vectors (m, cols)."""
    # A product of single precision is as quick as writing its result.
    return np.asarray(weights.astype(np.float32) @ vectors.astype(np.float32))
