"""Bright targets on a rough surface at a constant rate of false alarms: icebergs in sea ice and in open water."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import gammainccinv

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_SHAPES: Final = np.geomspace(0.5, 200.0, 400)
_LEAST_RING_SHARE: Final = 0.25


@dataclass(frozen=True)
class CfarOptions:
    """How targets are told from their surroundings.

    Attributes:
        guard: Half the side of the square around a pixel that may hold its own target, pixels.
        ring: Half the side of the square whose rest is the surroundings, pixels.
        false_alarms: Share of pixels without a target that are taken for one, where the surroundings are gamma distributed.
        looks: Equivalent number of looks of the image: surroundings are never taken for smoother.
        least_power: Of the surroundings, linear; near the noise floor means may be below zero.
        least_px: Pixels of a target.
    """

    guard: int
    ring: int
    false_alarms: float
    looks: float
    least_power: float
    least_px: int


@dataclass(frozen=True)
class Targets:
    """Connected bright pixels.

    Attributes:
        rows: (n,) centres, weighted by power.
        cols: (n,)
        pixels: (n,) how many.
        contrast_db: (n,) of their mean over that of their surroundings.
    """

    rows: Floats
    cols: Floats
    pixels: npt.NDArray[np.int64]
    contrast_db: Floats


def surroundings(power: npt.NDArray[Any], valid: Mask, guard: int, ring: int) -> tuple[Floats, Floats]:
    """Mean and variance of the valid pixels in the ring around each pixel; NaN where fewer than a quarter of the ring is valid.

    Args:
        power: (rows, cols) linear.
        valid: (rows, cols).
        guard: Half the side of the inner square, pixels.
        ring: Half the side of the outer square, pixels.
    """
    weight = valid.astype(np.float64)
    values = np.where(valid, power, 0.0).astype(np.float64)
    count, total, squares = (_ring_sums(one, guard, ring) for one in (weight, values, values**2))
    whole = (2 * ring + 1) ** 2 - (2 * guard + 1) ** 2
    enough = count >= _LEAST_RING_SHARE * whole
    safe = np.where(enough, count, 1.0)
    mean = np.where(enough, total / safe, np.nan)
    return mean, np.where(enough, np.maximum(squares / safe - (total / safe) ** 2, 0.0), np.nan)


def _ring_sums(values: Floats, guard: int, ring: int) -> Floats:
    return _box_sums(values, ring) - _box_sums(values, guard)


def _box_sums(values: Floats, half: int) -> Floats:
    """Sums over squares around each pixel, what lies outside being 0."""
    side = 2 * half + 1
    for axis in (0, 1):
        padded = np.pad(values, [(half + 1, half) if one == axis else (0, 0) for one in (0, 1)])
        sums = np.cumsum(padded, axis=axis)
        first = [slice(None)] * 2
        last = [slice(None)] * 2
        first[axis], last[axis] = slice(0, values.shape[axis]), slice(side, side + values.shape[axis])
        values = sums[tuple(last)] - sums[tuple(first)]
    return values


def find_targets(power: npt.NDArray[Any], valid: Mask, options: CfarOptions) -> Targets:
    """Targets of an image.

    A pixel is bright when its power exceeds what gamma distributed surroundings of the same mean and variance reach at the rate of false
    alarms. Bright pixels that touch, also by a corner, are one target.

    Args:
        power: (rows, cols) linear, noise removed; may be below 0.
        valid: (rows, cols).
        options: How.

    Source: Oliver and Quegan 2004, Understanding Synthetic Aperture Radar Images, section 10.5 (gamma surroundings); for icebergs in HV of
    wide-swath scenes Soldal et al. 2019 (10.3390/rs11070806).
    """
    mean, variance = surroundings(power, valid, options.guard, options.ring)
    mean = np.maximum(mean, options.least_power)
    shape = np.clip(mean**2 / np.maximum(variance, 1e-30), _SHAPES[0], options.looks)
    factor = np.interp(shape, _SHAPES, gammainccinv(_SHAPES, options.false_alarms) / _SHAPES)
    bright = valid & (power > factor * mean)  # NaN is not exceeded
    number, count = ndimage.label(bright, np.ones((3, 3), int))
    index = np.arange(1, count + 1)
    pixels = np.bincount(number.ravel(), minlength=count + 1)[1:]
    index, pixels = index[pixels >= options.least_px], pixels[pixels >= options.least_px]
    if not len(index):
        return Targets(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0))
    centres = np.asarray(ndimage.center_of_mass(np.where(bright, power, 0.0), number, index))
    inside, around = (np.asarray(ndimage.mean(one, number, index)) for one in (power, mean))
    return Targets(centres[:, 0], centres[:, 1], pixels.astype(np.int64), 10 * np.log10(inside / around))


def match_points(found: Floats, known: Floats, within: float) -> npt.NDArray[np.int64]:
    """(n,) place in `known` of each found point, -1 for none: pairs are made from the nearest on, each point in one pair at most.

    Args:
        found: (n, 2).
        known: (m, 2) in the same units.
        within: Largest distance of a pair.
    """
    partner = np.full(len(found), -1, np.int64)
    if not len(found) or not len(known):
        return partner
    distance = np.hypot(*(found[:, None, axis] - known[None, :, axis] for axis in (0, 1)))
    taken: set[int] = set()
    for flat in np.argsort(distance, axis=None, kind="stable"):
        one, other = divmod(int(flat), len(known))
        if distance[one, other] > within:
            break
        if partner[one] < 0 and other not in taken:
            partner[one] = other
            taken.add(other)
    return partner
