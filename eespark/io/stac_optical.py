"""Optical products other than Sentinel-2 as STAC items: Landsat, Sentinel-3. They are paired with scenes and looked at, and not sampled."""

from __future__ import annotations

import re
from typing import Any, Final

from eespark.errors import EESparkError, FormatError, MissingError
from eespark.io import rasters
from eespark.io.stac_item import asset_path, footprint_of, load_item, property_of, sensing_time

LEVEL: Final = "QUICKLOOK"
NAMES: Final = re.compile(r"^(S3[A-D]_|L[CETO]0[4-9]_)")
"""How products of these missions begin."""
# Red, green, blue by the names that archives give them; bands of Landsat 8 and 9 and of OLCI.
_COLOURS: Final = {
    "red": ("red", "B4", "SR_B4", "Oa08"), "green": ("green", "B3", "SR_B3", "Oa06"), "blue": ("blue", "B2", "SR_B2", "Oa04"),
}  # fmt: skip
_PICTURES: Final = ("visual", "rendered_preview", "overview", "quicklook", "thumbnail")


def read_item(product_id: str, url: str) -> dict[str, Any]:
    """The columns of `products` that an item tells: `bands` holds red, green and blue, or a picture under the name `visual`.

    Raises:
        MissingError: It has no assets to look at, or no time.
        FormatError: Not such an item.
    """
    item = load_item(url)
    try:
        return _describe(product_id, item, url)
    except EESparkError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{url}: needed a STAC item as its specification has it, found {type(error).__name__}: {error}") from error


def _describe(product_id: str, item: dict[str, Any], url: str) -> dict[str, Any]:
    properties, bands = item["properties"], _pictures(item["assets"], url)
    info = rasters.raster_info(next(iter(bands.values())))
    cloud = properties.get("eo:cloud_cover")
    return {
        "mission": product_id[:4].rstrip("_"),
        "level": LEVEL,
        "sensing_time": sensing_time(properties, url),
        "relative_orbit": int(properties["sat:relative_orbit"]) if "sat:relative_orbit" in properties else None,
        "datastrip": str(property_of({"id": item.get("id")}, ("id",), url)),
        "footprint": footprint_of(item, url),
        "crs": info.crs,
        "shape": list(info.shape),
        "transform": list(info.transform),
        "bands": bands,
        "cloud_share": None if cloud is None else float(cloud) / 100.0,
    }


def _pictures(assets: dict[str, Any], url: str) -> dict[str, str]:
    found = {colour: _asset(assets, names, url) for colour, names in _COLOURS.items()}
    if all(found.values()):
        return {colour: str(path) for colour, path in found.items()}
    picture = _asset(assets, _PICTURES, url)
    if picture is None:
        raise MissingError(f"{url}: needed assets red, green and blue, or one of {', '.join(_PICTURES)}, found {', '.join(sorted(assets))}")
    return {"visual": picture}


def _asset(assets: dict[str, Any], names: tuple[str, ...], url: str) -> str | None:
    for name in names:
        if isinstance(assets.get(name), dict) and isinstance(assets[name].get("href"), str):
            return asset_path(assets[name]["href"], url)
    return None
