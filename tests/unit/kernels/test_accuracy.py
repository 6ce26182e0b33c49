"""Measures of accuracy from a matrix, against hand counts and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from eespark.kernels.accuracy import (
    accuracy_measures,
    calibration_error,
    class_positions,
    confusion_matrix,
    reliability_bins,
    stack_measures,
)

# Rows reference, columns map: 8 of 10 of the first class found, 1 of 2 of the second, and so on by hand.
MATRIX = np.array([[8, 2, 0], [1, 1, 0], [0, 3, 5]], float)


def test_that_rows_are_the_reference_and_columns_the_map() -> None:
    found = confusion_matrix([7, 7, 3], [3, 7, 3], [3, 7])
    assert found.tolist() == [[1, 0], [1, 1]]


def test_that_weights_add_up_in_their_cells() -> None:
    found = confusion_matrix([1, 1, 2], [1, 1, 1], [1, 2], weights=[0.5, 2.0, 4.0])
    assert found.tolist() == [[2.5, 0.0], [4.0, 0.0]]


def test_that_ids_outside_the_classes_are_left_out() -> None:
    assert confusion_matrix([1, 9, 1], [1, 1, 9], [1, 2]).sum() == 1


def test_that_class_ids_may_stand_in_any_order() -> None:
    assert class_positions([5, 1, 4, 9], [5, 1, 4]).tolist() == [0, 1, 2, -1]


def test_that_no_classes_give_no_positions() -> None:
    assert class_positions([5, 1], []).tolist() == [-1, -1]


def test_that_measures_equal_hand_counts() -> None:
    found = accuracy_measures(MATRIX)
    assert found.overall_accuracy == pytest.approx(14 / 20)
    assert found.producers == pytest.approx([8 / 10, 1 / 2, 5 / 8])
    assert found.users == pytest.approx([8 / 9, 1 / 6, 1])
    assert found.f1 == pytest.approx([16 / 19, 2 / 8, 10 / 13])
    assert found.macro_f1 == pytest.approx((16 / 19 + 2 / 8 + 10 / 13) / 3)
    assert found.weighted_f1 == pytest.approx((10 * 16 / 19 + 2 * 2 / 8 + 8 * 10 / 13) / 20)


def test_that_measures_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    true, weight = rng.integers(0, 5, 400), rng.random(400)
    mapped = np.where(rng.random(400) < 0.6, true, rng.integers(0, 5, 400))
    found = accuracy_measures(confusion_matrix(true, mapped, range(5), weight))
    assert found.overall_accuracy == pytest.approx(metrics.accuracy_score(true, mapped, sample_weight=weight))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(true, mapped, sample_weight=weight))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(true, mapped, average="macro", sample_weight=weight))
    assert found.weighted_f1 == pytest.approx(metrics.f1_score(true, mapped, average="weighted", sample_weight=weight))
    assert found.users == pytest.approx(metrics.precision_score(true, mapped, average=None, sample_weight=weight))


def test_that_a_class_absent_from_the_reference_is_left_out_of_macro_f1() -> None:
    found = accuracy_measures([[4, 1], [0, 0]])
    assert np.isnan(found.f1[1])
    assert np.isnan(found.producers[1])
    assert found.users[1] == 0
    assert found.macro_f1 == pytest.approx(8 / 9)


def test_that_a_class_the_map_never_names_counts_as_zero() -> None:
    found = accuracy_measures([[4, 0], [1, 0]])
    assert np.isnan(found.users[1])
    assert found.f1[1] == 0
    assert found.macro_f1 == pytest.approx(8 / 9 / 2)


def test_that_an_empty_matrix_has_no_accuracy() -> None:
    assert np.isnan(stack_measures(np.zeros((3, 3)))).all()


def test_that_a_stack_gives_what_its_matrices_give() -> None:
    other = MATRIX.T + 1
    assert np.allclose(stack_measures(np.stack([MATRIX, other])), [stack_measures(MATRIX), stack_measures(other)])


def test_that_measures_do_not_depend_on_the_scale_of_the_matrix() -> None:
    assert np.allclose(stack_measures(MATRIX / MATRIX.sum()), stack_measures(MATRIX))


def test_that_a_bin_holds_its_upper_edge() -> None:
    found = reliability_bins([0.5, 0.51, 1.0], [True, False, True], bins=2)
    assert found["count"].tolist() == [1, 2]
    assert found["accuracy"] == pytest.approx([1.0, 0.5])
    assert found["confidence"] == pytest.approx([0.5, 0.755])


def test_that_the_calibration_error_is_the_weighted_mean_gap() -> None:
    found = reliability_bins([0.4, 0.9], [True, True], weights=[3.0, 1.0], bins=2)
    assert calibration_error(found) == pytest.approx(0.75 * 0.6 + 0.25 * 0.1)


def test_that_no_rows_have_no_calibration_error() -> None:
    assert np.isnan(calibration_error(reliability_bins([], [])))
