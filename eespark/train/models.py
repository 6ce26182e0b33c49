"""Classifiers of reflectance series, as Keras functional models.

All take the raw series and do the rest inside the graph, so that a bundle needs nothing but its model:
`reflectance` (batch, time, bands) x 10,000, `valid` (batch, time) 0 or 1, `day` (batch, time) days since the
first day of the crop year; all float32. They give `logits` (batch, classes) and `features` (batch, features).

What stands under `valid` 0, how often, and how long the padding is, changes nothing: valid dates are moved to the
front, in order, before anything looks at neighbours. A backward LSTM then reads the same dates moved to the front in
reverse order; so no LSTM needs a mask, which would become a slow loop in ONNX.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from eespark.errors import ManifestError
from eespark.train.settings import ModelSettings

DAYS_A_YEAR = 365.25
_FAR = 1e9  # added to what a softmax or maximum must not see; finite, so that 0 x it is 0


@dataclass(frozen=True)
class Scaling:
    """Normalisation of one training set: reflectance = stored / scale, z = (reflectance - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.mean)


def scaling_of(manifest: Mapping[str, Any]) -> Scaling:
    """The normalisation in a training set's manifest.

    Raises:
        ManifestError: Statistics that do not fit the bands, or are not finite and positive.
    """
    statistics, count = manifest["statistics"], len(manifest["bands"])
    scaling = Scaling(tuple(map(float, statistics["mean"])), tuple(map(float, statistics["std"])), float(manifest["scale"]))
    if len(scaling.mean) != count or len(scaling.std) != count:
        raise ManifestError(f"needed statistics of {count} bands, found {len(scaling.mean)} means and {len(scaling.std)} deviations")
    if not np.all(np.isfinite(scaling.mean)) or not all(np.isfinite(s) and s > 0 for s in scaling.std) or not scaling.scale > 0:
        raise ManifestError(f"needed finite means and deviations above 0, found {statistics}; rebuild the training set")
    return scaling


