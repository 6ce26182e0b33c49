"""Real declarations through Sedona: the burn and the point-wise join agree pixel for pixel, on both sides of a tile border."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from eespark.schema import PRODUCTS
from eespark.spark.draw_settings import DrawSettings
from eespark.spark.label_settings import ImportSettings
from eespark.spark.labels import import_labels
from eespark.spark.samples import draw_samples

pytestmark = pytest.mark.real
# The hundred parcels lie on both sides of 500 km east, where these tiles overlap. Crops of the tiles' grids: western edge, columns.
CROPS = {"33UVP": (498_600.0, 680), "33UWP": (499_980.0, 542)}
NORTH, ROWS = 5_352_700.0, 1_190


@pytest.fixture(scope="module")
def tables(spark, add_rows, real_data, tmp_path_factory):
    """Folder with a catalog of the two tiles, and the labels of the real file."""
    folder = tmp_path_factory.mktemp("real")
    when = datetime(2025, 5, 1, 10, tzinfo=UTC)
    same = {"url": "u", "kind": "safe", "level": "L2A", "sensing_time": when, "status": "current", "crs": "EPSG:32633"}
    same |= {"size_bytes": 1, "modified": when, "ingested_at": when, "fingerprint": "f"}
    placed = {tile: {"transform": [10.0, 0.0, west, 0.0, -10.0, NORTH], "shape": [ROWS, cols]} for tile, (west, cols) in CROPS.items()}
    add_rows(folder / "products", PRODUCTS, [same | place | {"product_id": tile, "tile": tile} for tile, place in placed.items()])
    source = {"name": "invekos_2025", "url": str(real_data / "invekos" / "inspire_schlaege_2025-1_polygon.gpkg.zip"), "year": 2025}
    source |= {"key": "GEO_ID", "code": "SNAR_CODE", "label": "SNAR_BEZEICHNUNG", "codes": "snar"}
    settings = {"labels": str(folder / "labels"), "products": str(folder / "products"), "polygons": [source], "summary": "unused"}
    import_labels(spark, ImportSettings.model_validate(settings | {"scratch": str(folder / "scratch")}))
    return folder


@pytest.fixture(scope="module")
def draw(spark, tables):
    """Draws all pure pixels of the real parcels by a rule and a method."""

    def drawn(rule, method):
        place = tables / f"{rule}-{method}"
        settings = {"products": str(tables / "products"), "labels": str(tables / "labels"), "summary": "unused", "total": 1_000_000}
        settings |= {"sample_set": "real@1", "sources": ["invekos_2025"], "purity": rule, "method": method, "block_px": 64, "guard_m": 0}
        settings |= {"split_shares": {"train": 1.0}, "samples": str(place / "samples"), "sets": str(place / "sets")}
        draw_samples(spark, DrawSettings.model_validate(settings))
        return spark.read.format("delta").load(str(place / "samples")).toPandas()

    return drawn


def test_that_the_join_of_every_pixel_centre_draws_the_identical_samples_of_real_parcels(draw, content):
    burnt, joined = draw("centre", "burn"), draw("centre", "points")
    assert content(burnt) == content(joined)
    assert set(burnt["tile"]) == set(CROPS)
    assert len(burnt) > 1000


def test_that_the_cells_of_real_parcels_are_those_that_geos_finds(spark, tables, draw):
    labels = spark.read.format("delta").load(str(tables / "labels")).where("usable").toPandas()
    move = Transformer.from_crs(3035, 32633, always_xy=True)
    shapes = shapely.transform(shapely.from_wkb([bytes(g) for g in labels["geometry"]]), lambda xy: np.column_stack(move.transform(*xy.T)))
    shapes = shapely.buffer(shapes, -5.0)
    expected = set()
    for name, shape in zip(labels["label_id"], shapes, strict=True):
        if shape.is_empty:
            continue
        west, south, east, north = shape.bounds
        x, y = np.meshgrid(np.arange(west // 20 * 20, east + 20, 20), np.arange(south // 20 * 20, north + 20, 20))
        # Both grids have their 20 m cells at multiples of 20 m.
        inside = shapely.contains(shape, shapely.box(x, y, x + 20, y + 20))
        expected |= {(name, a + dx, b + dy) for a, b in zip(x[inside], y[inside], strict=True) for dx in (5, 15) for dy in (5, 15)}
    found = draw("cell", "burn")
    assert {(r.label_id, r.x, r.y) for r in found.itertuples()} == expected - _in_two(expected)


def _in_two(pixels):
    seen: dict[tuple[float, float], set[str]] = {}
    for name, x, y in pixels:
        seen.setdefault((x, y), set()).add(name)
    return {(name, *place) for place, names in seen.items() if len(names) > 1 for name in names}


def test_that_ground_in_the_overlap_of_two_tiles_is_sampled_in_its_owner_alone(draw):
    samples = draw("cell", "burn")
    owner = np.where(samples["x"] < 500_000, "33UVP", "33UWP")
    assert (samples["tile"] == owner).all()
    assert (samples["x"] > CROPS["33UWP"][0]).any()
    assert not samples.duplicated(["x", "y"]).any()
