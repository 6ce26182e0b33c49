"""Accuracy measures from a matrix of counts, weights or area shares.

One convention throughout: rows are the reference, columns the map (the transpose of the tables of Olofsson et al.). Every
function takes stacks of matrices too, (..., classes, classes), which is what resampling needs.

Classes that are absent: producer's accuracy and F1 of a class that the reference never has are NaN, and so is the user's
accuracy of a class that the map never has. Macro-F1 is the mean over the classes that the reference has; one that the map never
names counts with F1 = 0, for leaving it out would reward a map that never names what is rare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OVERALL: Final = ("overall_accuracy", "macro_f1", "weighted_f1", "kappa")
"""Measures of a whole matrix, in the order of `stack_measures`; those by class follow: user's, producer's, F1."""


@dataclass(frozen=True)
class Measures:
    """Accuracy of one matrix, or of a stack of them; NaN where a measure does not exist.

    Attributes:
        overall_accuracy: Share on the diagonal.
        users: (..., classes) share of what is mapped as a class that is of that class.
        producers: (..., classes) share of what is of a class that is mapped so.
        f1: (..., classes) harmonic mean of the two.
        macro_f1: Mean F1 of the classes that the reference has.
        weighted_f1: Mean F1 weighted by the share of each class in the reference.
        kappa: Agreement beyond that of independent margins.
    """

    overall_accuracy: Floats
    users: Floats
    producers: Floats
    f1: Floats
    macro_f1: Floats
    weighted_f1: Floats
    kappa: Floats


def class_positions(values: npt.ArrayLike, classes: npt.ArrayLike) -> Ints:
    """Position of each value among the class ids, -1 for a value that is not one of them.

    Args:
        values: (n,) class ids.
        classes: (classes,) distinct class ids, in any order.
    """
    ids, wanted = np.asarray(classes, np.int64), np.asarray(values, np.int64)
    if not len(ids):
        return np.full(wanted.shape, -1, np.int64)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    return np.where(ids[place] == wanted, place, -1)


def confusion_matrix(
    reference: npt.ArrayLike, predicted: npt.ArrayLike, classes: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> Floats:
    """Weight of each pair of reference (row) and map class (column).

    Args:
        reference: (n,) class ids.
        predicted: (n,) class ids.
        classes: (classes,) class ids in the order of rows and columns; pairs with any other id are left out.
        weights: (n,) weights; 1 each by default.

    Returns:
        (classes, classes) float64.
    """
    row, col = class_positions(reference, classes), class_positions(predicted, classes)
    known, count = (row >= 0) & (col >= 0), len(np.asarray(classes))
    weight = np.ones(len(row)) if weights is None else np.asarray(weights, np.float64)
    flat = np.bincount(row[known] * count + col[known], weights=weight[known], minlength=count * count)
    return np.asarray(flat.reshape(count, count), np.float64)


def accuracy_measures(matrix: npt.ArrayLike) -> Measures:
    """All measures of a matrix, or of a stack of matrices.

    Args:
        matrix: (..., classes, classes) counts, weights or shares; rows reference, columns map.

    Source: Stehman 1997, 10.1016/S0034-4257(97)00083-7 (overall, user's, producer's, kappa); van Rijsbergen 1979 (F1).
    """
    values = np.asarray(matrix, np.float64)
    right = np.diagonal(values, axis1=-2, axis2=-1)
    true, mapped, total = values.sum(-1), values.sum(-2), values.sum((-2, -1))
    present = true > 0
    f1 = np.where(present, share_of(2 * right, true + mapped), np.nan)
    overall = share_of(right.sum(-1), total)
    chance = share_of((true * mapped).sum(-1), total**2)
    return Measures(
        overall_accuracy=overall,
        users=share_of(right, mapped),
        producers=share_of(right, true),
        f1=f1,
        macro_f1=share_of(np.where(present, f1, 0.0).sum(-1), present.sum(-1)),
        weighted_f1=share_of((true * np.where(present, f1, 0.0)).sum(-1), total),
        kappa=share_of(overall - chance, 1 - chance),
    )


def stack_measures(matrix: npt.ArrayLike) -> Floats:
    """The measures as one array (..., 4 + 3 x classes): those of `OVERALL`, then user's, producer's and F1 by class."""
    found = accuracy_measures(matrix)
    whole = np.stack([getattr(found, name) for name in OVERALL], axis=-1)
    return np.concatenate([whole, found.users, found.producers, found.f1], axis=-1)


def reliability_bins(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None, bins: int = 10
) -> dict[str, Floats]:
    """Confidence beside accuracy in equal bins of confidence.

    Args:
        confidence: (n,) probability of the named class, 0..1.
        correct: (n,) whether it was right.
        weights: (n,) weights; 1 each by default.
        bins: Number of bins; bin m holds confidences in ((m - 1) / bins, m / bins].

    Returns:
        (bins,) arrays: count (rows), share (of the weight), confidence and accuracy (weighted means, NaN in an empty bin).

    Source: Guo et al. 2017 (arXiv:1706.04599), equations 2 and 3, with weights.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    weight = np.ones(len(sure)) if weights is None else np.asarray(weights, np.float64)
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    total = np.bincount(place, weights=weight, minlength=bins)
    return {
        "count": np.bincount(place, minlength=bins).astype(np.float64),
        "share": share_of(total, total.sum()),
        "confidence": share_of(np.bincount(place, weights=weight * sure, minlength=bins), total),
        "accuracy": share_of(np.bincount(place, weights=weight * right, minlength=bins), total),
    }


def calibration_error(bins: dict[str, Floats]) -> float:
    """Expected calibration error of `reliability_bins`: the mean gap between the two, weighted by share; NaN without rows."""
    filled = bins["share"] > 0
    if not filled.any():
        return float("nan")
    return float(np.sum(bins["share"][filled] * np.abs(bins["accuracy"][filled] - bins["confidence"][filled])))


def share_of(part: Any, whole: Any) -> Floats:
    """`part / whole`, NaN where the whole is 0: a share of nothing does not exist."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
