"""Ground that a crop or a product covers, and what its metadata says of its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer
from shapely.geometry import Polygon, box

from eespark.bands import CLOUD_MASK
from eespark.grid import TileGrid
from eespark.synthetic.render import Scene

_DENSIFY_M = 1_000.0


def ground_of_grid(grid: TileGrid, epsg: int) -> Polygon:
    """Outline of a grid in another system, its edges densified to 1 km."""
    move = Transformer.from_crs(grid.crs, epsg, always_xy=True)
    outline = shapely.segmentize(box(*grid.bounds), _DENSIFY_M)
    return Polygon(np.column_stack(move.transform(*np.asarray(outline.exterior.coords).T)))


def data_outline(scene: Scene) -> Polygon:
    """Ground with data, in the system of the tile; the whole crop where there is none, as the agency does for empty products."""
    left, bottom, right, top = scene.grid.bounds
    height = top - bottom
    ground: Any = box(left, top - scene.rows_with_data[1] * height, right, top - scene.rows_with_data[0] * height)
    if scene.weather.edge is not None:
        a, b, c = scene.weather.edge
        # The line a x + b y = c crosses the whole height, for its slant is small: points at y = -1 and y = 2.
        (x0, y0), (x1, y1) = (((c - b * y) / a, y) for y in (-1.0, 2.0))
        far = 5.0 if a > 0 else -5.0
        half = Polygon([(x0, y0), (x1, y1), (far, y1), (far, y0)])
        ground = ground.intersection(
            shapely.transform(half, lambda p: np.column_stack([left + p[:, 0] * (right - left), top - p[:, 1] * height]))
        )
    return ground if isinstance(ground, Polygon) and not ground.is_empty else box(left, bottom, right, top)


def product_facts(scene: Scene, images: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Footprint, percentages of scene classes and cloud percent, as the metadata states them.

    Args:
        scene: Of the product.
        images: Its bands, and SCL for L2A or CLOUDS for L1C.

    Returns:
        `footprint` as closed (lon, lat) pairs, `percentages` by scene class 0..11 (no data of all pixels,
        the others of those with data), `cloud`.
    """
    move = Transformer.from_crs(scene.grid.crs, 4326, always_xy=True)
    lon, lat = move.transform(*np.asarray(data_outline(scene).exterior.coords).T)
    if scene.level == "L2A":
        counts = np.bincount(images["SCL"].ravel(), minlength=12).astype(float)
    else:
        empty = float((images["B05"] == 0).sum())
        counts = np.array([empty, *[0.0] * 11])
        # As its own mask has it.
        counts[9], counts[10] = (float((images[CLOUD_MASK] == kind).mean()) * images["B05"].size for kind in (1, 2))
        counts[4] = images["B05"].size - empty - counts[9] - counts[10]
    valid = counts[1:].sum()
    percentages = [100.0 * counts[0] / counts.sum(), *(100.0 * counts[1:] / max(valid, 1.0))]
    return {"footprint": list(zip(lon, lat, strict=True)), "percentages": percentages, "cloud": sum(percentages[8:11])}
