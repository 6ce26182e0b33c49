"""Novelty by Mahalanobis distance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from eespark.errors import FormatError
from eespark.kernels.novelty import fit_novelty, novelty_score


def _auc(low: np.ndarray, high: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([low, high]))
    return float((ranks[len(low) :].sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def _rows(rng: np.random.Generator, centre: list[float], count: int) -> np.ndarray:
    # Wide along the first axis, narrow along the second.
    return np.asarray(centre) + rng.standard_normal((count, 2)) * [3.0, 0.3]


def test_that_a_class_absent_from_training_shows_up() -> None:
    rng = np.random.default_rng(0)
    train = np.concatenate([_rows(rng, [0, 0], 200), _rows(rng, [10, 5], 200)])
    model = fit_novelty(train, np.repeat([0, 1], 200), np.concatenate([_rows(rng, [0, 0], 100), _rows(rng, [10, 5], 100)]))
    known, absent = _rows(rng, [0, 0], 200), _rows(rng, [0, 2], 200)
    assert _auc(novelty_score(model, known), novelty_score(model, absent)) > 0.95


def test_that_distance_counts_by_the_spread_in_its_direction() -> None:
    rng = np.random.default_rng(1)
    train = _rows(rng, [0, 0], 500)
    model = fit_novelty(train, np.zeros(500, int), _rows(rng, [0, 0], 500), shrinkage=0.01)
    along, across = novelty_score(model, np.array([[3.0, 0.0], [0.0, 3.0]]))
    assert along < 0.8 < across


def test_that_scores_of_the_validation_rows_are_uniform() -> None:
    rng = np.random.default_rng(2)
    validation = rng.standard_normal((400, 3))
    model = fit_novelty(rng.standard_normal((400, 3)), np.zeros(400, int), validation)
    assert np.quantile(novelty_score(model, validation), [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.01)


def test_that_the_nearest_class_counts() -> None:
    train = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    model = fit_novelty(np.concatenate([train, train + 100]), np.repeat([0, 1], 4), np.concatenate([train, train + 100]))
    assert novelty_score(model, np.array([[0.0, 0.0], [100.0, 100.0], [50.0, 50.0]])).tolist() == [0.0, 0.0, 1.0]


def test_that_features_that_never_vary_do_no_harm() -> None:
    rng = np.random.default_rng(3)
    train = np.concatenate([rng.standard_normal((50, 2)), np.zeros((50, 3))], axis=1)
    assert np.all(np.isfinite(novelty_score(fit_novelty(train, np.zeros(50, int), train), train)))


def test_that_rows_without_a_class_are_left_out() -> None:
    train = np.array([[0.0], [2.0], [1000.0]])
    assert fit_novelty(train, np.array([0, 0, -1]), train[:2]).means.tolist() == [[1.0]]


def test_that_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FormatError, match="finite"):
        fit_novelty(np.array([[np.nan]]), np.array([0]), np.zeros((0, 1)))
