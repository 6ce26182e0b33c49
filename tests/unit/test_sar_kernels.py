"""Radiometry of Sentinel-1, against values by hand and against the plain formula at every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from eespark.errors import FormatError
from eespark.kernels.sar import border_mask, decibels, multilook, sigma_nought
from eespark.kernels.sar_noise import AzimuthBlock, Noise, noise_window
from eespark.kernels.sar_tables import LookUpTable, Window, node_weights, table_window

WINDOW = Window(3, 5, 20, 30)


@pytest.fixture
def table() -> LookUpTable:
    rng = np.random.default_rng(1)
    return LookUpTable(np.array([0.0, 7.0, 19.0, 30.0]), np.array([0.0, 4.0, 21.0, 40.0]), rng.uniform(1, 2, (4, 4)))


def oracle(table: LookUpTable, window: Window) -> np.ndarray:
    lines, samples = np.meshgrid(window.lines, window.samples, indexing="ij")
    return RegularGridInterpolator((table.lines, table.samples), table.values)((lines, samples))


def test_that_a_table_is_bilinear_in_any_window(table: LookUpTable) -> None:
    for window in (WINDOW, Window(0, 0, 31, 41), Window(30, 40, 1, 1), Window(7, 21, 1, 3)):
        np.testing.assert_allclose(table_window(table, window), oracle(table, window), rtol=1e-6)


def test_that_a_table_goes_on_as_it_ends() -> None:
    table = LookUpTable(np.array([10.0, 20.0]), np.array([0.0, 10.0]), np.array([[1.0, 3.0], [5.0, 7.0]]))
    np.testing.assert_allclose(table_window(table, Window(0, 5, 1, 1)), [[2.0]])
    # The last vector may lie beyond the image, and the image beyond the last vector.
    np.testing.assert_allclose(table_window(table, Window(25, 12, 1, 1)), [[7.0]])
    single = LookUpTable(np.array([10.0]), np.array([0.0, 10.0]), np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(table_window(single, Window(0, 0, 3, 11))[:, [0, 5, 10]], [[1, 2, 3]] * 3)


def test_that_weights_add_up_and_name_two_nodes_at_most() -> None:
    wanted, weights = node_weights(np.array([0.0, 2.0, 5.0, 9.0]), np.array([-1.0, 0.0, 1.0, 2.0, 5.0, 6.0]))
    assert wanted == slice(0, 4)
    np.testing.assert_allclose(weights, [[1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.75, 0.25]])


def test_that_vectors_with_nodes_of_their_own_keep_their_values() -> None:
    made = LookUpTable.from_vectors(
        [0, 10], [np.array([0.0, 10.0]), np.array([0.0, 4.0, 10.0])], [np.array([0.0, 10.0]), np.array([0.0, 8.0, 8.0])]
    )
    np.testing.assert_allclose(made.samples, [0, 4, 10])
    np.testing.assert_allclose(made.values, [[0, 4, 10], [0, 8, 8]])


@pytest.mark.parametrize(
    ("lines", "samples", "values"),
    [
        ([0.0, 0.0], [0.0, 1.0], [[1.0, 1.0], [1.0, 1.0]]),
        ([0.0, 1.0], [1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]),
        ([0.0, 1.0], [0.0, 1.0], [[1.0, 1.0]]),
        ([0.0, 1.0], [0.0, 1.0], [[1.0, np.nan], [1.0, 1.0]]),
    ],
)
def test_that_tables_that_are_none_are_refused(lines: list[float], samples: list[float], values: list[list[float]]) -> None:
    with pytest.raises(FormatError, match=r"look-up table|needed a table"):
        LookUpTable(np.array(lines), np.array(samples), np.array(values))


def test_that_noise_is_range_times_azimuth_in_each_block(table: LookUpTable) -> None:
    left = AzimuthBlock(Window(0, 0, 15, 12), np.array([0.0, 14.0]), np.array([1.0, 2.4]))
    right = AzimuthBlock(Window(0, 12, 15, 40), np.array([2.0, 12.0]), np.array([3.0, 3.0]))
    found = noise_window(Noise(table, (left, right)), WINDOW)
    expected = oracle(table, WINDOW)
    # Rows 3 to 14 of the image lie in the blocks; columns 5 to 11 in the left one.
    expected[:12, :7] *= (1 + 0.1 * np.arange(3, 15))[:, None]
    expected[:12, 7:] *= 3
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_that_sigma_nought_is_the_formula_of_the_specification(table: LookUpTable) -> None:
    dn = np.random.default_rng(2).integers(0, 400, (20, 30)).astype(np.uint16)
    flat = LookUpTable(table.lines, table.samples, np.repeat(100 * table.values[:1], 4, axis=0))
    noise = Noise(LookUpTable(table.lines, table.samples, 2_000 * table.values))
    found = sigma_nought(dn, flat, noise, WINDOW)
    expected = (dn.astype(float) ** 2 - 2_000 * oracle(table, WINDOW)) / oracle(flat, WINDOW) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found < 0).any()
    np.testing.assert_allclose(sigma_nought(dn, flat, None, WINDOW), dn.astype(float) ** 2 / oracle(flat, WINDOW) ** 2, rtol=1e-5)


def test_that_a_gain_that_changes_along_the_flight_is_followed(table: LookUpTable) -> None:
    # As between real vectors: a tenth of a per cent.
    gentle = LookUpTable(table.lines, table.samples, 1_500 * (1 + 1e-3 * (table.values - 1)))
    dn = np.full((20, 30), 300, np.uint16)
    np.testing.assert_allclose(sigma_nought(dn, gentle, None, WINDOW), 300.0**2 / oracle(gentle, WINDOW) ** 2, rtol=1e-6)


def test_that_looks_are_means_of_what_is_valid() -> None:
    power = np.array([[1, 3, 9, 9, 5], [5, -1, 9, 9, 5], [2, 2, 4, 4, 5]], np.float32)
    valid = np.ones((3, 5), bool)
    valid[0, 2:4] = valid[1, 2] = False
    mean, known = multilook(power, valid, 2)
    np.testing.assert_allclose(mean, [[2.0, 0.0]])
    assert known.tolist() == [[True, False]]
    mean, known = multilook(power, valid, 2, least_share=0.25)
    np.testing.assert_allclose(mean, [[2.0, 9.0]])
    assert known.all()
    np.testing.assert_array_equal(multilook(power, valid, 1)[0], np.where(valid, power, 0))
    with pytest.raises(ValueError, match="at least 1"):
        multilook(power, valid, 0)


def test_that_decibels_have_a_floor() -> None:
    np.testing.assert_allclose(decibels(np.array([1.0, 0.1, 1e-5, 0.0, -2.0], np.float32)), [0, -10, -40, -40, -40], atol=1e-5)


def test_that_the_border_is_what_is_dark_from_an_edge_inwards() -> None:
    dn = np.full((6, 8), 9, np.uint16)
    dn[:, 0] = [0, 1, 0, 9, 0, 1]
    dn[2, 1:3] = 1
    dn[3, 4] = 0  # dark, and far from every edge
    dn[5, :] = 1
    noise = np.full(dn.shape, 1.0, np.float32)
    mask = border_mask(dn, noise, Window(0, 0, 6, 8), (6, 8), 2)
    assert not mask[3].any()
    # Two pixels from an edge at most.
    assert mask[2].tolist() == [True, True] + [False] * 6
    assert mask[5].all()
    # A window that touches no edge has no border.
    assert not border_mask(dn, noise, Window(10, 10, 6, 8), (40, 40), 2).any()
