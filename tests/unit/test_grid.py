import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from eespark import grid
from eespark.errors import FormatError


def key_of(lon: float, lat: float) -> str:
    zone = grid.utm_zones(np.array([lon]), np.array([lat]))
    epsg = (32600 if lat >= 0 else 32700) + int(zone[0])
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    return str(grid.square_keys(np.array([lon]), np.array([lat]), np.array([x]), np.array([y]), zone)[0])


# Tiles of well-known places, from the agency's product names.
@pytest.mark.parametrize(
    ("lon", "lat", "tile"),
    [
        (16.37, 48.21, "33UXP"),  # Vienna
        (11.58, 48.14, "32UPU"),  # Munich
        (2.35, 48.86, "31UDQ"),  # Paris
        (19.04, 47.50, "34TCT"),  # Budapest
        (-58.38, -34.60, "21HUB"),  # Buenos Aires
        (15.63, 78.22, "33XWG"),  # Longyearbyen, in the wide zone 33 of Svalbard
        (5.32, 60.39, "32VKN"),  # Bergen, in the wide zone 32 of Norway
        (151.2, -33.87, "56HLH"),  # Sydney
    ],
)
def test_that_a_place_lies_in_its_known_tile(lon, lat, tile):
    assert key_of(lon, lat) == grid.square_key(tile)


# Upper left corners of tiles in the agency's metadata; a tile begins 20 m west of its square at most and 40 m north of it.
@pytest.mark.parametrize(("tile", "ulx", "uly"), [("33XWJ", 499980, 8900040), ("56JMM", 399960, 6700000), ("31TDH", 399960, 4800000)])
def test_that_the_square_of_a_tile_lies_at_its_upper_left_corner(tile, ulx, uly):
    left, _, _, top = grid.square_bounds(tile, uly - 50_000)
    assert 0 <= left - ulx <= 60
    assert 0 <= abs(uly - top) <= 60


def test_that_both_names_of_a_square_that_crosses_a_latitude_band_have_one_key():
    assert grid.square_key("33TWP") == grid.square_key("33UWP")


@given(st.integers(2, 300), st.integers(2, 300), st.integers(1, 64))
def test_that_blocks_cover_each_pixel_once(rows, cols, half):
    tile = grid.TileGrid("33UXP", "EPSG:32633", 600_000, 5_400_000, rows, cols)
    seen = np.zeros((rows, cols), int)
    for block in tile.blocks(2 * half):
        seen[block.row : block.row + block.rows, block.col : block.col + block.cols] += 1
    assert (seen == 1).all()


@given(st.integers(0, 10_979), st.integers(0, 10_979))
def test_that_the_centre_of_a_pixel_lies_in_that_pixel(row, col):
    tile = grid.TileGrid("33UXP", "EPSG:32633", 599_980, 5_400_040, 10_980, 10_980)
    x, y = tile.centres(np.array([row]), np.array([col]))
    assert [int(v[0]) for v in tile.pixels(x, y)] == [row, col]


def test_that_the_first_pixel_centre_is_half_a_pixel_inside():
    tile = grid.TileGrid("33UXP", "EPSG:32633", 600_000, 5_400_000, 10, 10)
    x, y = tile.centres(np.array([0]), np.array([3]))
    assert (x[0], y[0]) == (600_035, 5_399_995)


def test_that_a_block_has_the_grid_of_its_corner():
    tile = grid.TileGrid("33UXP", "EPSG:32633", 600_000, 5_400_000, 100, 100)
    assert tile.window(grid.Block(10, 20, 4, 6)).bounds == (600_200, 5_399_860, 600_260, 5_399_900)


def test_that_an_odd_block_is_refused():
    with pytest.raises(FormatError, match="even block size"):
        list(grid.TileGrid("33UXP", "EPSG:32633", 0, 0, 8, 8).blocks(3))


def test_that_a_tile_is_in_the_zone_of_its_name():
    assert (grid.tile_epsg("33UXP"), grid.tile_epsg("21HUB")) == (32633, 32721)
    with pytest.raises(FormatError, match="33UIO"):
        grid.tile_epsg("33UIO")
