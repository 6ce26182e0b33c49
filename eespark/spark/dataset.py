"""Training sets: series by sample over its crop year, as Parquet that Petastorm, Spark, pyarrow and DuckDB read alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.bands import BANDS, REFLECTANCE_SCALE, Flag
from eespark.errors import MissingError
from eespark.io.storage import join_url, publish_folder, read_manifest, remove_tree, write_manifest
from eespark.job import JobSettings
from eespark.kernels.sampling import hash_text
from eespark.kernels.series import band_sums, mean_and_std, pad_series, regular_series
from eespark.legend import load_legend
from eespark.manifest import build_manifest
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES, TRAINING
from eespark.settings import Share, Url
from eespark.spark.contents import hash_of_rows, hashes_by
from eespark.spark.parts import content_hash, with_order, write_parts
from eespark.spark.tables import current_version, jvm_url, open_table
from eespark.spark.tasks import arrow_batches

logger = logging.getLogger(__name__)

_YEAR_DAYS: Final = 366
# A row is the series of a year: with the 20,000 rows that suit narrow ones a task held 2.5 GB, with these 1.8, and was no slower.
_SERIES_PER_BATCH: Final = 2_000
_RANK: Final = {Flag.CLEAR: 0, Flag.SNOW: 2, Flag.SHADOW: 3, Flag.UNCLASSIFIED: 1, Flag.CLOUD: 4, Flag.NO_DATA: 5}


class BuildSettings(JobSettings):
    """Settings of `build_training_set`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    samples: Annotated[Url, Field(description="Delta table of the samples")]
    sets: Annotated[Url, Field(description="folder of the sample sets' manifests")]
    observations: Annotated[Url, Field(description="Delta table of the observations")]
    training_set: Annotated[Url, Field(description="folder to write")]
    sample_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version")]
    legend: Annotated[str, Field(description="legend of the classes")] = "timesen2crop"
    level: Annotated[Literal["L1C", "L2A"], Field(description="processing level; that of extract_series, and never two in a set")] = "L2A"
    grid: Annotated[str, Field(pattern="^(as_acquired|regular)$", description="dates as acquired with a mask, or every step_days")] = (
        "as_acquired"
    )
    step_days: Annotated[int, Field(ge=1, le=60, description="days between dates of a regular grid")] = 10
    max_gap_days: Annotated[int, Field(ge=1, description="days to the nearest clear date beyond which a grid date is not valid")] = 45
    max_cloud_share: Annotated[Share, Field(description="products with more cloud are left out (TimeSen2Crop: 0.8)")] = 0.8
    min_clear: Annotated[int, Field(ge=1, description="clear dates that a sample must have")] = 5
    rows_per_group: Annotated[int, Field(ge=1, description="rows of a row group; Petastorm shuffles whole groups")] = 2048
    min_row_groups: Annotated[int, Field(ge=1, description="row groups of the training part at least, so that every rank has some")] = 8
    seed: Annotated[int, Field(description="of the order of rows")] = 1


def build_training_set(spark: SparkSession, settings: BuildSettings) -> dict[str, Any]:
    """Build the set under a temporary name and publish it whole; the counts of the summary.

    Raises:
        MissingError: No sample of the training part has enough clear dates.
    """
    with arrow_batches(spark, _SERIES_PER_BATCH):
        return _build(spark, settings)


def _build(spark: SparkSession, settings: BuildSettings) -> dict[str, Any]:
    versions = {name: current_version(spark, getattr(settings, name)) for name in ("products", "samples", "observations")}
    sample_set = read_manifest(join_url(settings.sets, settings.sample_set), "sample_set")
    spark.sparkContext.setJobDescription("build_training_set: what it is made of")
    samples, observed = _entering(spark, settings, versions)
    made_of = _contents(samples, observed)
    spark.sparkContext.setJobDescription("build_training_set: series")
    series = _series(samples, observed).persist()
    times = _times(series, settings)
    rows = _to_rows(series, settings, times).persist()
    story = _drop_story(spark, settings, rows, versions)
    rows = rows.where(F.col("clear") >= settings.min_clear)
    building = settings.training_set.rstrip("/") + ".building"
    remove_tree(building)
    parts = write_parts(rows, TRAINING, building, settings.rows_per_group, settings.min_row_groups)
    if "train" not in parts:
        raise MissingError(
            f"needed training samples with {settings.min_clear} clear dates, found none among {story}; lower min_clear or extract more"
        )
    content = _manifest(
        spark,
        settings,
        building,
        {"parts": parts, "times": times, "tables": versions, "dropped": story, "sample_set": sample_set["sample_set"], "made_of": made_of},
    )
    write_manifest(building, content)
    publish_folder(building, settings.training_set)
    rows.unpersist()
    series.unpersist()
    logger.info("build_training_set: %s; %d dates", {name: part["rows"] for name, part in parts.items()}, times)
    return {
        "training_set": settings.training_set,
        "times": times,
        "parts": {n: p["rows"] for n, p in parts.items()},
        "dropped": story,
        "content_hash": content["content_hash"],
    }


