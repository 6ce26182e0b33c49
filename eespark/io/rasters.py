"""Rasters by GDAL: what a file is, windows, single pixels, Cloud-Optimized GeoTIFFs out.

JPEG 2000 decodes whole internal tiles, and that is the cost of Sentinel-2 work; `read_pixels` therefore decodes each tile
that holds a wanted pixel once, and no other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from eespark.errors import FormatError, MissingError
from eespark.io.remote_names import remote_options
from eespark.io.storage import write_bytes

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# One thread a task: the cluster's cores are Spark's to give. No listing of folders on object stores.
_GDAL = {
    "GDAL_NUM_THREADS": 1,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64_000_000,
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".jp2,.tif,.tiff,.zip",
    # A server that falls silent is given up: less than a byte a second for a minute.
    "GDAL_HTTP_CONNECTTIMEOUT": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
}
# A VRT under another name could name any file or host as its source.
_FORMATS = frozenset({"GTiff", "COG", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JP2Lura", "JP2Grok"})


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself.

    Attributes:
        shape: Rows, cols.
        block: Rows, cols of an internal tile.
        transform: Affine coefficients a b c d e f.
        crs: As EPSG:n where it has a code, else WKT; None without one.
        dtype: Of the first band.
        count: Number of bands.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]
    crs: str | None
    dtype: str
    count: int


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """The opened dataset of a GDAL path; GDAL's errors come out as ours.

    Raises:
        MissingError: There is no such file.
        FormatError: It cannot be opened or decoded, or is neither GeoTIFF nor JPEG 2000.
    """
    if not path.startswith("/vsi") and not os.path.exists(path):
        raise MissingError(f"needed a raster, found no file {path}")
    with decoding(path), rasterio.Env(**_GDAL, **remote_options(path)), rasterio.open(path) as dataset:
        if dataset.driver not in _FORMATS:
            raise FormatError(f"{path}: needed a GeoTIFF or JPEG 2000, found {dataset.driver}; do not use this file")
        yield dataset


@contextmanager
def decoding(path: str) -> Iterator[None]:
    """GDAL's errors come out as ours.

    Raises:
        FormatError: In place of an error of GDAL.
    """
    try:
        yield
    except RasterioError as error:
        raise FormatError(f"{path}: needed a readable raster, GDAL says: {_reason(error)}") from error


def raster_info(path: str) -> RasterInfo:
    """What the raster says of itself; no pixel is decoded."""
    with open_raster(path) as dataset:
        return _info(dataset)


def read_window(path: str, window: tuple[int, int, int, int] | None = None) -> Array:
    """Pixels of a single-band window (row, col, rows, cols), or of the whole raster.

    Returns:
        (rows, cols) in the raster's own type; what lies outside the raster is 0.
    """
    with open_raster(path) as dataset:
        if window is None:
            return np.asarray(dataset.read(1))
        row, col, rows, cols = window
        return np.asarray(dataset.read(1, window=Window(col, row, cols, rows), boundless=False))


def check_last_tile(path: str) -> RasterInfo:
    """What the raster is, after its last internal tile was decoded: a file cut short does not pass.

    Raises:
        FormatError: The tile cannot be decoded.
    """
    with open_raster(path) as dataset:
        info = _info(dataset)
        row = (info.shape[0] - 1) // info.block[0] * info.block[0]
        col = (info.shape[1] - 1) // info.block[1] * info.block[1]
        dataset.read(1, window=Window(col, row, info.shape[1] - col, info.shape[0] - row))
        return info


def read_decimated(path: str, most_px: int) -> Array:
    """A single-band raster at no more than `most_px` rows and columns: from its overviews where it has them, else every n-th pixel.

    Returns:
        (rows, cols) in the raster's own type.
    """
    with open_raster(path) as dataset:
        step = max(1, math.ceil(max(dataset.shape) / most_px))
        shape = tuple(math.ceil(side / step) for side in dataset.shape)
        return np.asarray(dataset.read(1, out_shape=shape, resampling=Resampling.nearest))


def check_companion(name: str, info: RasterInfo, finest: RasterInfo, ratio: int) -> None:
    """Check that a coarser raster covers the same ground as the finest one: as many pixels over `ratio`.

    Copies that were decimated round either way, so one pixel more or less passes.

    Raises:
        FormatError: It does not.
    """
    expected = (finest.shape[0] / ratio, finest.shape[1] / ratio)
    if any(abs(a - b) > 1 for a, b in zip(info.shape, expected, strict=True)):
        raise FormatError(f"{name}: needed about {expected} pixels beside {finest.shape} of the finest band, found {info.shape}")


def companion_pixels(rows: Ints, shape: int, companion_shape: int) -> Ints:
    """Rows (or columns) in a coarser raster of the pixels that hold the centres of the finer ones.

    Args:
        rows: (n,) rows (or columns) in the finer raster.
        shape: Rows (or columns) of the finer raster.
        companion_shape: Rows (or columns) of the coarser one over the same ground.
    """
    return ((2 * rows + 1) * companion_shape) // (2 * shape)


def read_pixels(
    path: str, rows: Ints, cols: Ints, grid: tuple[int, int] | None = None, wanted: npt.NDArray[np.bool_] | None = None
) -> tuple[Array, int]:
    """(n,) values of single pixels of a single-band raster; else as `read_pixel_layers`."""
    values, decoded = read_pixel_layers(path, rows, cols, 1, grid, wanted)
    return values[:, 0], decoded


def read_pixel_layers(
    path: str,
    rows: Ints,
    cols: Ints,
    layers: int,
    grid: tuple[int, int] | None = None,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> tuple[Array, int]:
    """Values of single pixels in the first layers, each internal tile that holds one decoded once.

    Args:
        path: GDAL path.
        rows: (n,) rows in the grid.
        cols: (n,) columns in the grid.
        layers: How many layers to read.
        grid: Rows and cols of the grid over the same ground, where it is finer than this raster; this raster's own by default.
        wanted: (n,) where False, the pixel is not read and its value is 0; all by default.

    Returns:
        (n, layers) values in the raster's type, and how many pixels were decoded.

    Raises:
        FormatError: A pixel lies outside the raster, or it has fewer layers.
    """
    with open_raster(path) as dataset:
        info = _info(dataset)
        if grid is not None:
            rows, cols = companion_pixels(rows, grid[0], info.shape[0]), companion_pixels(cols, grid[1], info.shape[1])
        if len(rows) and (rows.min() < 0 or cols.min() < 0 or rows.max() >= info.shape[0] or cols.max() >= info.shape[1]):
            raise FormatError(f"{path}: needed pixels within {info.shape}, found rows to {rows.max()}, columns to {cols.max()}")
        if info.count < layers:
            raise FormatError(f"{path}: needed {layers} layer(s), found {info.count}")
        values = np.zeros((len(rows), layers), np.dtype(info.dtype))
        decoded = 0
        for block_row, block_col, members in _by_tile(rows, cols, info.block, wanted):
            row, col = block_row * info.block[0], block_col * info.block[1]
            height, width = min(info.block[0], info.shape[0] - row), min(info.block[1], info.shape[1] - col)
            tile = dataset.read(list(range(1, layers + 1)), window=Window(col, row, width, height))
            values[members] = tile[:, rows[members] - row, cols[members] - col].T
            decoded += height * width
        return values, decoded


def _by_tile(rows: Ints, cols: Ints, block: tuple[int, int], wanted: npt.NDArray[np.bool_] | None) -> Iterator[tuple[int, int, Ints]]:
    members = np.arange(len(rows)) if wanted is None else np.flatnonzero(wanted)
    if not len(members):
        return
    keys = (rows[members] // block[0]) * 1_000_000 + cols[members] // block[1]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        key = int(keys[order[start]])
        yield key // 1_000_000, key % 1_000_000, members[order[start:end]]


def write_cog(path: str, values: Array, profile: Mapping[str, Any]) -> None:
    """Write a Cloud-Optimized GeoTIFF with overviews, whole or not at all.

    Args:
        path: Local path.
        values: (rows, cols) or (bands, rows, cols).
        profile: crs, transform, nodata; optional colormap {value: (r, g, b)}, descriptions, tags, resampling.
    """
    bands = values[None] if values.ndim == 2 else values
    base = {
        "driver": "GTiff",
        "height": bands.shape[1],
        "width": bands.shape[2],
        "count": bands.shape[0],
        "dtype": bands.dtype.name,
        "crs": profile["crs"],
        "transform": rasterio.Affine(*profile["transform"]),
        "nodata": profile["nodata"],
    }
    options = {"driver": "COG", "compress": "DEFLATE", "blocksize": 512, "overview_resampling": profile.get("resampling", "NEAREST")}
    with rasterio.Env(**_GDAL), rasterio.MemoryFile() as memory, rasterio.MemoryFile(ext=".tif") as finished:
        with memory.open(**base) as staged:
            staged.write(bands)
            if "colormap" in profile:
                staged.write_colormap(1, {int(k): (*v, 255) for k, v in profile["colormap"].items()})
            for index, text in enumerate(profile.get("descriptions", ()), start=1):
                staged.set_band_description(index, text)
            staged.update_tags(**profile.get("tags", {}))
        with memory.open() as staged:
            copy_raster(staged, finished.name, **options)
        # Not by GDAL: on a full disk it leaves a broken file and raises nothing.
        write_bytes(path, finished.read())


def _info(dataset: Any) -> RasterInfo:
    epsg = dataset.crs.to_epsg() if dataset.crs else None
    crs = f"EPSG:{epsg}" if epsg else dataset.crs.to_wkt() if dataset.crs else None
    block = dataset.block_shapes[0]
    return RasterInfo(dataset.shape, (block[0], block[1]), tuple(dataset.transform)[:6], crs, dataset.dtypes[0], dataset.count)


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
