"""How unlike the training classes a feature vector is: class-conditional Gaussians with one covariance.

Source: Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS (arXiv:1807.03888).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from eespark.errors import FormatError

_QUANTILES = 1001


@dataclass(frozen=True)
class NoveltyModel:
    """What a novelty score needs."""

    means: npt.NDArray[np.float64]
    """(classes with rows, features)."""
    factor: npt.NDArray[np.float64]
    """(features, features) lower Cholesky factor of the shared, shrunk covariance."""
    quantiles: npt.NDArray[np.float64]
    """Ascending distances at equally spaced probabilities 0..1 of the validation rows."""


def fit_novelty(
    features: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], validation_features: npt.NDArray[Any], shrinkage: float = 0.05
) -> NoveltyModel:
    """Means by class, shared covariance and the distribution of distances on rows that were not trained on.

    Args:
        features: (n, features) of training rows.
        labels: (n,) their classes; negative ones are left out.
        validation_features: (m, features); the training rows stand in where m is 0.
        shrinkage: Weight of the sphere of equal trace in the covariance, 0..1, without which fewer rows or dead features make it singular.

    Raises:
        FormatError: No training rows, or values that are not finite.

    Source: Lee et al. 2018, equation 1; shrinkage to a scaled identity as Ledoit and Wolf 2004, with a given weight.
    """
    known = labels >= 0
    values, classes = np.asarray(features, np.float64)[known], labels[known]
    if not len(classes) or not np.all(np.isfinite(values)):
        raise FormatError(f"needed finite features of training rows with a class, found {len(classes)} rows; check the model")
    present, place = np.unique(classes, return_inverse=True)
    means = np.stack([values[place == index].mean(axis=0) for index in range(len(present))])
    centred = values - means[place]
    covariance = centred.T @ centred / len(classes)
    size = covariance.shape[0]
    sphere = np.trace(covariance) / size
    # Features that do not vary at all have no scale of their own: the unit sphere then measures plain distance.
    shrunk = (1 - shrinkage) * covariance + shrinkage * sphere * np.eye(size) if sphere > 0 else np.eye(size)
    factor = cholesky(shrunk, lower=True)
    reference = validation_features if len(validation_features) else values
    distances = _distances(np.asarray(reference, np.float64), means, factor)
    return NoveltyModel(means, factor, np.quantile(distances, np.linspace(0, 1, _QUANTILES)))


def novelty_score(model: NoveltyModel, features: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Share of validation rows that lie closer to their nearest class mean, 0..1, float32.

    Args:
        model: From `fit_novelty`.
        features: (n, features).
    """
    distances = _distances(np.asarray(features, np.float64), model.means, model.factor)
    probabilities = np.linspace(0, 1, len(model.quantiles))
    return np.interp(distances, model.quantiles, probabilities).astype(np.float32)


def _distances(
    features: npt.NDArray[np.float64], means: npt.NDArray[np.float64], factor: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(n,) squared Mahalanobis distance to the nearest class mean (Lee et al. 2018, equation 2 without its sign)."""
    white = solve_triangular(factor, features.T, lower=True).T
    centres = solve_triangular(factor, means.T, lower=True).T
    return np.min([((white - centre) ** 2).sum(axis=1) for centre in centres], axis=0) if len(white) else np.zeros(0)
