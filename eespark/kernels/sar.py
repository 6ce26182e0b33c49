"""Radiometry of Sentinel-1 GRD in a window: look-up tables, thermal noise, sigma nought, multilook, decibels.

sigma nought = (DN^2 - noise) / sigmaNought^2 (Sentinel-1 Product Specification, S1-RS-MDA-52-7441). Power stays linear, and below zero
where the noise that was taken off is more than what was measured: over calm water and new ice HV lies at the noise floor, and dropping
such pixels would bias just these classes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from eespark.kernels.sar_noise import Noise, noise_terms
from eespark.kernels.sar_tables import Floats, LookUpTable, Mask, Power, Window, at_samples, blend, node_weights

# Noise tables of early processors are in other units: times this and the calibration constant `dn`, they are power like DN^2
# (ESA MPC-0243, section 3; the processor wrote them so before version 2.50).
LEGACY_NOISE_SCALE: Final = {"EW": 56_065.87, "IW": 75_088.7}
LEGACY_NOISE_BEFORE: Final = 2.5
FLOOR_DB: Final = -40.0
"""Decibels of power that is less, and of zero and below."""
_BORDER_AMPLITUDE: Final = 0.5
_LINES_AT_ONCE: Final = 32


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
    gains = 1 / at_samples(calibration, wanted, window.samples) ** 2
    if window.rows and np.ptp(gains, axis=0).max(initial=0) <= 1e-7 * gains.max(initial=0):
        return _calibrated(dn, noise, window, gains[0])
    power = _calibrated(dn, noise, window, np.ones(window.cols))
    return np.multiply(power, blend(weights, gains), out=power)


def _calibrated(dn: npt.NDArray[np.uint16], noise: Noise | None, window: Window, gain: Floats) -> Power:
    """(rows, cols) power without noise, times a gain (cols,).

    Some lines at a time: what is worked on stays in the cores' caches, and no more memory is asked for than the result.
    """
    terms = [] if noise is None else noise_terms(noise, window)
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
