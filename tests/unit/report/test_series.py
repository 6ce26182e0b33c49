"""Class series: NDVI and its quantiles through the year."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.bands import BANDS
from eespark.report.series import class_bands, ndvi


def test_that_ndvi_is_of_the_near_infrared_and_red_bands() -> None:
    pixel = np.zeros(len(BANDS), np.int16)
    pixel[[BANDS.index("B04"), BANDS.index("B8A")]] = 1000, 3000
    assert ndvi(pixel) == pytest.approx(0.5)


def test_that_ndvi_of_nothing_is_not_a_number() -> None:
    assert np.isnan(ndvi(np.zeros(len(BANDS), np.int16)))


def test_that_quantiles_are_of_the_class_and_of_the_days_of_the_bin() -> None:
    values = np.concatenate([np.arange(11.0)[:, None], np.full((3, 1), 99.0)])
    found = class_bands(values, np.ones((14, 1), bool), np.full((14, 1), 31), np.array([4] * 11 + [5] * 3), least=5)
    band = found[4]
    assert band.samples == 11
    assert band.day.tolist() == [7.5, 22.5, 37.5]
    assert (band.low[2], band.middle[2], band.high[2]) == (1, 5, 9)
    assert np.isnan(band.middle[:2]).all()


def test_that_bins_with_too_few_values_are_not_told() -> None:
    found = class_bands(np.ones((3, 1)), np.ones((3, 1), bool), np.zeros((3, 1), int), np.ones(3, int), least=4)
    assert np.isnan(found[1].middle).all()


def test_that_dates_that_are_not_clear_do_not_count() -> None:
    valid = np.array([[True, False]] * 4)
    found = class_bands(np.array([[1.0, 50.0]] * 4), valid, np.array([[2, 3]] * 4), np.ones(4, int), least=1)
    assert found[1].high[0] == 1


def test_that_series_without_a_clear_date_have_no_bins() -> None:
    assert len(class_bands(np.ones((2, 2)), np.zeros((2, 2), bool), np.zeros((2, 2), int), np.ones(2, int))[1].day) == 0
