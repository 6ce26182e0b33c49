"""A real field of 33 dates comes back from an archive as it went in: values, flags, dates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eespark.bands import BANDS, REFLECTANCE_NODATA, Flag
from eespark.io.archive import ScanOptions, list_archive, scan_product
from eespark.io.extract import Extraction, extract_product
from tests.real.field_archive import FIRST_OF_NEW_BASELINE, Field, field_grid, read_field, write_field

pytestmark = pytest.mark.real
RED, INFRARED = BANDS.index("B04"), BANDS.index("B8A")


@pytest.fixture(scope="module")
def field(real_data: Path) -> Field:
    return read_field(real_data / "timeseries" / "raw_s2_ndvi_field.nc")


@pytest.fixture(scope="module")
def products(field: Field, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of the catalog, by date."""
    folder = tmp_path_factory.mktemp("field")
    write_field(field, folder)
    rows = [scan_product(one, ScanOptions()) for one in list_archive(str(folder))]
    return sorted(rows, key=lambda row: row["sensing_time"])


@pytest.fixture(scope="module")
def seen(field: Field, products: list[dict[str, Any]]) -> list[Extraction]:
    """Every 10 m pixel of every date."""
    grid = field_grid(field)
    rows, cols = np.indices((grid.rows, grid.cols)).reshape(2, -1)
    x, y = grid.centres(rows, cols)
    return [extract_product(product, x, y) for product in products]


def pixels(values: np.ndarray) -> np.ndarray:
    """Real pixels of one date as the extraction has them: each four times."""
    return np.repeat(np.repeat(values, 2, axis=0), 2, axis=1).ravel()


def test_that_dates_baselines_and_offsets_are_those_written(field: Field, products: list[dict[str, Any]]) -> None:
    assert [row["sensing_time"].date() for row in products] == [day.date() for day in field.dates]
    assert [row["offsets"]["B8A"] for row in products] == [0.0] * FIRST_OF_NEW_BASELINE + [-1000.0] * (33 - FIRST_OF_NEW_BASELINE)
    assert {tuple(row["shape"]) for row in products} == {(114, 112)}


def test_that_the_ndvi_of_every_pixel_and_date_comes_back(field: Field, seen: list[Extraction]) -> None:
    compared = 0
    for number, found in enumerate(seen):
        # Dates of both baselines, so that an offset that is not taken off shows.
        expected = pixels(field.ndvi[number])
        valid = np.isfinite(expected)
        red, infrared = (found.reflectance[valid, band].astype(np.float64) for band in (RED, INFRARED))
        np.testing.assert_allclose((infrared - red) / (infrared + red), expected[valid], rtol=0, atol=1e-7)
        compared += int(valid.sum())
    assert compared == 4 * int(np.isfinite(field.ndvi).sum()) == 4 * 71_651


def test_that_pixels_without_data_have_neither_value_nor_clear_flag(field: Field, seen: list[Extraction]) -> None:
    for number, found in enumerate(seen):
        empty = np.isnan(pixels(field.ndvi[number]))
        assert (found.reflectance[empty] == REFLECTANCE_NODATA).all()
        assert (found.flag[empty] == Flag.NO_DATA).all()
        assert (found.reflectance[~empty] != REFLECTANCE_NODATA).all()


def test_that_scene_classes_become_flags(field: Field, seen: list[Extraction]) -> None:
    # Classes in this file: 2 dark or shadow, 4 vegetation, 5 soil, 7 unclassified; counted there: 8, 16796, 54815, 32.
    counts = np.bincount(np.concatenate([found.flag for found in seen]), minlength=6)
    expected = {Flag.CLEAR: 16_796 + 54_815, Flag.SHADOW: 8, Flag.UNCLASSIFIED: 32, Flag.NO_DATA: 33_685}
    assert {Flag(i): int(n) // 4 for i, n in enumerate(counts) if n} == expected
    table = {2: Flag.SHADOW, 4: Flag.CLEAR, 5: Flag.CLEAR, 7: Flag.UNCLASSIFIED}
    for number, found in enumerate(seen):
        scl = pixels(field.scl[number])
        for scene_class, flag in table.items():
            assert (found.flag[scl == scene_class] == flag).all()
