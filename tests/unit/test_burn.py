"""Pure pixels of polygons: against GEOS asked cell by cell, and on real parcels."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eespark import burn
from eespark.burn import burn_labels, pure_cells, pure_centres
from eespark.errors import FormatError
from eespark.geometry import accurate_transformer, erode, repair, reproject
from eespark.grid import Block, TileGrid

GRID = TileGrid("33UVP", "EPSG:32633", 0.0, 240.0, 24, 24)


def asked_one_by_one(polygon, grid, size_m, rule):
    """Oracle: every cell of the grid is asked by itself."""
    found = set()
    for row in range(int(grid.rows * grid.pixel_m // size_m)):
        for col in range(int(grid.cols * grid.pixel_m // size_m)):
            left, top = grid.x_min + col * size_m, grid.y_max - row * size_m
            if rule == "centre":
                inside = polygon.contains(shapely.Point(left + size_m / 2, top - size_m / 2))
            else:
                inside = polygon.contains(shapely.box(left, top - size_m, left + size_m, top))
            if inside:
                found.add((row, col))
    return found


def as_set(rows_cols):
    return set(zip(rows_cols[0].tolist(), rows_cols[1].tolist(), strict=True))


# Multiples of 5 m put vertices on corners, edges and centres of cells; the floats lie anywhere, outside the grid too.
lattice = st.tuples(st.integers(-4, 52), st.integers(-4, 52)).map(lambda p: (p[0] * 5.0, p[1] * 5.0))
anywhere = st.tuples(st.floats(-20, 260, allow_nan=False), st.floats(-20, 260, allow_nan=False))


@st.composite
def polygons(draw):
    """Hulls and rings, holes, slivers, parts that share vertices."""
    points = draw(st.lists(lattice | anywhere, min_size=3, max_size=9))
    shape = shapely.MultiPoint(points).convex_hull if draw(st.booleans()) else shapely.Polygon(points)
    if draw(st.booleans()):
        hole = shapely.MultiPoint(draw(st.lists(lattice, min_size=3, max_size=5))).convex_hull
        shape = shapely.make_valid(shape).difference(hole)
    if draw(st.booleans()):
        shape = (
            shape.union(shapely.LineString([draw(anywhere), draw(anywhere)]).buffer(draw(st.floats(0.1, 12)))) if shape.is_valid else shape
        )
    return shape


@pytest.mark.parametrize("rasterise_from", [0, 10**9], ids=["rasterised", "direct"])
@pytest.mark.parametrize("rule", ["cell", "centre"])
def test_that_pure_cells_are_those_that_geos_finds_one_by_one(rule, rasterise_from):
    @settings(max_examples=60, derandomize=True)
    @given(polygons())
    def check(shape):
        polygon, _ = repair(shape)
        if polygon is None:
            return
        pure, size_m = (pure_cells, 20) if rule == "cell" else (pure_centres, 10)
        assert as_set(pure(polygon, GRID)) == asked_one_by_one(polygon, GRID, size_m, rule)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burn, "_RASTERISE_FROM", rasterise_from)
        check()


def test_that_a_polygon_on_cell_corners_holds_exactly_its_cells():
    # 40..100 m east, 140..200 m north: rows 2..4 and columns 2..4 of the 20 m cells, counted from the top at 240 m.
    rows, cols = pure_cells(shapely.box(40, 140, 100, 200), GRID)
    assert (rows.tolist(), cols.tolist()) == ([2, 2, 2, 3, 3, 3, 4, 4, 4], [2, 3, 4, 2, 3, 4, 2, 3, 4])


def test_that_half_a_cell_at_the_edge_of_the_grid_is_no_cell():
    odd = TileGrid("33UVP", "EPSG:32633", 0.0, 50.0, 5, 5)
    assert as_set(pure_cells(shapely.box(-100, -100, 200, 200), odd)) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_that_a_polygon_a_hair_smaller_than_a_cell_holds_none():
    assert len(pure_cells(shapely.box(40.001, 140, 60, 160), GRID)[0]) == 0


def test_that_a_centre_on_the_boundary_is_outside():
    # The left edge runs through the centres of column 4 (x = 45).
    _, cols = pure_centres(shapely.box(45, 100, 70, 110), GRID)
    assert cols.tolist() == [5, 6]


def test_that_a_hole_between_cell_corners_takes_the_cell():
    holed = shapely.Polygon(shapely.box(40, 140, 80, 180).exterior, [shapely.box(45, 145, 46, 146).exterior])
    assert as_set(pure_cells(holed, GRID)) == {(3, 2), (3, 3), (4, 3)}


def test_that_each_pure_cell_gives_its_four_pixels_in_row_major_order():
    burn = burn_labels([shapely.box(40, 140, 80, 160)], GRID, "cell")
    assert list(zip(burn.rows.tolist(), burn.cols.tolist(), strict=True)) == [
        (8, 4),
        (8, 5),
        (8, 6),
        (8, 7),
        (9, 4),
        (9, 5),
        (9, 6),
        (9, 7),
    ]
    assert set(burn.index.tolist()) == {0}


def test_that_pixels_of_two_polygons_are_left_out_and_counted():
    # Two boxes of 3 x 2 cells that share 1 x 2 cells: 8 pixels are ambiguous, 16 stay of each.
    burn = burn_labels([shapely.box(0, 0, 60, 40), shapely.box(40, 0, 100, 40)], GRID, "cell")
    assert burn.ambiguous == 8
    assert np.bincount(burn.index).tolist() == [16, 16]
    assert not {4, 5} & set(burn.cols.tolist())


def test_that_blocks_together_give_what_the_whole_tile_gives():
    rng = np.random.default_rng(3)
    shapes = [
        shapely.Point(x, y).buffer(r)
        for x, y, r in zip(rng.uniform(0, 240, 12), rng.uniform(0, 240, 12), rng.uniform(5, 60, 12), strict=True)
    ]
    for rule in ("cell", "centre"):
        whole = burn_labels(shapes, GRID, rule)
        parts = [burn_labels(shapes, GRID, rule, block) for block in GRID.blocks(10)]
        together = sorted(triple for b in parts for triple in zip(b.rows.tolist(), b.cols.tolist(), b.index.tolist(), strict=True))
        assert together == sorted(zip(whole.rows.tolist(), whole.cols.tolist(), whole.index.tolist(), strict=True))
        assert sum(b.ambiguous for b in parts) == whole.ambiguous


@pytest.mark.parametrize("block", [Block(1, 0, 3, 4), Block(0, 2, 4, 3)], ids=["starts", "ends"])
def test_that_a_block_that_cuts_a_cell_is_refused(block):
    with pytest.raises(FormatError, match="cuts no 20 m cell"):
        burn_labels([], GRID, "cell", block)


def test_that_nothing_burns_where_polygons_are_empty_or_elsewhere():
    burn = burn_labels([None, shapely.Polygon(), shapely.box(1e6, 1e6, 2e6, 2e6)], GRID, "centre")
    assert (len(burn.rows), burn.ambiguous) == (0, 0)


def test_that_batches_do_not_change_the_burn():
    rng = np.random.default_rng(5)
    shapes = shapely.buffer(shapely.points(*rng.uniform(0, 240, (2, 30))), rng.uniform(3, 70, 30))
    whole = burn_labels(shapes, GRID, "centre")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(burn, "_ASK_AT_ONCE", 50)
        patch.setattr(burn, "_RASTERISE_FROM", 100)
        split = burn_labels(shapes, GRID, "centre")
    for name in ("rows", "cols", "index"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))
    assert split.ambiguous == whole.ambiguous > 0


@pytest.mark.real
def test_that_real_parcels_burn_as_geos_finds_them_one_by_one(austrian):
    projected = reproject(austrian.geometry.to_numpy(), accurate_transformer("EPSG:31287", "EPSG:32633"))
    eroded = erode(projected, 10.0)
    seen = 0
    for polygon in [p for p in eroded if not p.is_empty][:25]:
        west, _, _, north = polygon.bounds
        grid = TileGrid("33UWP", "EPSG:32633", west // 20 * 20 - 20, north // 20 * 20 + 40, 60, 60)
        for rule, pure, size_m in (("cell", pure_cells, 20), ("centre", pure_centres, 10)):
            expected = asked_one_by_one(polygon, grid, size_m, rule)
            assert as_set(pure(polygon, grid)) == expected
            seen += len(expected)
    assert seen > 500
