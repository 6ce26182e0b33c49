"""Fit a classifier to a training set: the same in one process and in each rank of Horovod."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from eespark.errors import MissingError
from eespark.io.storage import read_manifest, remove_tree
from eespark.train.augment import Batch
from eespark.train.backend import Backend, SingleProcess
from eespark.train.checkpoint import State, checkpoint_url, load_state, run_key, save_state, state_from_bytes, state_to_bytes
from eespark.train.data import Arrays, Shape, petastorm_chunks, read_part, shape_of
from eespark.train.devices import check_gpus, dealt_gpus, use_gpu
from eespark.train.export import export_bundle
from eespark.train.kinds import Kind, check_model, kind_of
from eespark.train.loop import (
    Infer,
    Scored,
    Step,
    class_weights,
    evaluate,
    learning_rate,
    make_infer,
    make_scored,
    make_step,
    need_finite,
    run_epoch,
    train_batches,
)
from eespark.train.models import seed_dropout, weights_digest
from eespark.train.score import macro_f1, overall_accuracy
from eespark.train.settings import FitSettings, TrainSettings
from eespark.train.shards import local_shard, steps_an_epoch
from eespark.train.shuffle import epoch_seed, shuffled_batches
from eespark.train.tracking import MlflowTracker, NoTracker, Tracker

logger = logging.getLogger(__name__)

Metrics = dict[str, Any]
AfterEpoch = Callable[[int], None]
_LARGEST_BUFFER = 1 << 30


@dataclass(frozen=True)
class _Feed:
    """Where this rank's rows come from, and how many a step and epoch."""

    kind: Kind
    shape: Shape
    shard: tuple[str, int, int]
    """Folder, number of the shard, number of shards."""
    steps: int
    batch: int
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Run:
    """What stays the same over the epochs of a run."""

    settings: FitSettings
    manifest: dict[str, Any]
    backend: Backend
    model: Any
    optimizer: Any
    step: Step
    infer: Infer
    scored: Scored
    feed: _Feed
    validation: Arrays
    started: float


def fit(
    settings: FitSettings, training_set_url: str, bundle_url: str, backend: Backend | None = None, after_epoch: AfterEpoch | None = None
) -> Metrics:
    """Train, and on rank 0 write the bundle.

    Args:
        settings: Of the fit.
        training_set_url: Training set with the parts train and validation.
        bundle_url: Folder that the bundle becomes; its neighbour `<bundle>.checkpoint` holds the state until then.
        backend: Of the processes that train together; None for this one alone.
        after_epoch: Called on each rank with the number of epochs done, after the checkpoint.

    Returns:
        The content of metrics.json on rank 0; `history`, `best_epoch`, `stopped_by` and `weights_sha256` on all ranks.

    Raises:
        CapacityError: More ranks than row groups.
        ManifestError, FormatError, MissingError: The training set is not what it must be.
        SettingsError: The model is of another kind of inputs, or the loss is no longer a number.
    """
    backend = backend or SingleProcess()
    manifest = read_manifest(training_set_url, "training_set")
    with tempfile.TemporaryDirectory(prefix="eespark-shard-") as scratch:
        run = _prepare(settings, manifest, training_set_url, backend, scratch)
        state = _start_state(run, checkpoint_url(bundle_url))
        tracker = _tracker(settings, backend, state)
        try:
            while not state.stopped:
                _one_epoch(run, state)
                _report(run, state, tracker)
                if backend.rank == 0:
                    save_state(checkpoint_url(bundle_url), state)
                if after_epoch is not None:
                    after_epoch(state.epoch)
            run.model.set_weights(state.best)
            metrics: Metrics = {"history": state.history, "best_epoch": state.best_epoch, "stopped_by": state.stopped}
            metrics["weights_sha256"] = weights_digest(run.model)
            if backend.rank == 0:
                metrics |= export_bundle(settings, manifest, training_set_url, bundle_url, run.model, (run.infer, run.scored), state)
                remove_tree(checkpoint_url(bundle_url).rsplit("/", 1)[0])
        except BaseException:
            tracker.end("FAILED")
            raise
        tracker.end("FINISHED")
        return metrics


