"""Dates of pixels from small rasters written by hand, and medians over groups of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from eespark.bands import BANDS
from eespark.errors import FormatError, MissingError
from eespark.grid import Block
from eespark.io.cube import Cube, median_series, read_cube

SIZE = 8
COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12", "SCL")


def product(folder: Path, name: str, day: int, scl: Any, offset: float = 0.0, **values: Any) -> dict[str, Any]:
    """A product of 8 x 8 pixels: bands of one value each, 1001 to 1009, unless given."""
    bands = {}
    for number, band in enumerate((*BANDS, "SCL"), start=1):
        size = SIZE // 2 if band in COARSE else SIZE
        image = np.broadcast_to(np.asarray(scl if band == "SCL" else values.get(band, 1000 + number), np.uint16), (size, size))
        bands[band] = str(folder / f"{name}_{band}.tif")
        with rasterio.open(bands[band], "w", driver="GTiff", dtype="uint16", count=1, height=size, width=size) as dataset:
            dataset.write(image, 1)
    return {
        "day": day,
        "product_id": name,
        "bands": bands,
        "offsets": dict.fromkeys(BANDS, offset),
        "scale": 10_000.0,
        "shape": [SIZE, SIZE],
    }


ALL = Block(0, 0, SIZE, SIZE)
EVERY = np.ones((SIZE, SIZE), bool)


def test_that_a_pixel_takes_the_value_of_the_coarser_pixel_that_holds_it(tmp_path: Path) -> None:
    swir, blue = np.arange(100, 116).reshape(4, 4), np.arange(200, 264).reshape(8, 8)
    cube = read_cube([product(tmp_path, "a", 3, 4, B11=swir, B02=blue)], Block(2, 4, 4, 4), np.ones((4, 4), bool))
    found = cube.reflectance.reshape(4, 4, 1, 9)[:, :, 0]
    np.testing.assert_array_equal(found[:, :, 0], blue[2:6, 4:8])
    np.testing.assert_array_equal(found[:, :, 7], [[106, 106, 107, 107]] * 2 + [[110, 110, 111, 111]] * 2)


def test_that_offsets_are_added_before_the_division(tmp_path: Path) -> None:
    cube = read_cube([product(tmp_path, "a", 3, 4, offset=-1000.0)], ALL, EVERY)
    assert cube.reflectance[0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_that_only_wanted_pixels_come_in_row_major_order(tmp_path: Path) -> None:
    wanted = np.zeros((8, 8), bool)
    wanted[[6, 1, 1], [0, 7, 2]] = True
    cube = read_cube([product(tmp_path, "a", 3, 4, B02=np.arange(1, 65).reshape(8, 8))], ALL, wanted)
    assert cube.reflectance[:, 0, 0].tolist() == [11, 16, 49]


def test_that_what_is_not_clear_is_zero_and_not_clear(tmp_path: Path) -> None:
    scl = np.array([[4, 9, 3, 11], [0, 5, 6, 7], [4, 4, 4, 4], [4, 4, 4, 4]])
    cube = read_cube([product(tmp_path, "a", 3, scl, B11=[[500] * 4] * 2 + [[0] * 4, [65_535] * 4])], ALL, EVERY)
    # Clear, snow is not; below, a band without data and one that is saturated.
    assert cube.clear.reshape(8, 8)[::2, ::2].astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]
    assert not cube.reflectance[~cube.clear].any()


def test_that_halves_of_a_day_are_one_date_and_the_first_counts_where_both_are_clear(tmp_path: Path) -> None:
    left, right = np.array([[4, 4, 0, 0]] * 4), np.array([[0, 4, 4, 0]] * 4)
    products = [product(tmp_path, "a", 9, left, B02=100), product(tmp_path, "b", 9, right, B02=200), product(tmp_path, "c", 2, 4, B02=50)]
    cube = read_cube(products, ALL, EVERY)
    assert cube.days.tolist() == [2, 9]
    assert cube.reflectance.reshape(8, 8, 2, 9)[0, ::2, 1, 0].tolist() == [100, 100, 200, 0]
    assert cube.clear.reshape(8, 8, 2)[0, ::2, 1].tolist() == [True, True, True, False]


def test_that_bands_are_not_read_where_no_wanted_pixel_is_clear(tmp_path: Path) -> None:
    scl = np.full((4, 4), 9)
    scl[3, 3] = 4
    cloudy = product(tmp_path, "a", 3, scl)
    cloudy["bands"]["B04"] = str(tmp_path / "absent.tif")
    wanted = np.ones((8, 8), bool)
    wanted[6:, 6:] = False
    assert not read_cube([cloudy], ALL, wanted).clear.any()
    with pytest.raises(MissingError, match=r"absent\.tif"):
        read_cube([cloudy], ALL, EVERY)


def test_that_a_product_without_scenes_has_no_clear_pixel(tmp_path: Path) -> None:
    bare = product(tmp_path, "a", 3, 4)
    del bare["bands"]["SCL"]
    assert not read_cube([bare], ALL, EVERY).clear.any()


def test_that_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(FormatError, match="8 x 8"):
        read_cube([], ALL, np.ones((4, 4), bool))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_that_a_group_has_the_median_of_its_clear_pixels(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    clear = rng.random((30, 4)) < 0.6
    values = np.where(clear[:, :, None], rng.integers(-500, 32_767, (30, 4, 9)), 0).astype(np.int16)
    groups = rng.integers(-1, 5, 30)
    found = median_series(Cube(np.arange(4, dtype=np.int16), values, clear), groups, 5, share)
    for group in range(5):
        for date in range(4):
            own = clear[groups == group, date]
            counts = own.any() and own.sum() >= share * len(own)
            assert found.clear[group, date] == counts
            wanted = np.rint(np.median(values[groups == group, date][own], axis=0)) if counts else np.zeros(9)
            np.testing.assert_array_equal(found.reflectance[group, date], wanted)


def test_that_a_group_without_pixels_has_no_date() -> None:
    found = median_series(Cube(np.array([5], np.int16), np.ones((1, 1, 9), np.int16), np.ones((1, 1), bool)), np.array([1]), 3, 0.0)
    assert found.clear[:, 0].tolist() == [False, True, False]
