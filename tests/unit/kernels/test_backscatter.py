"""Moments, the common slope and Bayes' rule with slopes, against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from eespark.kernels.backscatter import common_slope, fit_slopes, moments_from, moments_of, statistics_of


def _looks(
    seed: int, count: int, level: tuple[float, float], slope: tuple[float, float], angles: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Linear power of looks whose decibels fall on lines, with correlated noise of 1.5 dB."""
    rng = np.random.default_rng(seed)
    degrees = rng.uniform(*angles, count)
    noise = rng.multivariate_normal([0, 0], [[2.25, 1.0], [1.0, 2.25]], count)
    values = np.asarray(level) + np.asarray(slope) * (degrees[:, None] - 30) + noise
    return 10 ** (values / 10), degrees


# Ice is seen at steep angles, water at flat ones: means alone would take the difference between classes for a slope.
ICE = _looks(1, 4_000, (-12, -22), (-0.25, -0.16), (20, 32))
WATER = _looks(2, 3_000, (-18, -28), (-0.25, -0.16), (30, 45))


def test_that_moments_add_up() -> None:
    whole, parts = moments_of(*ICE), moments_of(ICE[0][:700], ICE[1][:700]) + moments_of(ICE[0][700:], ICE[1][700:])
    np.testing.assert_allclose(parts.flat(), whole.flat(), rtol=1e-10)
    np.testing.assert_allclose(moments_from(whole.flat(), 2).flat(), whole.flat(), rtol=0)


def test_that_the_common_slope_is_that_of_least_squares_with_a_mean_for_each_class() -> None:
    values = 10 * np.log10(np.concatenate([ICE[0], WATER[0]]))
    degrees = np.concatenate([ICE[1], WATER[1]])
    is_water = np.arange(len(degrees)) >= len(ICE[1])
    design = np.column_stack([~is_water, is_water, degrees]).astype(float)
    expected = np.linalg.lstsq(design, values, rcond=None)[0][2]
    found = common_slope([moments_of(*ICE), moments_of(*WATER)])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found == pytest.approx([-0.25, -0.16], abs=0.02)
    # Without them the slope would be twice as steep.
    assert np.polyfit(degrees, values[:, 0], 1)[0] < -0.4


def test_that_a_class_at_one_angle_has_no_slope() -> None:
    power = np.full((5, 2), 0.1)
    assert common_slope([moments_of(power, np.full(5, 30.0))]).tolist() == [0.0, 0.0]


def test_that_statistics_are_those_of_numpy() -> None:
    told = statistics_of([moments_of(*ICE), moments_of(*WATER)])
    values, degrees = 10 * np.log10(np.concatenate([ICE[0], WATER[0]])), np.concatenate([ICE[1], WATER[1]])
    flat = values - np.asarray(told["slope"]) * (degrees[:, None] - degrees.mean())
    np.testing.assert_allclose(told["mean"], values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(told["std"], values.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(told["flat_std"], flat.std(axis=0), rtol=1e-4)
    assert (told["incidence_mean"], told["incidence_std"]) == (pytest.approx(degrees.mean()), pytest.approx(degrees.std()))


def test_that_power_below_zero_counts_as_the_floor() -> None:
    found = moments_of(np.array([[-0.01, 0.0], [1e-9, 1.0]]), np.array([30.0, 30.0]))
    assert found.band.tolist() == pytest.approx([-80.0, -40.0])


def test_that_bayes_rule_is_that_of_normal_densities_about_lines() -> None:
    rule = fit_slopes([moments_of(*ICE), moments_of(*WATER)])
    power, degrees = ICE[0][:200], ICE[1][:200]
    expected = []
    for sample in (ICE, WATER):
        values = 10 * np.log10(sample[0])
        lines = [np.polyfit(sample[1], values[:, band], 1) for band in range(2)]
        rest = values - np.column_stack([np.polyval(line, sample[1]) for line in lines])
        means = np.column_stack([np.polyval(line, degrees) for line in lines])
        covariance = np.cov(rest.T, bias=True)
        expected.append([multivariate_normal(m, covariance).logpdf(v) for m, v in zip(means, 10 * np.log10(power), strict=True)])
    found = rule.log_likelihood(power, degrees)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], np.subtract(*expected), atol=5e-3)


def test_that_slopes_of_their_own_tell_classes_apart_that_one_slope_mixes() -> None:
    # Water falls by 0.65 dB a degree, ice by 0.2; they are equally bright at 30 degrees.
    steep = _looks(3, 4_000, (-14, -26), (-0.65, -0.2), (20, 45))
    flat = _looks(4, 4_000, (-14, -26), (-0.2, -0.2), (20, 45))
    rule = fit_slopes([moments_of(*steep), moments_of(*flat)])
    far = steep[1] > 38
    assert (rule.log_likelihood(steep[0][far], steep[1][far]).argmax(axis=1) == 0).mean() > 0.9
    near = np.abs(steep[1] - 30) < 1
    assert 0.3 < (rule.log_likelihood(steep[0][near], steep[1][near]).argmax(axis=1) == 0).mean() < 0.7
