"""One step, one epoch, one evaluation: what a fit is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from eespark.errors import ManifestError, SettingsError
from eespark.manifest import counts_by_class
from eespark.train.augment import Batch
from eespark.train.backend import Backend
from eespark.train.data import Arrays
from eespark.train.kinds import Kind
from eespark.train.score import Matrix, confusion
from eespark.train.settings import FitSettings

Floats = npt.NDArray[np.float32]
Infer = Callable[[Arrays], tuple[Floats, Floats]]
Scored = Callable[[Arrays], tuple[Floats, npt.NDArray[np.int64]]]
Step = Callable[[Batch, float], Any]
_EVALUATION_BYTES = 16 << 20
_JUDGED_STEP = 4
"""Of the looks of a row, those of every so many lines and samples are judged: neighbours hardly tell more."""


def learning_rate(settings: FitSettings, size: int, step: int, steps_an_epoch: int) -> float:
    """The rate of step 0, 1, ...: linear rise to `learning_rate` x size, then as the schedule says.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD (arXiv:1706.02677), sections 2.1 and 2.2.
    """
    warmup = settings.warmup_epochs * steps_an_epoch
    peak = settings.learning_rate * size
    if step < warmup:
        return peak * (step + 1) / max(warmup, step + 1)
    if settings.schedule == "constant":
        return peak
    share = (step - warmup) / max(settings.epochs * steps_an_epoch - warmup, 1)
    return float(peak * 0.5 * (1 + np.cos(np.pi * share)))


def class_weights(kind: str, manifest: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """(classes,) weights with mean 1 over the training rows: all 1, by 1 / rows, or by 1 / sqrt(rows).

    Raises:
        ManifestError: A class without training rows.
    """
    by_class = counts_by_class(manifest["parts"]["train"])
    rows = np.asarray([by_class.get(str(one["id"]), 0) for one in manifest["classes"]], np.float64)
    if np.any(rows < 1):
        raise ManifestError(f"needed training rows of every class, found {by_class}; rebuild the training set")
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[kind]
    weights = rows**-power
    return np.asarray(weights * rows.sum() / (weights * rows).sum(), np.float32)


def make_step(model: Any, kind: Kind, optimizer: Any, backend: Backend, settings: FitSettings) -> Step:
    """A function of a batch and a learning rate that moves the weights once and gives the loss before."""
    # Batches differ in their number of dates: with open shapes the graph is traced once.
    places = (None, None) if kind.shape.look_labels else ()
    signature = [input_signature(model), tf.TensorSpec((None, *places, None), tf.float32), tf.TensorSpec((None, *places), tf.float32)]
    gamma = settings.focal_gamma if settings.loss == "focal" else 0.0

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(inputs: Any, target: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)["logits"]
            loss = tf.math.divide_no_nan(tf.reduce_sum(weight * _losses(target, logits, gamma)), tf.reduce_sum(weight))
        variables = model.trainable_variables
        gradients = backend.average_gradients(tape.gradient(loss, variables))
        clipped, _ = tf.clip_by_global_norm(gradients, settings.gradient_clip)
        optimizer.apply_gradients(zip(clipped, variables, strict=True))
        return loss

    smoothing = settings.label_smoothing

    def run(batch: Batch, rate: float) -> Any:
        optimizer.learning_rate.assign(rate)
        target = batch.target * (1 - smoothing) + smoothing / batch.target.shape[-1]
        return step(_tensors(kind.pack(batch.inputs)), tf.constant(target, tf.float32), tf.constant(batch.weight, tf.float32))

    return run


def _losses(target: Any, logits: Any, gamma: float) -> Any:
    """(n,) loss of each row, or (n, lines, samples) of each look where these have targets of their own.

    That of a dense network whose rows have one target is the mean over its places, all of which are of the row's class.

    Source of the focal loss: Lin et al. 2017, Focal Loss for Dense Object Detection (arXiv:1708.02002), equation 4.
    """
    dense = len(logits.shape) == 4 and len(target.shape) == 2
    if dense:
        target = target[:, None, None, :] + tf.zeros_like(logits)
    if gamma == 0.0:
        losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
    else:
        log_share = tf.nn.log_softmax(logits)
        losses = -tf.reduce_sum(target * (1.0 - tf.exp(log_share)) ** gamma * log_share, axis=-1)
    return tf.reduce_mean(losses, axis=(1, 2)) if dense else losses


def train_batches(
    batches: Iterable[Arrays], kind: Kind, settings: FitSettings, weights: npt.NDArray[np.float32], rng: np.random.Generator
) -> Iterator[Batch]:
    """Batches as a step takes them: augmented, with targets and weights.

    Args:
        batches: Of `shuffled_batches`.
        kind: Of the training set.
        settings: Of the fit.
        weights: (classes,) of `class_weights`.
        rng: Of the augmentation.

    Raises:
        ManifestError: A training row whose class is not in the manifest.
    """
    identity = np.eye(len(weights), dtype=np.float32)
    for arrays in batches:
        label, weight = _labels(arrays, kind, weights)
        if settings.weight_by_inclusion:
            weight = weight / arrays["inclusion_probability"].astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1))
        inputs = {name: arrays[name].astype(np.float32) for name in kind.inputs}
        yield kind.augment(Batch(inputs, identity[label], weight), settings, rng)


def _labels(arrays: Arrays, kind: Kind, weights: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Position in the manifest's classes and weight: of each row, or of each look, where those without a class weigh nothing."""
    if kind.shape.look_labels is None:
        label = arrays["label"]
        if label.min() < 0:
            raise ManifestError("needed training rows of the manifest's classes, found another class; rebuild the training set")
        return label, weights[label]
    label = kind.shape.index_of(arrays["classes"])
    return np.maximum(label, 0), np.where(label >= 0, weights[label], np.float32(0))


