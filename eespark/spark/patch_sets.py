"""Training sets of patches: parted, audited, with statistics of the training part alone; Parquet as the sets of series are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.errors import MissingError, SettingsError
from eespark.io.storage import join_url, publish_folder, remove_tree, write_manifest
from eespark.io.tiles import NO_CLASS
from eespark.job import JobSettings
from eespark.kernels.backscatter import Moments, add_moments, moments_by_class, moments_from, statistics_of
from eespark.kernels.sampling import hash_text
from eespark.legend import load_legend
from eespark.manifest import build_manifest, counts_by_class
from eespark.schema import PRODUCTS
from eespark.schema_polar import PATCHES, TRAINING_PATCHES
from eespark.settings import Share, Url
from eespark.spark.parts import content_hash, with_order, write_parts
from eespark.spark.patch_splits import SplitRule, assign_parts, audit, drop_leaks, season_column
from eespark.spark.tables import current_version, jvm_url, open_table

logger = logging.getLogger(__name__)

_GROUP_BYTES: Final = 32 << 20
_MOST_A_GROUP: Final = 512
# Maps are conformal: a diagonal that is measured between patches is right but for some per mille.
_CLOSE: Final = 0.99
_DDL: Final = ", ".join(f"{c.name} {c.dtype}" for c in TRAINING_PATCHES.columns) + ", split string"


class PatchSetSettings(JobSettings):
    """Settings of `build_patch_set`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    patches: Annotated[Url, Field(description="Delta table of the patches")]
    training_set: Annotated[Url, Field(description="folder to write")]
    patch_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version of the patches")]
    legend: Annotated[str, Field(description="legend of their classes")]
    split_by: Annotated[Literal["block", "scene", "polygon"], Field(description="what goes into one part as a whole")] = "block"
    block_m: Annotated[float, Field(gt=0, description="m; side of a ground block")] = 20_000.0
    by_season: Annotated[bool, Field(description="the ground of another ice season is other ground")] = False
    season_start_month: Annotated[int, Field(ge=1, le=12, description="month in which an ice season begins: 9 in the Arctic")] = 9
    shares: Annotated[dict[Literal["train", "validation", "test"], Share], Field(description="part -> share of the patches")] = {
        "train": 0.7, "validation": 0.15, "test": 0.15,
    }  # fmt: skip
    unseen_scenes: Annotated[list[str], Field(description="scenes held out as the part unseen: product_id, or its beginning")] = []
    unseen_seasons: Annotated[list[str], Field(description="ice seasons held out as the part unseen, as 2018/19")] = []
    scenes_of: Annotated[
        dict[Literal["train", "validation", "test"], list[str]],
        Field(description="part -> scenes that go into it by name, as unseen_scenes; the others are dealt by shares"),
    ] = {}
    guard_m: Annotated[
        float, Field(gt=0, description="m; least distance of the centres of patches of two parts; a patch's diagonal or more")
    ]
    guard_days: Annotated[
        int | None, Field(ge=0, description="days after which the same ground shows other ice, but for fast ice; null: never")
    ] = None
    rows_per_group: Annotated[
        int | None, Field(ge=1, description="rows of a row group; Petastorm shuffles whole groups; null: those of 32 MB, at most 512")
    ] = None
    min_row_groups: Annotated[int, Field(ge=1, description="row groups of each part at least, so that every rank has some")] = 8
    seed: Annotated[int, Field(description="of the split and of the order of rows")] = 1


