"""Random changes of training series: arrays and a Generator in, new arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eespark.train.resample import interpolate
from eespark.train.settings import AugmentSettings

Floats = npt.NDArray[np.float32]
_LEAST_DATES = 3
_YEAR = 365.25


@dataclass(frozen=True)
class Batch:
    """What one training step sees: the network's inputs by name, (n, ...) each, target (n, classes), weight (n,).

    Of patches labelled by look, target is (n, size, size, classes) and weight (n, size, size), 0 where no class is known.

    Inputs of series are reflectance (n, time, bands) x 10,000, valid and day (n, time); of patches sigma (n, size, size, bands), linear,
    and incidence (n, size), degrees.
    """

    inputs: dict[str, Floats]
    target: Floats
    weight: Floats


def augment(batch: Batch, settings: AugmentSettings, scale: float, rng: np.random.Generator) -> Batch:
    """The batch of series with all changes that the settings ask for, in a fixed order.

    Args:
        batch: As read.
        settings: Which changes and how strong.
        scale: Stored reflectance of 1.
        rng: Source of all chance.
    """
    if settings.mixup > 0:
        batch = mix_up(batch, settings.mixup, rng)
    reflectance, valid, day = (batch.inputs[name] for name in ("reflectance", "valid", "day"))
    if settings.temporal_dropout > 0:
        valid = drop_dates(valid, settings.temporal_dropout, rng)
    if settings.time_warp_days > 0:
        day = warp_days(day, settings.time_warp_days, rng)
    if settings.band_gain > 0 or settings.band_noise > 0:
        reflectance = disturb_bands(reflectance, settings.band_gain, settings.band_noise * scale, rng)
    return Batch({"reflectance": reflectance, "valid": valid, "day": day}, batch.target, batch.weight)


def drop_dates(valid: Floats, share: float, rng: np.random.Generator) -> Floats:
    """The mask with about `share` of the valid dates taken out; a series left with fewer than three keeps all of its own."""
    kept = valid * (rng.random(valid.shape) >= share)
    enough = kept.sum(axis=1, keepdims=True) >= _LEAST_DATES
    return np.asarray(np.where(enough, kept, valid), np.float32)


def warp_days(day: Floats, largest_days: float, rng: np.random.Generator) -> Floats:
    """Days moved by one smooth wave a series, of at most `largest_days`; their order stays.

    A wave of amplitude a over a year changes by at most 2 pi a / 365.25 days a day, below 1 for a below 58: so order stays.
    """
    amplitude = rng.uniform(-largest_days, largest_days, (day.shape[0], 1))
    phase = rng.uniform(0, 2 * np.pi, (day.shape[0], 1))
    return np.asarray(day + amplitude * np.sin(2 * np.pi * day / _YEAR + phase), np.float32)


def disturb_bands(reflectance: Floats, gain: float, noise: float, rng: np.random.Generator) -> Floats:
    """Reflectance times one factor a series and band, plus noise on each value.

    Args:
        reflectance: (n, time, bands).
        gain: Standard deviation of the factor around 1.
        noise: Standard deviation in the unit of `reflectance`.
        rng: Source of both.
    """
    factor = 1 + gain * rng.standard_normal((reflectance.shape[0], 1, reflectance.shape[2]), dtype=np.float32)
    return np.asarray(reflectance * factor + np.float32(noise) * rng.standard_normal(reflectance.shape, dtype=np.float32), np.float32)


def mix_up(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Each series mixed with another of the batch, the other interpolated to its dates; target and weight mixed alike.

    A partner without a valid date changes nothing.

    Source: Zhang et al. 2018, mixup, equation 1; weights from Beta(alpha, alpha).
    """
    count = len(batch.weight)
    partner = rng.permutation(count)
    reflectance, valid, day = (batch.inputs[name] for name in ("reflectance", "valid", "day"))
    usable = valid[partner].any(axis=1)
    share = np.where(usable, rng.beta(alpha, alpha, count), 1.0).astype(np.float32)
    other = interpolate(day[partner], valid[partner] > 0, reflectance[partner], day)
    other = np.where(usable[:, None, None], other, 0).astype(np.float32)
    mixed = share[:, None, None] * reflectance + (1 - share[:, None, None]) * other
    return Batch({"reflectance": mixed, "valid": valid, "day": day}, *mixed_targets(batch, partner, share))


def mixed_targets(batch: Batch, partner: npt.NDArray[np.int64], share: Floats) -> tuple[Floats, Floats]:
    """Targets and weights of rows that keep `share` (n,) of themselves and take the rest from their partners (n,)."""

    def mixed(values: Floats) -> Floats:
        own = share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(own * values + (1 - own) * values[partner], np.float32)

    return mixed(batch.target), mixed(batch.weight)
