"""All dates of one block of a tile, read band by band, with the halves of a tile-date merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.bands import BANDS, Flag, flags_of_scl
from eespark.grid import Block
from eespark.io import rasters
from eespark.kernels.optical import flag_faults, stored_reflectance


@dataclass(frozen=True)
class Cube:
    """Dates of a block.

    Attributes:
        days: (t,) days since the first day of the crop year, ascending, each once.
        reflectance: (t, rows, cols, 9) int16 x 10,000; 0 where not clear.
        clear: (t, rows, cols).
    """

    days: npt.NDArray[np.int16]
    reflectance: npt.NDArray[np.int16]
    clear: npt.NDArray[np.bool_]


def read_cube(products: Sequence[Mapping[str, Any]], block: Block) -> Cube:
    """Every product's block, one date a day.

    Args:
        products: Rows with day, bands, offsets, scale, shape.
        block: Window in the 10 m grid; even row, col, rows, cols.

    Raises:
        FormatError: A raster cannot be decoded.
    """
    days = sorted({int(product["day"]) for product in products})
    reflectance = np.zeros((len(days), block.rows, block.cols, len(BANDS)), np.int16)
    clear = np.zeros(reflectance.shape[:3], bool)
    for product in products:
        date = days.index(int(product["day"]))
        values, seen = _read_product(product, block)
        new = seen & ~clear[date]
        reflectance[date][new] = values[new]
        clear[date] |= seen
    return Cube(np.array(days, np.int16), reflectance, clear)


def _read_product(product: Mapping[str, Any], block: Block) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    values = np.zeros((block.rows, block.cols, len(BANDS)), np.int16)
    flag = flags_of_scl(_read_band(product, "SCL", block).astype(np.uint8))
    if not (flag == Flag.CLEAR).any():
        return values, np.zeros(flag.shape, bool)
    dn = np.stack([_read_band(product, band, block) for band in BANDS], axis=-1)
    clear = flag_faults(flag.reshape(-1), dn.reshape(-1, len(BANDS))).reshape(flag.shape) == Flag.CLEAR
    for index, band in enumerate(BANDS):
        stored = stored_reflectance(dn[..., index], float(product["offsets"][band]), float(product["scale"]))
        values[..., index] = np.where(clear, stored, 0)
    return values, clear


def _read_band(product: Mapping[str, Any], band: str, block: Block) -> npt.NDArray[Any]:
    """The band's block on the 10 m grid: a 10 m pixel takes the value of the coarser pixel that holds its centre."""
    path, shape = product["bands"][band], product["shape"]
    info = rasters.raster_info(path)
    rows = rasters.companion_pixels(np.arange(block.row, block.row + block.rows), int(shape[0]), info.shape[0])
    cols = rasters.companion_pixels(np.arange(block.col, block.col + block.cols), int(shape[1]), info.shape[1])
    window = (int(rows[0]), int(cols[0]), int(rows[-1] - rows[0] + 1), int(cols[-1] - cols[0] + 1))
    return rasters.read_window(path, window)[np.ix_(rows - rows[0], cols - cols[0])]
