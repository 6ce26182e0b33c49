"""Accuracy with standard errors and intervals, by the estimator that fits how the reference sample came about.

* Strata are the map's classes: `area_adjusted_accuracy` (Olofsson et al. 2014).
* Strata are declared classes, pixels lie in clusters, inclusion probabilities are known: `estimate_accuracy`.
* No design (analysts' polygons, whole scenes): `bootstrap_clusters`.

Matrices have the reference in rows and the map in columns, as in `eespark.kernels.accuracy`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from eespark.errors import FormatError
from eespark.kernels.accuracy import OVERALL, accuracy_measures, class_positions, share_of, stack_measures

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_CLUSTERS_AT_A_TIME: Final = 4096
_KAPPA: Final = OVERALL.index("kappa")


@dataclass(frozen=True)
class Estimate:
    """One estimate; NaN where it, or its variance, does not exist."""

    estimate: float
    standard_error: float
    lower: float
    upper: float


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracy of a map in a population, estimated from a sample.

    Attributes:
        counts: (classes, classes) samples, unweighted.
        shares: (classes, classes) estimated shares of the population; they add up to 1.
        clusters: Number of clusters that hold a sample.
        overall: Estimates by the names in `OVERALL`.
        users: By class.
        producers: By class.
        f1: By class.
    """

    counts: Floats
    shares: Floats
    clusters: int
    overall: dict[str, Estimate]
    users: tuple[Estimate, ...]
    producers: tuple[Estimate, ...]
    f1: tuple[Estimate, ...]


@dataclass(frozen=True)
class AreaEstimate:
    """Area-adjusted accuracy and areas of a stratified sample; areas in the unit of the mapped areas."""

    shares: Floats
    overall_accuracy: Estimate
    users: tuple[Estimate, ...]
    producers: tuple[Estimate, ...]
    areas: tuple[Estimate, ...]


