"""Sentinel-2 L2A as STAC items with COG assets (Earth Search and kin), into the same columns as a SAFE product.

Such archives may have subtracted the radiometric offset already. What the item says of its offset is taken in this order:
`earthsearch:boa_offset_applied` true means that nothing is left to add; else the assets' own `raster:bands` offset and scale;
else the processing baseline (-1000 from 04.00 on). The catalog then checks it against the darkest ground of the tile.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from datetime import UTC, datetime
from typing import Any, Final

from shapely import to_wkb
from shapely.errors import ShapelyError
from shapely.geometry import shape

from eespark.bands import BANDS, RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io import rasters
from eespark.io.storage import open_filesystem, read_text

# Earth Search v1 names its assets by common names; v0 and others by band.
_ASSETS: Final = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3",
    "B8A": "nir08", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip
MAX_ITEM_BYTES: Final = 8 * 1024 * 1024


def read_item(url: str) -> dict[str, Any]:
    """The columns of `products` that a STAC item and its rasters tell.

    Raises:
        MissingError: An asset or property is absent.
        FormatError: Not such an item.
    """
    text = read_text(url)
    if len(text) > MAX_ITEM_BYTES:
        raise FormatError(f"{url}: needed a STAC item below {MAX_ITEM_BYTES} bytes, found {len(text)}")
    try:
        item = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{url}: needed a STAC item, found text that is not JSON (line {error.lineno})") from error
    if not isinstance(item, dict) or item.get("type") != "Feature" or "assets" not in item:
        raise FormatError(f"{url}: needed a STAC item (a Feature with assets), found {type(item).__name__}")
    properties = item.get("properties", {})
    assets = {band: _asset(item["assets"], band, url) for band in (*BANDS, "SCL")}
    paths = {band: _path(asset["href"], url) for band, asset in assets.items()}
    info = rasters.check_last_tile(paths["B02"])
    for band, path in paths.items():
        rasters.check_companion(band, rasters.check_last_tile(path), info, RESOLUTION_M[band] // RESOLUTION_M["B02"])
    baseline = str(_property(properties, ("s2:processing_baseline", "processing:version"), url))
    return {
        "mission": _mission(str(item["id"])),
        "level": "L2A",
        "tile": _tile(properties, url),
        "sensing_time": datetime.fromisoformat(str(_property(properties, ("datetime",), url)).replace("Z", "+00:00")).astimezone(UTC),
        "relative_orbit": _orbit(properties),
        "baseline": baseline,
        "datastrip": str(properties.get("s2:datastrip_id", item["id"])),
        "footprint": _footprint(item, url),
        "crs": info.crs or f"EPSG:{_property(properties, ('proj:epsg',), url)}",
        "offsets": {band: _offset(assets[band], properties, baseline) for band in BANDS},
        "scale": 10_000.0,
        "cloud_share": float(properties["eo:cloud_cover"]) / 100.0 if "eo:cloud_cover" in properties else None,
        "bands": paths,
        "shape": list(info.shape),
        "transform": list(info.transform),
    }


def _asset(assets: dict[str, Any], band: str, url: str) -> dict[str, Any]:
    for name in (band, _ASSETS[band], band.lower()):
        if isinstance(assets.get(name), dict) and "href" in assets[name]:
            return dict(assets[name])
    raise MissingError(f"{url}: needed an asset {band} or {_ASSETS[band]}, found {', '.join(sorted(assets))}")


def _path(href: str, item_url: str) -> str:
    # A mirrored archive keeps hrefs of its origin: a file of that name beside the item is the one meant.
    filesystem, item_path = open_filesystem(item_url)
    beside = f"{posixpath.dirname(item_path)}/{posixpath.basename(href)}"
    if filesystem.exists(beside):
        return rasters.gdal_path(beside if "file" in filesystem.protocol else str(filesystem.unstrip_protocol(beside)))
    if "://" in href:
        return rasters.gdal_path(href)
    return rasters.gdal_path(posixpath.normpath(posixpath.join(posixpath.dirname(item_url), href)))


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


def _footprint(item: dict[str, Any], url: str) -> bytes:
    try:
        return bytes(to_wkb(shape(item["geometry"])))
    except (KeyError, TypeError, ValueError, ShapelyError) as error:
        raise FormatError(f"{url}: needed a geometry, found {type(error).__name__}") from error


def _property(properties: dict[str, Any], names: tuple[str, ...], url: str) -> Any:
    for name in names:
        if properties.get(name) is not None:
            return properties[name]
    raise MissingError(f"{url}: needed the property {' or '.join(names)}, found {', '.join(sorted(properties)[:8])}, ...")


def _tile(properties: dict[str, Any], url: str) -> str:
    code = str(properties.get("grid:code", ""))
    if code.startswith("MGRS-"):
        return code.removeprefix("MGRS-").zfill(5)
    parts = [_property(properties, (f"mgrs:{part}",), url) for part in ("utm_zone", "latitude_band", "grid_square")]
    return f"{int(parts[0]):02d}{parts[1]}{parts[2]}"


def _mission(item_id: str) -> str:
    return item_id[:3] if re.match(r"^S2[A-D]", item_id) else "S2"


def _orbit(properties: dict[str, Any]) -> int | None:
    if "sat:relative_orbit" in properties:
        return int(properties["sat:relative_orbit"])
    match = re.search(r"_R(\d{3})_", str(properties.get("s2:product_uri", "")))
    return int(match[1]) if match else None
