"""Cloud masks of L1C products: polygons in GML up to baseline 03.01, a raster of three layers at 60 m from 04.00 on.

Source: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), MSK_CLOUDS and MSK_CLASSI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt
import shapely
from shapely.errors import ShapelyError

from eespark.bands import CLOUD_MASK, RESOLUTION_M, Flag, flags_of_classification
from eespark.errors import FormatError
from eespark.io import rasters
from eespark.io.safe_xml import MAX_XML_BYTES, parse_xml
from eespark.io.storage import read_bytes

Polygons = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CLOUDS: Final = frozenset({"OPAQUE", "CIRRUS"})
_LAYERS: Final = 3  # opaque cloud, cirrus, snow or ice
_PIXEL_M: Final = 60


def mask_flags(product: Mapping[str, Any], rows: Ints, cols: Ints) -> tuple[Bytes, int]:
    """Flags of single pixels by an L1C product's cloud mask: clear, cloud or snow (which polygons do not tell).

    Args:
        product: Columns bands (with a cloud mask), transform and shape of the catalog.
        rows: (n,) rows in the product's 10 m grid.
        cols: (n,) columns.

    Returns:
        (n,) values of `Flag`, and how many pixels were decoded. A pixel is cloud where its centre is.

    Raises:
        MissingError: There is no such mask any more.
        FormatError: It cannot be read.
    """
    path = product["bands"][CLOUD_MASK]
    if not _is_gml(path):
        shape = int(product["shape"][0]), int(product["shape"][1])
        layers, decoded = rasters.read_pixel_layers(path, rows, cols, _LAYERS, shape)
        return flags_of_classification(layers), decoded
    a, _, c, _, e, f = product["transform"]
    cloud = covered(read_cloud_polygons(path)[0], c + (cols + 0.5) * a, f + (rows + 0.5) * e)
    return np.where(cloud, Flag.CLOUD, Flag.CLEAR).astype(np.uint8), 0


def check_mask(path: str, crs: str, finest: rasters.RasterInfo, *, pixels: bool) -> None:
    """Check that a cloud mask can be read and lies on the ground of its product.

    Args:
        path: GDAL path of a raster, or URL of a GML file.
        crs: Of the product.
        finest: Its 10 m band.
        pixels: Whether to decode the raster's last tile.

    Raises:
        FormatError: It cannot be read, or lies elsewhere.
    """
    name = _name(path)
    if not _is_gml(path):
        info = rasters.check_last_tile(path) if pixels else rasters.raster_info(path)
        if info.count != _LAYERS:
            raise FormatError(f"{name}: needed {_LAYERS} layers, found {info.count}; fetch the product again")
        rasters.check_companion(name, info, finest, _PIXEL_M // RESOLUTION_M["B02"])
        found = info.crs
    else:
        polygons, found = read_cloud_polygons(path)
        a, _, c, _, e, f = finest.transform
        ground = shapely.box(c, f + finest.shape[0] * e, c + finest.shape[1] * a, f)
        if len(polygons) and not shapely.intersects(shapely.box(*shapely.total_bounds(polygons)), ground):
            raise FormatError(f"{name}: needed clouds on the product's ground, found all elsewhere; fetch the product again")
    if found is not None and found != crs:
        raise FormatError(f"{name}: metadata says {crs}, the mask says {found}; fetch the product again")


def read_cloud_polygons(url: str) -> tuple[Polygons, str | None]:
    """Clouds of a GML mask, opaque and cirrus, as polygons with their holes; and its CRS as EPSG:n where it says one.

    Args:
        url: Of the file, or of a member of a zip (`zip://member::url`).

    Raises:
        MissingError: There is no such file.
        FormatError: Not such a mask, larger than 64 MiB, or XML that attacks its reader.
    """
    return parse_cloud_polygons(read_bytes(url, MAX_XML_BYTES), _name(url))


def parse_cloud_polygons(content: bytes, where: str) -> tuple[Polygons, str | None]:
    """As `read_cloud_polygons`, of a file's content; no feature at all means no cloud.

    Args:
        content: The file.
        where: Its name, for errors.

    Raises:
        FormatError: See there.
    """
    root = parse_xml(content, where)
    if _local(root) != "Mask":
        raise FormatError(f"{where}: needed a mask (eop:Mask), found <{_local(root)}>; fetch the product again")
    polygons: list[Any] = []
    for feature in _all(root, "MaskFeature"):
        kind = next(((e.text or "").strip() for e in _all(feature, "maskType")), "")
        if kind not in _CLOUDS:
            raise FormatError(f"{where}: needed a maskType of {' or '.join(sorted(_CLOUDS))}, found {kind!r}; report the product")
        polygons += [_polygon(element, where) for element in _all(feature, "Polygon")]
    return np.array(polygons, dtype=object), _crs(root)


def covered(polygons: Polygons, x: Floats, y: Floats) -> Bools:
    """(n,) whether each point lies inside one of the polygons; on a boundary is outside.

    Rings may touch and polygons overlap: a point is asked at one polygon after the other, and inside is an odd number of rings.

    Args:
        polygons: With holes.
        x: (n,) in their CRS.
        y: (n,).
    """
    order = np.argsort(x, kind="stable")
    across, down = x[order], y[order]
    inside = np.zeros(len(x), bool)
    shapely.prepare(polygons)
    for polygon, (west, south, east, north) in zip(polygons, shapely.bounds(polygons), strict=True):
        # Only points in its box, found by the order of x: a tile has some hundred clouds and a million samples.
        near = np.arange(*np.searchsorted(across, (west, east)))
        near = near[(down[near] > south) & (down[near] < north) & ~inside[near]]
        inside[near] = shapely.contains_xy(polygon, across[near], down[near])
    found = np.empty_like(inside)
    found[order] = inside
    return found


def _is_gml(path: str) -> bool:
    return _name(path).endswith(".gml")


def _name(path: str) -> str:
    return path.partition("::")[0].rsplit("/", 1)[-1]


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _all(element: Element, tag: str) -> Iterator[Element]:
    return (e for e in element.iter() if _local(e) == tag)


def _crs(root: Element) -> str | None:
    names = (e.get("srsName", "") for e in root.iter() if e.get("srsName"))
    codes = (re.search(r"EPSG:(?:[\d.]*:)?(\d+)$", name) for name in names)
    return next((f"EPSG:{code[1]}" for code in codes if code is not None), None)


def _polygon(element: Element, where: str) -> Any:
    outer = [_ring(ring, where) for part in _all(element, "exterior") for ring in _all(part, "posList")]
    inner = [_ring(ring, where) for part in _all(element, "interior") for ring in _all(part, "posList")]
    if len(outer) != 1:
        raise FormatError(f"{where}: needed polygons with one exterior, found {len(outer)}; fetch the product again")
    try:
        return shapely.Polygon(outer[0], inner)
    except (ShapelyError, ValueError) as error:
        raise FormatError(f"{where}: needed polygons, found a ring that is none: {error}; fetch the product again") from error


def _ring(positions: Element, where: str) -> Floats:
    size = positions.get("srsDimension", "2")
    try:
        numbers = np.array((positions.text or "").split(), np.float64)
    except ValueError as error:
        raise FormatError(f"{where}: needed numbers in posList, found others: {error}; fetch the product again") from error
    if size not in ("2", "3") or len(numbers) % int(size) or not np.isfinite(numbers).all():
        raise FormatError(f"{where}: needed finite coordinates of 2 or 3 dimensions in posList, found others; fetch the product again")
    return numbers.reshape(-1, int(size))[:, :2]