def fit_rank(settings_json: str) -> Metrics:
    """Fit in a process that `launch` started; plain text comes in, so that nothing but names is pickled."""
    settings = TrainSettings.model_validate_json(settings_json)
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("eespark").setLevel("INFO")
    backend: Backend = SingleProcess()
    if settings.processes > 1:
        from eespark.train.horovod_backend import HorovodRanks

        backend = HorovodRanks()
    if settings.gpus:
        use_gpu(dealt_gpus() if settings.processes > 1 else [], backend.rank)
    return fit(settings.fit, settings.training_set, settings.bundle, backend)


def check_training_set(settings: TrainSettings) -> Mapping[str, Any]:
    """The manifest of the training set, once it is sure that so many processes can train on it.

    Raises:
        CapacityError: More processes than row groups, or GPUs that cannot be used.
        ManifestError, MissingError: The training set is not what it must be.
        SettingsError: The model is of another kind of inputs.
    """
    if settings.gpus:
        check_gpus(settings.processes)
    manifest = read_manifest(settings.training_set, "training_set")
    kind_of(manifest)
    check_model(settings.fit, manifest)
    class_weights(settings.fit.class_weights, manifest)
    steps_an_epoch(manifest, settings.processes, settings.fit.batch)
    if not manifest["parts"].get("validation", {}).get("rows"):
        raise MissingError(f"{settings.training_set}: needed validation rows, found none; draw samples with a validation part")
    return manifest


def _prepare(settings: FitSettings, manifest: dict[str, Any], url: str, backend: Backend, scratch: str) -> _Run:
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(settings.seed)
    shape = shape_of(manifest)
    steps, batch = steps_an_epoch(manifest, backend.size, settings.batch)
    check_model(settings, manifest)
    shard = local_shard(url, "train", (backend.rank, backend.size), shape.fed, scratch)
    kind = kind_of(manifest)
    feed = _Feed(kind, shape, shard, steps, batch, class_weights(settings.class_weights, manifest))
    model = kind.build(settings)
    optimizer = tf.keras.optimizers.Adam(settings.learning_rate)
    optimizer.build(model.trainable_variables)
    step, infer = make_step(model, kind, optimizer, backend, settings), make_infer(model, kind)
    validation = {name: rows[backend.rank :: backend.size] for name, rows in read_part(url, "validation", shape).items()}
    if backend.rank == 0:
        size = model.count_params()
        logger.info("%s with %d weights: %d steps of %d x %d rows an epoch", settings.model.name, size, steps, backend.size, batch)
    scored = make_scored(model, kind, infer)
    return _Run(settings, manifest, backend, model, optimizer, step, infer, scored, feed, validation, time.monotonic())


def _start_state(run: _Run, url: str) -> State:
    """The state to go on from, the same in all ranks: that of a killed run of the same key, else new weights."""
    key = run_key(run.settings, run.manifest, run.backend.size)
    content = b""
    if run.backend.rank == 0:
        left = load_state(url, key) if run.settings.resume else None
        if left is not None:
            logger.info("resuming after epoch %d", left.epoch)
        weights = run.model.get_weights()
        content = state_to_bytes(left or State(key, weights, [one.numpy() for one in run.optimizer.variables], weights))
    state = state_from_bytes(run.backend.broadcast(content), url)
    run.model.set_weights(state.weights)
    for variable, value in zip(run.optimizer.variables, state.optimizer, strict=True):
        variable.assign(value)
    return state


