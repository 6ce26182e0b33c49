"""The cloud mask of an L1C product: what lies under cloud at 60 m, and its polygons in the agency's GML.

Source: MSK_CLOUDS_B00.gml of real products of baselines 02.06 and 02.09.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.features import shapes
from shapely.geometry import Polygon, box, shape

from eespark.grid import TileGrid
from eespark.synthetic.names import ProductName
from eespark.synthetic.render import Scene
from eespark.synthetic.weather import has_data, veil_of

Layers = npt.NDArray[np.uint8]

KINDS: Final = ("OPAQUE", "CIRRUS")
"""Of value 1 and 2."""
PIXEL_M: Final = 60
OPAQUE_FROM: Final = 0.3
CIRRUS_FROM: Final = 0.15
"""Opacities from which the truth takes a pixel as covered, see `render`."""


def cloud_layers(scene: Scene) -> Layers:
    """(rows, cols) at 60 m: 0 clear or no data, 1 opaque cloud, 2 cirrus, by the true opacity at the middle of each pixel."""
    down, across = (_middles(count * scene.grid.pixel_m, scene.grid.pixel_m) for count in (scene.grid.rows, scene.grid.cols))
    veil = veil_of(scene.weather, scene.grid.x_min + across, scene.grid.y_max - down)
    layers = np.select([veil.cloud > OPAQUE_FROM, veil.cirrus > CIRRUS_FROM], [1, 2], 0).astype(np.uint8)
    down, across = down / (scene.grid.rows * scene.grid.pixel_m), across / (scene.grid.cols * scene.grid.pixel_m)
    data = has_data(scene.weather.edge, across, down)
    data &= ((down >= scene.rows_with_data[0]) & (down < scene.rows_with_data[1]))[:, None]
    return np.where(data & (not scene.empty), layers, 0).astype(np.uint8)


def _middles(length_m: float, finest_m: float) -> npt.NDArray[np.float64]:
    # The last pixel of a crop may be cut by its edge; its middle must not lie beyond.
    return np.minimum((np.arange(math.ceil(length_m / PIXEL_M)) + 0.5) * PIXEL_M, length_m - finest_m / 2)


def cloud_gml(name: ProductName, grid: TileGrid, layers: Layers) -> str:
    """`MSK_CLOUDS_B00.gml`: a polygon, with its holes, for each group of adjoining pixels of one kind.

    Args:
        name: Of the product.
        grid: Its 10 m grid; polygons end with it.
        layers: Of `cloud_layers`.
    """
    features = []
    numbers = dict.fromkeys(KINDS, 0)
    for kind, polygon in _polygons(grid, layers):
        features.append(_feature(f"{kind}.{numbers[kind]}", kind, polygon))
        numbers[kind] += 1
    # A mask without clouds has no bounds, as the agency's.
    content = f"{_bounds(grid)}  <eop:maskMembers>\n{''.join(features)}  </eop:maskMembers>\n" if features else "  <eop:maskMembers/>\n"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="{name.cloud_mask_id}">
  <gml:name>MSK_CLOUDS pixels mask from data-strip {name.cloud_mask_id}</gml:name>
{content}</eop:Mask>
"""


def _bounds(grid: TileGrid) -> str:
    left, bottom, right, top = (f"{edge:.0f}" for edge in grid.bounds)
    return f"""  <gml:boundedBy>
    <gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:{grid.crs.removeprefix("EPSG:")}">
      <gml:lowerCorner>{left} {bottom}</gml:lowerCorner>
      <gml:upperCorner>{right} {top}</gml:upperCorner>
    </gml:Envelope>
  </gml:boundedBy>
"""


def _polygons(grid: TileGrid, layers: Layers) -> Iterator[tuple[str, Polygon]]:
    transform = Affine(PIXEL_M, 0, grid.x_min, 0, -PIXEL_M, grid.y_max)
    whole = box(*grid.bounds)
    for content, value in shapes(layers, mask=layers > 0, transform=transform, connectivity=4):
        part = shape(content).intersection(whole)
        for one in getattr(part, "geoms", [part]):
            if isinstance(one, Polygon) and not one.is_empty:
                yield KINDS[int(value) - 1], one


def _feature(identifier: str, kind: str, polygon: Polygon) -> str:
    inner = "".join(_ring("interior", ring) for ring in polygon.interiors)
    return f"""    <eop:MaskFeature gml:id="{identifier}">
      <eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{kind}</eop:maskType>
      <eop:extentOf>
        <gml:Polygon gml:id="{identifier}_Polygon">
{_ring("exterior", polygon.exterior)}{inner}        </gml:Polygon>
      </eop:extentOf>
    </eop:MaskFeature>
"""


def _ring(tag: str, ring: Any) -> str:
    positions = " ".join(f"{x:.0f} {y:.0f}" for x, y in ring.coords)
    return f"""          <gml:{tag}>
            <gml:LinearRing>
              <gml:posList srsDimension="2">{positions}</gml:posList>
            </gml:LinearRing>
          </gml:{tag}>
"""
