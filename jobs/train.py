"""Train a classifier on a training set and write its bundle: in this process, or by Horovod on Spark."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.launch import launch, usable_processes
from eespark.train.fit import check_training_set, fit_rank
from eespark.train.plan import plan_training
from eespark.train.settings import TrainSettings


def check(settings: TrainSettings) -> None:
    """Check that the training set is there and gives each process its share."""
    check_training_set(settings)


def work(settings: TrainSettings) -> dict[str, Any]:
    """Train; the summary holds what validation says."""
    processes, threads = usable_processes(settings.processes, settings.fall_back), settings.threads_per_process
    if processes < settings.processes and threads is not None:
        threads *= settings.processes  # the one that is left has the cores of all
    arguments = (settings.model_copy(update={"processes": processes}).model_dump_json(),)
    if processes == 1:
        # No JVM for one process.
        metrics = launch(fit_rank, 1, arguments, None, threads)[0]
    else:
        from eespark.spark.session import session_of

        with session_of("train") as spark:
            metrics = launch(fit_rank, processes, arguments, spark, threads, settings.start_timeout_s)[0]
    validation = metrics["validation"]
    return {
        "model": settings.fit.model.name,
        "processes": processes,
        "epochs": len(metrics["curves"]),
        "best_epoch": metrics["best_epoch"],
        "stopped_by": metrics["stopped_by"],
        "rows_per_s": metrics["curves"][-1]["rows_per_s"],
        "temperature": metrics["temperature"],
        "validation": {
            name: validation[name] for name in ("rows", "overall_accuracy", "macro_f1", "weighted_f1", "ece_before", "ece_after")
        },
        "bundle": settings.bundle,
    }


if __name__ == "__main__":
    run_job("train", TrainSettings, work, check, plan_training)
