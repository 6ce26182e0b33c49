"""Sentinel-2 bands, scene classes and the flags that eespark keeps of them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

# Order of TimeSen2Crop and of every array with a band axis in this project.
BANDS: Final[tuple[str, ...]] = ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
# Native ground sampling distance, metres (Sentinel-2 User Handbook, table 1).
RESOLUTION_M: Final[dict[str, int]] = {
    "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20,
    "SCL": 20,
}  # fmt: skip
# `band_id` of the offsets in MTD_MSIL2A.xml counts all 13 bands of the instrument.
INSTRUMENT_BANDS: Final[tuple[str, ...]] = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip

CLOUD_MASK: Final = "CLOUDS"
"""Key of an L1C product's cloud mask beside its bands. Not in `RESOLUTION_M`: a mask of polygons has no pixels."""

REFLECTANCE_SCALE: Final = 10_000
"""Stored reflectance is int16: reflectance x 10,000 after the offset."""
REFLECTANCE_NODATA: Final = -32_768
"""No-data of stored reflectance."""
DN_NODATA: Final = 0
DN_SATURATED: Final = 65_535


class Flag(IntEnum):
    """State of one observation. The first four are those of TimeSen2Crop."""

    CLEAR = 0
    CLOUD = 1
    SHADOW = 2
    SNOW = 3
    NO_DATA = 4
    UNCLASSIFIED = 5


# Index: SCL class 0..11. SCL 2 was 'dark area' until 2022 and is topographic shadow since: shadow in both readings.
_SCL_TO_FLAG: Final[tuple[Flag, ...]] = (
    Flag.NO_DATA, Flag.NO_DATA, Flag.SHADOW, Flag.SHADOW, Flag.CLEAR, Flag.CLEAR, Flag.CLEAR,
    Flag.UNCLASSIFIED, Flag.CLOUD, Flag.CLOUD, Flag.CLOUD, Flag.SNOW,
)  # fmt: skip


def flags_of_scl(scl: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Flag of each scene class; a class above 11 does not exist and counts as no data.

    Args:
        scl: Scene classification, any shape.

    Returns:
        Values of `Flag`, uint8, same shape.
    """
    table = np.full(256, Flag.NO_DATA, np.uint8)
    table[: len(_SCL_TO_FLAG)] = _SCL_TO_FLAG
    return table[scl]


def flags_of_classification(layers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Flag of each pixel of an L1C classification; cloud goes before snow.

    Args:
        layers: (..., 3) opaque cloud, cirrus, snow or ice; 0 is no.

    Returns:
        Values of `Flag`, uint8, (...).

    Source: Sentinel-2 Products Specification Document, MSK_CLASSI of baseline 04.00.
    """
    cloud, snow = (layers[..., :2] != 0).any(axis=-1), layers[..., 2] != 0
    return np.select([cloud, snow], [Flag.CLOUD, Flag.SNOW], Flag.CLEAR).astype(np.uint8)
