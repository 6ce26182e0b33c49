"""Statistics of backscatter in decibels, and how it falls with the incidence angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eespark.kernels.sar import decibels

Floats = npt.NDArray[np.float64]
_LEAST_VARIANCE: Final = 1e-6


@dataclass(frozen=True)
class Moments:
    """Sums over looks, of which those of two sets add up.

    Attributes:
        count: Looks.
        angle: Sum of degrees.
        angle_squared: Sum of degrees squared.
        band: (bands,) sum of decibels.
        band_angle: (bands,) sum of decibels times degrees.
        band_band: (bands, bands) sum of products of decibels.
    """

    count: float
    angle: float
    angle_squared: float
    band: Floats
    band_angle: Floats
    band_band: Floats

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def flat(self) -> list[float]:
        """All sums in a row, for a table."""
        return [
            self.count,
            self.angle,
            self.angle_squared,
            *self.band.tolist(),
            *self.band_angle.tolist(),
            *self.band_band.ravel().tolist(),
        ]


def moments_from(flat: Sequence[float], bands: int) -> Moments:
    """The sums in a row of `Moments.flat`."""
    values = np.asarray(flat, np.float64)
    band, band_angle, products = np.split(values[3:], [bands, 2 * bands])
    return Moments(float(values[0]), float(values[1]), float(values[2]), band, band_angle, products.reshape(bands, bands))


def moments_of(power: npt.NDArray[Any], degrees: npt.NDArray[Any]) -> Moments:
    """Sums over looks.

    Args:
        power: (n, bands) sigma nought, linear.
        degrees: (n,) incidence.
    """
    values, angle = np.asarray(decibels(power), np.float64), np.asarray(degrees, np.float64)
    return Moments(float(len(angle)), float(angle.sum()), float(angle @ angle), values.sum(axis=0), values.T @ angle, values.T @ values)


def moments_by_class(sigma: npt.NDArray[Any], degrees: npt.NDArray[Any], class_id: npt.NDArray[Any]) -> dict[int, Moments]:
    """Sums over the looks of patches, class by class.

    Args:
        sigma: (n, size, size, bands) linear.
        degrees: (n, size) incidence by column.
        class_id: (n,) of patches, or (n, size, size) of looks.
    """
    bands = sigma.shape[3]
    angle = np.broadcast_to(degrees[:, None, :], sigma.shape[:3])
    kinds = {int(one): class_id == one for one in np.unique(class_id)}
    return {one: moments_of(sigma[mine].reshape(-1, bands), angle[mine].ravel()) for one, mine in kinds.items()}


def add_moments(sums: dict[int, Moments], more: Mapping[int, Moments]) -> None:
    """Add sums by class to those that are there."""
    for class_id, one in more.items():
        sums[class_id] = sums[class_id] + one if class_id in sums else one


def common_slope(by_class: Sequence[Moments]) -> Floats:
    """(bands,) decibels a degree of all classes together: least squares with a mean of its own for each class.

    Without the means of the classes, a class that was met at steep angles alone would bend the slope.

    Source: analysis of covariance with parallel lines (Fisher 1932, Statistical Methods for Research Workers, section 49.1).
    """
    together = np.sum([one.band_angle - one.band * one.angle / one.count for one in by_class if one.count], axis=0)
    spread = float(np.sum([one.angle_squared - one.angle**2 / one.count for one in by_class if one.count]))
    return np.asarray(together / spread) if spread > _LEAST_VARIANCE else np.zeros_like(together)


def statistics_of(by_class: Sequence[Moments]) -> dict[str, Any]:
    """Normalisation of a training set, from sums over its looks by class.

    Returns:
        mean, std (decibels), slope (decibels a degree), flat_std (decibels without the slope), by band; incidence_mean, incidence_std.
    """
    whole = by_class[0]
    for one in by_class[1:]:
        whole = whole + one
    count, slope = whole.count, common_slope(by_class)
    mean, angle = whole.band / count, whole.angle / count
    angle_variance = max(whole.angle_squared / count - angle**2, _LEAST_VARIANCE)
    variance = np.maximum(np.diag(whole.band_band) / count - mean**2, _LEAST_VARIANCE)
    covariance = whole.band_angle / count - mean * angle
    flat = np.maximum(variance - 2 * slope * covariance + slope**2 * angle_variance, _LEAST_VARIANCE)
    return {
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "slope": slope.tolist(),
        "flat_std": np.sqrt(flat).tolist(),
        "incidence_mean": float(angle),
        "incidence_std": float(np.sqrt(angle_variance)),
    }


@dataclass(frozen=True)
class SlopeClassifier:
    """Bayes' rule on decibels whose class means are lines over the incidence angle, with one covariance for each class.

    Attributes:
        offset: (classes, bands) decibels at 0 degrees.
        slope: (classes, bands) decibels a degree.
        precision: (classes, bands, bands) inverse covariance.
        log_weight: (classes,) log of prior over the root of the covariance's determinant.

    Source: Lohse, Doulgeris and Dierking 2020, Mapping sea-ice types from Sentinel-1 considering the surface-type dependent effect of
    incidence angle (10.1017/aog.2020.45), equations 2 to 5.
    """

    offset: Floats
    slope: Floats
    precision: Floats
    log_weight: Floats

    def log_likelihood(self, power: npt.NDArray[Any], degrees: npt.NDArray[Any]) -> Floats:
        """(n, classes) log of prior times density, but for a constant.

        Args:
            power: (n, bands) sigma nought, linear.
            degrees: (n,) incidence.
        """
        expected = self.offset[None] + self.slope[None] * np.asarray(degrees, np.float64)[:, None, None]
        apart = np.asarray(decibels(power), np.float64)[:, None, :] - expected
        return np.asarray(self.log_weight[None] - 0.5 * np.einsum("ncb,cbd,ncd->nc", apart, self.precision, apart))


def fit_slopes(by_class: Sequence[Moments]) -> SlopeClassifier:
    """The classifier of the sums over each class's looks; priors are equal, as the classes of a training set are not those of a scene.

    Args:
        by_class: All with looks.
    """
    lines, precisions, weights = [], [], []
    for one in by_class:
        spread = one.angle_squared - one.angle**2 / one.count
        together = one.band_angle - one.band * one.angle / one.count
        slope = together / spread if spread > _LEAST_VARIANCE else np.zeros_like(together)
        products = one.band_band - np.outer(one.band, one.band) / one.count
        covariance = (products - np.outer(slope, together)) / one.count + _LEAST_VARIANCE * np.eye(len(slope))
        lines.append((one.band / one.count - slope * one.angle / one.count, slope))
        precisions.append(np.linalg.inv(covariance))
        weights.append(-0.5 * np.linalg.slogdet(covariance)[1])
    offset, slopes = (np.stack([line[i] for line in lines]) for i in (0, 1))
    return SlopeClassifier(offset, slopes, np.stack(precisions), np.asarray(weights))
