"""Two processes of Horovod with a thread each beside one process with as many threads: `fit` on the same set, the same global batch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks import feed
from benchmarks.feed import AUGMENT, MODELS
from benchmarks.running import main, session
from benchmarks.timing import Lap, compare, interleave
from benchmarks.training_sets import write_set
from eespark.io.storage import read_manifest
from eespark.launch import launch
from eespark.train.fit import fit_rank
from eespark.train.settings import AugmentSettings, FitSettings, ModelSettings, TrainSettings
from eespark.train.shards import steps_an_epoch

LEARNING_RATE = 0.002


@dataclass(frozen=True)
class Sizes(feed.Sizes):
    """Epochs and processes, and those of the feed; its batch is that of all processes together."""

    epochs: int = 3
    processes: int = 2


FULL = Sizes()
TINY = Sizes(rows=512, rows_per_group=64, times=8, batch=32, epochs=2, runs=1, warm_up=0)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates in thousand series a second of the epochs after the first, in which TensorFlow traces its graphs, and accuracies."""
    folder = root / "scratch" / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    write_set(folder / "set", sizes.rows, sizes.rows_per_group, sizes.times)
    spark = session("ranks")
    scores: dict[str, list[float]] = {"ranks": [], "one_process": []}

    def side(name: str, processes: int) -> Lap:
        lap, score = _train(spark, folder, sizes, processes)
        scores[name].append(round(score, 4))
        return lap

    sides = {"ranks": lambda: side("ranks", sizes.processes), "one_process": lambda: side("one_process", 1)}
    laps = interleave(sides, sizes.runs, sizes.warm_up)
    shutil.rmtree(folder)
    return {**compare(laps, "ranks", "one_process", "thousand series"), "validation_macro_f1": scores}


def _train(spark: SparkSession, folder: Path, sizes: Sizes, processes: int) -> tuple[Lap, float]:
    """One fit, and its macro-F1 on the validation rows. What cannot be the same (who sees which row when) is left out of the result."""
    fit = FitSettings(
        model=ModelSettings.model_validate({"name": "bilstm", **MODELS["bilstm"]}),
        augment=AugmentSettings.model_validate(AUGMENT),
        epochs=sizes.epochs,
        batch=sizes.batch // processes,
        learning_rate=LEARNING_RATE / processes,  # `fit` multiplies it by the processes again
        early_stopping_patience=None,
    )
    places = {"training_set": str(folder / "set"), "bundle": str(folder / "bundle"), "summary": "unused"}
    settings = TrainSettings(**places, processes=processes, fit=fit)
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    threads = sizes.processes // processes
    ranks = launch(fit_rank, processes, (settings.model_dump_json(),), spark, threads_per_process=threads)
    if len({one["weights_sha256"] for one in ranks}) != 1:
        raise ValueError(f"needed the same weights in all ranks, found {[one['weights_sha256'] for one in ranks]}")
    steps, batch = steps_an_epoch(read_manifest(places["training_set"], "training_set"), processes, fit.batch)
    series = steps * batch * processes
    seconds = sum(series / epoch["rows_per_s"] for epoch in ranks[0]["history"][1:])
    counted = {"series": series, "steps": steps, "epochs": len(ranks[0]["history"])}
    return Lap(seconds, series * (counted["epochs"] - 1) / 1e3, counted), ranks[0]["history"][-1]["validation_macro_f1"]


if __name__ == "__main__":
    main("ranks", FULL, TINY, measure)
