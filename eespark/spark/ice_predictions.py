"""What bundles say of the rows of a set of patches, or of the looks of a set that is labelled by look; one row for each that is judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.io.parquet_sets import refuse_pickles
from eespark.io.storage import join_url
from eespark.io.tiles import NO_CLASS
from eespark.predict import Bundle, load_bundle, predict_looks, predict_patches
from eespark.spark.patch_sets import classes_of, inputs_in
from eespark.spark.tables import jvm_url

_KEPT: Final = ("sample_id", "product_id", "season", "x", "y", "class_id")
_SCHEMA: Final = (
    "sample_id bigint, product_id string, season string, x double, y double, class_id int, incidence double, middle array<float>, "
    "predicted int, confidence double"
)


def predictions(spark: SparkSession, training_set: str, part: str, bundle_url: str | None, look_step: int) -> DataFrame:
    """sample_id, product_id, season, x, y, class_id, incidence (degrees), middle (sigma by band and the angle), predicted, confidence.

    Args:
        spark: Session.
        training_set: URL of the set.
        part: Of the set.
        bundle_url: Whose predictions; None for the rows alone.
        look_step: Of rows that are labelled by look, those of every so many lines and samples are judged. Of tiles that overlap, those on
            the grid of their size count, so that no look counts twice.
    """
    url = join_url(training_set, part)
    refuse_pickles(url)

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        bundle = None if bundle_url is None else load_bundle(bundle_url, threads=1)
        for batch in batches:
            if batch.num_rows:
                yield _of_rows(batch, bundle) if batch.column("classes").null_count else _of_looks(batch, bundle, look_step)

    rows = spark.read.parquet(jvm_url(url))
    if "classes" not in rows.columns:  # sets that were imported
        rows = rows.withColumn("classes", F.lit(None).cast("binary"))
    if "row" in rows.columns:
        alone = F.expr("row % size(incidence) = 0 AND col % size(incidence) = 0")
        rows = rows.where(F.col("classes").isNull() | alone)
    return rows.select(*_KEPT, "incidence", "sigma", "classes").mapInArrow(predict, _SCHEMA)


def _of_rows(batch: pa.RecordBatch, bundle: Bundle | None) -> pa.RecordBatch:
    """Patches of one class each; `middle` is their middle look."""
    sigma, incidence = inputs_in(batch)
    size = incidence.shape[1]
    middle = np.column_stack([sigma[:, size // 2, size // 2], incidence[:, size // 2]])
    found = None if bundle is None else predict_patches(bundle, sigma, incidence)
    told = None if found is None else (found.class_ids, found.confidence)
    return _batch({one: batch.column(one) for one in _KEPT}, incidence.mean(axis=1), middle, told)


def _of_looks(batch: pa.RecordBatch, bundle: Bundle | None, step: int) -> pa.RecordBatch:
    """Looks that have a class, on a grid over each tile."""
    sigma, incidence = inputs_in(batch)
    size = incidence.shape[1]
    classes = classes_of(batch).reshape(-1, size, size)
    grid = np.s_[:, step // 2 :: step, step // 2 :: step]
    row, line, sample = np.nonzero(classes[grid] != NO_CLASS)
    angle = incidence[row, step // 2 + step * sample]
    middle = np.column_stack([sigma[grid][row, line, sample], angle])
    told = None if bundle is None else tuple(one[grid][row, line, sample] for one in predict_looks(bundle, sigma, incidence))
    kept = {one: batch.column(one).take(pa.array(row)) for one in _KEPT}
    kept["class_id"] = pa.array(classes[grid][row, line, sample].astype(np.int32))
    return _batch(kept, angle, middle, told)


def _batch(kept: dict[str, Any], incidence: Any, middle: Any, told: Any) -> pa.RecordBatch:
    count = len(incidence)
    columns = dict(kept)
    columns["incidence"] = pa.array(incidence.astype(np.float64))
    columns["middle"] = pa.array(list(middle.astype(np.float32)), pa.list_(pa.float32()))
    columns["predicted"] = pa.nulls(count, pa.int32()) if told is None else pa.array(told[0].astype(np.int32))
    columns["confidence"] = pa.nulls(count, pa.float64()) if told is None else pa.array(told[1].astype(np.float64))
    return pa.RecordBatch.from_pydict(columns)
