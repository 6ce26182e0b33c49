"""STAC in and out: items with COG assets as products, products as a collection."""

from __future__ import annotations

import copy
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

from eespark.bands import BANDS, RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io.stac_catalog import product_item, write_collection
from eespark.io.stac_s2 import dark_reflectance, read_item

ASSETS = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3", "B8A": "nir08",
    "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip
PROPERTIES = {
    "datetime": "2018-05-07T10:00:41.461Z", "s2:processing_baseline": "02.14", "grid:code": "MGRS-33UXP", "proj:epsg": 32633,
    "s2:product_uri": "S2A_MSIL2A_20180507T100031_N0214_R122_T33UXP_20180507T130031.SAFE", "eo:cloud_cover": 25.0,
    "s2:datastrip_id": "DS_1",
}  # fmt: skip
ITEM: dict[str, Any] = {
    "type": "Feature", "id": "S2A_33UXP_20180507_0_L2A", "properties": PROPERTIES,
    "geometry": {"type": "Polygon", "coordinates": [[[15, 47], [16, 47], [16, 48], [15, 48], [15, 47]]]},
    "assets": {name: {"href": f"https://example.invalid/origin/{band}.tif"} for band, name in ASSETS.items()},
}  # fmt: skip


def write_raster(path: Path, values: np.ndarray, metres: int, crs: str = "EPSG:32633") -> None:
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype.name, "crs": crs}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", transform=rasterio.Affine(metres, 0, 600_000, 0, -metres, 5_400_000), **profile) as dataset:
        dataset.write(values, 1)


@pytest.fixture(scope="module")
def rasters_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rasters")
    for band in ASSETS:
        side = 64 * 10 // RESOLUTION_M[band]
        kind = np.uint8 if band == "SCL" else np.uint16
        write_raster(folder / f"{band}.tif", np.full((side, side), 4 if band == "SCL" else 1_200, kind), RESOLUTION_M[band])
    return folder


@pytest.fixture
def archive(rasters_folder: Path, tmp_path: Path) -> Path:
    """Folder of an item, its rasters beside it."""
    return Path(shutil.copytree(rasters_folder, tmp_path / "archive"))


def write_item(folder: Path, changes: dict[str, Any] | None = None, **top: Any) -> str:
    item = copy.deepcopy(ITEM) | top
    item["properties"] = {k: v for k, v in (PROPERTIES | (changes or {})).items() if v is not None}
    file = folder / "S2A_33UXP_20180507_0_L2A.json"
    file.write_text(json.dumps(item))
    return str(file)


def assets(href: str, **more: Any) -> dict[str, Any]:
    return {name: {"href": href.format(band), **more} for band, name in ASSETS.items()}


