"""Calibration of class probabilities: temperature scaling and the expected calibration error.

Source: Guo et al. 2017, On Calibration of Modern Neural Networks, ICML (arXiv:1706.04599).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

_LOG_RANGE = (-3.0, 3.0)


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis of logits / temperature, float64.

    Source: Guo et al. 2017, equation 9.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(logits: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], temperature: float = 1.0) -> float:
    """Mean of -ln p(label), by log-sum-exp so that no probability rounds to 0.

    Args:
        logits: (n, classes).
        labels: (n,) positions of the true classes.
        temperature: Divides the logits.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    highest = scaled.max(axis=1)
    log_sum = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float(np.mean(log_sum - scaled[np.arange(len(labels)), labels]))


def fit_temperature(logits: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]]) -> float:
    """The temperature in [0.05, 20] of least negative log-likelihood; it changes no decision.

    Args:
        logits: (n, classes) of validation rows; none gives 1.
        labels: (n,) positions of the true classes.

    Source: Guo et al. 2017, section 4.2.
    """
    if len(labels) == 0:
        return 1.0
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, float(np.exp(log_t))), bounds=_LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def expected_calibration_error(probabilities: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence, weighted by their rows; NaN for no rows.

    Args:
        probabilities: (n, classes).
        labels: (n,) positions of the true classes.
        bins: Number of bins; bin m holds confidences in ((m - 1) / bins, m / bins].

    Source: Guo et al. 2017, equations 2 and 3.
    """
    if len(labels) == 0:
        return float("nan")
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
