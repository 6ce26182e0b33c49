"""Accuracy of classifiers of ice: by part, by scene, by season, by region, and against the incidence angle.

Analysts' polygons have no sampling design: nothing is weighted, and intervals come from drawing whole scenes: wind, drift
and noise are shared by all patches of a scene.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from eespark.kernels.accuracy import OVERALL, accuracy_measures, confusion_matrix, stack_measures
from eespark.kernels.estimators import Estimate, bootstrap_clusters

Floats = npt.NDArray[np.float64]
COLUMNS: Final = ("sample_id", "product_id", "season", "region", "split", "class_id", "predicted", "incidence", "model")
_BIN_DEG: Final = 2.0
_REPLICATES: Final = 2_000
PROTOCOLS: Final = {
    "test": "patches of ground, polygons or scenes that gave no training patch",
    "unseen": "scenes or seasons that were held out as a whole",
}


def summarise_ice(predictions: pd.DataFrame, classes: Sequence[Mapping[str, Any]], water: int | None, seed: int) -> dict[str, Any]:
    """Accuracy by part and model, as JSON-able content; what does not exist is None.

    Args:
        predictions: Columns `COLUMNS`, one row a patch and model.
        classes: id and name of each class.
        water: Class of open water, all others being ice; None where the legend has none.
        seed: Of the draws of scenes.

    Returns:
        {part: {model: {patches, scenes, population, estimator, classes, names, confusion, overall_accuracy, macro_f1, weighted_f1, kappa,
        by_class, ice_water, by_scene, by_season, by_region, by_incidence}}}; each estimate is {estimate, lower, upper}.
    """
    told: dict[str, Any] = {}
    for (part, model), rows in predictions.groupby(["split", "model"], sort=True):
        if part in PROTOCOLS:
            told.setdefault(str(part), {})[str(model)] = _of_model(rows, classes, water, str(part), seed)
    return told


def _of_model(rows: pd.DataFrame, classes: Sequence[Mapping[str, Any]], water: int | None, part: str, seed: int) -> dict[str, Any]:
    ids, names = [int(one["id"]) for one in classes], [str(one["name"]) for one in classes]
    scenes, matrices = _by_scene(rows, ids)
    rng = np.random.default_rng(seed)
    found = bootstrap_clusters(matrices, stack_measures, _REPLICATES, rng)
    count = len(ids)
    users, producers, f1 = (found[len(OVERALL) + i * count : len(OVERALL) + (i + 1) * count] for i in range(3))
    whole = matrices.sum(axis=0)
    told: dict[str, Any] = {
        "patches": len(rows),
        "scenes": len(scenes),
        "population": PROTOCOLS[part],
        "estimator": f"counts of patches; 95 % percentile intervals of {_REPLICATES} draws of whole scenes",
        "classes": ids,
        "names": names,
        "confusion": whole.astype(int).tolist(),
        **{name: _told(one) for name, one in zip(OVERALL, found, strict=False)},
        "by_class": {
            str(c): {"users": _told(u), "producers": _told(p), "f1": _told(f), "patches": int(whole[i].sum())}
            for i, (c, u, p, f) in enumerate(zip(ids, users, producers, f1, strict=True))
        },
        "by_scene": {scene: _plain_measures(matrix) for scene, matrix in zip(scenes, matrices, strict=True)},
        "by_season": _grouped(rows, "season", ids),
        "by_region": _grouped(rows, "region", ids),
        "by_incidence": _by_incidence(rows, ids),
    }
    if water in ids:
        told["ice_water"] = _ice_water(rows, water, rng)
    return told


def _by_scene(rows: pd.DataFrame, ids: Sequence[int]) -> tuple[list[str], Floats]:
    scenes = sorted(rows["product_id"].unique())
    return scenes, np.stack([_matrix(rows[rows["product_id"] == scene], ids) for scene in scenes])


def _matrix(rows: pd.DataFrame, ids: Sequence[int]) -> Floats:
    return confusion_matrix(rows["class_id"].to_numpy(), rows["predicted"].to_numpy(), ids)


def _ice_water(rows: pd.DataFrame, water: int | None, rng: np.random.Generator) -> dict[str, Any]:
    two = rows.assign(class_id=(rows["class_id"] != water).astype(int), predicted=(rows["predicted"] != water).astype(int))
    _, matrices = _by_scene(two, [0, 1])
    found = bootstrap_clusters(matrices, stack_measures, _REPLICATES, rng)
    return {**{name: _told(one) for name, one in zip(OVERALL, found, strict=False)}, "confusion": matrices.sum(axis=0).astype(int).tolist()}


def _grouped(rows: pd.DataFrame, column: str, ids: Sequence[int]) -> dict[str, Any]:
    return {str(name): {"patches": len(own), **_plain_measures(_matrix(own, ids))} for name, own in rows.groupby(column, sort=True)}


def _by_incidence(rows: pd.DataFrame, ids: Sequence[int]) -> list[dict[str, Any]]:
    low = np.floor(rows["incidence"].to_numpy() / _BIN_DEG) * _BIN_DEG
    return [
        {"from_deg": float(first), "to_deg": float(first + _BIN_DEG), "patches": len(own), **_plain_measures(_matrix(own, ids))}
        for first, own in rows.groupby(low, sort=True)
    ]


def _plain_measures(matrix: Floats) -> dict[str, float | None]:
    found = accuracy_measures(matrix)
    return {name: _plain(float(getattr(found, name))) for name in ("overall_accuracy", "macro_f1", "weighted_f1")}


def _told(value: Estimate) -> dict[str, float | None]:
    return {"estimate": _plain(value.estimate), "lower": _plain(value.lower), "upper": _plain(value.upper)}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
