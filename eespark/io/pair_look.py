"""A SAR scene and an optical product side by side on one polar grid, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from eespark.errors import FormatError, MissingError
from eespark.grid import TileGrid
from eespark.io.ice_maps import brightness, geocode
from eespark.io.mapfiles import SCENE_LAYERS
from eespark.io.rasters import decoding, open_raster
from eespark.io.sar_scene import SarScene
from eespark.io.storage import write_bytes

Bytes = npt.NDArray[np.uint8]
_COLOURS: Final = (("B04", "B03", "B02"), ("red", "green", "blue"))
_GAP_PX: Final = 8


def overlap_grid(overlap: Any, crs: str, longest_px: int) -> TileGrid:
    """A grid over an overlap, no side of it longer than `longest_px`.

    Args:
        overlap: Polygon in the CRS.
        crs: Projected.
        longest_px: Pixels.
    """
    left, bottom, right, top = shapely.bounds(overlap)
    pixel_m = max(right - left, top - bottom) / longest_px
    return TileGrid(
        "pair", crs, float(left), float(top), int(np.ceil((top - bottom) / pixel_m)), int(np.ceil((right - left) / pixel_m)), pixel_m
    )


def sar_look(scene: SarScene, grid: TileGrid) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """(rows, cols) grey values of the first polarisation between its 2nd and 98th percentile, and where there are any."""
    cell_px = max(round(grid.pixel_m / scene.geometry.sample_spacing_m), 1)
    band = next(iter(scene.bands))
    found = geocode({"backscatter": brightness(scene, band, cell_px)}, scene.geometry, grid, cell_px)["backscatter"]
    valid = found != SCENE_LAYERS["backscatter"]
    return _stretched(found, valid), valid


def optical_look(bands: Mapping[str, str], grid: TileGrid) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """(rows, cols, 3) colours of a product between their 2nd and 98th percentiles, and where there are any.

    Args:
        bands: GDAL paths: B04, B03, B02 of Sentinel-2; red, green, blue; or a picture `visual` of three layers or one.
        grid: To bring it to.

    Raises:
        MissingError: No such bands.
        FormatError: A raster that is nowhere on the ground, or cannot be read.
    """
    names = next((names for names in _COLOURS if set(names) <= set(bands)), None)
    if names is None and "visual" not in bands:
        raise MissingError(f"needed bands to look at ({', '.join('/'.join(one) for one in _COLOURS)}, visual), found {', '.join(bands)}")
    layers = [_warped(bands[name], grid, 1) for name in names] if names else _picture(bands["visual"], grid)
    values = np.stack(layers, axis=-1)
    valid = (values != 0).any(axis=-1)
    return np.stack([_stretched(values[..., k], valid) for k in range(3)], axis=-1), valid


def _picture(path: str, grid: TileGrid) -> list[npt.NDArray[Any]]:
    with open_raster(path) as dataset:
        count = dataset.count
    return [_warped(path, grid, layer if count >= 3 else 1) for layer in (1, 2, 3)]


def _warped(path: str, grid: TileGrid, layer: int) -> npt.NDArray[Any]:
    with open_raster(path) as dataset:
        if dataset.crs is None:
            raise FormatError(f"{path}: needed a raster with a CRS to lay beside the scene, found none; name bands in the item")
        shape = {"width": grid.cols, "height": grid.rows, "transform": Affine(*grid.transform), "crs": grid.crs}
        with decoding(path), WarpedVRT(dataset, resampling=Resampling.bilinear, nodata=0, **shape) as view:
            return np.asarray(view.read(layer), np.float32)


def _stretched(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Bytes:
    if not valid.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[valid], [2, 98])
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.where(valid, np.rint(scaled), 0).astype(np.uint8)


def write_pair(url: str, scene: SarScene, bands: Mapping[str, str], grid: TileGrid) -> float:
    """Write both looks beside one another, SAR to the left; the share of the grid that both see.

    Raises:
        MissingError, FormatError: One of the two cannot be looked at.
    """
    (grey, seen), (colours, lit) = sar_look(scene, grid), optical_look(bands, grid)
    gap = np.full((grid.rows, _GAP_PX, 3), 255, np.uint8)
    whole = np.concatenate([np.repeat(grey[..., None], 3, axis=-1), gap, colours], axis=1)
    with rasterio.MemoryFile(ext=".png") as memory:
        with memory.open(driver="PNG", width=whole.shape[1], height=whole.shape[0], count=3, dtype="uint8") as target:
            target.write(whole.transpose(2, 0, 1))
        write_bytes(url, memory.read())
    return float((seen & lit).mean())
