"""All dates of some pixels of a block, read band by band, with the halves of a tile-date merged; medians over parcels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.bands import BANDS, CLOUD_MASK, Flag, flags_of_scl
from eespark.errors import FormatError
from eespark.grid import Block
from eespark.io import rasters
from eespark.io.cloud_mask import mask_flags
from eespark.kernels.optical import flag_faults, stored_reflectance

Bools = npt.NDArray[np.bool_]
Int16s = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cube:
    """Dates of n pixels.

    Attributes:
        days: (t,) int16, days since the first day of the crop year, ascending, each once.
        reflectance: (n, t, 9) int16 x 10,000; 0 where not clear.
        clear: (n, t).
    """

    days: Int16s
    reflectance: Int16s
    clear: Bools


def read_cube(products: Sequence[Mapping[str, Any]], block: Block, wanted: Bools) -> Cube:
    """Every product at the wanted pixels of a block, one date a day.

    Memory is bounded by 19 bytes a wanted pixel and date, and some 30 bytes a pixel of the block while one product is read.

    Args:
        products: Rows with day, bands, offsets, scale, shape, transform; where two of one day are clear at a pixel, the first counts.
        block: Window in the 10 m grid.
        wanted: (rows, cols) pixels of the block to keep; a product that is clear at none of them is read no further than its scenes.

    Returns:
        Pixels in row-major order of the block.

    Raises:
        FormatError: A raster cannot be decoded, or `wanted` is of another size than the block.
    """
    if wanted.shape != (block.rows, block.cols):
        raise FormatError(f"needed a mask of {block.rows} x {block.cols} pixels, found {wanted.shape}")
    days = sorted({int(product["day"]) for product in products})
    reflectance = np.zeros((int(wanted.sum()), len(days), len(BANDS)), np.int16)
    clear = np.zeros(reflectance.shape[:2], bool)
    for product in products:
        date = days.index(int(product["day"]))
        values, seen = _read_product(product, block, wanted)
        new = seen & ~clear[:, date]
        reflectance[new, date] = values[new[seen]]
        clear[:, date] |= seen
    return Cube(np.array(days, np.int16), reflectance, clear)


def _read_product(product: Mapping[str, Any], block: Block, wanted: Bools) -> tuple[Int16s, Bools]:
    """(k, 9) reflectance of the clear pixels, and which of the n wanted pixels they are."""
    flag = _read_flags(product, block, wanted)
    seen = flag == Flag.CLEAR
    if not seen.any():
        return np.zeros((0, len(BANDS)), np.int16), seen
    place = np.flatnonzero(wanted)[seen]
    dn = np.stack([_read_band(product, band, block).reshape(-1)[place] for band in BANDS], axis=-1)
    whole = flag_faults(flag[seen], dn) == Flag.CLEAR
    seen[seen] = whole
    stored = [stored_reflectance(dn[whole, i], float(product["offsets"][b]), float(product["scale"])) for i, b in enumerate(BANDS)]
    return np.stack(stored, axis=-1), seen


def _read_flags(product: Mapping[str, Any], block: Block, wanted: Bools) -> npt.NDArray[np.uint8]:
    if "SCL" in product["bands"]:
        return flags_of_scl(_read_band(product, "SCL", block)[wanted].astype(np.uint8))
    if CLOUD_MASK in product["bands"]:
        rows, cols = np.nonzero(wanted)
        return mask_flags(product, rows + block.row, cols + block.col)[0]
    return np.full(int(wanted.sum()), Flag.UNCLASSIFIED, np.uint8)


def _read_band(product: Mapping[str, Any], band: str, block: Block) -> npt.NDArray[Any]:
    """The band's block on the 10 m grid: a 10 m pixel takes the value of the coarser pixel that holds its centre."""
    path, shape = product["bands"][band], product["shape"]
    with rasters.open_raster(path) as dataset:  # opened once: opening is a sixth of the time of small blocks
        rows = rasters.companion_pixels(np.arange(block.row, block.row + block.rows), int(shape[0]), dataset.height)
        cols = rasters.companion_pixels(np.arange(block.col, block.col + block.cols), int(shape[1]), dataset.width)
        values = dataset.read(1, window=((int(rows[0]), int(rows[-1]) + 1), (int(cols[0]), int(cols[-1]) + 1)))
    if values.shape == (block.rows, block.cols):
        return np.asarray(values)
    return np.asarray(values[np.ix_(rows - rows[0], cols - cols[0])])


def median_series(cube: Cube, groups: Ints, count: int, min_clear_share: float) -> Cube:
    """The series of groups of pixels: by date and band the median over those of its pixels that are clear.

    Args:
        cube: Of n pixels.
        groups: (n,) group of each pixel, 0 to count - 1; negative ones belong to none.
        count: Number of groups.
        min_clear_share: A date counts for a group where at least this share of its pixels, and at least one, is clear.

    Returns:
        `count` series in the place of pixels; medians between two integers are rounded to even.
    """
    times = len(cube.days)
    reflectance, clear = np.zeros((count, times, len(BANDS)), np.int16), np.zeros((count, times), bool)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count + 1))
    for group in range(count):
        members = order[starts[group] : starts[group + 1]]
        seen = cube.clear[members]
        number = seen.sum(axis=0)
        clear[group] = (number > 0) & (number >= min_clear_share * len(members))
        # Pixels that are not clear go last, so the middle of the first `number` is the median.
        values = np.sort(np.where(seen[:, :, None], cube.reflectance[members], np.int16(32_767)), axis=0).astype(np.float64)
        for date in np.flatnonzero(clear[group]):
            low, high = values[(number[date] - 1) // 2, date], values[number[date] // 2, date]
            reflectance[group, date] = np.rint((low + high) / 2)
    return Cube(cube.days, reflectance, clear)
