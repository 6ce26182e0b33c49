"""Radiometry of Sentinel-1 GRD in a window: look-up tables, thermal noise, sigma nought, multilook, decibels.

sigma nought = (DN^2 - noise) / sigmaNought^2 (Sentinel-1 Product Specification, S1-RS-MDA-52-7441). Power stays linear, and below zero
where the noise that was taken off is more than what was measured: over calm water and new ice HV lies at the noise floor, and dropping
such pixels would bias just these classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from eespark.errors import FormatError

Floats = npt.NDArray[np.float64]
Power = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Noise tables of early processors are in other units: times this and the calibration constant `dn`, they are power like DN^2
# (ESA MPC-0243, section 3; the processor wrote them so before version 2.50).
LEGACY_NOISE_SCALE: Final = {"EW": 56_065.87, "IW": 75_088.7}
LEGACY_NOISE_BEFORE: Final = 2.5
FLOOR_DB: Final = -40.0
"""Decibels of power that is less, and of zero and below."""
_BORDER_AMPLITUDE: Final = 0.5
_LINES_AT_ONCE: Final = 32


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
    return _blend(weights, _at_samples(table, wanted, window.samples))


def noise_window(noise: Noise, window: Window) -> Power:
    """(rows, cols) noise power in units of DN^2."""
    power = np.zeros((window.rows, window.cols), np.float32)
    for rows, cols, weights, along in _noise_terms(noise, window):
        power[rows, cols] = weights @ along
    return power


def _noise_terms(noise: Noise, window: Window) -> list[tuple[slice, slice, Power, Power]]:
    """Rows and columns of a window with (rows, m) and (m, cols) whose product is the noise there; each pixel is in one of them."""
    wanted, weights = node_weights(noise.in_range.lines, window.lines)
    along = _at_samples(noise.in_range, wanted, window.samples).astype(np.float32)
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


def sigma_nought(dn: npt.NDArray[np.uint16], calibration: LookUpTable, noise: Noise | None, window: Window) -> Power:
    """Backscatter of a window, linear; below zero where the noise is more than the signal.

    Args:
        dn: (rows, cols) digital numbers; 0 is the border, whose values mean nothing.
        calibration: sigmaNought.
        noise: What to take off; None leaves it in.
        window: Where `dn` lies in the scene.

    Source: facts above. The gain 1 / sigmaNought^2 is exact at the lines of the table and linear between them, which differs from the
    square of the interpolated table by less than 1e-6 where neighbouring vectors differ by less than 0.1 %.
    """
    wanted, weights = node_weights(calibration.lines, window.lines)
    gains = 1 / _at_samples(calibration, wanted, window.samples) ** 2
    if window.rows and np.ptp(gains, axis=0).max(initial=0) <= 1e-7 * gains.max(initial=0):
        return _calibrated(dn, noise, window, gains[0])
    power = _calibrated(dn, noise, window, np.ones(window.cols))
    return np.multiply(power, _blend(weights, gains), out=power)


def _calibrated(dn: npt.NDArray[np.uint16], noise: Noise | None, window: Window, gain: Floats) -> Power:
    """(rows, cols) power without noise, times a gain (cols,).

    Some lines at a time: what is worked on stays in the cores' caches, and no more memory is asked for than the result.
    """
    terms = [] if noise is None else _noise_terms(noise, window)
    terms = [(rows, cols, factors, along * gain[cols].astype(np.float32)) for rows, cols, factors, along in terms]
    root = np.sqrt(gain).astype(np.float32)
    power = np.empty(dn.shape, np.float32)
    taken = np.empty((min(_LINES_AT_ONCE, window.rows), window.cols), np.float32)
    for first in range(0, window.rows, _LINES_AT_ONCE):
        last = min(first + _LINES_AT_ONCE, window.rows)
        part = power[first:last]
        part[...] = dn[first:last]
        part *= root
        np.square(part, out=part)
        for rows, cols, factors, along in terms:
            top, bottom = max(rows.start, first), min(rows.stop, last)
            if top < bottom:
                np.matmul(factors[top - rows.start : bottom - rows.start], along, out=taken[top - first : bottom - first, cols])
        if terms:
            part -= taken[: last - first]
    return power


def border_mask(dn: npt.NDArray[np.uint16], noise: Power, window: Window, shape: tuple[int, int], limit: int) -> Mask:
    """Pixels of the border of early products, low but not 0: what is dark without a break from an edge of the scene inwards.

    Args:
        dn: (rows, cols) digital numbers.
        noise: (rows, cols) noise power in units of DN^2.
        window: Where they lie in the scene; an edge counts where the window touches it.
        shape: Lines and samples of the scene.
        limit: Pixels from an edge at most.

    Source: ESA MPC-0243: denoised amplitude below 0.5.
    """
    power = dn.astype(np.float32)
    dark = power * power - noise < _BORDER_AMPLITUDE**2
    mask = np.zeros(dark.shape, bool)
    edges = (window.row == 0, window.row + window.rows == shape[0], window.col == 0, window.col + window.cols == shape[1])
    for axis, backwards in ((0, False), (0, True), (1, False), (1, True)):
        if edges[2 * axis + backwards]:
            step = slice(None, None, -1) if backwards else slice(None)
            part = (step, slice(None)) if axis == 0 else (slice(None), step)
            near = (slice(limit), slice(None)) if axis == 0 else (slice(None), slice(limit))
            mask[part][near] |= np.logical_and.accumulate(dark[part][near], axis=axis)
    return mask


def multilook(power: Power, valid: Mask, factor: int, least_share: float = 0.5) -> tuple[Power, Mask]:
    """Means over squares of `factor` pixels, of the valid ones among them; rows and columns that do not fill a square are left out.

    Args:
        power: (rows, cols) linear power. Decibels must not be averaged.
        valid: (rows, cols).
        factor: Side of a square in pixels.
        least_share: Of valid pixels for a square to be valid.

    Returns:
        (rows // factor, cols // factor) power, 0 where invalid, and validity.
    """
    if factor < 1:
        raise ValueError(f"needed a factor of at least 1, found {factor}")
    if factor == 1:
        return np.where(valid, power, np.float32(0)), valid
    rows, cols = power.shape[0] // factor, power.shape[1] // factor
    shape = (rows, factor, cols, factor)
    cut = (slice(rows * factor), slice(cols * factor))
    count = valid[cut].reshape(shape).sum(axis=(1, 3))
    total = np.where(valid[cut], power[cut], np.float32(0)).reshape(shape).sum(axis=(1, 3), dtype=np.float64)
    enough = count >= max(least_share * factor**2, 1)
    mean = np.divide(total, count, out=np.zeros(total.shape), where=enough)
    return mean.astype(np.float32), enough


def decibels(power: Power, floor_db: float = FLOOR_DB) -> Power:
    """10 log10 of power; what is below the floor, with zero and less, is the floor."""
    least = np.float32(10 ** (floor_db / 10))
    return np.asarray(10 * np.log10(np.maximum(power, least)), np.float32)


def _at_samples(table: LookUpTable, wanted: slice, samples: Floats) -> Floats:
    """(m, cols) of the wanted vectors."""
    return np.stack([np.interp(samples, table.samples, values) for values in table.values[wanted]])


def _blend(weights: Floats, vectors: Floats) -> Power:
    # A product of single precision is as quick as writing its result.
    return np.asarray(weights.astype(np.float32) @ vectors.astype(np.float32))
