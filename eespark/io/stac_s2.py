"""Sentinel-2 L2A as STAC items with COG assets (Earth Search and kin), into the same columns as a SAFE product.

Such archives may have subtracted the radiometric offset already. What the item says of its offset is taken in this order:
`earthsearch:boa_offset_applied` true means that nothing is left to add; else the assets' own `raster:bands` offset and scale;
else the processing baseline (-1000 from 04.00 on). The catalog then checks it against the darkest ground of the tile.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from eespark.bands import BANDS, DN_NODATA, DN_SATURATED, RESOLUTION_M, Flag, flags_of_scl
from eespark.errors import EESparkError, FormatError, MissingError
from eespark.io import rasters
from eespark.io.stac_item import asset_path, footprint_of, load_item, property_of, sensing_time

# Earth Search v1 names its assets by common names; v0 and others by band.
_ASSETS: Final = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3",
    "B8A": "nir08", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip
DARK_PX: Final = 512
"""Rows and columns at most of the read that looks for the darkest ground."""


def read_item(url: str) -> dict[str, Any]:
    """The columns of `products` that a STAC item and its rasters tell, and `dark_reflectance`, see there.

    Raises:
        MissingError: An asset or property is absent.
        FormatError: Not such an item.
    """
    item = load_item(url)
    try:
        row, assets = _describe(item, url)
    except EESparkError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # JSON of any form can stand where the specification asks for another.
        raise FormatError(f"{url}: needed a STAC item as its specification has it, found {type(error).__name__}: {error}") from error
    paths = {band: asset_path(asset["href"], url) for band, asset in assets.items()}
    infos = {band: rasters.check_last_tile(path) for band, path in paths.items()}
    for band, info in infos.items():
        rasters.check_companion(band, info, infos["B02"], RESOLUTION_M[band] // RESOLUTION_M["B02"])
        if info.crs != infos["B02"].crs or (row["crs"] and info.crs and info.crs != row["crs"]):
            raise FormatError(f"{band}: metadata says {row['crs']}, the raster says {info.crs}; fetch the product again")
    crs = infos["B02"].crs or row["crs"]
    if crs is None:
        raise MissingError(f"{url}: needed a CRS in the rasters or in proj:code or proj:epsg, found none")
    dark = dark_reflectance(paths["B04"], paths["SCL"], row["offsets"]["B04"], row["scale"])
    placed = {"crs": crs, "shape": list(infos["B02"].shape), "transform": list(infos["B02"].transform)}
    return {**row, **placed, "bands": paths, "dark_reflectance": dark}


def dark_reflectance(red_path: str, scl_path: str, offset: float, scale: float) -> float | None:
    """The darkest clear ground of a product: the first percentile of its red reflectance.

    It says nothing by itself (water 0.01, desert 0.2), but changes little from date to date of a tile. An offset that was not
    subtracted makes it 0.1 higher, one subtracted twice 0.1 lower: the product then stands apart from the tile's other dates.

    Args:
        red_path: GDAL path of B04.
        scl_path: GDAL path of the scene classification.
        offset: Added to DN, as believed.
        scale: Quantification value.

    Returns:
        Reflectance (0..1), None where no pixel of a read of at most 512 px is clear.
    """
    red = rasters.read_decimated(red_path, DARK_PX)
    scl = rasters.read_decimated(scl_path, DARK_PX)
    rows = rasters.companion_pixels(np.arange(red.shape[0]), red.shape[0], scl.shape[0])
    cols = rasters.companion_pixels(np.arange(red.shape[1]), red.shape[1], scl.shape[1])
    clear = (flags_of_scl(scl.astype(np.uint8))[np.ix_(rows, cols)] == Flag.CLEAR) & (red != DN_NODATA) & (red != DN_SATURATED)
    if not clear.any():
        return None
    return float((np.percentile(red[clear], 1) + offset) / scale)


def _describe(item: dict[str, Any], url: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    properties = item["properties"]
    assets = {band: _asset(item["assets"], band, url) for band in (*BANDS, "SCL")}
    baseline = _baseline(str(property_of(properties, ("s2:processing_baseline", "processing:version"), url)), url)
    code = properties.get("proj:code") or (f"EPSG:{properties['proj:epsg']}" if properties.get("proj:epsg") else None)
    row = {
        "mission": _mission(str(item["id"])),
        "level": "L2A",
        "tile": _tile(properties, url),
        "sensing_time": sensing_time(properties, url),
        "relative_orbit": _orbit(properties),
        "baseline": baseline,
        "datastrip": str(properties.get("s2:datastrip_id", item["id"])),
        "footprint": footprint_of(item, url),
        "crs": code,
        "offsets": {band: _offset(assets[band], properties, baseline) for band in BANDS},
        "scale": 10_000.0,
        "cloud_share": float(properties["eo:cloud_cover"]) / 100.0 if "eo:cloud_cover" in properties else None,
    }
    return row, assets


def _baseline(text: str, url: str) -> str:
    # Compared as text here and in the catalog, so 5.9 must be 05.09.
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", text)
    if match is None:
        raise FormatError(f"{url}: needed a processing baseline as 05.11, found {text!r}")
    return f"{int(match[1]):02d}.{match[2]:0>2}"


def _asset(assets: dict[str, Any], band: str, url: str) -> dict[str, Any]:
    for name in (band, _ASSETS[band], band.lower()):
        if isinstance(assets.get(name), dict) and isinstance(assets[name].get("href"), str):
            return dict(assets[name])
    raise MissingError(f"{url}: needed an asset {band} or {_ASSETS[band]}, found {', '.join(sorted(assets))}")


def _offset(asset: dict[str, Any], properties: dict[str, Any], baseline: str) -> float:
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0.0
    bands = asset.get("raster:bands") or [{}]
    scale, offset = bands[0].get("scale"), bands[0].get("offset")
    if scale and offset is not None:
        if not math.isclose(float(scale), 1e-4, rel_tol=1e-6):
            raise FormatError(f"needed a raster:bands scale of 0.0001, found {scale}")
        return round(float(offset) / float(scale), 6)
    return -1000.0 if baseline >= "04.00" else 0.0


def _tile(properties: dict[str, Any], url: str) -> str:
    code = str(properties.get("grid:code", ""))
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-").zfill(5)
    parts = [property_of(properties, (f"mgrs:{part}",), url) for part in ("utm_zone", "latitude_band", "grid_square")]
    return f"{int(parts[0]):02d}{parts[1]}{parts[2]}"


def _mission(item_id: str) -> str:
    return item_id[:3] if re.match(r"^S2[A-D]", item_id) else "S2"


def _orbit(properties: dict[str, Any]) -> int | None:
    if "sat:relative_orbit" in properties:
        return int(properties["sat:relative_orbit"])
    match = re.search(r"_R(\d{3})_", str(properties.get("s2:product_uri", "")))
    return int(match[1]) if match else None
