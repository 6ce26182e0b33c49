"""What jobs get of the clusters that tests start, and the training that both kinds of them run."""

from __future__ import annotations

from eespark.train.settings import FitSettings, ModelSettings, TrainSettings

EPOCHS = 40
RESOURCES = {
    "driver_memory": "900m", "driver_overhead": "500m", "executor_memory": "700m", "executor_overhead": "500m", "executor_cores": 1,
    "executors": 2,
}  # fmt: skip
FOR_RANKS = {**RESOURCES, "executor_overhead": "1800m"}
"""With room for TensorFlow beside the JVM."""
CONF = {
    "spark.sql.shuffle.partitions": "4", "spark.databricks.delta.snapshotPartitions": "2", "spark.ui.enabled": "false",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC",
}  # fmt: skip


def training(training_set: str, bundle: str, summary: str) -> TrainSettings:
    """Two ranks for so many epochs that one can be lost in between."""
    model = ModelSettings(name="lstm", units=8, layers=1, features=8)
    fit = FitSettings(model=model, epochs=EPOCHS, batch=8, early_stopping_patience=None)
    return TrainSettings(
        training_set=training_set, bundle=bundle, fit=fit, processes=2, threads_per_process=1, start_timeout_s=300, summary=summary
    )
