"""Series at other dates, by linear interpolation over the valid ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def interpolate(
    days: npt.NDArray[Any], valid: npt.NDArray[np.bool_], values: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Values at the target days: linear between valid dates, the nearest one before the first and after the last.

    Args:
        days: (n, time) in any unit; the valid ones ascend within a row.
        valid: (n, time).
        values: (n, time, bands).
        targets: (n, new times) or (new times,).

    Returns:
        (n, new times, bands) float32, NaN in rows without a valid date.
    """
    count, times = days.shape
    if not count or not times:
        return np.full((count, np.shape(targets)[-1], values.shape[2]), np.nan, np.float32)
    wanted = np.broadcast_to(targets, (count, np.shape(targets)[-1]))
    rows = np.arange(count)[:, None]
    order = np.argsort(~valid, axis=1, kind="stable")
    number = valid.sum(axis=1)
    # Beyond the valid dates stands infinity, which is after every target.
    front = np.where(np.arange(times) < number[:, None], days[rows, order].astype(np.float64), np.inf)
    sorted_values = values[rows, order].astype(np.float32)
    after = (front[:, None, :] < wanted[:, :, None]).sum(axis=2)
    last = np.maximum(number - 1, 0)[:, None]
    low, high = np.clip(after - 1, 0, last), np.clip(after, 0, last)
    with np.errstate(invalid="ignore"):  # infinity minus infinity, in rows without a valid date
        gap = front[rows, high] - front[rows, low]
        share = np.where(gap > 0, (wanted - front[rows, low]) / np.where(gap > 0, gap, 1), 0.0)[:, :, None].astype(np.float32)
    result = sorted_values[rows, low] * (1 - share) + sorted_values[rows, high] * share
    return np.where((number > 0)[:, None, None], result, np.float32(np.nan)).astype(np.float32)
