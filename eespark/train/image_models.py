"""Classifiers of patches of radar scenes, as Keras functional models.

All take `sigma` (batch, lines, samples, bands), sigma nought in linear power, NaN where there is none, and `incidence` (batch, samples),
degrees; both float32. Decibels, their normalisation and the incidence angle are dealt with inside the graph, so that a bundle needs nothing
but its model. They give `logits` and `features`: (batch, classes) and (batch, features) of a patch, or, where a network is dense,
(batch, lines, samples, ...) of every look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from eespark.errors import ManifestError
from eespark.kernels.sar import FLOOR_DB
from eespark.train.models import StatelessDropout
from eespark.train.segmenter import OUTPUT_STRIDE, reach_of, segmenter_body
from eespark.train.settings import ImageModelSettings
from eespark.train.vgg_weights import load_imagenet

_BLOCKS: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Filters and convolutions of VGG-16's blocks (Simonyan and Zisserman 2015, arXiv:1409.1556, table 1, column D)."""
DENSE: Final = frozenset({"vgg16_nopool", "ice_segmenter"})
"""Networks that say something of every look."""


@dataclass(frozen=True)
class Decibels:
    """Normalisation of one training set, by band.

    Attributes:
        mean: Decibels.
        std: Decibels.
        flat_std: Decibels, once the slope is taken off.
        slope: Decibels a degree, within classes.
        incidence: Mean and deviation of the angle, degrees; the slope is taken off about that mean.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flat_std: tuple[float, ...]
    slope: tuple[float, ...]
    incidence: tuple[float, float]


def decibels_of(manifest: Mapping[str, Any]) -> Decibels:
    """The normalisation in the manifest of a training set of patches.

    Raises:
        ManifestError: Statistics that do not fit the bands, or are not finite and positive.
    """
    told, count = manifest["statistics"], len(manifest["bands"])
    try:
        names = ("mean", "std", "flat_std", "slope")
        by_band = {name: tuple(float(one) for one in told[name]) for name in names}
        angle = (float(told["incidence_mean"]), float(told["incidence_std"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"needed statistics of patches, found {told}; rebuild the training set") from error
    numbers = [*angle, *(one for values in by_band.values() for one in values)]
    spreads = [angle[1], *by_band["std"], *by_band["flat_std"]]
    if any(len(one) != count for one in by_band.values()) or not np.all(np.isfinite(numbers)) or min(spreads) <= 0:
        raise ManifestError(f"needed finite statistics of {count} bands, deviations above 0, found {told}; rebuild the training set")
    return Decibels(by_band["mean"], by_band["std"], by_band["flat_std"], by_band["slope"], angle)


def build_image_model(settings: ImageModelSettings, decibels: Decibels, size: int, classes: int) -> Any:
    """The classifier, with new weights by TensorFlow's global seed, or with those of a file in its first layers.

    Features of a dense network are those of its cells, `output_stride` looks wide.

    Args:
        settings: Architecture and sizes.
        decibels: Normalisation by band.
        size: Looks of a patch's side; dense networks take any.
        classes: Number of classes.

    Returns:
        A `tf.keras.Model` from a dict of the two inputs to a dict of the two outputs.

    Raises:
        MissingError, FormatError: The file of weights is not there, or not one of VGG-16.
    """
    side = None if settings.name in DENSE else size
    sigma = tf.keras.Input((side, side, len(decibels.mean)), name="sigma")
    incidence = tf.keras.Input((side,), name="incidence")
    values = MODELS[settings.name](settings, _normalised(sigma, incidence, decibels, settings.incidence), size)
    values = StatelessDropout(settings.dropout)(values)
    if settings.name in DENSE:
        features = tf.keras.layers.Conv2D(settings.features, 1, activation="relu", name="features")(values)
        logits = tf.keras.layers.Conv2D(classes, 1, name="logits")(StatelessDropout(settings.dropout)(features))
        if output_stride(settings.name) > 1:
            logits = tf.keras.layers.UpSampling2D(output_stride(settings.name), interpolation="bilinear", name="looks")(logits)
    else:
        features = tf.keras.layers.Dense(settings.features, activation="relu", name="features")(tf.keras.layers.Flatten()(values))
        logits = tf.keras.layers.Dense(classes, name="logits")(StatelessDropout(settings.dropout)(features))
    model = tf.keras.Model({"sigma": sigma, "incidence": incidence}, {"logits": logits, "features": features}, name=settings.name)
    if settings.name == "vgg16_transfer":
        load_imagenet(model, str(settings.weights), settings.rgb, settings.frozen_layers)
    return model


def receptive_looks(settings: ImageModelSettings, size: int) -> int:
    """Side (looks) of what one output of a network sees: the patch, or of a dense one what its convolutions reach."""
    if settings.name == "ice_segmenter":
        return reach_of(settings.rates)
    return 1 + 2 * sum(number for _, number in _BLOCKS) if settings.name in DENSE else size


def output_stride(name: str) -> int:
    """Looks of the side of what a network decides on as a whole; what it is given has sides of a multiple."""
    return OUTPUT_STRIDE if name == "ice_segmenter" else 1


def pools_of(name: str, size: int) -> int:
    """How many poolings a network has at patches of a size: as many as leave a look, and no more than are published."""
    published = {"ice_cnn": 3, "vgg16_nopool": 0, "ice_segmenter": 1}.get(name, len(_BLOCKS))
    return min(published, int(math.log2(size)))


def _normalised(sigma: Any, incidence: Any, decibels: Decibels, angle: str) -> Any:
    """(batch, lines, samples, channels): normalised decibels, 0 where there are none, and where asked the normalised angle."""
    middle, spread = decibels.incidence
    floor = 10.0 ** (FLOOR_DB / 10)
    missing = tf.math.is_nan(sigma)
    # NaN is no number to compare with: it is replaced first.
    values = tf.math.log(tf.maximum(tf.where(missing, floor, sigma), floor)) * (10.0 / math.log(10.0))
    degrees = (incidence - middle)[:, None, :, None]
    std = list(decibels.std)
    if angle == "slope":
        values, std = values - degrees * list(decibels.slope), list(decibels.flat_std)
    values = tf.where(missing, 0.0, (values - list(decibels.mean)) / std)
    if angle != "channel":
        return values
    return tf.concat([values, degrees / spread + tf.zeros_like(values[..., :1])], axis=-1)


def _convolution(values: Any, filters: int, width: float, name: str) -> Any:
    layer = tf.keras.layers.Conv2D
    made = layer(max(round(filters * width), 1), 3, padding="same", activation="relu", kernel_initializer="he_uniform", name=name)
    return made(values)


def _ice_cnn(settings: ImageModelSettings, values: Any, size: int) -> Any:
    for number, filters in enumerate((32, 64, 128)):
        values = _convolution(values, filters, settings.width, f"conv{number + 1}")
        if number < pools_of("ice_cnn", size):
            values = tf.keras.layers.MaxPooling2D()(values)
    return values


def _vgg16(settings: ImageModelSettings, values: Any, size: int) -> Any:
    pools = pools_of(settings.name, size)
    for block, (filters, convolutions) in enumerate(_BLOCKS):
        for number in range(convolutions):
            values = _convolution(values, filters, settings.width, f"block{block + 1}_conv{number + 1}")
        if block < pools:
            values = tf.keras.layers.MaxPooling2D()(values)
    return values


MODELS: dict[str, Callable[[ImageModelSettings, Any, int], Any]] = {
    "ice_cnn": _ice_cnn,
    "vgg16_scratch": _vgg16,
    "vgg16_transfer": _vgg16,
    "vgg16_nopool": _vgg16,
    "ice_segmenter": lambda settings, values, _: segmenter_body(values, settings.width, settings.rates),
}
