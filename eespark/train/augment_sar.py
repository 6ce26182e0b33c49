"""Random changes of patches that a radar allows: arrays and a Generator in, new arrays out."""

from __future__ import annotations

import numpy as np

from eespark.train.augment import Batch, Floats, mixed_targets
from eespark.train.settings import SarAugmentSettings


def augment_patches(batch: Batch, settings: SarAugmentSettings, slope: Floats, rng: np.random.Generator) -> Batch:
    """The batch of patches with all changes that the settings ask for, in a fixed order.

    Args:
        batch: As read: sigma linear, incidence in degrees.
        settings: Which changes and how strong.
        slope: (bands,) decibels a degree, of all classes together.
        rng: Source of all chance.
    """
    if settings.mixup > 0:
        batch = mix_patches(batch, settings.mixup, rng)
    if settings.flip_azimuth:
        batch = flip_lines(batch, rng)
    sigma, incidence = batch.inputs["sigma"], batch.inputs["incidence"]
    if settings.incidence_deg > 0:
        sigma, incidence = shift_incidence(sigma, incidence, settings.incidence_deg, slope, rng)
    if settings.gain_db > 0:
        sigma = change_gain(sigma, settings.gain_db, rng)
    if settings.noise_floor > 0:
        sigma = move_noise_floor(sigma, settings.noise_floor, rng)
    if settings.speckle_looks is not None:
        sigma = add_speckle(sigma, settings.speckle_looks, rng)
    return Batch({"sigma": sigma, "incidence": incidence}, batch.target, batch.weight)


def flip_lines(batch: Batch, rng: np.random.Generator) -> Batch:
    """About half of the patches with their lines in reverse order: along azimuth alone, for range decides what a radar sees."""
    turned = rng.random(len(batch.weight)) < 0.5

    def flipped(values: Floats) -> Floats:
        return np.where(turned.reshape(-1, *[1] * (values.ndim - 1)), values[:, ::-1], values)

    inputs = {**batch.inputs, "sigma": flipped(batch.inputs["sigma"])}
    by_look = batch.target.ndim == 4
    return Batch(inputs, *((flipped(one) if by_look else one) for one in (batch.target, batch.weight)))


def shift_incidence(
    sigma: Floats, incidence: Floats, deviation_deg: float, slope: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Patches as if seen at another angle: one offset a patch, by which power falls as it does over all classes."""
    offset = (deviation_deg * rng.standard_normal(len(sigma))).astype(np.float32)
    factor = 10 ** (offset[:, None] * slope[None, :] / 10)
    return np.asarray(sigma * factor[:, None, None, :], np.float32), incidence + offset[:, None]


def change_gain(sigma: Floats, deviation_db: float, rng: np.random.Generator) -> Floats:
    """Power times one factor a patch and band: water under another wind, another calibration; texture stays, brightness decides less.

    Args:
        sigma: (n, size, size, bands) linear.
        deviation_db: Of the factor, decibels.
        rng: Source of it.
    """
    gain = deviation_db * rng.standard_normal((len(sigma), 1, 1, sigma.shape[3]), dtype=np.float32)
    return np.asarray(sigma * 10 ** (gain / 10), np.float32)


def move_noise_floor(sigma: Floats, deviation: float, rng: np.random.Generator) -> Floats:
    """Power plus one offset a patch and band, as where the annotated noise is not that of the instrument.

    Args:
        sigma: (n, size, size, bands) linear.
        deviation: Of the offset, linear.
        rng: Source of it.
    """
    offset = deviation * rng.standard_normal((len(sigma), 1, 1, sigma.shape[3]), dtype=np.float32)
    return np.asarray(sigma + offset, np.float32)


def add_speckle(sigma: Floats, looks: float, rng: np.random.Generator) -> Floats:
    """Power times noise of mean 1 and variance 1 / looks: another realisation of speckle upon the one that is there.

    Source: Ulaby, Moore and Fung 1982, Microwave Remote Sensing II, section 7-2: multi-look power is gamma distributed.
    """
    return np.asarray(sigma * rng.gamma(looks, 1 / looks, sigma.shape).astype(np.float32), np.float32)


def mix_patches(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Each patch mixed with another of the batch in power, as where a look holds two kinds; targets and weights mixed alike.

    Source: Zhang et al. 2018, mixup, equation 1; weights from Beta(alpha, alpha).
    """
    count = len(batch.weight)
    partner, share = rng.permutation(count), rng.beta(alpha, alpha, count).astype(np.float32)
    sigma, incidence = batch.inputs["sigma"], batch.inputs["incidence"]
    mixed = share[:, None, None, None] * sigma + (1 - share[:, None, None, None]) * sigma[partner]
    angle = share[:, None] * incidence + (1 - share[:, None]) * incidence[partner]
    return Batch({"sigma": mixed, "incidence": angle}, *mixed_targets(batch, partner, share))
