"""Sample sets: where to look, drawn from label polygons, split without leaks, frozen as a version."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from eespark import __version__
from eespark.errors import MissingError, SettingsError
from eespark.grid import TileGrid, square_key
from eespark.io.storage import join_url, read_manifest, remove_tree, url_exists, write_manifest
from eespark.kernels.sampling import allocate, class_probability, hash_text, hash_uint64, hash_uniform
from eespark.legend import load_legend
from eespark.manifest import FILE_NAME, build_manifest
from eespark.schema import LABELS, PRODUCTS, SAMPLES
from eespark.spark import splits
from eespark.spark.blocks import block_table, label_blocks, pure_counts, pure_pixels, tile_grids
from eespark.spark.draw_settings import DrawSettings, check_extends, check_same
from eespark.spark.point_samples import burn_by_points, place_points
from eespark.spark.sample_inputs import inputs_of_set
from eespark.spark.tables import append_once, conform, current_version, delete_rows, ensure_table, jvm_url, open_table

logger = logging.getLogger(__name__)
_PLACED: Final = ("label_id", "source", "class_id", "geometry", "point_x", "point_y", "valid_from", "valid_to", "weight")
_OF_PARCELS: Final = ("home", "pixels", "split", "block_x", "block_y")


def draw_samples(spark: SparkSession, settings: DrawSettings) -> dict[str, Any]:
    """Draw a sample set; nothing happens when this version exists with these settings.

    Raises:
        SettingsError: The version exists with other settings, or cannot extend the older one that it names.
        LeakError: The parts come too close; nothing is written.
        MissingError: No label can be sampled.
    """
    folder = join_url(settings.sets, settings.sample_set)
    if url_exists(join_url(folder, FILE_NAME)):
        return _existing(folder, settings)
    ensure_table(spark, settings.samples, SAMPLES)
    # A driver that died after the rows and before the manifest left rows that no manifest vouches for.
    delete_rows(spark, settings.samples, f"sample_set = '{settings.sample_set}'")
    # Two drivers that start together write under one name, thus once; a later one, after such a death, under another.
    transaction = f"samples:{settings.sample_set}:{current_version(spark, settings.samples)}"
    older = read_manifest(join_url(settings.sets, settings.extends), "sample_set") if settings.extends else None
    if older:
        check_extends(settings, older["settings"])
    grids = tile_grids(open_table(spark, settings.products, PRODUCTS), settings.level, settings.tiles)
    inputs = inputs_of_set(spark, settings, current_version(spark, settings.labels), [grid.tile for grid in grids])
    labels = _usable_labels(spark, settings, grids)
    blocks = block_table(spark, grids, settings.block_px)
    spark.sparkContext.setJobDescription("draw_samples: labels x blocks, pure pixels")
    pairs = label_blocks(labels.select("label_id", "class_id", "geometry", F.col("tile").alias("home")), blocks).persist()
    counts = _counts(spark, settings, pairs).persist()
    points = place_points(spark, _point_labels(spark, settings), grids, settings.adopted_squares).persist()
    assigned = _assign(spark, settings, labels, counts, points).persist()
    # The guard and the audit that checks it measure from polygon to polygon, so pixels keep at least that distance.
    placed = splits.drop_near_other_parts(assigned, settings.guard_m).persist()
    probabilities = _probabilities(spark, settings, placed.where("split <> 'points'"), older)
    samples = _draw(spark, settings, pairs, placed, probabilities, grids).unionByName(_point_rows(points, placed, settings)).persist()
    story = {
        "inputs": inputs,
        "audit": splits.audit(_sampled(placed, samples), samples, max(4 * settings.guard_m, 200.0), settings.guard_m),
        "probabilities": probabilities,
        "counts": _count_story(counts, labels, placed, samples),
        **({"moved": _moved(spark, settings, samples)} if settings.extends else {}),
    }
    spark.sparkContext.setJobDescription("draw_samples: write")
    metadata = {"sample_set": settings.sample_set}
    append_once(conform(samples, SAMPLES), settings.samples, transaction, metadata)
    summary = _publish(spark, settings, assigned, story)
    for frame in (samples, placed, assigned, points, counts, pairs):
        frame.unpersist()
    return summary


def _existing(folder: str, settings: DrawSettings) -> dict[str, Any]:
    manifest = read_manifest(folder, "sample_set")
    check_same(settings, manifest["settings"])
    logger.info("draw_samples: %s exists and stays as it is", settings.sample_set)
    return {"sample_set": settings.sample_set, "existing": True, "counts": manifest["counts"]}


def _usable_labels(spark: SparkSession, settings: DrawSettings, grids: list[TileGrid]) -> DataFrame:
    labels = open_table(spark, settings.labels, LABELS).where(F.col("source").isin(settings.sources) & F.col("usable"))
    legend = load_legend(settings.legend).key
    other = [row["legend"] for row in labels.select("legend").distinct().collect() if row["legend"] != legend]
    if other:
        raise SettingsError(f"needed labels of the legend {legend}, found {', '.join(other)}; import them with that legend")
    tiles = [grid.tile for grid in grids]
    squares = {square_key(t): t for t in tiles} | settings.adopted_squares
    if labels.limit(1).count() == 0:
        raise MissingError(
            f"needed usable labels of {', '.join(settings.sources)} in {settings.labels}, found none; import_labels' summary says why"
        )
    logger.info("draw_samples: tiles %s own the squares %s", tiles, sorted(squares))
    return labels


def _point_labels(spark: SparkSession, settings: DrawSettings) -> DataFrame:
    return open_table(spark, settings.labels, LABELS).where(F.col("source").isin(settings.point_sources) & F.col("usable"))


def _counts(spark: SparkSession, settings: DrawSettings, pairs: DataFrame) -> DataFrame:
    """Pure pixels of each label in each tile: tile, label_id, class_id, pixels, and ambiguous on rows without a label."""
    if settings.method == "points":
        pixels = burn_by_points(spark, pairs, settings.purity, settings.erode_m, settings.adopted_squares)
        counted = (
            pixels.groupBy("tile", "label_id", "class_id")
            .agg(F.count("*").alias("pixels"))
            .withColumn("ambiguous", F.lit(0).cast("bigint"))
        )
    else:
        counted = pure_counts(pairs, settings.purity, settings.erode_m, settings.adopted_squares)
    return counted.groupBy("tile", "label_id", "class_id").agg(F.sum("pixels").alias("pixels"), F.sum("ambiguous").alias("ambiguous"))


def _same_side(settings: DrawSettings) -> Any:
    held = list(settings.holdout_tiles)
    return F.col("tile").isin(held) == F.col("home").isin(held) if held else F.lit(True)


def _assign(spark: SparkSession, settings: DrawSettings, labels: DataFrame, counts: DataFrame, points: DataFrame) -> DataFrame:
    """Labels that have pure pixels, and points, each with its part."""
    spark.sparkContext.setJobDescription("draw_samples: parts and guard distance")
    meta = labels.select(
        "label_id", "source", "class_id", "geometry", F.col("tile").alias("home"), "point_x", "point_y", "valid_from", "valid_to", "weight"
    )
    parcels = counts.join(meta.select("label_id", "home"), "label_id", "inner").where(_same_side(settings))
    parcels = parcels.groupBy("label_id").agg(F.sum("pixels").alias("pixels")).join(meta, "label_id", "inner")
    parcels = parcels.withColumn("held_out", F.col("home").isin(list(settings.holdout_tiles)) if settings.holdout_tiles else F.lit(False))
    frozen = None
    if settings.extends:
        frozen = spark.read.parquet(jvm_url(join_url(settings.sets, settings.extends, "blocks")))
    placed = splits.assign_parts(parcels, settings.split_shares, settings.split_block_m, settings.seed, frozen)
    seen = points.select(
        *_PLACED,
        F.col("tile").alias("home"),
        F.lit(1).cast("bigint").alias("pixels"),
        F.lit("points").alias("split"),
        *(F.lit(None).cast("bigint").alias(name) for name in ("block_x", "block_y")),
    )
    return placed.select(*_PLACED, *_OF_PARCELS).unionByName(seen)


def _probabilities(spark: SparkSession, settings: DrawSettings, parcels: DataFrame, older: dict[str, Any] | None) -> dict[str, float]:
    """Class -> probability of drawing one of its pure pixels; those of an extended version stay."""
    rows = parcels.groupBy("class_id", "pixels").agg(F.count("*").alias("n")).orderBy("class_id", "pixels").collect()
    by_class: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        by_class.setdefault(int(row["class_id"]), []).append((int(row["pixels"]), int(row["n"])))
    pixels = {c: sum(p * n for p, n in pairs) for c, pairs in by_class.items()}
    wanted = allocate(pixels, {c: sum(n for _, n in pairs) for c, pairs in by_class.items()}, settings.total, settings.allocation)
    frozen = older["probabilities"] if older else {}
    found = {}
    for class_id, pairs in by_class.items():
        sizes, counts = np.array(pairs, np.int64).T
        p = frozen.get(str(class_id))
        found[str(class_id)] = float(class_probability(sizes, counts, wanted.get(class_id, 0), settings.max_per_parcel) if p is None else p)
    return found


def _draw(
    spark: SparkSession, settings: DrawSettings, pairs: DataFrame, placed: DataFrame, probabilities: dict[str, float], grids: list[TileGrid]
) -> DataFrame:
    """Rows of `samples` of the polygons: each pure pixel by its hash against its probability."""
    spark.sparkContext.setJobDescription("draw_samples: draw by hash")
    table = spark.createDataFrame([(int(c), p) for c, p in probabilities.items()], "class_id int, p double")
    cap = F.lit(settings.max_per_parcel) / F.col("pixels") if settings.max_per_parcel else F.lit(1.0)
    kept = placed.where("split <> 'points'").join(F.broadcast(table), "class_id", "inner")
    kept = kept.withColumn("inclusion_probability", F.least(F.col("p"), cap, F.lit(1.0))).drop("p", "geometry", "class_id", "pixels")
    # Every label is burnt, the dropped ones too: a pixel in two labels must stay ambiguous.
    if settings.method == "points":
        pixels = burn_by_points(spark, pairs, settings.purity, settings.erode_m, settings.adopted_squares)
    else:
        pixels = pure_pixels(pairs, settings.purity, settings.erode_m, settings.adopted_squares)
    pixels = pixels.join(kept, "label_id", "inner").where(_same_side(settings))
    drawn = pixels.where(_hash_column(settings.seed)("tile", "row", "col") < F.col("inclusion_probability"))
    return _with_places(drawn, grids, settings).withColumn("class_ids", F.lit(None).cast("array<int>")).select(*SAMPLES.names)


def _point_rows(points: DataFrame, placed: DataFrame, settings: DrawSettings) -> DataFrame:
    kept = placed.where("split = 'points'").select("label_id")
    rows = points.join(kept, "label_id", "left_semi").withColumn("split", F.lit("points")).withColumn("inclusion_probability", F.lit(1.0))
    rows = rows.withColumn("sample_set", F.lit(settings.sample_set)).withColumn("sample_id", _id_column()("tile", "row", "col", "label_id"))
    return rows.select(*SAMPLES.names)


def _with_places(drawn: DataFrame, grids: list[TileGrid], settings: DrawSettings) -> DataFrame:
    table = drawn.sparkSession.createDataFrame(
        [(g.tile, g.crs, g.x_min, g.y_max, g.pixel_m) for g in grids], "tile string, crs string, _x double, _y double, _px double"
    )
    placed = drawn.join(F.broadcast(table), "tile", "inner")
    placed = placed.withColumn("x", F.col("_x") + (F.col("col") + 0.5) * F.col("_px")).withColumn(
        "y", F.col("_y") - (F.col("row") + 0.5) * F.col("_px")
    )
    return placed.withColumn("sample_set", F.lit(settings.sample_set)).withColumn(
        "sample_id", _id_column()("tile", "row", "col", "label_id")
    )


def _hash_column(seed: int) -> Any:
    def draw(tile: pd.Series, row: pd.Series, col: pd.Series) -> pd.Series:
        codes = tile.map({name: hash_text(name) for name in tile.unique()}).to_numpy(np.int64)
        return pd.Series(hash_uniform(seed, codes, row.to_numpy(), col.to_numpy()))

    return F.pandas_udf(draw, "double")


def _id_column() -> Any:
    def identify(tile: pd.Series, row: pd.Series, col: pd.Series, label: pd.Series) -> pd.Series:
        tiles = tile.map({name: hash_text(name) for name in tile.unique()}).to_numpy(np.int64)
        labels = label.map({name: hash_text(name) for name in label.unique()}).to_numpy(np.int64)
        return pd.Series((hash_uint64(tiles, row.to_numpy(), col.to_numpy(), labels) >> np.uint64(1)).astype(np.int64))

    return F.pandas_udf(identify, LongType())


def _sampled(placed: DataFrame, samples: DataFrame) -> DataFrame:
    return placed.join(samples.select("label_id").distinct(), "label_id", "left_semi")


def _count_story(counts: DataFrame, labels: DataFrame, placed: DataFrame, samples: DataFrame) -> dict[str, Any]:
    total = counts.agg(
        F.sum("pixels").alias("pixels"), F.sum("ambiguous").alias("ambiguous"), F.countDistinct("label_id").alias("labels")
    ).head()
    by_split = {row["split"]: int(row["n"]) for row in samples.groupBy("split").agg(F.count("*").alias("n")).collect()}
    return {
        "labels_usable": labels.count(),
        "labels_with_pure_pixels": int(total["labels"]),
        "labels_after_guard": placed.where("split <> 'points'").count(),
        "pure_pixels": int(total["pixels"] or 0),
        "ambiguous_pixels": int(total["ambiguous"] or 0),
        "samples": by_split,
    }


def _moved(spark: SparkSession, settings: DrawSettings, samples: DataFrame) -> dict[str, int]:
    """What a version does with the samples of the one that it extends: how many stay, moved to another part, are gone, are new."""
    before = open_table(spark, settings.samples, SAMPLES).where(F.col("sample_set") == settings.extends)
    both = before.select("sample_id", F.col("split").alias("was")).join(samples.select("sample_id", "split"), "sample_id", "full")
    told = {
        "stay": F.col("was") == F.col("split"),
        "moved_to_another_part": F.col("was") != F.col("split"),
        "gone": F.col("split").isNull(),
        "new": F.col("was").isNull(),
    }
    row = both.agg(*(F.count_if(F.coalesce(test, F.lit(False))).alias(name) for name, test in told.items())).head()
    return {name: int(row[name]) for name in told}


def _publish(spark: SparkSession, settings: DrawSettings, assigned: DataFrame, story: dict[str, Any]) -> dict[str, Any]:
    """Write what stands beside the rows, the manifest last: it says that all is there."""
    folder = join_url(settings.sets, settings.sample_set)
    remove_tree(folder)
    splits.block_parts(spark, assigned.where("split <> 'points'")).coalesce(1).write.mode("overwrite").parquet(
        jvm_url(join_url(folder, "blocks"))
    )
    content = {
        "sample_set": settings.sample_set,
        "legend": load_legend(settings.legend).key,
        "settings": settings.model_dump(mode="json"),
        **story,
    }
    write_manifest(folder, build_manifest("sample_set", content, __version__))
    rare = [c for c, n in story["audit"]["classes_by_part"].get("train", {}).items() if n["labels"] < settings.min_parcels]
    if rare:
        logger.warning("draw_samples: classes with fewer than %d parcels in training: %s", settings.min_parcels, ", ".join(rare))
    logger.info("draw_samples: %s", story["counts"])
    return {
        "sample_set": settings.sample_set,
        "existing": False,
        "counts": story["counts"],
        "audit": story["audit"],
        **({"moved": story["moved"]} if "moved" in story else {}),
        "rare_classes": rare,
        "table": settings.samples,
    }
