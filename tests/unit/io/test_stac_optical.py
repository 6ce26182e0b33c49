"""Landsat and Sentinel-3 by their STAC items: what enters the catalog, and what is told where it cannot."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio import Affine

from eespark.errors import FormatError, MissingError
from eespark.io.archive import ScanOptions, list_archive, scan_product

LANDSAT = "LC08_L1GT_002007_20180110_20201016_02_T2"
OLCI = "S3A_OL_1_EFR____20180110T140000_20180110T140300"


def write_raster(path: Path, layers: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(1, 255, (layers, 40, 50)).astype(np.uint8)
    profile = {"driver": "GTiff", "width": 50, "height": 40, "count": layers, "dtype": "uint8", "crs": "EPSG:3413"}
    with rasterio.open(path, "w", transform=Affine(900, 0, 500_000, 0, -900, -1_200_000), **profile) as target:
        target.write(values)


def write_item(folder: Path, name: str, assets: dict[str, str], **changes: Any) -> Path:
    """An item with its rasters beside it."""
    for href in set(assets.values()):
        write_raster(folder / href, 3 if "picture" in href else 1)
    item: dict[str, Any] = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": shapely.geometry.mapping(shapely.box(-20, 76, -17, 77)),
        "properties": {"datetime": "2018-01-10T14:00:00Z", "eo:cloud_cover": 25.0, "platform": "x"},
        "assets": {key: {"href": f"./{href}"} for key, href in assets.items()}, "links": [],
    }  # fmt: skip
    item = {key: value for key, value in (item | changes).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(item))
    return folder


def test_that_items_are_found_and_described(tmp_path: Path) -> None:
    write_item(tmp_path / "a", LANDSAT, {"red": "r.tif", "green": "g.tif", "blue": "b.tif", "thumbnail": "t.tif"})
    write_item(tmp_path / "b", OLCI, {"overview": "picture.tif"}, properties={"start_datetime": "2018-01-10T15:00:00+01:00"})
    (tmp_path / "a" / "collection.json").write_text("{}")
    landsat, olci = (scan_product(one, ScanOptions()) for one in list_archive(str(tmp_path)))
    assert (landsat["mission"], landsat["level"], landsat["cloud_share"], landsat["crs"]) == ("LC08", "QUICKLOOK", 0.25, "EPSG:3413")
    assert set(landsat["bands"]) == {"red", "green", "blue"}
    assert landsat["shape"] == [40, 50]
    assert shapely.from_wkb(landsat["footprint"]).bounds == (-20, 76, -17, 77)
    assert (olci["mission"], olci["bands"].keys(), olci["cloud_share"]) == ("S3A", {"visual"}, None)
    assert olci["sensing_time"] == landsat["sensing_time"] == datetime(2018, 1, 10, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("assets", "changes", "error", "told"),
    [
        ({"swir": "s.tif"}, {}, MissingError, "needed assets red, green and blue, or one of visual"),
        ({"red": "r.tif", "green": "g.tif"}, {}, MissingError, "found green, red"),
        ({"visual": "picture.tif"}, {"geometry": None}, FormatError, "needed a geometry"),
        ({"visual": "picture.tif"}, {"properties": {}}, MissingError, "needed the property datetime or start_datetime"),
        ({"visual": "picture.tif"}, {"type": "Collection"}, FormatError, "needed a STAC item"),
        ({"visual": "picture.tif"}, {"properties": {"datetime": "yesterday"}}, FormatError, "as its specification has it"),
    ],
)
def test_that_items_that_cannot_be_used_are_told(
    tmp_path: Path, assets: dict[str, str], changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    write_item(tmp_path, LANDSAT, assets, **changes)
    (candidate,) = list_archive(str(tmp_path))
    with pytest.raises(error, match=told):
        scan_product(candidate, ScanOptions())


def test_that_a_raster_cut_short_is_told(tmp_path: Path) -> None:
    write_item(tmp_path, LANDSAT, {"visual": "picture.tif"})
    (tmp_path / "picture.tif").write_bytes(b"II*\0")
    (candidate,) = list_archive(str(tmp_path))
    with pytest.raises(FormatError, match="GDAL says"):
        scan_product(candidate, ScanOptions())