def run_epoch(step: Step, batches: Iterable[Batch], rates: Sequence[float]) -> float:
    """Mean loss of an epoch of one step a learning rate.

    Raises:
        ManifestError: Fewer batches than the manifest promises.
    """
    # Losses are read at the end: reading one waits for its step.
    losses = [step(batch, rate) for rate, batch in zip(rates, batches, strict=False)]
    if len(losses) < len(rates):
        raise ManifestError(f"needed {len(rates)} batches by the manifest's row groups, found {len(losses)}; rebuild the training set")
    return float(np.mean([float(one) for one in losses]))


def need_finite(loss: float, epoch: int, settings: FitSettings) -> None:
    """Check a loss.

    Raises:
        SettingsError: It is no number.
    """
    if not np.isfinite(loss):
        raise SettingsError(
            f"needed a finite loss, found {loss} in epoch {epoch}; lower learning_rate ({settings.learning_rate}) "
            f"or gradient_clip ({settings.gradient_clip})"
        )


def make_infer(model: Any, kind: Kind) -> Infer:
    """A function of rows in memory that gives logits (n, classes) and features (n, features) by Keras; traced once.

    Of a dense network they are the means over its places.
    """
    classes, width = (int(model.output[name].shape[-1]) for name in ("logits", "features"))

    @tf.function(input_signature=[input_signature(model)])  # type: ignore[untyped-decorator]
    def call(inputs: Any) -> Any:
        return {name: pooled(one) for name, one in model(inputs, training=False).items()}

    def infer(arrays: Arrays) -> tuple[Floats, Floats]:
        logits, features = [np.zeros((0, classes), np.float32)], [np.zeros((0, width), np.float32)]
        for rows in _slices(arrays, kind):
            outputs = call(_tensors(kind.pack({name: arrays[name][rows] for name in kind.inputs})))
            logits.append(outputs["logits"].numpy())
            features.append(outputs["features"].numpy())
        return np.concatenate(logits), np.concatenate(features)

    return infer


def make_scored(model: Any, kind: Kind, infer: Infer) -> Scored:
    """A function of rows in memory that gives what is judged: logits (n, classes) and labels (n,), -1 where there is no class.

    Of rows that are labelled by look, n counts the looks of a grid over all of them that have a class.

    Args:
        model: Keras model.
        kind: Of the training set.
        infer: Of `make_infer`.
    """
    if kind.shape.look_labels is None:
        return lambda arrays: (infer(arrays)[0], arrays["label"])
    grid = np.s_[:, _JUDGED_STEP // 2 :: _JUDGED_STEP, _JUDGED_STEP // 2 :: _JUDGED_STEP]

    @tf.function(input_signature=[input_signature(model)])  # type: ignore[untyped-decorator]
    def call(inputs: Any) -> Any:
        return model(inputs, training=False)["logits"][grid]

    def scored(arrays: Arrays) -> tuple[Floats, npt.NDArray[np.int64]]:
        logits, labels = [np.zeros((0, int(model.output["logits"].shape[-1])), np.float32)], [np.zeros(0, np.int64)]
        for rows in _slices(arrays, kind):
            label = kind.shape.index_of(arrays["classes"][rows][grid])
            known = label >= 0
            found = call(_tensors(kind.pack({name: arrays[name][rows] for name in kind.inputs}))).numpy()
            logits.append(found[known])
            labels.append(label[known])
        return np.concatenate(logits), np.concatenate(labels)

    return scored


def _slices(arrays: Arrays, kind: Kind) -> Iterator[slice]:
    """Rows that are inferred together: so many that what goes in stays small."""
    many = max(min(1024, _EVALUATION_BYTES // kind.shape.row_bytes), 1)
    yield from (slice(start, start + many) for start in range(0, len(arrays[kind.inputs[0]]), many))


def pooled(values: Any) -> Any:
    """(n, outputs) of what may have lines and samples in between."""
    return tf.reduce_mean(values, axis=(1, 2)) if len(values.shape) == 4 else values


def input_signature(model: Any) -> dict[str, Any]:
    """What TensorFlow must know of a model's inputs, by name."""
    return {name: tf.TensorSpec(one.shape, tf.float32, name=name) for name, one in model.input.items()}


def _tensors(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    return {name: tf.constant(one, tf.float32) for name, one in inputs.items()}


def evaluate(scored: Scored, arrays: Arrays, backend: Backend) -> tuple[Matrix, float]:
    """Confusion matrix and mean loss over what is judged of the rows of all ranks; the same in all.

    Args:
        scored: Of `make_scored`.
        arrays: This rank's rows.
        backend: Of the ranks.
    """
    logits, label = scored(arrays)
    classes = logits.shape[1]
    known = label >= 0
    shifted = logits[known] - logits[known].max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(int(known.sum())), label[known]]
    matrix = confusion(label, logits.argmax(axis=1), classes)
    summed = backend.total(np.append(matrix.ravel(), losses.sum()))
    matrix = summed[:-1].reshape(classes, classes)
    return matrix, float(summed[-1] / max(matrix.sum(), 1))