def estimate_accuracy(
    reference: npt.ArrayLike,
    predicted: npt.ArrayLike,
    classes: npt.ArrayLike,
    clusters: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> AccuracyEstimate:
    """Accuracy from a sample with unequal inclusion probabilities, drawn in clusters.

    Every measure is a function of the estimated matrix (a Hajek estimator: weighted sums over the sum of weights). Its variance
    is the delete-one-cluster jackknife, which covered better than Taylor linearisation for macro-F1 and rare classes with few
    clusters. Intervals are on the logit scale (kappa: its own) with Student's t; degrees of freedom are the clusters that hold
    the class, less one. Where the sample is all right or all wrong, the interval is the exact binomial one of as many draws as
    there are clusters. No correction for a finite population: intervals are a little wide where much of it was sampled.

    Args:
        reference: (n,) class ids.
        predicted: (n,) class ids.
        classes: (classes,) class ids; samples with any other id are left out.
        clusters: (n,) name of the cluster of each sample: the ground block, the parcel, the point.
        weights: (n,) inverse inclusion probability times survey weight; equal by default.
        level: Of the intervals.

    Raises:
        FormatError: Weights that are not positive numbers.

    Source: Stehman 2014, 10.1080/01431161.2014.930207 (inverse probabilities); Wolter 2007, Introduction to Variance
    Estimation, 4.5 (jackknife over primary units); Korn and Graubard 1998 (intervals at 0 and 1).
    """
    size = len(np.asarray(classes))
    row, col = class_positions(reference, classes), class_positions(predicted, classes)
    known = (row >= 0) & (col >= 0)
    weight = _checked_weights(weights, len(row))[known]
    cell = (row * size + col)[known]
    names, cluster = np.unique(np.asarray(clusters)[known], return_inverse=True)
    counts = np.bincount(cell, minlength=size**2).reshape(size, size).astype(np.float64)
    total = np.asarray(np.bincount(cell, weights=weight, minlength=size**2), np.float64).reshape(size, size)
    values = stack_measures(total)
    variance, holding = _jackknife(cell, cluster, weight, total, len(names))
    found = _intervals(values, np.sqrt(variance), holding, level)
    whole, rest = len(OVERALL), [found[len(OVERALL) + i * size : len(OVERALL) + (i + 1) * size] for i in range(3)]
    return AccuracyEstimate(
        counts, share_of(total, total.sum()), len(names), dict(zip(OVERALL, found[:whole], strict=True)), *(tuple(part) for part in rest)
    )


def estimate_share(agrees: npt.ArrayLike, clusters: npt.ArrayLike, weights: npt.ArrayLike | None = None, level: float = 0.95) -> Estimate:
    """Share of a population for which something holds, from a weighted sample in clusters.

    Args:
        agrees: (n,) whether it holds for the sample.
        clusters: (n,) cluster of each sample.
        weights: (n,) inverse inclusion probability times survey weight; equal by default.
        level: Of the interval.

    Source: As `estimate_accuracy`, of which this is the overall accuracy.
    """
    right = np.asarray(agrees, bool)
    found = estimate_accuracy(np.ones(len(right), np.int64), right.astype(np.int64), [0, 1], clusters, weights, level)
    return found.overall["overall_accuracy"]


def area_adjusted_accuracy(counts: npt.ArrayLike, mapped_areas: npt.ArrayLike, level: float = 0.95) -> AreaEstimate:
    """Accuracy and areas from a random sample within each class of the map.

    Args:
        counts: (classes, classes) samples, rows reference, columns map: the transpose of the paper's table 8.
        mapped_areas: (classes,) area that the map gives each class, any unit.
        level: Of the intervals, which are the paper's: normal, not cut at 0 and 1.

    Raises:
        FormatError: Shapes that do not go together, or a mapped class with fewer than two samples.

    Source: Olofsson et al. 2014, 10.1016/j.rse.2014.02.015, equations 1 to 11.
    """
    sampled, areas = np.asarray(counts, np.float64).T, np.asarray(mapped_areas, np.float64)
    if sampled.shape != (len(areas), len(areas)):
        raise FormatError(f"needed a square matrix for {len(areas)} mapped areas, found {sampled.shape}; use the same classes in both")
    n = sampled.sum(axis=1)
    if np.any((areas > 0) & (n < 2)):
        few = np.flatnonzero((areas > 0) & (n < 2)).tolist()
        raise FormatError(f"needed two samples or more in each mapped class, found fewer in those at {few}; sample them or merge classes")
    total, weight = areas.sum(), areas / areas.sum()
    within = np.nan_to_num(share_of(sampled, n[:, None]))
    shares = weight[:, None] * within  # equation 4
    found = accuracy_measures(shares.T)
    users, producers, less = np.nan_to_num(found.users), found.producers, np.maximum(n - 1, 1)
    spread = users * (1 - users) / less
    variance_overall = np.sum(weight**2 * spread)  # equation 5
    variance_users = np.where(n > 1, spread, np.nan)  # equation 6
    binomial = areas[:, None] ** 2 * within * (1 - within) / less[:, None]
    others = binomial.sum(axis=0) - np.diag(binomial)
    column = (areas[:, None] * within).sum(axis=0)
    variance_producers = share_of(areas**2 * (1 - producers) ** 2 * spread + producers**2 * others, column**2)  # equation 7
    variance_area = np.sum((weight[:, None] * shares - shares**2) / less[:, None], axis=0)  # equation 10
    z = float(stats.norm.ppf(0.5 + level / 2))
    return AreaEstimate(
        shares.T,
        _normal(float(found.overall_accuracy), variance_overall, z),
        tuple(map(_normal, found.users, variance_users, [z] * len(n))),
        tuple(map(_normal, producers, variance_producers, [z] * len(n))),
        tuple(map(_normal, total * shares.sum(axis=0), total**2 * variance_area, [z] * len(n))),  # equations 9 and 11
    )


def bootstrap_clusters(
    totals: npt.ArrayLike, statistic: Callable[[Floats], Any], replicates: int, rng: np.random.Generator, level: float = 0.95
) -> list[Estimate]:
    """Estimates of a statistic of summed totals, by drawing whole clusters with replacement; percentile intervals.

    Args:
        totals: (clusters, ...) totals of each scene or cluster, e.g. one matrix each.
        statistic: Of a stack (n, ...) of summed totals, to (n, k), e.g. `stack_measures`.
        replicates: Draws.
        rng: Source of the draws.
        level: Of the intervals.

    Returns:
        k estimates; replicates where the statistic is NaN (a class that was not drawn) are left out of its interval.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, 13.3; Rao and Wu 1988 on drawing primary units.
    """
    values = np.asarray(totals, np.float64)
    flat = values.reshape(len(values), -1)
    draws = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=replicates)
    drawn = np.asarray(statistic((draws @ flat).reshape(replicates, *values.shape[1:])), np.float64)
    full = np.asarray(statistic(values.sum(axis=0)[None]), np.float64)[0]
    return [_percentiles(float(one), column[np.isfinite(column)], level) for one, column in zip(full, drawn.T, strict=True)]


def agrees_with_any(predicted: npt.ArrayLike, admissible: Sequence[Collection[int]]) -> npt.NDArray[np.bool_]:
    """Whether each predicted class is among those that its reference may stand for."""
    return np.fromiter((int(one) in some for one, some in zip(np.asarray(predicted), admissible, strict=True)), bool, len(admissible))


