"""Thermal noise of Sentinel-1 GRD as it is annotated: by range, and by blocks in azimuth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eespark.kernels.sar_tables import Floats, LookUpTable, Mask, Power, Window, at_samples, node_weights


@dataclass(frozen=True)
class AzimuthBlock:
    """Noise along the flight in one block of one sub-swath, a factor to the range noise.

    Attributes:
        window: Where it holds.
        lines: (n,) nodes, line numbers of the image.
        values: (n,) factors.
    """

    window: Window
    lines: Floats
    values: Floats


@dataclass(frozen=True)
class Noise:
    """Thermal noise as annotated, in units of DN^2.

    Attributes:
        in_range: By line and sample.
        in_azimuth: Factors by block; none in products of processors before 2.90. Outside all blocks the factor is 1.
    """

    in_range: LookUpTable
    in_azimuth: tuple[AzimuthBlock, ...] = ()


def noise_window(noise: Noise, window: Window) -> Power:
    """(rows, cols) noise power in units of DN^2."""
    power = np.zeros((window.rows, window.cols), np.float32)
    for rows, cols, weights, along in noise_terms(noise, window):
        power[rows, cols] = weights @ along
    return power


def noise_terms(noise: Noise, window: Window) -> list[tuple[slice, slice, Power, Power]]:
    """Rows and columns of a window with (rows, m) and (m, cols) whose product is the noise there; each pixel is in one of them."""
    wanted, weights = node_weights(noise.in_range.lines, window.lines)
    along = at_samples(noise.in_range, wanted, window.samples).astype(np.float32)
    terms = []
    told = np.zeros((window.rows, window.cols), bool) if _has_gaps(noise, window) else None
    for block in noise.in_azimuth:
        rows, cols = _shared(block.window, window)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            continue
        factors = np.interp(window.lines[rows], block.lines, block.values)
        terms.append((rows, cols, (weights[rows] * factors[:, None]).astype(np.float32), np.ascontiguousarray(along[:, cols])))
        if told is not None:
            told[rows, cols] = True
    if told is not None:
        terms += [(rows, cols, weights[rows].astype(np.float32), np.ascontiguousarray(along[:, cols])) for rows, cols in _rectangles(~told)]
    return terms


def _has_gaps(noise: Noise, window: Window) -> bool:
    """Whether some pixel of a window is in no block of noise in azimuth; blocks do not overlap."""
    shared = (_shared(block.window, window) for block in noise.in_azimuth)
    return bool(sum((rows.stop - rows.start) * (cols.stop - cols.start) for rows, cols in shared) != window.rows * window.cols)


def _rectangles(mask: Mask) -> list[tuple[slice, slice]]:
    """Disjoint rectangles that make up a mask: runs of rows that are alike, cut into runs of columns."""
    if not len(mask):
        return []
    changes = np.flatnonzero(np.r_[True, (mask[1:] != mask[:-1]).any(axis=1), True])
    found = []
    for top, bottom in zip(changes[:-1].tolist(), changes[1:].tolist(), strict=True):
        edges = np.flatnonzero(np.diff(np.r_[False, mask[top], False].astype(np.int8)))
        found += [(slice(top, bottom), slice(left, right)) for left, right in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
    return found


def _shared(block: Window, window: Window) -> tuple[slice, slice]:
    """Rows and columns of the window that lie in the block."""

    def one(first: int, count: int, origin: int, size: int) -> slice:
        start, stop = max(first - origin, 0), min(first + count - origin, size)
        return slice(start, max(stop, start))

    return one(block.row, block.rows, window.row, window.rows), one(block.col, block.cols, window.col, window.cols)
