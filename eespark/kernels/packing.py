"""Series without the dates that do not count: the same to a model that ignores those, and shorter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pack_dates(
    reflectance: npt.NDArray[Any], valid: npt.NDArray[Any], day: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """The series with their valid dates in front, in order, cut to the longest of them.

    Args:
        reflectance: (n, time, bands).
        valid: (n, time) above 0 where a date counts.
        day: (n, time).

    Returns:
        The three with as many dates as the fullest series has valid ones, at least one; shorter ones end in dates that are not
        valid. Where no date could be cut, the arrays as they came.
    """
    counts = valid > 0
    longest = max(int(counts.sum(axis=1).max(initial=0)), 1)
    if longest >= valid.shape[1]:
        return reflectance, valid, day
    order = np.argsort(~counts, axis=1, kind="stable")[:, :longest]
    rows = np.arange(len(valid))[:, None]
    return reflectance[rows, order], valid[rows, order], day[rows, order]
