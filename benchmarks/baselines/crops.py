"""Loaders of crops, as SAR code for deep learning has them: the scene opened for each, or kept open; or a raster calibrated before."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window as Part

from eespark.io.members import Candidate
from eespark.io.sar_scene import SarScene, open_scene
from eespark.kernels.sar_tables import Window

Places = Iterable[tuple[int, int]]
Crops = npt.NDArray[np.float32]


def opened_each_time(candidate: Candidate, places: Places, size: int) -> Crops:
    """(n, bands, size, size) sigma nought; annotation, calibration and noise are read anew for each crop."""
    crops = []
    for place in places:
        with open_scene(candidate) as scene:
            crops.append(_crop(scene, place, size))
    return np.stack(crops)


def kept_open(candidate: Candidate, places: Places, size: int) -> Crops:
    """The same from a scene that is opened once; tables are interpolated for each crop."""
    with open_scene(candidate) as scene:
        return np.stack([_crop(scene, place, size) for place in places])


def calibrated(file: str, places: Places, size: int) -> Crops:
    """(n, bands, size, size) of a raster whose pixels are sigma nought already, kept open."""
    with rasterio.open(file) as dataset:
        return np.stack([dataset.read(window=Part(col, row, size, size)) for row, col in places])


def _crop(scene: SarScene, place: tuple[int, int], size: int) -> Crops:
    looks = scene.looks(Window(*place, size, size), 1)
    return np.stack(list(looks.power.values()))