def _one_epoch(run: _Run, state: State) -> None:
    """Train one epoch from the state and write what came out into it."""
    settings, backend, feed = run.settings, run.backend, run.feed
    rates = [learning_rate(settings, backend.size, state.epoch * feed.steps + number, feed.steps) for number in range(feed.steps)]
    began = time.monotonic()
    with closing(_batches(run, state.epoch)) as batches:
        loss = run_epoch(run.step, batches, rates)
    loss = float(backend.total(np.asarray([loss / backend.size]))[0])
    need_finite(loss, state.epoch + 1, settings)
    trained = time.monotonic()
    _share_moving_means(run)
    matrix, validation_loss = evaluate(run.scored, run.validation, backend)
    score, now = macro_f1(matrix), time.monotonic()
    state.epoch += 1
    state.weights, state.optimizer = run.model.get_weights(), [one.numpy() for one in run.optimizer.variables]
    state.history.append(
        {
            "epoch": state.epoch, "loss": loss, "learning_rate": rates[-1], "validation_loss": validation_loss,
            "validation_macro_f1": score, "validation_overall_accuracy": overall_accuracy(matrix),
            "rows_per_s": round(feed.steps * feed.batch * backend.size / (trained - began), 1), "seconds": round(now - began, 3),
        }
    )  # fmt: skip
    _judge(run, state, score)


def _share_moving_means(run: _Run) -> None:
    """Give all ranks the mean of what their normalisations saw: they evaluate the same network, and what is saved is that one."""
    if run.backend.size == 1:
        return
    for layer in run.model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            for variable in (layer.moving_mean, layer.moving_variance):
                variable.assign(run.backend.total(variable.numpy().astype(np.float64)) / run.backend.size)


def _batches(run: _Run, epoch: int) -> Generator[Batch, None, None]:
    """The epoch's batches of this rank; all chance in them and in dropout follows from seed, epoch and rank."""
    feed, seed = run.feed, run.settings.seed
    own_seed = epoch_seed(seed, epoch, 1 + run.backend.rank)
    tf.keras.utils.set_random_seed(own_seed)
    seed_dropout(run.model, own_seed)
    rng = np.random.default_rng(own_seed)
    folder, shard, shards = feed.shard
    with closing(petastorm_chunks(folder, feed.shape, shard, shards, epoch_seed(seed, epoch))) as chunks:
        balanced = run.settings.sampling == "balanced"
        buffered = min(run.settings.shuffle_rows, _LARGEST_BUFFER // feed.shape.row_bytes)
        batches = shuffled_batches(chunks, feed.batch, buffered, rng, balanced=balanced)
        yield from train_batches(batches, feed.kind, run.settings, feed.weights, rng)


def _judge(run: _Run, state: State, score: float) -> None:
    """Keep the best weights and decide whether to go on: rank 0 decides for all."""
    better = score > state.best_score
    if better:
        state.best, state.best_epoch, state.best_score = state.weights, state.epoch, score
    state.waited = 0 if better else state.waited + 1
    patience, limit = run.settings.early_stopping_patience, run.settings.time_limit_s
    reason = ""
    if state.epoch >= run.settings.epochs:
        reason = "epochs"
    elif patience is not None and state.waited >= patience:
        reason = "early stopping"
    elif limit is not None and time.monotonic() - run.started > limit:
        reason = "time limit"
    state.stopped = run.backend.broadcast(reason.encode() or b" ").decode().strip()


def _tracker(settings: FitSettings, backend: Backend, state: State) -> Tracker:
    if settings.tracking is None or backend.rank != 0:
        return NoTracker()
    plain = settings.model_dump(mode="json")
    parameters = {
        f"{group}.{name}": value for group in ("model", "augment", "augment_sar") for name, value in plain.pop(group).items()
    } | plain
    tracker = MlflowTracker(settings.tracking, settings.experiment, parameters | {"processes": backend.size}, state.tracking_run)
    state.tracking_run = tracker.run_id
    return tracker


def _report(run: _Run, state: State, tracker: Tracker) -> None:
    last = state.history[-1]
    if run.backend.rank == 0:
        logger.info(
            "epoch %d of %d: loss %.4f, validation macro-F1 %.4f, %.0f rows/s%s", state.epoch, run.settings.epochs, last["loss"],
            last["validation_macro_f1"], last["rows_per_s"], f"; stopped by {state.stopped}" if state.stopped else "",
        )  # fmt: skip
    tracker.log({name: value for name, value in last.items() if name != "epoch"}, state.epoch)
