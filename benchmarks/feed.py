"""Training from Petastorm beside training on the same batches kept in memory: one epoch of `fit`'s own loop each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.baselines.in_memory import keep, replay
from benchmarks.running import Repeats, main
from benchmarks.timing import Lap, compare, interleave, spread, timed
from benchmarks.training_sets import write_set
from eespark.io.storage import read_manifest
from eespark.train.backend import SingleProcess
from eespark.train.data import Arrays, petastorm_chunks, shape_of
from eespark.train.kinds import kind_of
from eespark.train.loop import class_weights, learning_rate, make_step, run_epoch, train_batches
from eespark.train.models import seed_dropout, weights_digest
from eespark.train.settings import AugmentSettings, FitSettings, ModelSettings
from eespark.train.shuffle import epoch_seed, shuffled_batches

# The demo's network, and the quickest one of the library, which leaves a feed the least time.
MODELS = {"bilstm": {"units": 48, "layers": 2, "features": 48}, "cnn1d": {"units": 64, "layers": 3, "features": 48}}
AUGMENT = {"temporal_dropout": 0.1, "time_warp_days": 5, "band_gain": 0.03, "band_noise": 0.005}


@dataclass(frozen=True)
class Sizes(Repeats):
    """Series of an epoch and of a row group, dates of a series, series of a step."""

    rows: int = 49_152
    rows_per_group: int = 2_048
    times: int = 36
    batch: int = 128


FULL = Sizes()
TINY = Sizes(rows=512, rows_per_group=64, times=8, batch=32, runs=1, warm_up=0)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates in thousand series a second, by network, and that of the feed with nothing behind it."""
    folder = root / "scratch" / "feed"
    shutil.rmtree(folder, ignore_errors=True)
    write_set(folder, sizes.rows, sizes.rows_per_group, sizes.times)
    # As `fit` sets it.
    tf.config.experimental.enable_op_determinism()
    plans = {name: _plan(folder, sizes, name) for name in MODELS}
    results = {name: _compare(plan, sizes) for name, plan in plans.items()}
    alone = [timed(lambda: sum(len(batch["label"]) for batch in fed(plans["cnn1d"]))) for _ in range(sizes.runs)]
    shutil.rmtree(folder)
    return {"by_model": results, "feed_alone": {"unit": "thousand series", "rate": spread(rows / 1e3 / s for s, rows in alone)}}


@dataclass(frozen=True)
class _Plan:
    """One epoch of one network, always from the same weights with the same chance."""

    part: str
    manifest: dict[str, Any]
    settings: FitSettings
    steps: int


def _plan(folder: Path, sizes: Sizes, name: str) -> _Plan:
    model = ModelSettings.model_validate({"name": name, **MODELS[name]})
    settings = FitSettings(model=model, augment=AugmentSettings.model_validate(AUGMENT), epochs=1, batch=sizes.batch)
    return _Plan(str(folder / "train"), read_manifest(str(folder), "training_set"), settings, sizes.rows // sizes.batch)


def fed(plan: _Plan) -> Iterator[Arrays]:
    """The epoch's batches as `fit` gets them."""
    with closing(petastorm_chunks(plan.part, shape_of(plan.manifest), 0, 1, epoch_seed(0, 0))) as chunks:
        yield from shuffled_batches(chunks, plan.settings.batch, plan.settings.shuffle_rows, np.random.default_rng(0))


def _compare(plan: _Plan, sizes: Sizes) -> dict[str, Any]:
    print(plan.settings.model.name)
    settings, manifest = plan.settings, plan.manifest
    tf.keras.utils.set_random_seed(0)
    kind = kind_of(manifest)
    model = kind.build(settings)
    optimizer = tf.keras.optimizers.Adam(settings.learning_rate)
    optimizer.build(model.trainable_variables)
    step, weights = make_step(model, kind, optimizer, SingleProcess(), settings), class_weights(settings.class_weights, manifest)
    rates = [learning_rate(settings, 1, number, plan.steps) for number in range(plan.steps)]
    first, still = model.get_weights(), [one.numpy() for one in optimizer.variables]
    kept = keep(fed(plan))

    def train(batches: Iterator[Arrays]) -> Lap:
        model.set_weights(first)
        for variable, value in zip(optimizer.variables, still, strict=True):
            variable.assign(value)
        seed_dropout(model, 1)
        made = train_batches(batches, kind, settings, weights, np.random.default_rng(1))
        seconds, _ = timed(lambda: run_epoch(step, made, rates))
        return Lap(seconds, plan.steps * settings.batch / 1e3, {"weights_sha256": weights_digest(model)})

    laps = interleave({"petastorm": lambda: train(fed(plan)), "in_memory": lambda: train(replay(kept))}, sizes.runs, sizes.warm_up)
    return compare(laps, "petastorm", "in_memory", "thousand series")


if __name__ == "__main__":
    main("feed", FULL, TINY, measure)
