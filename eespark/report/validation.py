"""Accuracy by protocol from a table of predictions: what `validate` writes and the report shows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from eespark.errors import FormatError, MissingError
from eespark.kernels.accuracy import OVERALL, calibration_error, reliability_bins
from eespark.kernels.estimators import AccuracyEstimate, Estimate, agrees_with_any, estimate_accuracy, estimate_share, single_coarse_class

DISJOINT_AREAS: Final = "disjoint_areas"
UNSEEN_TILES: Final = "unseen_tiles"
LUCAS: Final = "lucas"
PROTOCOLS: Final = {"test": DISJOINT_AREAS, "unseen": UNSEEN_TILES, "points": LUCAS}
"""Part of a sample set -> the protocol that it serves."""
SEVERAL: Final = -1
"""Id of the column of predictions that may stand for several coarse classes; the reference never has it."""

COLUMNS: Final = (
    "sample_id", "label_id", "tile", "split", "class_id", "class_ids", "predicted", "confidence", "novelty",
    "inclusion_probability", "weight", "cluster", "x", "y", "model",
)  # fmt: skip
"""Of the table of predictions."""
_USED: Final = ("label_id", "split", "class_id", "class_ids", "predicted", "confidence", "inclusion_probability", "weight", "cluster")

_PIXELS: Final = "the pure pixels of declared parcels {where}; not the whole tile, and the declaration is taken as the truth"
_BY_CLUSTER: Final = (
    "Hajek estimators with weights 1 / inclusion probability (Stehman 2014); variance by the jackknife over {clusters}; "
    "95 % intervals on the logit scale with Student's t"
)


@dataclass(frozen=True)
class ProtocolInfo:
    """One way of testing a model.

    Attributes:
        name: disjoint_areas, unseen_tiles or lucas.
        split: Part of the sample set that it uses.
        legend: name@version of the legend that results are in.
        population: What the estimates are about, in words.
        estimator: How they are made, in words.
        crosswalk: Class of the predictions -> coarse classes that it may stand for; None: same legend.
    """

    name: str
    split: str
    legend: str
    population: str
    estimator: str
    crosswalk: Mapping[int, Collection[int]] | None = None


def disjoint_areas(legend: str) -> ProtocolInfo:
    """Protocol (i): areas that are spatially disjoint from training, part `test`."""
    where = "in ground blocks that gave no training sample, of tiles that gave some"
    return ProtocolInfo(
        DISJOINT_AREAS, "test", legend, _PIXELS.format(where=where), _BY_CLUSTER.format(clusters="the clusters, ground blocks")
    )


def unseen_tiles(legend: str) -> ProtocolInfo:
    """Protocol (ii): tiles without any training sample, part `unseen`."""
    return ProtocolInfo(
        UNSEEN_TILES,
        "unseen",
        legend,
        _PIXELS.format(where="of tiles that gave no training sample"),
        _BY_CLUSTER.format(clusters="the clusters, ground blocks"),
    )


def lucas(legend: str, crosswalk: Mapping[int, int | Collection[int]]) -> ProtocolInfo:
    """Protocol (iii): LUCAS points, observed in the field, on a coarser legend; part `points`.

    Args:
        legend: Of the coarse classes.
        crosswalk: Class of the model -> coarse class, or coarse classes that it may stand for.
    """
    sets = {int(key): (int(value),) if isinstance(value, int) else tuple(int(one) for one in value) for key, value in crosswalk.items()}
    population = (
        "cropland and grassland that the LUCAS survey represents and its surveyors saw, as far as its points pass the quality rules"
    )
    estimator = (
        _BY_CLUSTER.format(clusters="the points").replace("1 / inclusion probability", "survey weight / inclusion probability")
        + "; the matrix holds points whose admissible crops lead to one coarse class, agreement all points"
    )
    return ProtocolInfo(LUCAS, "points", legend, population, estimator, sets)


def summarise_protocol(predictions: pd.DataFrame, classes: Sequence[Mapping[str, Any]], protocol: ProtocolInfo) -> dict[str, Any]:
    """Accuracy of one model by one protocol, as JSON-able content; what does not exist is None.

    Args:
        predictions: One row a sample, columns `COLUMNS` (at least the used ones); rows of other parts are left out.
        classes: id and name of each class of `protocol.legend`; classes that occur and are not named get a row too.
        protocol: Which part, and how.

    Returns:
        legend, population, estimator, n_samples, n_labels, n_clusters, n_without_reference, classes, names, confusion_counts,
        confusion_estimated (shares, rows reference, columns map), overall_accuracy, macro_f1, weighted_f1, kappa, by_class, ece and
        reliability; with a crosswalk also agreement (predicted class among the admissible ones, all points) and compatible
        (so on the coarse legend). Each estimate is {estimate, lower, upper, standard_error}.

    Raises:
        MissingError: Columns are absent.
        FormatError: Rows of more than one model, or probabilities or weights that are not positive.
    """
    rows = _rows_of(predictions, protocol.split)
    admissible = _admissible(rows)
    known = np.array([len(one) > 0 for one in admissible], bool)
    rows, admissible = rows[known], [one for one in admissible if one]
    predicted = rows["predicted"].to_numpy(np.int64)
    clusters = rows["cluster"].astype(str).to_numpy()
    weights = rows["weight"].to_numpy(np.float64) / rows["inclusion_probability"].to_numpy(np.float64)
    reference, mapped = _on_legend(admissible, predicted, protocol.crosswalk)
    one = reference != SEVERAL
    ids, names = _classes_that_occur(classes, reference[one], mapped[one])
    found = estimate_accuracy(reference[one], mapped[one], ids, clusters[one], weights[one])
    agrees = agrees_with_any(predicted, admissible)
    bins = reliability_bins(rows["confidence"].to_numpy(np.float64), agrees, weights)
    summary = {
        "protocol": protocol.name,
        "split": protocol.split,
        "legend": protocol.legend,
        "population": protocol.population,
        "estimator": protocol.estimator,
        "n_samples": int(one.sum()),
        "n_labels": int(rows["label_id"][one].nunique()),
        "n_clusters": found.clusters,
        "n_without_reference": int((~known).sum()),
        "classes": ids,
        "names": names,
        **_measures(found),
        "by_class": _by_class(found, ids, names, rows["label_id"].to_numpy()[one], reference[one]),
        "ece": _plain(calibration_error(bins)),
        "reliability": {name: [_plain(value) for value in values] for name, values in bins.items()},
    }
    if protocol.crosswalk is not None:
        summary |= _agreement(admissible, predicted, protocol.crosswalk, clusters, weights)
        summary["n_of_several_coarse_classes"] = int((~one).sum())
    return summary


def summarise_models(
    predictions: pd.DataFrame, protocols: Sequence[tuple[ProtocolInfo, Sequence[Mapping[str, Any]]]]
) -> dict[str, dict[str, Any]]:
    """`protocols` of a validation manifest: {protocol: {model: summary}}; a protocol without a row is left out.

    Args:
        predictions: Of any number of models, columns `COLUMNS`.
        protocols: Each with the classes of its legend.
    """
    result: dict[str, dict[str, Any]] = {}
    for protocol, classes in protocols:
        part = predictions[predictions["split"] == protocol.split]
        if len(part):
            result[protocol.name] = {
                str(model): summarise_protocol(rows, classes, protocol) for model, rows in part.groupby("model", sort=True)
            }
    return result


def _rows_of(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    missing = sorted(set(_USED) - set(predictions.columns))
    if missing:
        raise MissingError(f"needed predictions with the columns {', '.join(_USED)}, found none of {', '.join(missing)}; validate again")
    rows = predictions[predictions["split"] == split]
    if "model" in rows and rows["model"].nunique() > 1:
        raise FormatError(f"needed predictions of one model, found {sorted(rows['model'].unique())}; take them one by one")
    probability = rows["inclusion_probability"].to_numpy(np.float64)
    if not np.all((probability > 0) & (probability <= 1)):
        raise FormatError("needed inclusion probabilities in 0..1], found others; draw the sample set again")
    return rows


def _admissible(rows: pd.DataFrame) -> list[frozenset[int]]:
    """Classes that each row's reference may stand for: its one class, or its list; empty where it has neither."""
    result = []
    for single, several in zip(rows["class_id"], rows["class_ids"], strict=True):
        many = [] if several is None or (np.isscalar(several) and several != several) else [int(one) for one in several]
        result.append(frozenset(many) if many else frozenset() if pd.isna(single) else frozenset({int(single)}))
    return result


