"""Class series: how a vegetation index of each class runs through the crop year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eespark.bands import BANDS
from eespark.kernels.accuracy import share_of

Floats = npt.NDArray[np.float64]
STEP_DAYS: Final = 15
_RED, _NIR = BANDS.index("B04"), BANDS.index("B8A")


@dataclass(frozen=True)
class SeriesBand:
    """One class through the year: quantiles over its samples.

    Attributes:
        day: (bins,) days since the first day of the crop year, centres of the bins.
        low: (bins,) 10 % quantile, NaN where too few values are.
        middle: (bins,) median.
        high: (bins,) 90 % quantile.
        samples: Series of the class.
    """

    day: Floats
    low: Floats
    middle: Floats
    high: Floats
    samples: int


def ndvi(reflectance: npt.NDArray[Any]) -> Floats:
    """(near infrared - red) / (near infrared + red), NaN where their sum is 0.

    Args:
        reflectance: (..., bands) in the order of `BANDS`, any scale.

    Source: Rouse et al. 1974, with B8A as near infrared.
    """
    red, near = (reflectance[..., band].astype(np.float64) for band in (_RED, _NIR))
    return share_of(near - red, near + red)


def class_bands(
    values: npt.NDArray[Any],
    valid: npt.NDArray[Any],
    day: npt.NDArray[Any],
    class_id: npt.NDArray[Any],
    step_days: int = STEP_DAYS,
    least: int = 10,
) -> dict[int, SeriesBand]:
    """Quantiles of each class in bins of `step_days`.

    Args:
        values: (n, time) of an index.
        valid: (n, time) True where the date is clear.
        day: (n, time) days since the first day of the crop year.
        class_id: (n,) classes.
        step_days: Width of a bin, days.
        least: Values that a bin needs for its quantiles to be told.
    """
    place = (day // step_days).astype(np.int64)
    bins = int(place[valid].max()) + 1 if valid.any() else 0
    result = {}
    for one in sorted({int(c) for c in class_id}):
        mine = class_id == one
        usable = valid[mine] & np.isfinite(values[mine])
        told, where = values[mine][usable], place[mine][usable]
        order = np.argsort(where, kind="stable")
        parts = np.split(told[order], np.searchsorted(where[order], np.arange(1, bins)))[:bins] if bins else []
        quantiles = np.array([np.quantile(p, [0.1, 0.5, 0.9]) if len(p) >= least else [np.nan] * 3 for p in parts]).reshape(-1, 3)
        centres = (np.arange(bins) + 0.5) * step_days
        result[one] = SeriesBand(centres, quantiles[:, 0], quantiles[:, 1], quantiles[:, 2], int(mine.sum()))
    return result