def contents_of_set(spark: SparkSession, settings: BuildSettings, versions: Mapping[str, int] | None) -> dict[str, Any]:
    """What enters a set, at some versions of the tables or now: samples, a hash of them; products, a hash of the observations of each.

    Equal where a set that is built is equal, however its files were named, or when they were read.

    Args:
        spark: Session.
        settings: Of the job.
        versions: Table -> version, as the manifest of a set has them under `tables`; None for now.
    """
    return _contents(*_entering(spark, settings, versions or {}))


def _contents(samples: DataFrame, observed: DataFrame) -> dict[str, Any]:
    drawn = hash_of_rows(samples, F.xxhash64(*(name for name in SAMPLES.names if name != "sample_set")))
    return {"samples": drawn, "products": hashes_by(observed, "product_id", F.xxhash64("sample_id", "sensing_time", "reflectance", "flag"))}


def _entering(spark: SparkSession, settings: BuildSettings, versions: Mapping[str, int]) -> tuple[DataFrame, DataFrame]:
    """Samples of the set, and observations of them: only what a current product of this very file gave, never superseded ones."""
    of_set = F.col("sample_set") == settings.sample_set
    products = _products(spark, settings, versions.get("products"))
    samples = open_table(spark, settings.samples, SAMPLES, versions.get("samples")).where(of_set)
    observed = open_table(spark, settings.observations, OBSERVATIONS, versions.get("observations")).where(of_set)
    return samples, observed.join(F.broadcast(products), ["product_id", "fingerprint"], "left_semi")


def _products(spark: SparkSession, settings: BuildSettings, version: int | None) -> DataFrame:
    products = open_table(spark, settings.products, PRODUCTS, version)
    products = products.where((F.col("status") == "current") & (F.col("level") == settings.level))
    return products.where(F.coalesce("cloud_share", F.lit(0.0)) <= settings.max_cloud_share).select("product_id", "fingerprint")


def _times(series: DataFrame, settings: BuildSettings) -> int:
    """Dates of every series: those of the sample with most, or those of the grid."""
    most = series.agg(F.max(F.size("dates"))).head()[0]
    if not most:
        raise MissingError(
            f"needed observations of {settings.sample_set} from current products with a cloud share up to {settings.max_cloud_share}, "
            "found none; run extract_series"
        )
    return math.ceil(_YEAR_DAYS / settings.step_days) if settings.grid == "regular" else int(most)


def _series(samples: DataFrame, observed: DataFrame) -> DataFrame:
    """One row a sample with the dates of its crop year sorted; halves of a tile-date are merged, the better flag wins."""
    rank = F.lit(9)
    for flag, order in _RANK.items():
        rank = F.when(F.col("flag") == int(flag), order).otherwise(rank)
    # One shuffle serves both groupings and the join; what is known of a sample joins its series, not each of its dates.
    observed = observed.repartition("sample_id").withColumn("day", F.to_date("sensing_time"))
    daily = observed.groupBy("sample_id", "day").agg(
        F.min_by(F.struct("flag", "reflectance"), F.struct(rank, F.col("product_id"))).alias("seen")
    )
    seen = daily.groupBy("sample_id").agg(F.collect_list(F.struct("day", "seen.flag", "seen.reflectance")).alias("seen"))
    joined = samples.drop("sample_set", "crs", "source").join(seen, "sample_id", "inner")
    inside = F.filter("seen", lambda one: one["day"].between(F.col("valid_from"), F.col("valid_to")))
    dates = F.transform(
        inside, lambda one: F.struct(F.datediff(one["day"], F.col("valid_from")).alias("date"), one["flag"], one["reflectance"])
    )
    joined = joined.withColumn("dates", F.array_sort(dates)).drop("seen", "valid_from", "valid_to")
    return joined.where(F.size("dates") > 0)


def _to_rows(series: DataFrame, settings: BuildSettings, times: int) -> DataFrame:
    """Rows of `TRAINING`, with split and the hash that orders them."""
    ddl = ", ".join(f"{c.name} {c.dtype}" for c in TRAINING.columns) + ", split string"
    grid = None if settings.grid == "as_acquired" else np.arange(times) * settings.step_days
    gap = settings.max_gap_days

    def convert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _convert(batch, times, grid, gap)

    rows = series.mapInArrow(convert, ddl)
    return with_order(rows, settings.seed, "sample_id")


