"""Maps on disk, opened by other libraries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely.geometry import shape

from eespark.errors import FormatError, MissingError
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import Block, TileGrid
from eespark.io.mapfiles import (
    LAYERS,
    empty_layers,
    paint_parcels,
    parcel_table,
    part_url,
    read_parcel_part,
    read_part,
    write_item,
    write_layers,
    write_parcel_part,
    write_parcels,
    write_part,
)

GRID = TileGrid("33UWP", "EPSG:32633", 560_000.0, 5_320_000.0, 1200, 1100)
CLASSES = {3: ("Winter wheat", "#ffcc00"), 8: ("Rye", "#00ccff")}
SEASON = (datetime(2017, 9, 1, tzinfo=UTC), datetime(2018, 8, 31, 23, 59, 59, tzinfo=UTC))


def polygon(top: int, left: int, bottom: int, right: int) -> Any:
    """WKB in EPSG:3035 of a window of the grid."""
    ground = shapely.box(GRID.x_min + left * 10, GRID.y_max - bottom * 10, GRID.x_min + right * 10, GRID.y_max - top * 10)
    return bytes(shapely.to_wkb(reproject(np.array([shapely.segmentize(ground, 50)]), accurate_transformer(GRID.crs, "EPSG:3035"))[0]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tile")
    layers = empty_layers(GRID.rows, GRID.cols)
    layers["class"][:600], layers["class"][600:700] = 3, 8
    layers["probability"][:700], layers["novelty"][:700], layers["clear_dates"][:] = 87, 12, 14
    counts = write_layers(str(folder), GRID, layers, CLASSES)
    write_item(str(folder), GRID, SEASON, {"eespark:legend": "fake@1"}, CLASSES)
    assert counts == {"pixels": 700 * 1100, "by_class": {"3": 600 * 1100, "8": 100 * 1100}}
    return folder


def test_that_a_part_is_read_as_it_was_written(tmp_path: Path) -> None:
    block, rng = Block(64, 0, 64, 32), np.random.default_rng(0)
    layers = {name: rng.integers(0, 255, (64, 32)).astype(np.uint8) for name in LAYERS}
    write_part(part_url(str(tmp_path), block), layers)
    for name, values in read_part(part_url(str(tmp_path), block), block).items():
        np.testing.assert_array_equal(values, layers[name])


def test_that_a_part_of_another_block_or_none_or_garbage_is_refused(tmp_path: Path) -> None:
    url = str(tmp_path / "0_0.part")
    with pytest.raises(MissingError):
        read_part(url, Block(0, 0, 64, 64))
    write_part(url, empty_layers(64, 32))
    with pytest.raises(FormatError, match="64 x 64"):
        read_part(url, Block(0, 0, 64, 64))
    Path(url).write_bytes(b"PK\x03\x04 cut short")
    for read in (lambda: read_part(url, Block(0, 0, 64, 64)), lambda: read_parcel_part(url)):
        with pytest.raises(FormatError, match=r"0_0\.part"):
            read()


def test_that_layers_are_cogs_with_overviews_and_no_data(written: Path) -> None:
    for name in LAYERS:
        with rasterio.open(written / f"{name}.tif") as dataset:
            assert (dataset.nodata, dataset.dtypes, dataset.crs.to_epsg()) == (255, ("uint8",), 32633)
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.overviews(1) == [2, 4]
            assert tuple(dataset.transform)[:6] == (10.0, 0.0, 560_000.0, 0.0, -10.0, 5_320_000.0)


def test_that_classes_have_their_colours_and_names_and_overviews_hold_classes_only(written: Path) -> None:
    with rasterio.open(written / "class.tif") as dataset:
        assert (dataset.colormap(1)[3], dataset.colormap(1)[8]) == ((255, 204, 0, 255), (0, 204, 255, 255))
        assert (dataset.tags()["CLASS_3"], dataset.tags()["CLASS_8"]) == ("Winter wheat", "Rye")
        assert set(np.unique(dataset.read(1, out_shape=(300, 275)))) == {3, 8, 255}


def test_that_the_item_is_valid_by_the_core_schema(written: Path) -> None:
    content = json.loads((written / "item.json").read_text())
    # The schemas that pystac carries: no network.
    JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, "1.1.0")
    item = pystac.Item.from_dict(content)
    assert set(item.assets) == set(LAYERS)
    assert (item.properties["proj:code"], item.properties["proj:shape"], item.properties["grid:code"]) == (
        "EPSG:32633",
        [1200, 1100],
        "MGRS-33UWP",
    )
    wheat = {"value": 3, "name": "winter-wheat", "title": "Winter wheat", "color_hint": "FFCC00"}
    assert item.assets["class"].extra_fields["classification:classes"][0] == wheat
    assert item.assets["probability"].extra_fields == {"data_type": "uint8", "nodata": 255, "unit": "%"}


def test_that_the_item_covers_the_ground_of_its_rasters(written: Path) -> None:
    outline = shape(json.loads((written / "item.json").read_text())["geometry"])
    with rasterio.open(written / "class.tif") as dataset:
        west, south, east, north = rasterio.warp.transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    assert outline.bounds == pytest.approx((west, south, east, north), abs=1e-5)


def test_that_parcels_are_painted_and_those_without_a_class_only_tell_their_dates() -> None:
    columns = {"label_id": ["a", "b"], "declared": [3, 8], "predicted": [8, None], "probability": [0.876, None], "novelty": [0.5, None]}
    # The first crosses the strips in which a tile is painted.
    columns |= {"clear_dates": [12, 2], "geometry": [polygon(1000, 100, 1050, 120), polygon(10, 10, 20, 20)]}
    layers = paint_parcels(GRID, parcel_table(columns))
    inside = (slice(1000, 1050), slice(100, 120))
    assert {name: set(np.unique(layer[inside])) for name, layer in layers.items()} == {
        "class": {8}, "probability": {88}, "novelty": {50}, "clear_dates": {12},
    }  # fmt: skip
    assert [int((layers[name] != 255).sum()) for name in ("class", "clear_dates")] == [50 * 20, 50 * 20 + 10 * 10]
    assert np.all(layers["clear_dates"][10:20, 10:20] == 2)


def test_that_no_parcels_paint_nothing() -> None:
    assert all((layer == 255).all() for layer in paint_parcels(GRID, parcel_table({"label_id": []})).values())


def test_that_parcels_are_geoparquet_with_nulls_and_reasons(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"label_id": ["a", "b", "c"], "declared": [3, 8, None], "predicted": [3, 3, None]}
    columns |= {"probability": [0.9, 0.8, None], "pixels": [12, 4, 0], "cut": [False, True, False]}
    columns |= {"reason": [None, None, "no_pure_pixels"], "geometry": [polygon(10 * i, 0, 10 * i + 9, 9) for i in range(3)]}
    write_parcel_part(str(tmp_path / "0_0.part"), parcel_table(columns))
    told = write_parcels(str(tmp_path), read_parcel_part(str(tmp_path / "0_0.part")))
    assert told == {
        "parcels": 3, "parcels_with_class": 2, "parcels_cut": 1, "parcels_as_declared": 1, "parcels_without_class": {"no_pure_pixels": 1},
    }  # fmt: skip
    found = geopandas.read_parquet(tmp_path / "parcels.parquet")
    assert found.crs.to_epsg() == 3035
    assert found["predicted"].tolist()[:2] == [3, 3]
    assert found["predicted"].isna().tolist() == [False, False, True]
    assert found["probability"].isna().tolist() == [False, False, True]
    assert found.geometry.area.tolist() == pytest.approx([8100.0] * 3, rel=2e-3)