def single_coarse_class(admissible: Sequence[Collection[int]], crosswalk: Mapping[int, Collection[int]], several: int) -> Ints:
    """The one coarse class that all admissible classes of a row lead to, or `several` where they lead to more, or to none.

    Args:
        admissible: Classes that each row may stand for.
        crosswalk: Class -> coarse classes that it may stand for.
        several: What stands for more than one class, and for none.
    """
    found = np.full(len(admissible), several, np.int64)
    for place, some in enumerate(admissible):
        coarse = {one for class_id in some for one in crosswalk.get(int(class_id), ())}
        if len(coarse) == 1 and all(int(class_id) in crosswalk for class_id in some):
            found[place] = coarse.pop()
    return found


def _checked_weights(weights: npt.ArrayLike | None, count: int) -> Floats:
    if weights is None:
        return np.ones(count)
    values = np.asarray(weights, np.float64)
    if not np.all(np.isfinite(values) & (values > 0)):
        raise FormatError(
            f"needed weights above 0, found {values[~(np.isfinite(values) & (values > 0))][:3].tolist()}; mend the sample set"
        )
    return values


def _jackknife(cell: Ints, cluster: Ints, weight: Floats, total: Floats, clusters: int) -> tuple[Floats, Ints]:
    """Variance of each measure, and how many clusters hold what it measures; a few clusters at a time in memory."""
    size = len(total)
    full = stack_measures(total)
    squares, holding = np.zeros(len(full)), np.zeros(len(full), np.int64)
    order = np.argsort(cluster, kind="stable")
    cell, cluster, weight = cell[order], cluster[order], weight[order]
    for start in range(0, clusters, _CLUSTERS_AT_A_TIME):
        count = min(_CLUSTERS_AT_A_TIME, clusters - start)
        rows = slice(*np.searchsorted(cluster, [start, start + count]))
        place = (cluster[rows] - start) * size**2 + cell[rows]
        own = np.bincount(place, weights=weight[rows], minlength=count * size**2).reshape(count, size, size)
        # Cells that only one cluster holds must become 0, not what rounding leaves of them.
        left = np.where(own >= total * (1 - 1e-12), 0.0, total - own)
        squares += ((stack_measures(left) - full) ** 2).sum(axis=0)
        mapped, true = (own.sum(axis=1) > 0).sum(axis=0), (own.sum(axis=2) > 0).sum(axis=0)
        either = ((own.sum(axis=1) > 0) | (own.sum(axis=2) > 0)).sum(axis=0)
        holding += np.concatenate([np.full(len(OVERALL), count), mapped, true, either])
    return squares * (clusters - 1) / max(clusters, 1), holding


def _intervals(values: Floats, errors: Floats, holding: Ints, level: float) -> list[Estimate]:
    return [
        _interval(float(value), float(error), int(n), level, bounded=place != _KAPPA)
        for place, (value, error, n) in enumerate(zip(values, errors, holding, strict=True))
    ]


def _interval(value: float, error: float, holding: int, level: float, bounded: bool) -> Estimate:
    """Interval of one measure; NaN where one cluster alone holds it, for then nothing tells how it varies."""
    nothing = float("nan")
    if not np.isfinite(value) or not np.isfinite(error):
        return Estimate(value, nothing, nothing, nothing)
    if bounded and (value <= 0 or value >= 1):
        tail = ((1 - level) / 2) ** (1 / holding)
        return Estimate(value, error, 0.0 if value <= 0 else tail, 1.0 if value >= 1 else 1 - tail)
    reach = float(stats.t.ppf(0.5 + level / 2, holding - 1)) * error
    if not bounded:
        return Estimate(value, error, max(value - reach, -1.0), min(value + reach, 1.0))
    centre, half = np.log(value / (1 - value)), reach / (value * (1 - value))
    # tanh is the logistic function without overflow.
    return Estimate(value, error, float(0.5 + 0.5 * np.tanh((centre - half) / 2)), float(0.5 + 0.5 * np.tanh((centre + half) / 2)))


def _normal(value: float, variance: float, z: float) -> Estimate:
    error = float(np.sqrt(variance))
    return Estimate(float(value), error, float(value - z * error), float(value + z * error))


def _percentiles(value: float, drawn: Floats, level: float) -> Estimate:
    if len(drawn) < 2:
        return Estimate(value, *[float("nan")] * 3)
    lower, upper = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(drawn.std(ddof=1)), float(lower), float(upper))
