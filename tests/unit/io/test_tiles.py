"""Tiles of a synthetic scene: their looks, their classes and their cells, against the scene itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from eespark.io.archive import list_archive
from eespark.io.sar_scene import SarScene, open_scene
from eespark.io.tiles import TileOptions, Tiles, cut_tiles
from eespark.kernels.patches import squares_of, whole_cells
from eespark.kernels.sar_tables import Window
from eespark.polar_geometry import POLAR_CRS
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings

SIZE = 200
NOTHING = np.zeros(0, dtype=object)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SarScene]:
    root = tmp_path_factory.mktemp("tiles") / "input"
    make_polar_archive(PolarSettings(output=str(root), summary="unused", seed=3, size_px=SIZE, dates=2, faults=False, workers=1))
    candidate = next(iter(list_archive(str(root / "archive"))))
    with open_scene(candidate) as opened:
        yield opened


def _ground(scene: SarScene, line: float, sample: float) -> tuple[float, float]:
    longitude, latitude = scene.geometry.to_ground(np.array([line]), np.array([sample]), 0.0)
    x, y = Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(longitude, latitude)
    return float(x[0]), float(y[0])


def _all(scene: SarScene, polygons: np.ndarray, land: np.ndarray, options: TileOptions) -> list[Tiles]:
    return list(cut_tiles(scene, polygons, land, POLAR_CRS, options))


def test_that_a_whole_scene_is_tiled_and_nothing_is_read_twice(scene: SarScene) -> None:
    rows = _all(scene, NOTHING, NOTHING, TileOptions(64, 64, 1, 4, 0.0, True))
    assert [len(one.rows) for one in rows] == [3, 3, 3]
    assert sum(one.pixels for one in rows) == 2 * (3 * 64) * (3 * 64)
    for number, tiles in enumerate(rows):
        assert tiles.digital is not None
        for k, (row, col) in enumerate(zip(tiles.rows, tiles.cols, strict=True)):
            assert (row, col) == (64 * number, 64 * k)
            window = Window(int(row), int(col), 64, 64)
            looks = scene.looks(window, 1)
            valid = looks.valid["HH"] & looks.valid["HV"]
            for b, band in enumerate(("HH", "HV")):
                np.testing.assert_allclose(tiles.sigma[k, b], np.where(valid, looks.power[band], np.nan), rtol=1e-5, atol=1e-7)
                np.testing.assert_array_equal(tiles.digital[k, b], scene.digital(band, window))
            np.testing.assert_allclose(tiles.incidence[k], looks.incidence, atol=1e-4)
            assert (tiles.label[k] == -1).all()
            assert tiles.cells[k].shape == (16, 16)
            assert tiles.cells[k, 3, 5] == valid[12:16, 20:24].all()
            x, y = _ground(scene, row + 31.5, col + 31.5)
            assert (tiles.x[k], tiles.y[k]) == pytest.approx((x, y), abs=0.01)


def test_that_looks_have_the_polygon_that_they_lie_in_and_land_has_none(scene: SarScene) -> None:
    x, y = _ground(scene, 60.0, 70.0)
    one, other = shapely.Point(x, y).buffer(1_500), shapely.Point(x + 2_400, y).buffer(1_300)
    land = shapely.box(x - 400, y - 400, x + 400, y + 400)
    drawn = np.array([one, other], dtype=object)
    options = TileOptions(40, 20, 2, 4, 0.0, False)
    tiles = _all(scene, drawn, np.array([land], dtype=object), options)
    seen = {(int(r), int(c)): (t, k) for t in tiles for k, (r, c) in enumerate(zip(t.rows, t.cols, strict=True))}
    assert sorted(seen) == [(r, c) for r in (0, 20, 40, 60) for c in (0, 20, 40, 60)]
    lines, samples = np.meshgrid(np.arange(100), np.arange(100), indexing="ij")
    longitude, latitude = scene.geometry.to_ground(2 * lines + 0.5, 2 * samples + 0.5, 0.0)
    px, py = Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(longitude, latitude)
    inside = [shapely.contains_xy(shape, px, py) for shape in (one, other)]
    ashore, near = (shapely.contains_xy(land.buffer(reach), px, py) for reach in (-60, 120))
    looks = scene.looks(Window(0, 0, 100, 100), 2)
    border = ~(looks.valid["HH"] & looks.valid["HV"])
    assert border.any()
    expected = np.where(border, -1, np.select([inside[0] & ~inside[1], inside[1] & ~inside[0]], [0, 1], -1))
    parts = {place: np.s_[place[0] : place[0] + 40, place[1] : place[1] + 40] for place in seen}
    apart = sum(int(((tiles.label[k] != expected[parts[place]]) & ~near[parts[place]]).sum()) for place, (tiles, k) in seen.items())
    labelled = sum(int((tiles.label[k] >= 0).sum()) for tiles, k in seen.values())
    assert labelled > 2_000
    assert apart < 0.01 * labelled  # a hair's breadth of an edge
    for place, (row, k) in seen.items():
        assert (row.label[k][ashore[parts[place]]] == -1).all()
        assert np.isnan(row.sigma[k][:, ashore[parts[place]]]).all()


def test_that_tiles_with_few_labels_are_left_out_and_not_read(scene: SarScene) -> None:
    x, y = _ground(scene, 30.0, 40.0)
    drawn = np.array([shapely.Point(x, y).buffer(900)], dtype=object)
    found = _all(scene, drawn, NOTHING, TileOptions(64, 64, 1, 4, 0.2, False))
    assert [(one.rows.tolist(), one.cols.tolist()) for one in found] == [([0], [0])]
    share = (found[0].label[0] >= 0).mean()
    assert share == pytest.approx(np.pi * 900**2 / (64 * 40.0) ** 2, rel=0.15)
    assert _all(scene, drawn, NOTHING, TileOptions(64, 64, 1, 4, 0.9, False)) == []


def test_that_a_cell_is_whole_when_all_its_looks_are() -> None:
    valid = np.ones((2, 8, 8), bool)
    valid[1, 5, 2] = False
    found = whole_cells(valid, 4)
    assert found.tolist() == [[[True, True], [True, True]], [[True, True], [False, True]]]
    assert whole_cells(valid, 8).tolist() == [[[True]], [[False]]]
    values = np.arange(30).reshape(5, 6)
    np.testing.assert_array_equal(squares_of(values, np.array([1, 2]), np.array([0, 3]), 3), [values[1:4, :3], values[2:5, 3:]])
