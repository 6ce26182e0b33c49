import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eespark.kernels import series


def test_that_ragged_series_are_padded_with_zero_at_their_end():
    padded = series.pad_series(np.array([2, 0, 3]), np.array([1, 2, 3, 4, 5]), 3)
    assert padded.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]]


def test_that_dates_beyond_the_length_are_cut():
    assert series.pad_series(np.array([3, 1]), np.array([1, 2, 3, 9]), 2).tolist() == [[1, 2], [9, 0]]


def one(days, values, clear, grid, gap):
    filled, valid = series.regular_series(
        np.array([days]), np.array(values, np.int16)[None, :, None], np.array([clear], bool), np.array(grid), gap
    )
    return filled[0, :, 0].tolist(), valid[0].tolist()


def test_that_a_gap_is_filled_linearly_between_clear_dates_only():
    # The cloudy date of day 10 does not count: from 100 on day 0 to 300 on day 20.
    assert one([0, 10, 20], [100, 9_999, 300], [1, 0, 1], [0, 5, 10, 20], 30) == ([100, 150, 200, 300], [True] * 4)


def test_that_before_the_first_and_after_the_last_clear_date_the_value_is_held():
    assert one([10, 20], [100, 300], [1, 1], [0, 30], 30) == ([100, 300], [True, True])


def test_that_a_grid_day_far_from_every_clear_date_is_not_valid():
    assert one([0, 100], [100, 300], [1, 1], [0, 30, 50, 80], 20) == ([100, 0, 0, 260], [True, False, False, True])


def test_that_a_sample_without_a_clear_date_is_all_invalid():
    assert one([0, 10], [100, 300], [0, 0], [0, 10], 30) == ([0, 0], [False, False])


@given(st.integers(0, 10_000))
def test_that_filling_equals_numpys_interpolation(seed):
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(366, 12, replace=False))[None, :]
    values = rng.integers(-500, 9_000, (1, 12, 3)).astype(np.int16)
    clear = rng.random((1, 12)) < 0.5
    clear[0, 3] = True
    grid = np.arange(0, 366, 10)
    filled, valid = series.regular_series(days, values, clear, grid, 400)
    seen = clear[0]
    expected = np.column_stack([np.interp(grid, days[0, seen], values[0, seen, band]) for band in range(3)])
    assert valid.all()
    assert np.abs(filled[0] - expected).max() <= 0.5 + 1e-9


def test_that_statistics_are_exact_and_over_valid_observations_only():
    values = np.array([[[1_000, 2_000], [3_000, 4_000]], [[30_000, 30_000], [5_000, 0]]], np.int16)
    valid = np.array([[True, True], [False, True]])
    mean, std = series.mean_and_std(*series.band_sums(values, valid), 10_000)
    assert mean == pytest.approx([0.3, 0.2])
    assert std == pytest.approx([np.std([0.1, 0.3, 0.5]), np.std([0.2, 0.4, 0.0])])
