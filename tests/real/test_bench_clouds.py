"""The clouds of the benchmarks cover as many whole JPEG 2000 tiles as real ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from defusedxml.ElementTree import parse
from rasterio.features import rasterize
from shapely.geometry import Polygon

from benchmarks.inputs import cloud_mask

pytestmark = pytest.mark.real

SIDE, PIXEL_M = 1_830, 60.0
GML, EOP = "{http://www.opengis.net/gml/3.2}", "{http://www.opengis.net/eop/2.0}"


def opaque_clouds(file: Path) -> Any:
    """(1830, 1830) where the agency's mask of a whole tile says opaque cloud."""
    polygons = []
    for feature in parse(file).getroot().iter(f"{EOP}MaskFeature"):
        if feature.find(f"{EOP}maskType").text == "OPAQUE":
            rings = [np.array(ring.text.split(), float).reshape(-1, 2) for ring in feature.iter(f"{GML}posList")]
            polygons.append(Polygon(rings[0], rings[1:]))
    # Its clouds reach all four edges of tile 57UVB.
    west, north = min(p.bounds[0] for p in polygons), max(p.bounds[3] for p in polygons)
    transform = rasterio.Affine(PIXEL_M, 0, west, 0, -PIXEL_M, north)
    return rasterize(((p, 1) for p in polygons), out_shape=(SIDE, SIDE), transform=transform).astype(bool)


def wholly_clouded(mask: Any, tile_m: float) -> int:
    """Internal JPEG 2000 tiles of a side of `tile_m` that are all cloud."""
    starts = np.round(np.arange(0, SIDE * PIXEL_M, tile_m) / PIXEL_M).astype(int)
    ends = [*starts[1:], SIDE]
    return sum(bool(mask[a:b, c:d].all()) for a, b in zip(starts, ends, strict=True) for c, d in zip(starts, ends, strict=True))


@pytest.mark.parametrize("tile_m", [10_240.0, 12_800.0])
def test_that_real_clouds_cover_whole_internal_tiles_as_often_as_those_of_the_benchmarks(real_data: Path, tile_m: float) -> None:
    real = opaque_clouds(real_data / "sentinel2" / "MSK_CLOUDS_B00_T57UVB.gml")
    made = [wholly_clouded(cloud_mask(real.shape, real.mean(), seed, PIXEL_M), tile_m) for seed in range(8)]
    assert np.quantile(made, 0.2) <= wholly_clouded(real, tile_m) <= np.quantile(made, 0.8), made
