"""The catalog as a static STAC collection: what other tools read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pystac
import shapely
import shapely.affinity

from eespark.bands import CLOUD_MASK, RESOLUTION_M
from eespark.io.remote_names import plain_url
from eespark.io.safe_s1 import parse_scene_name
from eespark.io.storage import join_url, write_text

COLLECTION_ID: Final = "sentinel"
# By the prefix of their fields; an item names those that it uses.
_EXTENSIONS: Final = {
    prefix: f"https://stac-extensions.github.io/{name}/schema.json"
    for prefix, name in {
        "eo": "eo/v1.1.0", "proj": "projection/v2.0.0", "mgrs": "mgrs/v1.0.0", "raster": "raster/v1.1.0", "sat": "sat/v1.0.0",
        "processing": "processing/v1.1.0", "s2": "sentinel-2/v1.0.0", "sar": "sar/v1.0.0",
    }.items()
}  # fmt: skip
# Common names of the EO extension 1.1, which has one name for all of the red edge.
_COMMON_NAME: Final = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge", "B06": "rededge", "B07": "rededge", "B8A": "nir08",
    "B11": "swir16", "B12": "swir22",
}  # fmt: skip
_CENTRE_UM: Final = {
    "B02": 0.492, "B03": 0.559, "B04": 0.665, "B05": 0.704, "B06": 0.741, "B07": 0.783, "B8A": 0.865, "B11": 1.612, "B12": 2.199,
}  # fmt: skip
"""Central wavelengths, micrometres (Sentinel-2 User Handbook, mean of the two satellites)."""
_TERMS: Final = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
_MASK_M: Final = 60


def write_collection(folder: str, products: Iterable[Mapping[str, Any]]) -> int:
    """Write current products as a collection with an item each; the collection last, for it says that all items are there.

    Args:
        folder: URL.
        products: Rows of the catalog with status current.

    Returns:
        Number of items.
    """
    links, boxes, times = [], [], []
    for product in products:
        item = product_item(product)
        write_text(join_url(folder, "items", f"{item.id}.json"), json.dumps(item.to_dict(include_self_link=False), indent=1))
        links.append(pystac.Link(pystac.RelType.ITEM, f"./items/{item.id}.json", media_type=pystac.MediaType.GEOJSON))
        boxes.append(item.bbox)
        times.append(product["sensing_time"].replace(tzinfo=UTC))
    if links:
        content = _collection([box for box in boxes if box is not None], times)
        content.add_links(links)
        write_text(join_url(folder, "collection.json"), json.dumps(content.to_dict(include_self_link=False), indent=1))
    return len(links)


def product_item(product: Mapping[str, Any]) -> pystac.Item:
    """One row of the catalog as a STAC item."""
    outline = _in_range(shapely.from_wkb(bytes(product["footprint"])))
    properties = _scene_properties(product) if product["level"] == "GRD" else _tile_properties(product)
    if product["relative_orbit"] is not None:
        properties["sat:relative_orbit"] = product["relative_orbit"]
    item = pystac.Item(
        id=product["product_id"],
        geometry=json.loads(shapely.to_geojson(outline)),
        bbox=list(outline.bounds),
        datetime=product["sensing_time"].replace(tzinfo=UTC),
        properties=properties,
        collection=COLLECTION_ID,
    )
    for band, href in sorted(product["bands"].items()):
        item.add_asset(band, _asset_of(band, href, product))
    fields = [*properties, *(field for asset in item.assets.values() for field in asset.extra_fields)]
    item.stac_extensions = sorted({_EXTENSIONS[prefix] for prefix, colon, _ in (f.partition(":") for f in fields) if colon})
    item.add_link(pystac.Link(pystac.RelType.COLLECTION, "../collection.json", media_type=pystac.MediaType.JSON))
    return item


def _tile_properties(product: Mapping[str, Any]) -> dict[str, Any]:
    tile = product["tile"]
    properties = {
        "platform": f"sentinel-{product['mission'][1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "processing:level": product["level"],
        "s2:processing_baseline": product["baseline"],
        "s2:datastrip_id": product["datastrip"],
        "proj:code": product["crs"],
        "proj:shape": list(product["shape"]),
        "proj:transform": list(product["transform"]),
        "mgrs:utm_zone": int(tile[:2]),
        "mgrs:latitude_band": tile[2],
        "mgrs:grid_square": tile[3:],
    }
    if product["cloud_share"] is not None:
        properties["eo:cloud_cover"] = round(100 * product["cloud_share"], 4)
    return properties


def _scene_properties(product: Mapping[str, Any]) -> dict[str, Any]:
    """Of a Sentinel-1 scene, which lies in image geometry: it has a shape and no transform."""
    name = parse_scene_name(product["product_id"])
    return {
        "platform": f"sentinel-{product['mission'][1:].lower()}",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "processing:level": "L1",
        "processing:software": {"Sentinel-1 IPF": product["baseline"]},
        "sar:instrument_mode": name.mode,
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": list(name.bands),
        "sar:product_type": "GRD",
        "proj:code": None,
        "proj:shape": list(product["shape"]),
    }


def _in_range(outline: Any) -> Any:
    """The outline with longitudes from -180 to 180, divided where it crosses the antimeridian (RFC 7946, section 3.1.9)."""
    west, _, east, _ = outline.bounds
    if west >= -180 and east <= 180:
        return outline
    turns = range(int((west + 180) // 360), int((east + 180) // 360) + 1)
    parts = [
        shapely.affinity.translate(outline.intersection(shapely.box(-180 + 360 * n, -90, 180 + 360 * n, 90)), xoff=-360.0 * n)
        for n in turns
    ]
    polygons = [one for part in parts for one in shapely.get_parts(part) if one.geom_type == "Polygon"]
    return shapely.MultiPolygon(polygons)


def _asset_of(band: str, href: str, product: Mapping[str, Any]) -> pystac.Asset:
    if band == CLOUD_MASK:
        return _mask_asset(href)
    if product["level"] == "GRD":
        extra = {"sar:polarizations": [band]}
        return pystac.Asset(href=plain_url(href), media_type=pystac.MediaType.GEOTIFF, roles=["data"], extra_fields=extra)
    return _asset(band, href, product)


def _asset(band: str, href: str, product: Mapping[str, Any]) -> pystac.Asset:
    media = pystac.MediaType.JPEG2000 if href.endswith(".jp2") else pystac.MediaType.COG
    extra: dict[str, Any] = {"gsd": RESOLUTION_M[band]}
    coarser = RESOLUTION_M[band] // RESOLUTION_M["B02"]
    # Decimated copies round their coarser rasters either way, so nothing is said of these.
    if coarser > 1 and not any(side % coarser for side in product["shape"]):
        a, b, c, d, e, f = product["transform"]
        extra["proj:shape"] = [side // coarser for side in product["shape"]]
        extra["proj:transform"] = [a * coarser, b * coarser, c, d * coarser, e * coarser, f]
    if band in _COMMON_NAME:
        extra["eo:bands"] = [{"name": band, "common_name": _COMMON_NAME[band], "center_wavelength": _CENTRE_UM[band]}]
        scale = 1.0 / product["scale"]
        extra["raster:bands"] = [{"nodata": 0, "scale": scale, "offset": product["offsets"][band] * scale}]
    return pystac.Asset(href=plain_url(href), media_type=media, roles=["data"], extra_fields=extra)


def _mask_asset(href: str) -> pystac.Asset:
    if href.partition("::")[0].endswith(".gml"):
        return pystac.Asset(href=href, media_type="application/gml+xml", roles=["cloud"])
    return pystac.Asset(
        href=plain_url(href), media_type=pystac.MediaType.JPEG2000, roles=["cloud", "snow-ice"], extra_fields={"gsd": _MASK_M}
    )


def _collection(boxes: list[list[float]], times: list[datetime]) -> pystac.Collection:
    west, south = min(b[0] for b in boxes), min(b[1] for b in boxes)
    east, north = max(b[2] for b in boxes), max(b[3] for b in boxes)
    extent = pystac.Extent(pystac.SpatialExtent([[west, south, east, north]]), pystac.TemporalExtent([[min(times), max(times)]]))
    text = "Sentinel products of an archive, as eespark's catalog has them; contains Copernicus Sentinel data."
    content = pystac.Collection(COLLECTION_ID, description=text, extent=extent, license="other", title="Sentinel archive")
    content.add_link(pystac.Link(pystac.RelType.LICENSE, _TERMS, media_type=pystac.MediaType.PDF, title="Sentinel data legal notice"))
    return content
