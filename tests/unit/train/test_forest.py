"""The random forest that networks are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eespark.io.storage import read_manifest
from eespark.train.data import read_part, shape_of
from eespark.train.forest import fit_forest, regular_features


def test_that_a_forest_learns_and_names_its_rows(training_set: Path) -> None:
    found = fit_forest(str(training_set), seed=0, trees=30)
    assert sorted(found) == ["test", "validation"]
    one = found["test"]
    rows = read_part(str(training_set), "test", shape_of(read_manifest(str(training_set), "training_set")), ("sample_id",))
    assert one.sample_ids.tolist() == rows["sample_id"].tolist()
    assert float(np.mean(one.probabilities.argmax(axis=1) == one.labels)) > 0.6
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1, atol=1e-5)


def test_that_the_same_seed_gives_the_same_forest(training_set: Path) -> None:
    one, other = (fit_forest(str(training_set), seed=3, trees=5)["test"].probabilities for _ in range(2))
    assert np.array_equal(one, other)


def test_that_features_are_the_bands_every_15_days() -> None:
    # One date at day 0 and one at day 30: at day 15 halfway, after day 30 the last value.
    rows = {
        "reflectance": np.stack([np.stack([np.arange(9) * 10, np.arange(9) * 30, np.full(9, -5)])]).astype(np.int16),
        "valid": np.array([[1, 1, 0]]),
        "day": np.array([[0, 30, 90]]),
    }
    features = regular_features(rows).reshape(25, 9)
    assert features[:4, 2].tolist() == [20, 40, 60, 60]
    assert features[-1].tolist() == (np.arange(9) * 30).tolist()


def test_that_a_series_without_a_clear_date_is_all_zero() -> None:
    rows = {"reflectance": np.ones((1, 2, 9), np.int16), "valid": np.zeros((1, 2)), "day": np.zeros((1, 2))}
    assert not regular_features(rows).any()
