"""Random numbers and smooth random fields that depend on keys and ground coordinates only.

A value at a place is the same whatever window, tile or process asks for it, so that large tiles can be made in strips
without seams, and tiles that overlap agree.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]

# Mean of the sum of squared weights of a uniform cubic B-spline: 151/315.
_SPLINE_POWER: Final = 151.0 / 315.0


def mix(*parts: int | npt.NDArray[np.generic]) -> Keys:
    """Hash of integers, element by element (SplitMix64's finaliser; Steele et al. 2014, 10.1145/2714064.2660195).

    Args:
        parts: Integers or integer arrays of shapes that broadcast.

    Returns:
        uint64 of the broadcast shape (at least 1-D).
    """
    state = np.full(1, 0x9E3779B97F4A7C15, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            value = np.asarray(part)
            state = (state ^ np.atleast_1d(value.astype(np.int64) if value.dtype != np.uint64 else value).view(np.uint64)) + np.uint64(
                0x9E3779B97F4A7C15
            )
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*parts: int | npt.NDArray[np.generic]) -> Floats:
    """Uniform numbers in (0, 1) of the keys; never 0 or 1."""
    return ((mix(*parts) >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def normal(*parts: int | npt.NDArray[np.generic]) -> Floats:
    """Standard normal numbers of the keys."""
    return np.asarray(ndtri(uniform(*parts)))


def generator(*parts: int) -> np.random.Generator:
    """A NumPy generator of the keys, for draws that have no place on the ground."""
    return np.random.default_rng(int(mix(*parts)[0]))


def subseed(*parts: int) -> int:
    """A seed of its own for each tuple of integers, so that neighbouring seeds share nothing."""
    return int(mix(*parts)[0] >> np.uint64(1))


def smooth_field(seed: int, x_m: Floats, y_m: Floats, scale_m: float) -> npt.NDArray[np.float32]:
    """A smooth random field on a grid of coordinates: mean 0, variance 1, correlated over `scale_m`.

    White noise on a lattice of `scale_m`, interpolated by the uniform cubic B-spline.

    Args:
        seed: Of this field.
        x_m: (cols,) metres.
        y_m: (rows,) metres.
        scale_m: Lattice step, metres.

    Returns:
        (rows, cols) float32.
    """
    weights_x, first_x = _spline_weights(x_m / scale_m)
    weights_y, first_y = _spline_weights(y_m / scale_m)
    columns = first_x + np.arange(weights_x.shape[1], dtype=np.int64)
    rows = first_y + np.arange(weights_y.shape[1], dtype=np.int64)
    lattice = normal(seed, rows[:, None], columns[None, :]).astype(np.float32)
    return np.asarray(weights_y @ lattice @ weights_x.T / np.float32(_SPLINE_POWER), dtype=np.float32)


def rough_field(seed: int, x_m: Floats, y_m: Floats, scale_m: float, octaves: int) -> npt.NDArray[np.float32]:
    """Sum of smooth fields of halving scale and falling power: mean 0, variance 1, cloud-like.

    Args:
        seed: Of this field.
        x_m: (cols,) metres.
        y_m: (rows,) metres.
        scale_m: Lattice step of the largest, metres.
        octaves: How many.
    """
    powers = 0.6 ** np.arange(octaves)
    powers /= np.sqrt((powers**2).sum())
    total = np.zeros((len(y_m), len(x_m)), np.float32)
    for octave, power in enumerate(powers):
        total += np.float32(power) * smooth_field(subseed(seed, octave), x_m, y_m, scale_m / 2**octave)
    return total


def _spline_weights(position: Floats) -> tuple[npt.NDArray[np.float32], int]:
    cell = np.floor(position).astype(np.int64)
    t = position - cell
    four = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6.0
    first = int(cell.min()) - 1
    weights = np.zeros((len(position), int(cell.max()) + 3 - first), np.float32)
    rows = np.arange(len(position))
    for k in range(4):
        weights[rows, cell - 1 - first + k] = four[:, k]
    return weights, first
