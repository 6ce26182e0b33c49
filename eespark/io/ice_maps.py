"""Maps of scenes on a polar grid: cells of the image brought to it, charts and the ice edge drawn from them, STAC items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import geopandas
import numpy as np
import numpy.typing as npt
import pystac
import shapely
from rasterio import Affine
from rasterio.features import rasterize, shapes, sieve

from eespark.geometry import Geometries, accurate_transformer
from eespark.grid import TileGrid
from eespark.ice_legend import IceLegend
from eespark.io.mapfiles import SCENE_LAYERS, layer_asset
from eespark.io.sar_scene import SarScene
from eespark.io.storage import join_url, local_path, write_bytes
from eespark.kernels.sar import decibels, multilook
from eespark.kernels.sar_tables import Window
from eespark.sar_geometry import SceneGeometry

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Layers = dict[str, npt.NDArray[np.uint8]]

_SEA_M: Final = 0.0
_EDGE_POINTS: Final = 64
_NODE_M: Final = 4_000.0
_ROWS: Final = 256
_STRIP_PX: Final = 1_024
_SINGLE: Final = -9
_WHOLE: Final = 92


def polar_grid(name: str, geometry: SceneGeometry, crs: str, pixel_m: float) -> TileGrid:
    """The grid that holds a scene, whose edges are multiples of its pixels, so that grids of scenes fit each other.

    Args:
        name: Of the scene.
        geometry: Of its image.
        crs: Projected, polar.
        pixel_m: Side of a pixel of the grid, metres.
    """
    lines, samples = geometry.shape
    along, across = np.linspace(0, lines - 1, _EDGE_POINTS), np.linspace(0, samples - 1, _EDGE_POINTS)
    rows = np.concatenate([along, along, np.zeros(_EDGE_POINTS), np.full(_EDGE_POINTS, lines - 1.0)])
    cols = np.concatenate([np.zeros(_EDGE_POINTS), np.full(_EDGE_POINTS, samples - 1.0), across, across])
    x, y = accurate_transformer("EPSG:4326", crs).transform(*geometry.to_ground(rows, cols, _SEA_M))
    left, right = np.floor(np.min(x) / pixel_m), np.ceil(np.max(x) / pixel_m)
    bottom, top = np.floor(np.min(y) / pixel_m), np.ceil(np.max(y) / pixel_m)
    return TileGrid(name, crs, float(left * pixel_m), float(top * pixel_m), int(top - bottom), int(right - left), pixel_m)


def geocode(layers: Layers, geometry: SceneGeometry, grid: TileGrid, cell_px: int) -> Layers:
    """Layers of cells of the image on a polar grid: each pixel has the cell that its centre lies in.

    Args:
        layers: (rows, cols) of cells, by names of `SCENE_LAYERS`.
        geometry: Of the image.
        grid: To fill.
        cell_px: Pixels of a cell's side.
    """
    found = {name: np.full((grid.rows, grid.cols), SCENE_LAYERS[name], np.uint8) for name in layers}
    height, width = next(iter(layers.values())).shape
    for first in range(0, grid.rows, _ROWS):
        rows = np.arange(first, min(first + _ROWS, grid.rows))
        line, sample = image_places(geometry, grid, rows)
        row, col = (np.floor((one + 0.5) / cell_px) for one in (line, sample))
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)  # NaN is none of these
        places = row[inside].astype(np.int64), col[inside].astype(np.int64)
        for name, values in layers.items():
            found[name][first : first + len(rows)][inside] = values[places]
    return found


def image_places(geometry: SceneGeometry, grid: TileGrid, rows: Ints) -> tuple[Floats, Floats]:
    """Line and sample (rows, cols) of the centres of a grid's pixels, at sea level.

    Range and Doppler are solved at nodes some kilometres apart; what lies between follows by two straight lines, for over that distance an
    image bends by less than a hundredth of its pixels' side.
    """
    step = max(int(_NODE_M / grid.pixel_m), 1)
    nodes = [np.unique(np.append(np.arange(one[0], one[-1], step), one[-1])) for one in (rows, np.arange(grid.cols))]
    x, y = grid.centres(*np.meshgrid(nodes[0], nodes[1], indexing="ij"))
    longitude, latitude = accurate_transformer(grid.crs, "EPSG:4326").transform(x, y)
    solved = geometry.to_image(np.asarray(longitude), np.asarray(latitude), _SEA_M)
    down, right = _between(nodes[0], rows), _between(nodes[1], np.arange(grid.cols))
    line, sample = (down @ one @ right.T for one in solved)
    return line, sample


def _between(nodes: Ints, at: Ints) -> Floats:
    """(n, nodes) weights of linear interpolation."""
    weights = np.zeros((len(at), len(nodes)))
    if len(nodes) == 1:
        weights[:, 0] = 1.0
        return weights
    left = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share = (at - nodes[left]) / (nodes[left + 1] - nodes[left])
    weights[np.arange(len(at)), left] = 1 - share
    weights[np.arange(len(at)), left + 1] += share
    return weights


def brightness(scene: SarScene, band: str, cell_px: int) -> npt.NDArray[np.uint8]:
    """(rows, cols) backscatter of the cells of an open scene, as `SCENE_LAYERS` has it; read in strips.

    Raises:
        MissingError: The scene has no such polarisation.
        FormatError: The raster cannot be decoded.
    """
    height, width = (side // cell_px for side in scene.shape)
    found = np.full((height, width), SCENE_LAYERS["backscatter"], np.uint8)
    step = max(_STRIP_PX // cell_px, 1)
    for first in range(0, height, step):
        rows = min(step, height - first)
        power, valid = multilook(*scene.sigma(band, Window(first * cell_px, 0, rows * cell_px, width * cell_px)), cell_px)
        scaled = np.clip(np.rint(5 * (decibels(power) + 40)), 0, 254).astype(np.uint8)
        found[first : first + rows] = np.where(valid, scaled, found[first : first + rows])
    return found


def burn_classes(polygons: Geometries, classes: Ints, grid: TileGrid) -> npt.NDArray[np.uint8]:
    """(rows, cols) class of the polygon that holds the centre of each pixel, 255 where there is none; of several, the last.

    Args:
        polygons: (n,) in the CRS of the grid.
        classes: (n,)
        grid: To fill.
    """
    marked = [(one, int(c)) for one, c in zip(polygons, classes, strict=True) if not one.is_empty]
    if not marked:
        return np.full((grid.rows, grid.cols), SCENE_LAYERS["analyst"], np.uint8)
    burnt = rasterize(
        marked, out_shape=(grid.rows, grid.cols), transform=Affine(*grid.transform), fill=SCENE_LAYERS["analyst"], dtype="uint8"
    )
    return np.asarray(burnt, np.uint8)


def chart_of(layers: Layers, grid: TileGrid, legend: IceLegend, least_m2: float) -> tuple[geopandas.GeoDataFrame, geopandas.GeoDataFrame]:
    """Polygons of equal class with SIGRID-3 columns, and the lines between ice and open water.

    Args:
        layers: class and probability (rows, cols) on the grid.
        grid: Of the layers.
        legend: Of the classes.
        least_m2: Areas below this become part of a neighbour.

    Returns:
        Polygons (class_id, class, probability, poly_type, CT, CA, SA, FA, CB, SB, FB, area, perimeter) and lines (length).
    """
    # Sieving would take no data for a class of its own: it is put back where it was.
    known = layers["class"] != 255
    cells = max(int(least_m2 / grid.pixel_m**2), 1)
    smooth = sieve(layers["class"], cells, mask=known) if cells > 1 else layers["class"]
    smooth = np.where(known, smooth, np.uint8(255))
    transform = Affine(*grid.transform)
    names = {one.class_id: one.name for one in legend.legend.classes}
    rows = []
    for outline, value in shapes(smooth, mask=known, transform=transform):
        polygon, class_id = shapely.geometry.shape(outline), int(value)
        rows.append({"class_id": class_id, "class": names.get(class_id, str(class_id)), **sigrid_of(class_id, legend), "geometry": polygon})
    columns = ["class_id", "class", "poly_type", "CT", "CA", "SA", "FA", "CB", "SB", "FB", "geometry"]
    polygons = geopandas.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=grid.crs)
    codes = columns[3:10]
    polygons[codes] = polygons[codes].astype("Int32")  # null where there is none, and never a float
    polygons["area"], polygons["perimeter"] = polygons.geometry.area, polygons.geometry.length
    lines = _ice_edge(smooth, known, legend, transform)
    edge = geopandas.GeoDataFrame({"length": shapely.length(lines)}, geometry=lines, crs=grid.crs)
    return polygons, edge


def sigrid_of(class_id: int, legend: IceLegend) -> dict[str, Any]:
    """SIGRID-3 columns of a class: one type of ice over the whole polygon, or water; a class without a stage of its own is 99."""
    empty = dict.fromkeys(("CT", "CA", "SA", "FA", "CB", "SB", "FB"))
    if class_id == legend.water:
        return {"poly_type": "W", **empty}
    return {"poly_type": "I", **empty, "CT": _WHOLE, "CA": _SINGLE, "SA": legend.chart.get(class_id, 99), "FA": 99}


def _ice_edge(
    classes: npt.NDArray[np.uint8], known: npt.NDArray[np.bool_], legend: IceLegend, transform: Affine
) -> npt.NDArray[np.object_]:
    """Lines that have ice on one side and open water on the other; borders with land and no data are none."""
    water = known & (classes == legend.water)
    outlines = []
    for mask in (water, known & ~water):
        parts = [shapely.geometry.shape(one) for one, _ in shapes(mask.astype(np.uint8), mask=mask, transform=transform)]
        outlines.append(shapely.union_all(np.array([part.boundary for part in parts], dtype=object)))
    shared = shapely.line_merge(shapely.intersection(*outlines))
    parts = shapely.get_parts(np.array([shared], dtype=object))
    return np.asarray([one for one in parts if one.geom_type == "LineString" and one.length > 0], dtype=object)


def write_chart(folder: str, polygons: geopandas.GeoDataFrame, edge: geopandas.GeoDataFrame) -> None:
    """Write the chart and the ice edge as layers of one GeoPackage."""
    file = f"{local_path(folder)}/chart.gpkg"
    polygons.to_file(file, layer="chart", driver="GPKG", engine="pyogrio")
    if len(edge):
        edge.to_file(file, layer="ice_edge", driver="GPKG", engine="pyogrio")


def write_scene_item(
    folder: str, grid: TileGrid, seen: tuple[Any, datetime], layers: Iterable[str], classes: Mapping[int, tuple[str, str]]
) -> None:
    """Write the map's STAC item beside its COGs.

    Args:
        folder: Of the map.
        grid: Of the map.
        seen: Footprint of the scene (longitude and latitude), and its time.
        layers: That were written.
        classes: Class id -> name and colour.
    """
    outline, sensed = seen
    item = pystac.Item(
        id=f"ice-map-{grid.tile}",
        geometry=json.loads(shapely.to_geojson(outline)),
        bbox=list(outline.bounds),
        datetime=sensed,
        properties={"proj:code": grid.crs, "proj:shape": [grid.rows, grid.cols], "proj:transform": list(grid.transform)},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
        ],
    )
    for name in layers:
        item.add_asset(name, layer_asset(name, classes))
    kind = "application/geopackage+sqlite3"
    item.add_asset("chart", pystac.Asset(href="./chart.gpkg", media_type=kind, roles=["data"], title="ice chart and ice edge"))
    write_bytes(join_url(folder, "item.json"), json.dumps(item.to_dict(include_self_link=False), indent=1).encode())