def build_patch_set(spark: SparkSession, settings: PatchSetSettings) -> dict[str, Any]:
    """Build the set under a temporary name and publish it whole; the counts of the summary.

    Raises:
        MissingError: There are no patches with a class, or none of the training part.
        SettingsError: The guard is less than a patch's diagonal.
        LeakError: Parts share a polygon or ground.
    """
    versions = {name: current_version(spark, getattr(settings, name)) for name in ("products", "patches")}
    patches = _current(spark, settings, versions)
    shape = _shape(patches, settings)
    rule = SplitRule(
        settings.split_by, settings.block_m, settings.by_season, {str(part): share for part, share in settings.shares.items()},
        tuple(settings.unseen_scenes), tuple(settings.unseen_seasons), settings.guard_m, settings.guard_days, settings.seed,
        {str(part): names for part, names in settings.scenes_of.items()},
    )  # fmt: skip
    spark.sparkContext.setJobDescription("build_patch_set: parts")
    places = patches.drop("sigma", "incidence", "classes", "cells", "digital").persist()
    _check_guard(places, settings, int(shape["size"]))
    parted = drop_leaks(assign_parts(places, rule), rule).persist()
    told_audit, drawn = audit(parted, rule), places.count()
    rows = patches.join(parted.select("sample_id", "split"), "sample_id")
    rows = with_order(_to_rows(rows, shape), settings.seed, "sample_id").persist()
    building = settings.training_set.rstrip("/") + ".building"
    remove_tree(building)
    per_group = settings.rows_per_group or max(min(_GROUP_BYTES // (4 * shape["size"] ** 2 * len(shape["bands"])), _MOST_A_GROUP), 1)
    parts = write_parts(rows, TRAINING_PATCHES, building, per_group, settings.min_row_groups)
    if "train" not in parts:
        raise MissingError(f"needed patches of the training part, found none among {drawn}; lower guard_m, or hold out less")
    if shape["labels"] == "looks":
        for part, of_part in parts.items():
            of_part["looks_by_class"] = _looks_by_class(spark.read.parquet(jvm_url(join_url(building, part))))
    kept = sum(part["rows"] for part in parts.values())
    told = {"parts": parts, "tables": versions, "audit": told_audit, "dropped": {"patches": drawn, "too_near_another_part": drawn - kept}}
    content = _manifest(spark, settings, building, told, shape)
    write_manifest(building, content)
    publish_folder(building, settings.training_set)
    for frame in (rows, parted, places):
        frame.unpersist()
    summary = {"training_set": settings.training_set, "parts": {n: p["rows"] for n, p in parts.items()}, "dropped": told["dropped"]}
    logger.info("build_patch_set: %s of %d patches", summary["parts"], drawn)
    return {**summary, "by_class": told_audit["by_part"], "content_hash": content["content_hash"]}


def _current(spark: SparkSession, settings: PatchSetSettings, versions: dict[str, int]) -> DataFrame:
    products = open_table(spark, settings.products, PRODUCTS, versions["products"]).where("status = 'current'")
    patches = open_table(spark, settings.patches, PATCHES, versions["patches"]).where(F.col("sample_set") == settings.patch_set)
    patches = patches.join(F.broadcast(products.select("product_id", "fingerprint")), ["product_id", "fingerprint"], "left_semi")
    patches = patches.where("class_id IS NOT NULL").withColumnRenamed("patch_id", "sample_id")
    return patches.withColumn("season", season_column(settings.season_start_month))


def _shape(patches: DataFrame, settings: PatchSetSettings) -> dict[str, Any]:
    """size, looks, bands of all patches, and whether rows or looks are labelled."""
    labels = F.when(F.col("classes").isNull(), F.lit("rows")).otherwise(F.lit("looks")).alias("labels")
    found = [row.asDict() for row in patches.select("size", "looks", "bands", labels).distinct().limit(3).collect()]
    if len(found) != 1:
        raise MissingError(
            f"needed patches of {settings.patch_set} with a class, of one size and one kind of scene, found {found or 'none'} from current "
            "scenes; run extract_patches, with another name for another size"
        )
    return {**found[0], "bands": found[0]["bands"].split(",")}


def _check_guard(places: DataFrame, settings: PatchSetSettings, size: int) -> None:
    """Check that patches of two parts cannot share a look: the side of a look is told by the places of a scene's patches.

    Raises:
        SettingsError: The guard is less than a patch's diagonal.
    """
    spread = [F.var_pop(name).alias(name) for name in ("x", "y", "row", "col")]
    scenes = places.groupBy("product_id").agg(*spread).where("row > 0 AND col > 0")
    told = scenes.agg(F.max(F.expr("sqrt((x + y) / (row + col))")).alias("look_m")).head()
    diagonal = size * float(told["look_m"] or 0) * 2**0.5 if told else 0.0
    if settings.guard_m < _CLOSE * diagonal:
        raise SettingsError(
            f"needed guard_m of at least the diagonal of a patch, {diagonal:.0f} m, found {settings.guard_m}; parts would share looks"
        )


def _to_rows(patches: DataFrame, shape: dict[str, Any]) -> DataFrame:
    size, bands = int(shape["size"]), len(shape["bands"])

    def convert(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield convert_patches(batch, size, bands)

    return patches.withColumn("inclusion_probability", F.lit(1.0)).mapInArrow(convert, _DDL)


def convert_patches(batch: pa.RecordBatch, size: int, bands: int) -> pa.RecordBatch:
    """Rows of the table of patches as rows of a training set: bands last, the angle by column."""
    count = batch.num_rows
    sigma = floats_of(batch, "sigma").reshape(count, bands, size, size).transpose(0, 2, 3, 1)
    incidence = floats_of(batch, "incidence").reshape(count, size, size).mean(axis=1)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * size)
    columns = {name: batch.column(name) for name in batch.schema.names if name in TRAINING_PATCHES.names or name == "split"}
    columns["sigma"] = pa.array([one.tobytes() for one in np.ascontiguousarray(sigma, "<f4")], pa.binary())
    columns["incidence"] = pa.ListArray.from_arrays(offsets, pa.array(incidence.ravel().astype(np.float32)))
    names = [*TRAINING_PATCHES.names, "split"]
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def _looks_by_class(rows: DataFrame) -> dict[str, int]:
    """Class -> looks of it."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            looks = np.bincount(classes_of(batch), minlength=256)
            told = [{"class_id": int(one), "n": int(looks[one])} for one in np.flatnonzero(looks) if one != NO_CLASS]
            yield pa.RecordBatch.from_pylist(told, schema=pa.schema([("class_id", pa.int32()), ("n", pa.int64())]))

    counted = rows.select("classes").mapInArrow(count, "class_id int, n bigint").groupBy("class_id").agg(F.sum("n").alias("n"))
    return {str(row["class_id"]): int(row["n"]) for row in counted.orderBy("class_id").collect()}


def floats_of(batch: pa.RecordBatch, name: str) -> Any:
    """All float32 of a column of bytes, one row after the other."""
    return np.frombuffer(b"".join(batch.column(name).to_pylist()), "<f4")


def classes_of(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """Classes of all looks of a batch, one row after the other."""
    return np.frombuffer(b"".join(batch.column("classes").to_pylist()), np.uint8)


def inputs_in(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Sigma (n, size, size, bands) and incidence (n, size) of a batch of a training set's rows."""
    incidence = batch.column("incidence").flatten().to_numpy().reshape(batch.num_rows, -1)
    size = incidence.shape[1]
    return floats_of(batch, "sigma").reshape(batch.num_rows, size, size, -1), incidence


def _manifest(
    spark: SparkSession, settings: PatchSetSettings, building: str, told: dict[str, Any], shape: dict[str, Any]
) -> dict[str, Any]:
    legend, trained = load_legend(settings.legend), counts_by_class(told["parts"]["train"])
    classes = [{"id": c.class_id, "name": c.name, "colour": c.colour} for c in legend.classes if trained.get(str(c.class_id))]
    content = {
        **told,
        **shape,
        "inputs": "patches",
        "sample_set": settings.patch_set,
        "legend": legend.key,
        "classes": classes,
        "statistics": _statistics(spark.read.parquet(jvm_url(join_url(building, "train"))), int(shape["size"]), len(shape["bands"])),
        "settings": settings.model_dump(mode="json"),
        "content_hash": content_hash(spark, TRAINING_PATCHES, building, told["parts"]),
        "settings_hash": f"{hash_text(settings.model_dump_json(exclude={'summary', 'training_set'})):016x}",
    }
    return build_manifest("training_set", content, __version__)


def _classes_of(batch: pa.RecordBatch, size: int) -> npt.NDArray[Any]:
    """(n,) classes of rows, or (n, size, size) of looks where these are labelled."""
    if batch.column("classes").null_count:
        return np.asarray(batch.column("class_id").to_numpy())
    return classes_of(batch).reshape(batch.num_rows, size, size)


def _statistics(train: DataFrame, size: int, bands: int) -> dict[str, Any]:
    """Of the training part alone."""

    def sums(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            power, angle = inputs_in(batch)
            found = moments_by_class(power, angle, _classes_of(batch, size))
            found.pop(NO_CLASS, None)
            told = [{"class_id": class_id, "sums": one.flat()} for class_id, one in found.items()]
            yield pa.RecordBatch.from_pylist(told, schema=schema)

    schema = pa.schema([("class_id", pa.int32()), ("sums", pa.list_(pa.float64()))])
    found = train.select("class_id", "incidence", "sigma", "classes").mapInArrow(sums, "class_id int, sums array<double>").collect()
    by_class: dict[int, Moments] = {}
    for row in sorted(found, key=lambda one: (one["class_id"], one["sums"])):
        add_moments(by_class, {row["class_id"]: moments_from(row["sums"], bands)})
    return statistics_of([by_class[c] for c in sorted(by_class)])
