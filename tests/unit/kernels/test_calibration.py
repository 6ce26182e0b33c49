"""Temperature scaling and calibration error, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from eespark.kernels.calibration import expected_calibration_error, fit_temperature, negative_log_likelihood, softmax


def test_that_softmax_of_equal_logits_is_uniform() -> None:
    assert softmax(np.array([[3.0, 3.0, 3.0, 3.0]])).tolist() == [[0.25, 0.25, 0.25, 0.25]]


def test_that_temperature_divides_the_logits() -> None:
    # ln 9 / 2 = ln 3, so odds of 9 to 1 become 3 to 1.
    assert softmax(np.array([[math.log(9), 0.0]]), 2.0)[0] == pytest.approx([0.75, 0.25])


def test_that_softmax_of_huge_logits_is_finite() -> None:
    assert softmax(np.array([[1e4, 0.0]]))[0] == pytest.approx([1.0, 0.0])


def test_that_negative_log_likelihood_is_minus_the_log_of_the_true_class() -> None:
    assert negative_log_likelihood(np.log([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])) == pytest.approx(
        -(math.log(0.8) + math.log(0.5)) / 2
    )


def test_that_the_likelihood_of_huge_logits_is_finite() -> None:
    # The true class is 2,000 below the other: -ln p = 2,000.
    assert negative_log_likelihood(np.array([[4000.0, 2000.0]]), np.array([1])) == pytest.approx(2000)


def test_that_the_temperature_of_overconfident_logits_is_found() -> None:
    # Three of four are right at odds of 3 to 1 once divided: logits of ln 3 x 4 need the temperature 4.
    logits = np.array([[4 * math.log(3), 0.0]] * 4)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(4.0, rel=1e-3)


def test_that_no_rows_leave_the_temperature_at_one() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_that_the_calibration_error_is_the_weighted_gap_of_each_bin() -> None:
    # Bin of 0.9: two rows, one right, gap 0.4; bin of 0.6: two rows, both right, gap 0.4; bin of 0.7: one row, right, gap 0.3.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 0, 1])
    assert expected_calibration_error(probabilities, labels) == pytest.approx((2 * 0.4 + 2 * 0.4 + 0.3) / 5)


def test_that_gaps_of_opposite_sign_cancel_within_a_bin_only() -> None:
    # All in one bin of (0, 1]: confidence 0.75 on average, accuracy 0.75.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1])
    assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx(0.0)


def test_that_the_upper_edge_belongs_to_a_bin() -> None:
    # Two bins: confidence 0.5 lies in the lower one, so the gaps 0.5 - 0 and 0.6 - 1 do not cancel.
    probabilities = np.array([[0.5, 0.5], [0.4, 0.6]])
    assert expected_calibration_error(probabilities, np.array([1, 1]), bins=2) == pytest.approx((0.5 + 0.4) / 2)


def test_that_no_rows_have_no_calibration_error() -> None:
    assert math.isnan(expected_calibration_error(np.zeros((0, 2)), np.zeros(0, int)))
