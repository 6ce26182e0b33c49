"""Validation: a bundle's predictions on parts that it never saw, estimated by protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.bands import BANDS
from eespark.errors import ManifestError
from eespark.io.parquet_sets import refuse_pickles
from eespark.io.storage import join_url, publish_folder, read_manifest, remove_tree, write_manifest
from eespark.job import JobSettings
from eespark.legend import load_crosswalk, load_legend
from eespark.manifest import build_manifest, inputs_of, manifest_hash
from eespark.predict import load_bundle
from eespark.report.validation import PROTOCOLS, disjoint_areas, lucas, summarise_models, unseen_tiles
from eespark.settings import Url
from eespark.spark.tables import jvm_url

logger = logging.getLogger(__name__)
_COLUMNS: Final = (
    "sample_id",
    "label_id",
    "tile",
    "class_id",
    "class_ids",
    "inclusion_probability",
    "weight",
    "x",
    "y",
    "point_x",
    "point_y",
)
_PREDICTED: Final = "predicted int, confidence double, novelty double"


class ValidateSettings(JobSettings):
    """Settings of `validate`."""

    training_set: Annotated[Url, Field(description="folder of the training set")]
    bundle: Annotated[Url, Field(description="folder of the trained bundle")]
    validation: Annotated[Url, Field(description="folder to write")]
    cluster_m: Annotated[float, Field(gt=0, description="m; ground blocks that count as one cluster in the variance")] = 1_000.0
    coarse_legend: Annotated[str, Field(description="legend on which points with several admissible classes are compared")] = "coarse"
    forest_trees: Annotated[int | None, Field(ge=1, description="trees of the random forest that is compared; null for none")] = 300
    seed: Annotated[int, Field(description="of the forest")] = 1


def validate(spark: SparkSession, settings: ValidateSettings) -> dict[str, Any]:
    """Predict, estimate, write; the counts of the summary.

    Raises:
        ManifestError: The bundle was not trained on this training set.
    """
    training, bundle = read_manifest(settings.training_set, "training_set"), read_manifest(settings.bundle, "bundle")
    if inputs_of(training) != "series":
        raise ManifestError(
            f"needed a training set of series, found one of {inputs_of(training)} in {settings.training_set}; run validate_ice"
        )
    if bundle["training_set"]["manifest_sha256"][:16] != manifest_hash(training):
        raise ManifestError(f"{settings.bundle} was trained on another set than {settings.training_set}; name the one it was trained on")
    parts = [part for part in PROTOCOLS if part in training["parts"]]
    building = settings.validation.rstrip("/") + ".building"
    remove_tree(building)
    spark.sparkContext.setJobDescription("validate: predictions")
    frames = [_network(spark, settings, part, bundle["model"]) for part in parts]
    predictions = frames[0]
    for frame in frames[1:]:
        predictions = predictions.unionByName(frame)
    predictions.write.parquet(jvm_url(join_url(building, "predictions")))
    table = spark.read.parquet(jvm_url(join_url(building, "predictions"))).toPandas()
    if settings.forest_trees:
        table = pd.concat([table, _forest(settings, table, training)], ignore_index=True)
    protocols = _estimate(table, training, settings)
    content = {
        "bundle": manifest_hash(bundle),
        "training_set": manifest_hash(training),
        "protocols": protocols,
        "settings": settings.model_dump(mode="json"),
    }
    write_manifest(building, build_manifest("validation", content, __version__))
    publish_folder(building, settings.validation)
    return _summarise(protocols, bundle["model"], settings)


def _network(spark: SparkSession, settings: ValidateSettings, part: str, model: Any) -> DataFrame:
    url = join_url(settings.training_set, part)
    refuse_pickles(url)
    bundle_url, schema = settings.bundle, ", ".join([*_input_schema(), _PREDICTED])

    def predict(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        bundle = load_bundle(bundle_url, threads=1)
        for batch in batches:
            if not batch.num_rows:
                continue
            reflectance = batch.column("reflectance").flatten().to_numpy().reshape(batch.num_rows, -1, len(BANDS))
            valid = batch.column("valid").flatten().to_numpy().reshape(batch.num_rows, -1)
            day = batch.column("day").flatten().to_numpy().reshape(batch.num_rows, -1)
            found = bundle.predict(reflectance, valid, day)
            kept = [batch.column(name) for name in _COLUMNS]
            extra = [
                pa.array(found.class_ids.astype(np.int32)),
                *(pa.array(v.astype(np.float64)) for v in (found.confidence, found.novelty)),
            ]
            yield pa.RecordBatch.from_arrays([*kept, *extra], names=[*_COLUMNS, "predicted", "confidence", "novelty"])

    rows = spark.read.parquet(jvm_url(url)).select(*_COLUMNS, "reflectance", "valid", "day").mapInArrow(predict, schema)
    cluster = F.concat_ws("_", *(F.floor(F.col(axis) / settings.cluster_m).cast("string") for axis in ("point_x", "point_y")))
    name = model["name"] if isinstance(model, dict) else str(model)
    return rows.withColumn("split", F.lit(part)).withColumn("cluster", cluster).withColumn("model", F.lit(name))


def _input_schema() -> list[str]:
    from eespark.schema import TRAINING

    return [f"{c.name} {c.dtype}" for name in _COLUMNS for c in TRAINING.columns if c.name == name]


def _forest(settings: ValidateSettings, table: pd.DataFrame, training: dict[str, Any]) -> pd.DataFrame:
    # A comparison, fitted in this process on the same rows as the network.
    from eespark.train.forest import fit_forest

    logger.info("validate: a random forest of %d trees for comparison", settings.forest_trees)
    found = fit_forest(settings.training_set, settings.seed, list(PROTOCOLS), settings.forest_trees or 0)
    ids = np.array([one["id"] for one in training["classes"]])
    frames = []
    for part, prediction in found.items():
        best = prediction.probabilities.argmax(axis=1)
        told = pd.DataFrame(
            {
                "sample_id": prediction.sample_ids,
                "predicted": ids[best],
                "confidence": prediction.probabilities.max(axis=1).astype(float),
                "novelty": np.nan,
            }
        )
        rows = (
            table[table["split"] == part]
            .drop(columns=["predicted", "confidence", "novelty"])
            .merge(told, on="sample_id", validate="one_to_one")
        )
        frames.append(rows.assign(model="random_forest"))
    return pd.concat(frames, ignore_index=True)


def _estimate(table: pd.DataFrame, training: dict[str, Any], settings: ValidateSettings) -> dict[str, Any]:
    name = str(training["legend"]).split("@")[0]
    coarse, crosswalk = load_legend(settings.coarse_legend), load_crosswalk(f"{name}_to_{settings.coarse_legend}")
    fine_classes = [{"id": c.class_id, "name": c.name} for c in load_legend(name).classes]
    coarse_classes = [{"id": c.class_id, "name": c.name} for c in coarse.classes]
    protocols = [
        (disjoint_areas(training["legend"]), fine_classes),
        (unseen_tiles(training["legend"]), fine_classes),
        (lucas(coarse.key, crosswalk.by_class), coarse_classes),
    ]
    return dict(summarise_models(table, protocols))


def _summarise(protocols: dict[str, Any], model: Any, settings: ValidateSettings) -> dict[str, Any]:
    name = model["name"] if isinstance(model, dict) else str(model)
    headline = {
        protocol: {key: models[name][key]["estimate"] for key in ("overall_accuracy", "macro_f1")} for protocol, models in protocols.items()
    }
    for protocol, models in protocols.items():
        for model_name, found in models.items():
            accuracy, f1 = found["overall_accuracy"], found["macro_f1"]
            logger.info(
                "validate: %s, %s: overall accuracy %.3f (%.3f to %.3f), macro-F1 %.3f",
                protocol, model_name, accuracy["estimate"], accuracy["lower"], accuracy["upper"], f1["estimate"],
            )  # fmt: skip
    return {"headline": headline, "protocols": sorted(protocols), "validation": settings.validation}
