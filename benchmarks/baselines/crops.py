"""Loaders of crops from a calibrated raster, as SAR code for deep learning has them: the raster opened for each crop, or kept open."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

Places = Iterable[tuple[int, int]]


def load_crops(file: str, places: Places, size: int, dataset: Any = None) -> npt.NDArray[np.float32]:
    """(n, bands, size, size) crops; without an open dataset the file is opened for each of them."""
    crops = []
    for row, col in places:
        with rasterio.open(file) if dataset is None else nullcontext(dataset) as opened:
            crops.append(opened.read(window=Window(col, row, size, size)))
    return np.stack(crops)
