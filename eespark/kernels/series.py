"""Time series of one sample or many: padded as acquired, or on a regular grid of days."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int16s = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def pad_series(lengths: Ints, values: npt.NDArray[np.generic], times: int) -> npt.NDArray[np.generic]:
    """Ragged rows laid end to end, as one array padded with 0.

    Args:
        lengths: (n,) dates of each sample.
        values: (sum of lengths, ...) one row a date, samples one after another.
        times: Dates of the result; what is beyond is cut off.

    Returns:
        (n, times, ...) of the values' type.
    """
    starts = np.cumsum(lengths) - lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(values)) - starts[row]
    padded = np.zeros((len(lengths), times, *values.shape[1:]), values.dtype)
    kept = position < times
    padded[row[kept], position[kept]] = values[kept]
    return padded


def regular_series(days: Ints, reflectance: Int16s, clear: Bools, grid_days: Ints, max_gap_days: int) -> tuple[Int16s, Bools]:
    """Series on a regular grid of days, gaps filled linearly between clear observations.

    Args:
        days: (n, t) days of each sample, ascending where clear.
        reflectance: (n, t, bands).
        clear: (n, t) which observations count.
        grid_days: (g,) days wanted.
        max_gap_days: A grid day whose nearest clear observation is farther away is not valid.

    Returns:
        (n, g, bands) reflectance, held before the first and after the last clear date, and (n, g) validity; 0 where not valid.
    """
    rows = np.arange(len(days))
    filled = np.zeros((len(days), len(grid_days), reflectance.shape[2]), np.int16)
    valid = np.zeros((len(days), len(grid_days)), bool)
    index = np.arange(days.shape[1])
    for position, day in enumerate(grid_days):
        before = np.where(clear & (days <= day), index, -1).max(axis=1)
        after = np.where(clear & (days >= day), index, days.shape[1]).min(axis=1)
        first, last = np.where(before < 0, after, before), np.where(after >= days.shape[1], before, after)
        some = (first >= 0) & (first < days.shape[1])
        first, last = np.where(some, first, 0), np.where(some, last, 0)
        start, end = days[rows, first].astype(np.float64), days[rows, last].astype(np.float64)
        share = np.divide(day - start, end - start, out=np.zeros(len(days)), where=end > start)
        values = reflectance[rows, first] * (1.0 - share)[:, None] + reflectance[rows, last] * share[:, None]
        near = np.minimum(np.abs(day - start), np.abs(end - day)) <= max_gap_days
        valid[:, position] = some & near
        filled[:, position] = np.where(valid[:, position, None], np.rint(values), 0.0)
    return filled, valid


def band_sums(reflectance: Int16s, valid: Bools) -> tuple[Ints, Ints, int]:
    """Sum and sum of squares of each band over the valid observations, exact in integers, and their number.

    Args:
        reflectance: (n, times, bands).
        valid: (n, times).
    """
    values = reflectance[valid].astype(np.int64)
    return values.sum(axis=0), (values * values).sum(axis=0), len(values)


def mean_and_std(total: Ints, squares: Ints, count: int, scale: int) -> tuple[list[float], list[float]]:
    """Mean and (population) standard deviation of each band in reflectance units from exact sums.

    Raises:
        ZeroDivisionError: There is no observation.
    """
    mean = [int(t) / count for t in total]
    variance = [(int(s) * count - int(t) ** 2) / count**2 for t, s in zip(total, squares, strict=True)]
    return [m / scale for m in mean], [v**0.5 / scale for v in variance]
