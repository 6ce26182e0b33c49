"""Estimators with intervals: published worked examples, and simulated populations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.errors import FormatError
from eespark.kernels.accuracy import confusion_matrix, stack_measures
from eespark.kernels.estimators import (
    AccuracyEstimate,
    Estimate,
    agrees_with_any,
    area_adjusted_accuracy,
    bootstrap_clusters,
    estimate_accuracy,
    estimate_share,
    single_coarse_class,
)

# Olofsson et al. 2014, table 8: rows map, columns reference; deforestation, forest gain, stable forest, stable non-forest.
TABLE_8 = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
MAPPED_PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = 30 * 30 / 10_000


def half_widths(estimates: tuple[Estimate, ...]) -> list[float]:
    return [one.upper - one.estimate for one in estimates]


def test_that_the_worked_example_of_olofsson_gives_its_overall_accuracy() -> None:
    found = area_adjusted_accuracy(TABLE_8.T, MAPPED_PIXELS).overall_accuracy
    assert round(found.estimate, 2) == 0.95
    assert round(found.upper - found.estimate, 2) == 0.02


def test_that_the_worked_example_of_olofsson_gives_its_users_accuracy() -> None:
    found = area_adjusted_accuracy(TABLE_8.T, MAPPED_PIXELS).users
    assert [round(one.estimate, 2) for one in found] == [0.88, 0.73, 0.93, 0.96]
    assert np.round(half_widths(found), 2).tolist() == [0.07, 0.10, 0.04, 0.02]
    # Equation 6 by hand: 66 of 75 right.
    assert found[0].standard_error == pytest.approx((0.88 * 0.12 / 74) ** 0.5)


def test_that_the_worked_example_of_olofsson_gives_its_producers_accuracy() -> None:
    found = area_adjusted_accuracy(TABLE_8.T, MAPPED_PIXELS).producers
    assert [round(one.estimate, 2) for one in found] == [0.75, 0.85, 0.93, 0.96]
    # Forest gain by hand from equation 7: sqrt((1.388e6 + 0.8472^2 * 3.9387e8) / 129846^2) * 1.96.
    assert half_widths(found)[:2] == pytest.approx([0.2133, 0.2544], abs=2e-4)


def test_that_the_worked_example_of_olofsson_gives_its_areas() -> None:
    found = area_adjusted_accuracy(TABLE_8.T, MAPPED_PIXELS).areas
    assert round(found[0].estimate) == 235_086
    assert [one.estimate * HECTARES for one in found] == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=1)
    assert np.array(half_widths(found)) * HECTARES == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1)


def test_that_area_adjustment_needs_two_samples_of_each_mapped_class() -> None:
    with pytest.raises(FormatError, match="two samples"):
        area_adjusted_accuracy([[3, 0], [0, 1]], [10.0, 10.0])


def test_that_the_worked_example_of_stehman_gives_its_estimates() -> None:
    # Stehman 2014, table 2 and pages 4932 to 4935: strata A to D of 40,000, 30,000, 20,000 and 10,000 pixels, ten samples each.
    mapped = "AAAAAAABBB" + "ABBBBBBBBB" + "BBCCCCCCBB" + "DDDDDDDDDD"
    reference = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
    ids = {letter: place for place, letter in enumerate("ABCD")}
    weights = np.repeat([4_000.0, 3_000.0, 2_000.0, 1_000.0], 10)
    rows = [[ids[letter] for letter in text] for text in (reference, mapped)]
    found = estimate_accuracy(rows[0], rows[1], range(4), np.arange(40), weights)
    assert found.overall["overall_accuracy"].estimate == pytest.approx(0.63)
    assert found.shares.sum(axis=1)[[0, 2]] == pytest.approx([0.35, 0.20])
    assert found.users[1].estimate == pytest.approx(0.574, abs=5e-4)
    assert found.producers[1].estimate == pytest.approx(0.794, abs=5e-4)
    assert found.shares[2, 1] == pytest.approx(0.08)


def test_that_the_standard_error_of_single_draws_is_the_binomial_one() -> None:
    # 30 of 40 right, each its own cluster: the jackknife of a mean is s / sqrt(n), sqrt(0.75 * 0.25 / 39).
    found = estimate_share(np.arange(40) < 30, np.arange(40))
    assert found.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 39))


def test_that_pixels_that_all_agree_within_a_cluster_add_nothing() -> None:
    agrees, clusters = np.arange(40) < 30, np.arange(40)
    one, many = estimate_share(agrees, clusters), estimate_share(np.repeat(agrees, 9), np.repeat(clusters, 9))
    assert many.standard_error == pytest.approx(one.standard_error)


def test_that_intervals_stay_within_zero_and_one() -> None:
    found = estimate_share(np.arange(30) < 29, np.arange(30))
    assert 0 < found.lower < found.estimate < found.upper < 1


def test_that_a_sample_without_an_error_has_the_exact_binomial_interval() -> None:
    found = estimate_share(np.ones(20, bool), np.arange(20))
    assert (found.estimate, found.upper) == (1, 1)
    assert found.lower == pytest.approx(0.025 ** (1 / 20))


def test_that_a_class_in_one_cluster_has_an_estimate_and_no_interval() -> None:
    found = estimate_accuracy([0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 1, 1], [0, 1], [1, 2, 3, 4, 9, 9])
    assert found.producers[1].estimate == 1
    assert np.isnan(found.producers[1].lower)


def test_that_samples_of_no_class_have_no_accuracy() -> None:
    found = estimate_accuracy([], [], [0, 1], [])
    assert found.clusters == 0
    assert np.isnan(found.overall["macro_f1"].estimate)


def test_that_many_clusters_are_taken_a_few_at_a_time_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 3, (2, 500)), rng.integers(0, 90, 500), rng.random(500) + 0.1
    whole = estimate_accuracy(*rows[0], range(3), rows[1], rows[2])
    monkeypatch.setattr("eespark.kernels.estimators._CLUSTERS_AT_A_TIME", 7)
    assert estimate_accuracy(*rows[0], range(3), rows[1], rows[2]).f1[1].upper == pytest.approx(whole.f1[1].upper)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_that_weights_must_be_positive_numbers(bad: float) -> None:
    with pytest.raises(FormatError, match="weights above 0"):
        estimate_share([True, False], [1, 2], [1.0, bad])


CLASSES = 6
RATES = np.array([0.03, 0.05, 0.06, 0.1, 0.15, 0.3])  # inclusion probability by declared class


def population(rng: np.random.Generator, blocks: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Block, true and mapped class of each pixel; crops cluster in blocks, errors in blocks and parcels, classes are unequal."""
    priors = np.array([0.38, 0.25, 0.18, 0.1, 0.06, 0.03])
    block = np.repeat(np.arange(blocks), rng.integers(10, 40, blocks))
    mix = rng.dirichlet(priors * 6, blocks).cumsum(axis=1)
    crop = (rng.random(len(block))[:, None] > mix[block]).sum(axis=1).clip(max=CLASSES - 1)
    ease = 1.2 - 0.25 * crop + rng.normal(0, 0.6, blocks)[block] + rng.normal(0, 1.2, len(block))
    confused = rng.choice(CLASSES, len(block), p=priors)
    parcel = np.repeat(np.arange(len(block)), np.maximum(3, rng.lognormal(3.3, 0.8, len(block)).astype(int)))
    right = rng.random(len(parcel)) < 1 / (1 + np.exp(-ease[parcel]))
    return block[parcel], crop[parcel], np.where(right, crop[parcel], confused[parcel])


