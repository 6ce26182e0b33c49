"""A random forest on the same training set: what the networks are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eespark.io.storage import read_manifest
from eespark.train.data import Arrays, read_part, shape_of
from eespark.train.resample import interpolate

STEP_DAYS = 15
YEAR_DAYS = 365


@dataclass(frozen=True)
class ForestPrediction:
    """What the forest says of one part."""

    sample_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """(n,) position of the true class in the manifest's classes, -1 where there is none."""
    probabilities: npt.NDArray[np.float32]
    """(n, classes) in the order of the manifest's classes."""


def fit_forest(
    training_set_url: str, seed: int, parts: Sequence[str] = ("validation", "test", "unseen"), trees: int = 300, jobs: int = -1
) -> dict[str, ForestPrediction]:
    """Predictions of a random forest that is fitted to the part `train`.

    Its features are the nine bands on a grid of 15 days over the crop year, linearly interpolated between clear dates and held
    constant beyond them: a forest cannot read dates and masks. Leaves are grown pure, classes are not weighted.

    Args:
        training_set_url: Training set.
        seed: Of the trees.
        parts: To predict; those that the set has not are left out.
        trees: Number of trees.
        jobs: Processes of scikit-learn; -1 for all cores.

    Raises:
        MissingError: No training set.
    """
    from sklearn.ensemble import RandomForestClassifier

    manifest = read_manifest(training_set_url, "training_set")
    shape = shape_of(manifest)
    train = read_part(training_set_url, "train", shape)
    known = train["label"] >= 0
    forest = RandomForestClassifier(n_estimators=trees, random_state=seed, n_jobs=jobs)
    forest.fit(regular_features(train)[known], train["label"][known])
    result = {}
    for part in (one for one in parts if manifest["parts"].get(one, {}).get("rows")):
        rows = read_part(training_set_url, part, shape, ("sample_id", "class_id", "reflectance", "valid", "day"))
        probabilities = np.zeros((len(rows["label"]), len(shape.class_ids)), np.float32)
        probabilities[:, forest.classes_] = forest.predict_proba(regular_features(rows))
        result[part] = ForestPrediction(rows["sample_id"], rows["label"], probabilities)
    return result


def regular_features(rows: Arrays, step_days: int = STEP_DAYS, chunk: int = 4096) -> npt.NDArray[Any]:
    """(n, 25 x bands) float32: reflectance x 10,000 at every `step_days` of the crop year; 0 in a series without a clear date."""
    grid = np.arange(0, YEAR_DAYS, step_days)
    blocks = []
    for start in range(0, max(len(rows["valid"]), 1), chunk):
        one = slice(start, start + chunk)
        values = interpolate(rows["day"][one], rows["valid"][one] > 0, rows["reflectance"][one], grid)
        blocks.append(np.nan_to_num(values.reshape(len(values), -1)))
    return np.concatenate(blocks)
