"""Validation of a classifier of ice on patches that it never saw, beside classifiers that see single pixels."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.errors import ManifestError, MissingError
from eespark.ice_legend import load_ice_legend
from eespark.io.storage import join_url, new_folder, read_manifest, write_manifest
from eespark.job import JobSettings
from eespark.kernels.backscatter import fit_slopes, moments_of
from eespark.manifest import build_manifest, inputs_of, labels_of, manifest_hash
from eespark.report.ice_validation import PROTOCOLS, summarise_ice
from eespark.settings import Url
from eespark.spark.ice_predictions import predictions

logger = logging.getLogger(__name__)


class IceValidateSettings(JobSettings):
    """Settings of `validate_ice`."""

    training_set: Annotated[Url, Field(description="folder of the training set of patches")]
    bundles: Annotated[
        dict[str, Url], Field(min_length=1, description="name -> folder of a bundle trained on it; the first is the main one")
    ]
    validation: Annotated[Url, Field(description="folder to write")]
    region_m: Annotated[float, Field(gt=0, description="m; side of the ground squares that accuracy is told by")] = 50_000.0
    pixel_baselines: Annotated[bool, Field(description="compare with a random forest and Bayes' rule on single pixels")] = True
    forest_trees: Annotated[int, Field(ge=1, description="trees of that forest")] = 300
    most_pixels: Annotated[int, Field(ge=100, description="training patches whose middle pixels these learn from, at most")] = 200_000
    look_step: Annotated[int, Field(ge=1, description="of sets labelled by look, looks from one that is judged to the next")] = 8
    seed: Annotated[int, Field(description="of the forest and of the draws of scenes")] = 1


def validate_ice(spark: SparkSession, settings: IceValidateSettings) -> dict[str, Any]:
    """Predict, estimate, write; the counts of the summary.

    Raises:
        ManifestError: A bundle was not trained on this training set, or the set is not one of patches.
        MissingError: The set has no part to validate on.
    """
    training = read_manifest(settings.training_set, "training_set")
    if inputs_of(training) != "patches":
        raise ManifestError(
            f"needed a training set of patches, found one of {inputs_of(training)} in {settings.training_set}; run validate"
        )
    bundles = {name: read_manifest(url, "bundle") for name, url in settings.bundles.items()}
    for name, bundle in bundles.items():
        if bundle["training_set"]["manifest_sha256"][:16] != manifest_hash(training):
            raise ManifestError(f"{settings.bundles[name]} was trained on another set than {settings.training_set}; name one trained on it")
    parts = [part for part in PROTOCOLS if part in training["parts"]]
    if not parts:
        raise MissingError(f"needed a part {' or '.join(PROTOCOLS)} in {settings.training_set}, found {', '.join(training['parts'])}")
    spark.sparkContext.setJobDescription("validate_ice: predictions")
    frames = [_of_part(spark, settings, part, name) for name in settings.bundles for part in parts]
    table = pd.concat([frame.toPandas() for frame in frames], ignore_index=True)
    if settings.pixel_baselines:
        judged = int(training["parts"]["train"]["rows"])
        if labels_of(training) == "looks":
            judged *= max(int(training["size"]) // settings.look_step, 1) ** 2
        share = min(settings.most_pixels / max(judged, 1), 1.0)
        chosen = F.pmod(F.xxhash64(F.lit(settings.seed), F.col("sample_id")), F.lit(1_000_000)) < share * 1_000_000
        train = _of_part(spark, settings, "train", None).where(chosen).toPandas()
        table = pd.concat([table, _pixel_models(settings, training, train, table)], ignore_index=True)
    table["region"] = [f"{a}_{b}" for a, b in (np.floor(table[["x", "y"]].to_numpy() / settings.region_m)).astype(int)]
    water = load_ice_legend(str(training["legend"]).split("@")[0]).water
    protocols = summarise_ice(table, training["classes"], water, settings.seed)
    return _write(settings, table.drop(columns="middle"), protocols, training, bundles)


def _of_part(spark: SparkSession, settings: IceValidateSettings, part: str, name: str | None) -> DataFrame:
    """What is judged of a part, with what a bundle says of it; with no name, without."""
    url = None if name is None else settings.bundles[name]
    rows = predictions(spark, settings.training_set, part, url, settings.look_step)
    return rows.withColumn("split", F.lit(part)).withColumn("model", F.lit(name))


def _pixel_models(settings: IceValidateSettings, training: dict[str, Any], train: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """What classifiers say that see HH, HV and the angle of the pixel in the middle of each patch."""
    from sklearn.ensemble import RandomForestClassifier

    logger.info("validate_ice: a random forest and Bayes' rule on single pixels, for comparison")
    first = next(iter(settings.bundles))
    rows = table[table["model"] == first]
    own, wanted = _middles(train), _middles(rows)
    classes = train["class_id"].to_numpy()
    forest = RandomForestClassifier(n_estimators=settings.forest_trees, random_state=settings.seed, n_jobs=-1, class_weight="balanced")
    forest.fit(own, classes)
    # A draw may hold none of a rare class.
    ids = np.asarray([one["id"] for one in training["classes"] if (classes == one["id"]).any()])
    bayes = fit_slopes([moments_of(own[classes == c, :-1], own[classes == c, -1]) for c in ids])
    likelihood = bayes.log_likelihood(wanted[:, :-1], wanted[:, -1])
    shares = forest.predict_proba(wanted)
    found = {
        "pixel_forest": (forest.classes_[shares.argmax(axis=1)], shares.max(axis=1)),
        "pixel_bayes_slopes": (ids[likelihood.argmax(axis=1)], 1 / np.exp(likelihood - likelihood.max(axis=1, keepdims=True)).sum(axis=1)),
    }
    frames = [rows.assign(model=name, predicted=best.astype(np.int32), confidence=sure) for name, (best, sure) in found.items()]
    return pd.concat(frames, ignore_index=True)


def _middles(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    return np.asarray(np.stack(rows["middle"].to_list()), np.float32)


def _write(
    settings: IceValidateSettings, table: pd.DataFrame, protocols: dict[str, Any], training: dict[str, Any], bundles: dict[str, Any]
) -> dict[str, Any]:
    content = {
        "bundle": {name: manifest_hash(bundle) for name, bundle in bundles.items()},
        "models": {name: {"model": one["model"], "incidence": one["settings"]["model"]["incidence"]} for name, one in bundles.items()},
        "judged": "looks" if labels_of(training) == "looks" else "patches",
        "training_set": manifest_hash(training),
        "legend": training["legend"],
        "classes": training["classes"],
        "protocols": protocols,
        "settings": settings.model_dump(mode="json"),
    }
    with new_folder(settings.validation) as building:
        table.to_parquet(join_url(building, "predictions.parquet"), index=False)
        write_manifest(building, build_manifest("validation", content, __version__))
    headline: dict[str, Any] = {}
    for part, models in protocols.items():
        for name, told in models.items():
            ice = told.get("ice_water", {}).get("weighted_f1", {}).get("estimate")
            headline.setdefault(part, {})[name] = {
                "weighted_f1": told["weighted_f1"]["estimate"], "macro_f1": told["macro_f1"]["estimate"], "ice_water_weighted_f1": ice
            }  # fmt: skip
            logger.info("validate_ice: %s, %s: %s", part, name, headline[part][name])
    return {"headline": headline, "protocols": sorted(protocols), "validation": settings.validation}
