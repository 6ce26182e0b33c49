"""Maps on the polar grid: where cells land, what charts and ice edges are drawn, by hand and by the scene's own geometry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pystac
import pytest
import shapely
from pyproj import Transformer

from eespark.grid import TileGrid
from eespark.ice_legend import load_ice_legend
from eespark.io.archive import list_archive
from eespark.io.ice_maps import (
    brightness,
    burn_classes,
    chart_of,
    geocode,
    image_places,
    polar_grid,
    sigrid_of,
    write_chart,
    write_scene_item,
)
from eespark.io.sar_scene import SarScene, open_scene
from eespark.kernels.sar import decibels
from eespark.kernels.sar_tables import Window
from eespark.polar_geometry import POLAR_CRS
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings

SIZE = 256
UIT = load_ice_legend("seaice_uit")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SarScene]:
    root = tmp_path_factory.mktemp("maps") / "input"
    make_polar_archive(PolarSettings(output=str(root), summary="unused", seed=3, size_px=SIZE, dates=2, faults=False, workers=1))
    with open_scene(next(iter(list_archive(str(root / "archive"))))) as opened:
        yield opened


@pytest.fixture(scope="module")
def grid(scene: SarScene) -> TileGrid:
    return polar_grid("scene", scene.geometry, POLAR_CRS, 100.0)


def _by_itself(scene: SarScene, grid: TileGrid, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Line and sample of pixels of the grid, each solved for itself."""
    x, y = grid.centres(rows, cols)
    longitude, latitude = Transformer.from_crs(POLAR_CRS, "EPSG:4326", always_xy=True).transform(x, y)
    return scene.geometry.to_image(np.asarray(longitude), np.asarray(latitude), 0.0)