class StatelessDropout(tf.keras.layers.Layer):  # type: ignore[misc]
    """Dropout whose masks follow from `seed` (2,) alone, so that a resumed run draws what an undisturbed one draws."""

    def __init__(self, rate: float, **named: Any) -> None:
        """Drop a share `rate` of the activations in training."""
        super().__init__(**named)
        self.rate = rate

    def build(self, _: Any) -> None:
        """Create the seed, which is state of the run and no weight."""
        self.seed = tf.Variable([0, 0], trainable=False, dtype=tf.int32, name="seed")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The inputs, or in training their survivors scaled to the same mean."""
        if not training or self.rate == 0:
            return inputs
        mask = tf.nn.experimental.stateless_dropout(tf.ones_like(inputs), self.rate, seed=self.seed)
        with tf.control_dependencies([mask]):
            self.seed.assign_add([0, 1])
        return inputs * mask


def weights_digest(model: Any) -> str:
    """SHA-256 of the trainable weights: equal when the weights are, bit by bit."""
    digest = hashlib.sha256()
    for variable in model.trainable_variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def seed_dropout(model: Any, seed: int) -> None:
    """Set the seeds of all dropout layers of a model."""
    for index, layer in enumerate(one for one in model.layers if isinstance(one, StatelessDropout)):
        layer.seed.assign([seed, index << 20])


def build_model(settings: ModelSettings, scaling: Scaling, classes: int) -> Any:
    """The classifier, with new weights by TensorFlow's global seed.

    Args:
        settings: Architecture and sizes.
        scaling: Normalisation by band.
        classes: Number of classes.

    Returns:
        A `tf.keras.Model` from a dict of the three inputs to a dict of the two outputs.
    """
    reflectance = tf.keras.Input((None, scaling.bands), name="reflectance")
    valid = tf.keras.Input((None,), name="valid")
    day = tf.keras.Input((None,), name="day")
    steps = _encode_steps(reflectance, valid, day, scaling, settings.harmonics)
    pooled = MODELS[settings.name](settings, steps, valid)
    features = tf.keras.layers.Dense(settings.features, activation="relu", name="features")(pooled)
    logits = tf.keras.layers.Dense(classes, name="logits")(StatelessDropout(settings.dropout)(features))
    inputs = {"reflectance": reflectance, "valid": valid, "day": day}
    return tf.keras.Model(inputs, {"logits": logits, "features": features}, name=settings.name)


def _encode_steps(reflectance: Any, valid: Any, day: Any, scaling: Scaling, harmonics: int) -> Any:
    """(batch, time, bands + 2 harmonics): normalised reflectance and the day as sines and cosines, 0 where not valid."""
    # Plain numbers, and right of the operator: tf2onnx takes arrays, or the 1.0 of `1.0 - tensor`, for inputs of the model.
    mean, std = list(scaling.mean), list(scaling.std)
    cycles = [2 * math.pi / DAYS_A_YEAR * number for number in range(1, harmonics + 1)]
    mask = valid[:, :, None]
    # The mask comes first, for a no-data value times 0 is harmless and an infinity times 0 is not.
    normalised = (tf.where(mask > 0, reflectance, 0.0) / scaling.scale - mean) / std
    angle = day[:, :, None] * cycles
    return tf.concat([normalised, tf.sin(angle), tf.cos(angle)], axis=-1) * mask


def _moves(valid: Any) -> tuple[Any, Any, Any]:
    """Matrices (batch, time, time) that move the valid dates to the front in order, in reverse order, and the new mask."""
    count = tf.reduce_sum(valid, axis=1, keepdims=True)
    place = tf.cumsum(valid, axis=1) - 1.0
    steps = tf.cast(tf.range(tf.shape(valid)[1]), tf.float32)[None, :, None]
    forward = _is_zero(place[:, None, :] - steps) * valid[:, None, :]
    backward = _is_zero((count - 1.0 - place)[:, None, :] - steps) * valid[:, None, :]
    front = tf.cast(steps[:, :, 0] < count, tf.float32)
    return forward, backward, front


def _is_zero(value: Any) -> Any:
    return tf.cast(tf.abs(value) < 0.5, tf.float32)


def _pool(steps: Any, mask: Any) -> Any:
    """(batch, 2 units): mean and maximum over the valid dates; zeros where there is none."""
    weights = mask[:, :, None]
    count = tf.reduce_sum(weights, axis=1)
    mean = tf.reduce_sum(steps * weights, axis=1) / tf.maximum(count, 1.0)
    highest = tf.reduce_max(steps * weights + (weights - 1.0) * _FAR, axis=1)
    return tf.concat([mean, tf.where(count > 0, highest, 0.0)], axis=-1)


def _lstm(settings: ModelSettings, steps: Any, valid: Any) -> Any:
    forward, _, front = _moves(valid)
    values = tf.matmul(forward, steps)
    for _ in range(settings.layers):
        values = tf.keras.layers.LSTM(settings.units, return_sequences=True)(StatelessDropout(settings.dropout)(values))
    return _pool(values, front)


def _bilstm(settings: ModelSettings, steps: Any, valid: Any) -> Any:
    forward, backward, front = _moves(valid)
    # From dates in order to dates in reverse order, and back: the matrix is its own inverse on the valid dates.
    reverse = tf.matmul(backward, forward, transpose_b=True)
    values = tf.matmul(forward, steps)
    for _ in range(settings.layers):
        values = StatelessDropout(settings.dropout)(values)
        ahead = tf.keras.layers.LSTM(settings.units, return_sequences=True)(values)
        behind = tf.keras.layers.LSTM(settings.units, return_sequences=True)(tf.matmul(reverse, values))
        values = tf.concat([ahead, tf.matmul(reverse, behind)], axis=-1)
    return _pool(values, front)


def _cnn1d(settings: ModelSettings, steps: Any, valid: Any) -> Any:
    forward, _, front = _moves(valid)
    mask = front[:, :, None]
    values = tf.matmul(forward, steps)
    for index in range(settings.layers):
        new = tf.keras.layers.Conv1D(settings.units, settings.kernel, padding="same")(StatelessDropout(settings.dropout)(values))
        # Layer normalisation keeps no moving statistics: batch normalisation's would differ between ranks and count padding.
        new = tf.nn.relu(tf.keras.layers.LayerNormalization()(new)) * mask
        values = new if index == 0 else values + new
    return _pool(values, front)


def _transformer(settings: ModelSettings, steps: Any, valid: Any) -> Any:
    dense, normalise = tf.keras.layers.Dense, tf.keras.layers.LayerNormalization
    values = dense(settings.units)(steps)
    for _ in range(settings.layers):
        values = values + StatelessDropout(settings.dropout)(_attend(settings, normalise()(values), valid))
        hidden = dense(2 * settings.units, activation="relu")(normalise()(values))
        values = values + StatelessDropout(settings.dropout)(dense(settings.units)(hidden))
    return _pool(normalise()(values), valid)


def _attend(settings: ModelSettings, values: Any, valid: Any) -> Any:
    """Self-attention over the valid dates, by dense layers and matrix products: Keras' own becomes a slow einsum in ONNX."""
    size = settings.units // settings.heads

    def split(one: Any) -> Any:
        return tf.transpose(tf.reshape(one, (-1, tf.shape(one)[1], settings.heads, size)), (0, 2, 1, 3))

    query, key, value = (split(tf.keras.layers.Dense(settings.units)(values)) for _ in range(3))
    scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(size) + (valid[:, None, None, :] - 1.0) * _FAR
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), (0, 2, 1, 3))
    return tf.keras.layers.Dense(settings.units)(tf.reshape(mixed, (-1, tf.shape(values)[1], settings.units)))


MODELS: dict[str, Callable[[ModelSettings, Any, Any], Any]] = {
    "lstm": _lstm,
    "bilstm": _bilstm,
    "cnn1d": _cnn1d,
    "transformer": _transformer,
}
