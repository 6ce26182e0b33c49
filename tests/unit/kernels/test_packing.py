"""Packing of valid dates."""

from __future__ import annotations

import numpy as np

from eespark.kernels.packing import pack_dates


def test_that_valid_dates_come_first_in_order_and_the_rest_is_cut() -> None:
    reflectance = np.arange(8).reshape(2, 4, 1)
    valid = np.array([[0, 1, 0, 1], [1, 0, 0, 0]])
    day = np.array([[10, 20, 30, 40], [11, 21, 31, 41]])
    values, mask, days = pack_dates(reflectance, valid, day)
    assert values[0, :, 0].tolist() == [1, 3]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert days[0].tolist() == [20, 40]
    assert (values[1, 0, 0], days[1, 0]) == (4, 11)


def test_that_one_date_stays_where_none_is_valid() -> None:
    _, mask, _ = pack_dates(np.zeros((2, 3, 9)), np.zeros((2, 3)), np.zeros((2, 3)))
    assert mask.tolist() == [[0], [0]]


def test_that_no_series_are_none() -> None:
    assert pack_dates(np.zeros((0, 5, 9)), np.zeros((0, 5)), np.zeros((0, 5)))[0].shape == (0, 1, 9)
