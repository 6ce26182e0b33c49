"""Figures that training watches: from a confusion matrix of counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.kernels.accuracy import accuracy_measures

Matrix = npt.NDArray[np.float64]


def confusion(labels: npt.NDArray[Any], predicted: npt.NDArray[Any], classes: int) -> Matrix:
    """(classes, classes) counts, rows by true class, columns by predicted class; rows with a negative label are left out."""
    known = labels >= 0
    flat = np.bincount(labels[known] * classes + predicted[known], minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.float64)


def overall_accuracy(matrix: Matrix) -> float:
    """Share of rows on the diagonal; NaN for no rows."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def f1_by_class(matrix: Matrix) -> Matrix:
    """2 TP / (2 TP + FP + FN) of each class; NaN for a class that no row has."""
    right, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return np.where(true > 0, 2 * right / np.maximum(true + predicted, 1), np.nan)


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes that have rows; NaN for no rows."""
    by_class = f1_by_class(matrix)
    return float(np.nanmean(by_class)) if matrix.sum() else float("nan")


def weighted_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes weighted by their rows; NaN for no rows."""
    return float(accuracy_measures(matrix).weighted_f1)