def test_that_an_item_tells_the_columns_of_a_product(archive: Path) -> None:
    row = read_item(write_item(archive))
    wanted = {
        "mission": "S2A", "level": "L2A", "tile": "33UXP", "relative_orbit": 122, "baseline": "02.14", "datastrip": "DS_1",
        "sensing_time": datetime(2018, 5, 7, 10, 0, 41, 461000, UTC), "cloud_share": 0.25, "crs": "EPSG:32633", "shape": [64, 64],
        "transform": [10, 0, 600_000, 0, -10, 5_400_000], "scale": 10_000,
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    assert shapely.from_wkb(row["footprint"]).bounds == (15, 47, 16, 48)


def test_that_rasters_beside_a_mirrored_item_are_taken_for_those_of_its_origin(archive: Path) -> None:
    assert read_item(write_item(archive))["bands"] == {band: str(archive / f"{band}.tif") for band in (*BANDS, "SCL")}


def test_that_relative_hrefs_start_at_the_item(archive: Path) -> None:
    (archive / "items").mkdir()
    found = read_item(write_item(archive / "items", assets=assets("../{}.tif")))["bands"]
    assert found["B8A"] == str(archive / "B8A.tif")


def test_that_relative_hrefs_start_at_an_item_on_another_file_system(archive: Path) -> None:
    url = write_item(archive, assets=assets("./images/../{}.tif"))
    for file in archive.glob("*.tif"):
        (archive / "images").mkdir(exist_ok=True)
        shutil.move(file, archive / "images" / file.name)
    with pytest.raises(MissingError, match=f"found no file {archive}/B02.tif"):
        read_item("file://" + url)


def test_that_absolute_hrefs_are_taken_as_they_are(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    for href in (f"{archive}/{{}}.tif", f"file://{archive}/{{}}.tif"):
        assert read_item(write_item(other, assets=assets(href)))["bands"]["B02"] == str(archive / "B02.tif")


def test_that_assets_named_by_band_are_known_too(archive: Path) -> None:
    named = {band: {"href": f"{band}.tif"} for band in ASSETS}
    assert len(read_item(write_item(archive, assets=named))["bands"]) == 10


OFFSET = [{"scale": 0.0001, "offset": -0.1}]
NO_OFFSET = [{"scale": 0.0001, "offset": 0}]
OFFSETS = [
    # applied, raster:bands, baseline, expected
    (True, None, "04.00", 0.0),
    (True, OFFSET, "04.00", 0.0),
    (True, OFFSET, "02.14", 0.0),
    (False, None, "04.00", -1000.0),
    (False, None, "02.14", 0.0),
    (False, OFFSET, "02.14", -1000.0),  # Collection 1 puts offsets on scenes of any year
    (False, NO_OFFSET, "05.00", 0.0),
    (None, None, "02.14", 0.0),
    (None, None, "03.01", 0.0),
    (None, None, "04.00", -1000.0),
    (None, None, "05.11", -1000.0),
    (None, None, "2.14", 0.0),
    (None, None, "5.9", -1000.0),
    (None, OFFSET, "05.11", -1000.0),
    (None, NO_OFFSET, "05.11", 0.0),
]


@pytest.mark.parametrize(("applied", "bands", "baseline", "expected"), OFFSETS)
def test_that_the_offset_left_to_add_is_what_the_item_says(
    archive: Path, applied: bool | None, bands: list[dict[str, float]] | None, baseline: str, expected: float
) -> None:
    more = {"raster:bands": bands} if bands else {}
    changes = {"earthsearch:boa_offset_applied": applied, "s2:processing_baseline": baseline}
    row = read_item(write_item(archive, changes, assets=assets("{}.tif", **more)))
    assert row["offsets"] == dict.fromkeys(BANDS, expected)


def test_that_baselines_are_written_with_two_digits_so_that_they_sort(archive: Path) -> None:
    assert read_item(write_item(archive, {"s2:processing_baseline": "5.9"}))["baseline"] == "05.09"


def test_that_an_unknown_scale_is_refused(archive: Path) -> None:
    with pytest.raises(FormatError, match=r"scale of 0\.0001"):
        read_item(write_item(archive, assets=assets("{}.tif", **{"raster:bands": [{"scale": 0.001, "offset": 0}]})))


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"assets": {}}, "needed an asset B02 or blue"),
    ({}, {"assets": []}, "needed a STAC item"),
    ({}, {"type": "Collection"}, "needed a STAC item"),
    ({}, {"geometry": None}, "needed a geometry"),
    ({}, {"assets": assets("{}.tif") | {"scl": {"href": 3}}}, "needed an asset SCL or scl"),
    ({"datetime": None}, {}, "needed the property datetime"),
    ({"datetime": "yesterday"}, {}, "needed a STAC item as its specification has it"),
    ({"s2:processing_baseline": "new"}, {}, r"needed a processing baseline as 05\.11"),
    ({"eo:cloud_cover": "much"}, {}, "needed a STAC item as its specification has it"),
    ({"grid:code": None}, {}, "needed the property mgrs:utm_zone"),
    ({"proj:epsg": 32634}, {}, "metadata says EPSG:32634, the raster says EPSG:32633"),
]


@pytest.mark.parametrize(("changes", "top", "reason"), FAULTS)
def test_that_what_is_not_such_an_item_is_refused_with_the_reason(
    archive: Path, changes: dict[str, Any], top: dict[str, Any], reason: str
) -> None:
    with pytest.raises((FormatError, MissingError), match=reason):
        read_item(write_item(archive, changes, **top))


def test_that_an_item_whose_properties_are_no_object_is_refused(archive: Path) -> None:
    file = Path(write_item(archive))
    for hostile in (json.dumps(ITEM | {"properties": []}), "[1, 2]", "{", "[" * 100_000):
        file.write_text(hostile)
        with pytest.raises(FormatError, match="needed a STAC item"):
            read_item(str(file))


def dark(folder: Path, red: np.ndarray, scl: np.ndarray, offset: float = 0.0) -> float | None:
    write_raster(folder / "red.tif", red.astype(np.uint16), 10)
    write_raster(folder / "scl.tif", scl.astype(np.uint8), 20)
    return dark_reflectance(str(folder / "red.tif"), str(folder / "scl.tif"), offset, 10_000)


def test_that_the_darkest_ground_is_the_first_percentile_of_clear_red(tmp_path: Path) -> None:
    # 101 clear values 1000..1100: the first percentile is 1001. A darker half lies under cloud, 0 is no data.
    red = np.zeros((2, 202))
    red[:, :101], red[:, 101:] = np.arange(1000, 1101), 5
    scl = np.where(np.arange(101) < 51, 4, 9)[None]
    red[:, 101] = 0
    assert dark(tmp_path, red, scl) == pytest.approx(0.1001)
    assert dark(tmp_path, red, scl, offset=-1000) == pytest.approx(0.0001)


def test_that_a_product_without_clear_ground_has_no_darkest(tmp_path: Path) -> None:
    assert dark(tmp_path, np.full((4, 4), 900), np.full((2, 2), 8)) is None
    assert dark(tmp_path, np.zeros((4, 4)), np.full((2, 2), 4)) is None


