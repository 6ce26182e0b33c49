"""Where patches of an image may be cut: wholly inside a polygon, or by a share, and on valid ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Places:
    """Upper left corners of patches.

    Attributes:
        rows: (n,) in the image, ascending with `cols`.
        cols: (n,).
        label: (n,) number of the polygon.
        purity: (n,) share of the patch that the polygon covers.
    """

    rows: Ints
    cols: Ints
    label: Ints
    purity: npt.NDArray[np.float64]


def window_sums(mask: Mask, size: int, rows: Ints, cols: Ints) -> Ints:
    """How many pixels of a mask are set in each square of `size` pixels: of all rows with all columns.

    Args:
        mask: (rows, cols).
        size: Side of a square.
        rows: (n,) first rows of squares, all inside.
        cols: (m,) first columns.

    Returns:
        (n, m) counts.

    Source: Crow 1984, Summed-area tables for texture mapping (10.1145/964965.808600).
    """
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=table[1:, 1:])
    lower, upper = table[rows + size], table[rows]
    return np.asarray(lower[:, cols + size] - lower[:, cols] - upper[:, cols + size] + upper[:, cols])


def squares_of(values: npt.NDArray[Any], rows: Ints, cols: Ints, size: int) -> npt.NDArray[Any]:
    """(n, size, size) squares of values (rows, cols), by their upper left corners."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(values, (size, size))[rows, cols])


def whole_cells(valid: Mask, cell: int) -> Mask:
    """(n, size / cell, size / cell) whether all looks of a cell are valid.

    Args:
        valid: (n, size, size).
        cell: Looks of a cell's side; divides the size.
    """
    count, side = len(valid), valid.shape[1] // cell
    return np.asarray(valid.reshape(count, side, cell, side, cell).all(axis=(2, 4)))


Boxes = Mapping[int, tuple[int, int, int, int]]
"""Number of a polygon -> first and last row and column that it may have looks in."""


def patch_places(
    labels: npt.NDArray[np.int32], valid: Mask, size: int, stride: int, purity: float, first_row: int = 0, boxes: Boxes | None = None
) -> Places:
    """The patches whose corner lies on the grid of `stride`, that a polygon covers by `purity` or more, and that are valid all over.

    The grid is that of the whole image: strips of it, whose rows overlap by a patch, give each patch once.

    Args:
        labels: (rows, cols) number of the polygon of each pixel, 0 for none.
        valid: (rows, cols).
        size: Side of a patch, pixels.
        stride: Step of the grid, pixels.
        purity: Least share, above 0 and at most 1.
        first_row: Row of the image that the first row of `labels` is.
        boxes: Of the polygons in `labels`, where they are known.
    """
    height, width = labels.shape
    start = -first_row % stride
    rows, cols = np.arange(start, height - size + 1, stride), np.arange(0, width - size + 1, stride)
    found: list[tuple[Ints, Ints, Ints, npt.NDArray[np.float64]]] = []
    if not len(rows) or not len(cols):
        return _joined(found)
    for label, (top, bottom, left, right) in (_boxes(labels) if boxes is None else boxes).items():
        # A patch that is only partly covered may begin outside the polygon's box.
        near_rows = np.flatnonzero((rows > top - size) & (rows <= bottom))
        near_cols = np.flatnonzero((cols > left - size) & (cols <= right))
        if not len(near_rows) or not len(near_cols):
            continue
        first, last = int(rows[near_rows[0]]), int(rows[near_rows[-1]]) + size
        west, east = int(cols[near_cols[0]]), int(cols[near_cols[-1]]) + size
        box, corners = np.s_[first:last, west:east], (rows[near_rows] - first, cols[near_cols] - west)
        share = window_sums(labels[box] == label, size, *corners) / size**2
        row, col = np.nonzero((share >= purity) & (window_sums(valid[box], size, *corners) == size * size))
        places = rows[near_rows[row]] + first_row, cols[near_cols[col]]
        found.append((*places, np.full(len(row), label, np.int64), share[row, col]))
    return _joined(found)


def _boxes(labels: npt.NDArray[np.int32]) -> Boxes:
    rows, cols = np.nonzero(labels)
    if not len(rows):
        return {}
    numbers, place = np.unique(labels[rows, cols], return_inverse=True)
    bounds = []
    for values in (rows, cols):
        low, high = np.full(len(numbers), np.iinfo(np.int64).max), np.full(len(numbers), -1)
        np.minimum.at(low, place, values)
        np.maximum.at(high, place, values)
        bounds += [low, high]
    return {int(number): (int(a), int(b), int(c), int(d)) for number, a, b, c, d in zip(numbers, *bounds, strict=True)}


def _joined(found: list[tuple[Ints, Ints, Ints, npt.NDArray[np.float64]]]) -> Places:
    empty = np.zeros(0, np.int64)
    rows, cols, label = (np.concatenate([empty, *(one[i] for one in found)]) for i in range(3))
    purity = np.concatenate([np.zeros(0), *(one[3] for one in found)])
    order = np.lexsort((label, cols, rows))
    return Places(rows[order], cols[order], label[order], purity[order])