def flat(found: AccuracyEstimate) -> list[Estimate]:
    return [*found.overall.values(), *found.users, *found.producers, *found.f1]


@pytest.fixture(scope="module")
def coverage() -> np.ndarray:
    """Share of 400 clustered samples whose 95 % intervals hold the truth of the population, by measure."""
    rng = np.random.default_rng(2024)
    block, true, mapped = population(rng)
    truth = stack_measures(confusion_matrix(true, mapped, range(CLASSES)))
    start = np.searchsorted(block, np.arange(401))
    inside = []
    for _ in range(400):
        drawn = rng.choice(400, 30, replace=False)
        pixels = np.concatenate([np.arange(start[one], start[one + 1]) for one in drawn])
        pixels = pixels[rng.random(len(pixels)) < RATES[true[pixels]]]
        found = flat(estimate_accuracy(true[pixels], mapped[pixels], range(CLASSES), block[pixels], 1 / RATES[true[pixels]]))
        bounds = np.array([(one.lower, one.upper) for one in found])
        inside.append(np.where(np.isnan(bounds[:, 0]), np.nan, (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])))
    return np.nanmean(inside, axis=0)


@pytest.mark.parametrize(("place", "name"), enumerate(["overall accuracy", "macro-F1", "weighted F1", "kappa"]))
def test_that_intervals_cover_the_truth_of_a_clustered_population(coverage: np.ndarray, place: int, name: str) -> None:
    assert 0.91 <= coverage[place] <= 0.985, name


def test_that_intervals_by_class_cover_the_truth_of_a_clustered_population(coverage: np.ndarray) -> None:
    by_class = coverage[4:]
    assert np.all((by_class >= 0.91) & (by_class <= 0.985)), by_class


def test_that_ignoring_the_clusters_would_not_cover() -> None:
    rng = np.random.default_rng(7)
    block, true, mapped = population(rng, 60)
    honest = estimate_accuracy(true, mapped, range(CLASSES), block).overall["overall_accuracy"]
    naive = estimate_accuracy(true, mapped, range(CLASSES), np.arange(len(true))).overall["overall_accuracy"]
    assert honest.standard_error > 3 * naive.standard_error


def test_that_the_bootstrap_of_single_draws_has_the_binomial_error() -> None:
    totals = np.stack([np.arange(200) < 150, np.ones(200)], axis=1)
    found = bootstrap_clusters(totals, lambda sums: sums[:, :1] / sums[:, 1:], 4_000, np.random.default_rng(1))[0]
    assert found.estimate == pytest.approx(0.75)
    assert found.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 200), rel=0.05)
    assert found.lower == pytest.approx(0.75 - 1.96 * 0.0306, abs=0.01)


def test_that_the_bootstrap_draws_the_same_with_the_same_generator() -> None:
    totals = np.random.default_rng(0).random((12, 3, 3))
    one, other = (bootstrap_clusters(totals, stack_measures, 50, np.random.default_rng(4)) for _ in range(2))
    assert one == other


def test_that_agreement_is_membership_in_the_admissible_classes() -> None:
    assert agrees_with_any([12, 8, 2], [{11, 12}, {11, 12}, {2}]).tolist() == [True, False, True]


def test_that_only_rows_that_lead_to_one_coarse_class_have_one() -> None:
    crosswalk = {11: (0,), 12: (0,), 2: (1,), 15: (0, 7)}
    assert single_coarse_class([(11, 12), (2,), (2, 12), (15,), (12, 99), ()], crosswalk, -1).tolist() == [0, 1, -1, -1, -1, -1]
