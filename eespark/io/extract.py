"""Observations of one product at many sample points: scene classes or cloud mask first, then only the JPEG 2000 tiles worth decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.bands import BANDS, CLOUD_MASK, Flag, flags_of_scl
from eespark.errors import FormatError
from eespark.io import rasters
from eespark.io.cloud_mask import mask_flags
from eespark.kernels.optical import flag_faults, stored_reflectance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Reflectance under cloud says nothing of the ground, and its tiles are half of the decoding.
WORTH_READING = (Flag.CLEAR, Flag.SHADOW, Flag.SNOW, Flag.UNCLASSIFIED)


@dataclass(frozen=True)
class Extraction:
    """Observations of n samples.

    Attributes:
        reflectance: (n, 9) int16, x 10,000 after offset, -32768 where not read or no data.
        flag: (n,) uint8 values of `Flag`.
        pixels_decoded: Pixels of the internal tiles that were decoded.
    """

    reflectance: npt.NDArray[np.int16]
    flag: npt.NDArray[np.uint8]
    pixels_decoded: int


def extract_product(product: Mapping[str, Any], x: Floats, y: Floats) -> Extraction:
    """Observations of one product at points.

    Args:
        product: Columns bands, offsets, scale, transform, shape of the catalog.
        x: (n,) metres in the product's CRS.
        y: (n,) metres.

    Raises:
        FormatError: A raster cannot be decoded, or a point lies outside the product.
    """
    rows, cols = _pixels(product, x, y)
    flag, decoded = _flags(product, rows, cols)
    wanted = np.isin(flag, WORTH_READING)
    dn = np.zeros((len(rows), len(BANDS)), np.uint16)
    if wanted.any():
        for index, band in enumerate(BANDS):
            values, pixels = rasters.read_pixels(product["bands"][band], rows, cols, _shape(product), wanted)
            dn[:, index] = values
            decoded += pixels
    reflectance = np.column_stack(
        [stored_reflectance(dn[:, i], float(product["offsets"][band]), float(product["scale"])) for i, band in enumerate(BANDS)]
    )
    flag[wanted] = flag_faults(flag[wanted], dn[wanted])
    return Extraction(reflectance, flag, decoded)


def _pixels(product: Mapping[str, Any], x: Floats, y: Floats) -> tuple[Ints, Ints]:
    a, _, c, _, e, f = product["transform"]
    rows, cols = np.floor((y - f) / e).astype(np.int64), np.floor((x - c) / a).astype(np.int64)
    height, width = _shape(product)
    outside = int(((rows < 0) | (cols < 0) | (rows >= height) | (cols >= width)).sum())
    if outside:
        raise FormatError(
            f"needed points within {height} x {width} pixels from ({c}, {f}), found {outside} of {len(x)} outside: "
            "the product has another grid than its tile; draw a sample set from tiles of one grid"
        )
    return rows, cols


def _flags(product: Mapping[str, Any], rows: Ints, cols: Ints) -> tuple[npt.NDArray[np.uint8], int]:
    if "SCL" in product["bands"]:
        scl, decoded = rasters.read_pixels(product["bands"]["SCL"], rows, cols, _shape(product))
        return flags_of_scl(scl.astype(np.uint8)), decoded
    if CLOUD_MASK in product["bands"]:
        return mask_flags(product, rows, cols)
    return np.full(len(rows), Flag.UNCLASSIFIED, np.uint8), 0


def _shape(product: Mapping[str, Any]) -> tuple[int, int]:
    return int(product["shape"][0]), int(product["shape"][1])