def test_that_a_large_raster_is_looked_at_in_a_small_read(tmp_path: Path) -> None:
    rows, cols = np.indices((1400, 1300))
    found = dark(tmp_path, 2000 + (rows + cols) // 2, np.full((700, 650), 5))
    # A sum of two even spreads over 1,400 and 1,300: 1 % lies below sqrt(0.02 * 1400 * 1300) = 191, halved 95.
    assert found == pytest.approx(0.2095, abs=0.0005)


PRODUCT: dict[str, Any] = {
    "product_id": "S2A_MSIL2A_20180507T100031_N0400_R122_T33UXP_20220107T120000", "mission": "S2A", "level": "L2A", "tile": "33UXP",
    "sensing_time": datetime(2018, 5, 7, 10, 0, 41), "relative_orbit": 122, "baseline": "04.00", "datastrip": "DS_1",
    "footprint": shapely.to_wkb(shapely.box(15, 47, 16, 48)), "crs": "EPSG:32633", "transform": [10.0, 0.0, 6e5, 0.0, -10.0, 5.4e6],
    "shape": [64, 64], "bands": {band: f"/archive/{band}.jp2" for band in (*BANDS, "SCL")}, "offsets": dict.fromkeys(BANDS, -1000.0),
    "scale": 10_000.0, "cloud_share": 0.125,
}  # fmt: skip


def core_faults(content: dict[str, Any], kind: str) -> list[str]:
    """What the core schema that pystac carries says is wrong; extensions need the network and are left out."""
    cache = get_local_schema_cache()
    registry: Any = Registry().with_resources([(url, Resource.from_contents(schema)) for url, schema in cache.items()])
    (url,) = [one for one in cache if one.endswith(f"/{kind}.json") and f"{kind}-spec" in one]
    return [error.message for error in Draft7Validator(cache[url], registry=registry).iter_errors(content)]


def test_that_an_item_fits_the_core_schema() -> None:
    content = product_item(PRODUCT).to_dict(include_self_link=False)
    assert core_faults(content, "item") == []
    # The validator is not blind.
    assert core_faults(content | {"geometry": 3}, "item")
    assert core_faults({k: v for k, v in content.items() if k != "assets"}, "item")


def test_that_an_item_tells_what_extensions_need() -> None:
    item = product_item(PRODUCT)
    wanted = {
        "platform": "sentinel-2a", "proj:code": "EPSG:32633", "proj:shape": [64, 64], "mgrs:utm_zone": 33, "mgrs:latitude_band": "U",
        "mgrs:grid_square": "XP", "eo:cloud_cover": 12.5, "sat:relative_orbit": 122,
    }  # fmt: skip
    assert {name: item.properties[name] for name in wanted} == wanted
    assert item.datetime == datetime(2018, 5, 7, 10, 0, 41, tzinfo=UTC)
    assert (item.bbox, set(item.assets)) == ([15, 47, 16, 48], {*BANDS, "SCL"})
    red = item.assets["B04"]
    assert (red.media_type, red.extra_fields["gsd"]) == ("image/jp2", 10)
    assert red.extra_fields["raster:bands"] == [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]


def test_that_a_collection_with_its_items_can_be_read_back(tmp_path: Path) -> None:
    second = PRODUCT | {
        "product_id": "second",
        "footprint": shapely.to_wkb(shapely.box(16, 46, 17, 47)),
        "sensing_time": datetime(2019, 1, 1),
    }
    assert write_collection(str(tmp_path), [PRODUCT, second]) == 2
    content = json.loads((tmp_path / "collection.json").read_text())
    assert core_faults(content, "collection") == []
    collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
    assert collection.extent.spatial.bboxes == [[15, 46, 17, 48]]
    assert collection.extent.temporal.to_dict() == {"interval": [["2018-05-07T10:00:41Z", "2019-01-01T00:00:00Z"]]}
    assert sorted(item.id for item in collection.get_items()) == sorted([PRODUCT["product_id"], "second"])


def test_that_no_products_make_no_collection(tmp_path: Path) -> None:
    assert write_collection(str(tmp_path), []) == 0
    assert list(tmp_path.iterdir()) == []


def test_that_an_item_written_from_a_product_is_read_back_as_that_product(archive: Path) -> None:
    local = PRODUCT | {"bands": {band: str(archive / f"{band}.tif") for band in (*BANDS, "SCL")}}
    file = archive / "S2A_item.json"
    file.write_text(json.dumps(product_item(local).to_dict(include_self_link=False)))
    row = read_item(str(file))
    same = ("mission", "level", "tile", "relative_orbit", "baseline", "datastrip", "crs", "transform", "shape", "bands", "offsets", "scale")
    assert {name: row[name] for name in same} == {name: local[name] for name in same}
    assert row["cloud_share"] == 0.125