def _convert(batch: pa.RecordBatch, times: int, grid: Any, max_gap_days: int) -> pa.RecordBatch:
    dates = batch.column("dates")
    lengths = np.diff(dates.offsets.to_numpy()).astype(np.int64)
    seen = dates.flatten()
    day = seen.field("date").to_numpy(zero_copy_only=False).astype(np.int16)
    clear = seen.field("flag").to_numpy(zero_copy_only=False) == int(Flag.CLEAR)
    reflectance = seen.field("reflectance").flatten().to_numpy(zero_copy_only=False).reshape(-1, len(BANDS)).astype(np.int16)
    reflectance = np.where(clear[:, None], reflectance, np.int16(0))
    counts = np.add.reduceat(clear.astype(np.int64), np.cumsum(lengths) - lengths)
    arrays = [
        pad_series(lengths, values, times if grid is None else int(lengths.max())) for values in (reflectance, clear.astype(np.int16), day)
    ]
    if grid is not None:
        arrays = _on_grid(arrays, grid, max_gap_days)
    columns = {name: batch.column(name) for name in batch.schema.names if name in TRAINING.names or name == "split"}
    columns["clear"] = pa.array(counts.astype(np.int16))
    for name, values in zip(("reflectance", "valid", "day"), arrays, strict=True):
        flat = np.ascontiguousarray(values.reshape(len(lengths), -1))
        offsets = pa.array(np.arange(len(lengths) + 1, dtype=np.int32) * flat.shape[1])
        columns[name] = pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1), pa.int16()))
    names = [*TRAINING.names, "split"]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def _on_grid(arrays: list[Any], grid: Any, max_gap_days: int) -> list[Any]:
    reflectance, clear, day = arrays
    filled, valid = regular_series(day.astype(np.int64), reflectance, clear > 0, grid, max_gap_days)
    return [filled, valid.astype(np.int16), np.where(valid, grid.astype(np.int16)[None, :], np.int16(0))]


def _drop_story(spark: SparkSession, settings: BuildSettings, rows: DataFrame, versions: dict[str, int]) -> dict[str, Any]:
    drawn = open_table(spark, settings.samples, SAMPLES, versions["samples"]).where(F.col("sample_set") == settings.sample_set).count()
    seen, few = rows.agg(F.count("*"), F.sum((F.col("clear") < settings.min_clear).cast("int"))).head()
    return {"samples_drawn": drawn, "never_observed": drawn - int(seen), "too_few_clear_dates": int(few or 0)}


def _manifest(spark: SparkSession, settings: BuildSettings, building: str, told: dict[str, Any]) -> dict[str, Any]:
    legend = load_legend(settings.legend)
    trained = told["parts"]["train"]["rows_by_class"]
    classes = [{"id": c.class_id, "name": c.name, "colour": c.colour} for c in legend.classes if trained.get(str(c.class_id))]
    content = {
        **told,
        "legend": legend.key,
        "level": settings.level,
        "inputs": "series",
        "classes": classes,
        "bands": list(BANDS),
        "scale": REFLECTANCE_SCALE,
        "statistics": _statistics(spark.read.parquet(jvm_url(join_url(building, "train"))), told["times"]),
        "grid": {
            "kind": settings.grid,
            **({"step_days": settings.step_days, "max_gap_days": settings.max_gap_days} if settings.grid == "regular" else {}),
        },
        "settings": settings.model_dump(mode="json"),
        "content_hash": content_hash(spark, TRAINING, building, told["parts"]),
        "settings_hash": f"{hash_text(settings.model_dump_json(exclude={'summary', 'training_set'})):016x}",
    }
    return build_manifest("training_set", content, __version__)


def _statistics(train: DataFrame, times: int) -> dict[str, list[float]]:
    """Mean and standard deviation of each band over the valid observations of the training part alone."""

    def sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                values = batch.column("reflectance").flatten().to_numpy().reshape(batch.num_rows, times, len(BANDS))
                valid = batch.column("valid").flatten().to_numpy().reshape(batch.num_rows, times) > 0
                total, squares, count = band_sums(values, valid)
                yield pa.RecordBatch.from_pylist([{"total": total.tolist(), "squares": squares.tolist(), "count": count}], schema=schema)

    schema = pa.schema([("total", pa.list_(pa.int64())), ("squares", pa.list_(pa.int64())), ("count", pa.int64())])
    found = train.select("reflectance", "valid").mapInArrow(sums, "total array<bigint>, squares array<bigint>, count bigint").collect()
    total = np.sum([row["total"] for row in found], axis=0)
    squares = np.sum([row["squares"] for row in found], axis=0)
    mean, std = mean_and_std(total, squares, sum(row["count"] for row in found), REFLECTANCE_SCALE)
    return {"mean": mean, "std": std}