def _on_legend(
    admissible: Sequence[Collection[int]], predicted: npt.NDArray[np.int64], crosswalk: Mapping[int, Collection[int]] | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Reference and predicted class on the legend of the results; `SEVERAL` where there is not exactly one."""
    if crosswalk is None:
        single = np.array([next(iter(one)) if len(one) == 1 else SEVERAL for one in admissible], np.int64)
        return single, predicted
    return single_coarse_class(admissible, crosswalk, SEVERAL), single_coarse_class([(int(p),) for p in predicted], crosswalk, SEVERAL)


def _classes_that_occur(
    classes: Sequence[Mapping[str, Any]], reference: npt.NDArray[np.int64], mapped: npt.NDArray[np.int64]
) -> tuple[list[int], list[str]]:
    names = {int(one["id"]): str(one["name"]) for one in classes}
    for other in sorted({*reference.tolist(), *mapped.tolist()} - names.keys()):
        names[other] = "several classes" if other == SEVERAL else f"class {other}"
    return list(names), list(names.values())


def _measures(found: AccuracyEstimate) -> dict[str, Any]:
    return {
        "confusion_counts": found.counts.astype(int).tolist(),
        "confusion_estimated": [[_plain(one) for one in row] for row in found.shares],
        **{name: _as_dict(found.overall[name]) for name in OVERALL},
    }


def _by_class(
    found: AccuracyEstimate, ids: Sequence[int], names: Sequence[str], labels: npt.NDArray[Any], reference: npt.NDArray[np.int64]
) -> dict[str, Any]:
    return {
        str(class_id): {
            "name": names[place],
            "users": _as_dict(found.users[place]),
            "producers": _as_dict(found.producers[place]),
            "f1": _as_dict(found.f1[place]),
            "samples": int((reference == class_id).sum()),
            "labels": len(set(labels[reference == class_id])),
        }
        for place, class_id in enumerate(ids)
    }


def _agreement(
    admissible: Sequence[Collection[int]],
    predicted: npt.NDArray[np.int64],
    crosswalk: Mapping[int, Collection[int]],
    clusters: npt.NDArray[Any],
    weights: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """Agreement of all rows: the class itself admissible, and only some coarse class in common."""
    coarse = [{one for class_id in some for one in crosswalk.get(class_id, ())} for some in admissible]
    shared = np.array([not some.isdisjoint(crosswalk.get(int(p), ())) for p, some in zip(predicted, coarse, strict=True)], bool)
    return {
        "agreement": {**_as_dict(estimate_share(agrees_with_any(predicted, admissible), clusters, weights)), "samples": len(predicted)},
        "compatible": {**_as_dict(estimate_share(shared, clusters, weights)), "samples": len(predicted)},
    }


def _as_dict(value: Estimate) -> dict[str, float | None]:
    return {name: _plain(getattr(value, name)) for name in ("estimate", "lower", "upper", "standard_error")}


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
