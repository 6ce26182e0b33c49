"""What a sample set was drawn from, kept in its manifest, and what has changed of it since."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.schema import LABELS
from eespark.spark.contents import hash_of_rows
from eespark.spark.draw_settings import DrawSettings
from eespark.spark.tables import open_table

logger = logging.getLogger(__name__)
_NAMED: Final = 100
VERSION_GONE: Final = (PySparkException, Py4JJavaError)
"""What reading a version of a table raises whose files are no longer there: at its opening, or by a task."""
# What of a label a draw depends on.
_CONTENT: Final = (
    "label_id", "source", "class_id", "class_ids", "geometry", "valid_from", "valid_to", "weight", "tile", "point_x", "point_y",
)  # fmt: skip


def inputs_of_set(spark: SparkSession, settings: DrawSettings, version: int, tiles: Sequence[str]) -> dict[str, Any]:
    """What the manifest of a set keeps of its inputs: labels (hash of those that it was drawn from), labels_version, tiles.

    Args:
        spark: Session.
        settings: Of the draw.
        version: Of the table of labels.
        tiles: Whose grids were used.
    """
    return {"labels": hash_of_rows(_used(spark, settings, version), F.col("hash")), "labels_version": version, "tiles": sorted(tiles)}


def changed_inputs(spark: SparkSession, settings: DrawSettings, inputs: Mapping[str, Any], tiles: Sequence[str]) -> dict[str, Any]:
    """What is another than when the set was drawn; empty where nothing is.

    Args:
        spark: Session.
        settings: Of the draw.
        inputs: What the manifest of the set keeps.
        tiles: Those whose grids a draw would use now.

    Returns:
        tiles (came or gone), labels (names of those that came, are gone, or changed; the first hundred), labels_changed (how many; None
        where the version that the set was drawn from is no longer there).
    """
    told: dict[str, Any] = {}
    other = sorted(set(inputs["tiles"]) ^ set(tiles))
    if other:
        told["tiles"] = other
    now = _used(spark, settings, None)
    if hash_of_rows(now, F.col("hash")) == inputs["labels"]:
        return told
    try:
        then = _used(spark, settings, int(inputs["labels_version"]))
        both = then.withColumnRenamed("hash", "was").join(now, "label_id", "full").where("NOT (was <=> hash)")
        told["labels_changed"] = both.count()
        told["labels"] = [row["label_id"] for row in both.select("label_id").orderBy("label_id").limit(_NAMED).collect()]
    except VERSION_GONE as error:
        logger.warning("staleness: version %s of the labels is gone, so that what changed cannot be named", inputs["labels_version"])
        logger.debug("this is why", exc_info=error)
        told |= {"labels_changed": None, "labels": []}
    return told


def _used(spark: SparkSession, settings: DrawSettings, version: int | None) -> DataFrame:
    """label_id and hash of the labels that a draw takes."""
    labels = open_table(spark, settings.labels, LABELS, version)
    labels = labels.where(F.col("source").isin([*settings.sources, *settings.point_sources]) & F.col("usable"))
    return labels.select("label_id", F.xxhash64(*_CONTENT).alias("hash"))