def test_that_the_grid_holds_the_scene_and_fits_the_grids_of_others(scene: SarScene, grid: TileGrid) -> None:
    assert (grid.x_min % 100, grid.y_max % 100) == (0, 0)
    line, sample = (one.ravel() for one in np.meshgrid([0, SIZE / 2, SIZE - 1], [0, SIZE / 2, SIZE - 1]))
    longitude, latitude = scene.geometry.to_ground(line, sample, 0.0)
    x, y = Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(longitude, latitude)
    left, bottom, right, top = grid.bounds
    assert ((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).all()
    # And no more than a pixel beyond.
    assert min(x.min() - left, right - x.max(), y.min() - bottom, top - y.max()) >= 0
    assert max(x.min() - left, right - x.max(), y.min() - bottom, top - y.max()) < 200


def test_that_places_between_the_nodes_are_those_that_are_solved(scene: SarScene, grid: TileGrid) -> None:
    rows = np.arange(grid.rows)
    line, sample = image_places(scene.geometry, grid, rows)
    rng = np.random.default_rng(0)
    row, col = rng.integers(0, grid.rows, 300), rng.integers(0, grid.cols, 300)
    expected = _by_itself(scene, grid, row, col)
    assert np.abs(line[row, col] - expected[0]).max() < 0.02
    assert np.abs(sample[row, col] - expected[1]).max() < 0.02


def test_that_each_pixel_has_the_cell_that_it_lies_in(scene: SarScene, grid: TileGrid) -> None:
    cells = np.random.default_rng(1).integers(0, 250, (SIZE // 5, SIZE // 5)).astype(np.uint8)
    found = geocode({"class": cells}, scene.geometry, grid, 5)["class"]
    row, col = (one.ravel() for one in np.meshgrid(np.arange(grid.rows), np.arange(grid.cols), indexing="ij"))
    line, sample = _by_itself(scene, grid, row, col)
    own = np.floor((line + 0.5) / 5), np.floor((sample + 0.5) / 5)
    inside = (own[0] >= 0) & (own[0] < SIZE // 5) & (own[1] >= 0) & (own[1] < SIZE // 5)
    expected = np.full(len(row), 255)
    expected[inside] = cells[own[0][inside].astype(int), own[1][inside].astype(int)]
    # A few centres lie on a cell's edge to a hundredth of a pixel.
    assert (found.ravel() != expected).mean() < 0.005
    assert 0.02 < (found == 255).mean() < 0.6


def test_that_brightness_is_that_of_the_looks(scene: SarScene) -> None:
    found = brightness(scene, "HH", 4)
    looks = scene.looks(Window(0, 0, SIZE // 4, SIZE // 4), 4)
    valid = looks.valid["HH"]
    np.testing.assert_array_equal(found == 255, ~valid)
    assert np.abs(found[valid] / 5 - 40 - decibels(looks.power["HH"])[valid]).max() <= 0.1001


GRID = TileGrid("x", POLAR_CRS, 1_000.0, 2_000.0, 6, 8, 100.0)
# Water to the west, young ice with one pixel of first-year ice, land (255) to the east.
CLASSES = np.array(
    [
        [0, 0, 0, 3, 3, 3, 255, 255],
        [0, 0, 0, 3, 3, 3, 255, 255],
        [0, 0, 0, 3, 4, 3, 255, 255],
        [0, 0, 0, 3, 3, 3, 255, 255],
        [0, 0, 0, 3, 3, 3, 255, 255],
        [0, 0, 0, 3, 3, 3, 255, 255],
    ],
    np.uint8,
)


def test_that_a_chart_has_the_areas_and_codes_of_the_map() -> None:
    polygons, edge = chart_of({"class": CLASSES}, GRID, UIT, 0.0)
    areas = {int(c): float(a) for c, a in polygons.dissolve("class_id").geometry.area.items()}
    assert areas == {0: 18 * 1e4, 3: 17 * 1e4, 4: 1e4}
    young = polygons[polygons["class_id"] == 3].iloc[0]
    assert (young["poly_type"], young["CT"], young["CA"], young["SA"], young["class"]) == ("I", 92, -9, 83, "Young ice")
    water = polygons[polygons["class_id"] == 0].iloc[0]
    assert (water["poly_type"], pd.isna(water["CT"]), pd.isna(water["SA"])) == ("W", True, True)
    # The edge runs between water and ice alone, not along the land.
    assert edge.geometry.length.sum() == pytest.approx(600.0)
    assert set(shapely.get_coordinates(edge.geometry.to_numpy())[:, 0]) == {1_300.0}


def test_that_small_areas_become_part_of_their_neighbour() -> None:
    polygons, _ = chart_of({"class": CLASSES}, GRID, UIT, 2.5e4)
    assert sorted(polygons["class_id"]) == [0, 3]
    assert polygons.geometry.area.sum() == pytest.approx(36 * 1e4)


def test_that_a_map_of_ice_alone_has_no_edge(tmp_path: Path) -> None:
    polygons, edge = chart_of({"class": np.full((6, 8), 3, np.uint8)}, GRID, UIT, 0.0)
    assert (len(polygons), len(edge)) == (1, 0)
    write_chart(str(tmp_path), polygons, edge)
    kept = geopandas.read_file(tmp_path / "chart.gpkg", layer="chart")
    assert kept.crs.to_epsg() == 3413
    assert kept.iloc[0]["SA"] == 83


@pytest.mark.parametrize("name", ["seaice_uit", "seaice_types", "ice_water"])
def test_that_every_class_of_ice_has_a_stage_for_charts(name: str) -> None:
    legend = load_ice_legend(name)
    for one in legend.legend.classes:
        told = sigrid_of(one.class_id, legend)
        assert (told["poly_type"] == "W") == (one.class_id == legend.water)
        assert (told["SA"] is None) == (one.class_id == legend.water)
    # Charts read back by the same legend give the same classes.
    for class_id, stage in legend.chart.items():
        assert legend.stages.get(stage, class_id) == class_id


def test_that_polygons_are_burnt_by_their_centres() -> None:
    found = burn_classes(np.array([shapely.box(1_000, 1_800, 1_249, 2_000), shapely.Polygon()], dtype=object), np.array([4, 1]), GRID)
    assert found[:2, :2].tolist() == [[4, 4], [4, 4]]
    assert (found == 4).sum() == 4
    assert (burn_classes(np.zeros(0, dtype=object), np.zeros(0, int), GRID) == 255).all()


def test_that_the_item_is_one_of_stac(tmp_path: Path) -> None:
    seen = (shapely.box(-20, 76, -18, 77), datetime(2018, 1, 10, 8, tzinfo=UTC))
    write_scene_item(str(tmp_path), GRID, seen, ("class", "backscatter"), {3: ("Young ice", "#b45fd0")})
    item = pystac.Item.from_dict(json.loads((tmp_path / "item.json").read_text()))
    assert item.properties["proj:code"] == "EPSG:3413"
    assert item.assets["class"].extra_fields["classification:classes"][0]["value"] == 3
    assert item.assets["backscatter"].extra_fields["unit"] == "0.2 dB above -40 dB"
    assert set(item.assets) == {"class", "backscatter", "chart"}
