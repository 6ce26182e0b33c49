"""Parts of a sample set: by ground block, with a guard distance, and the audit that ships with every set."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import LeakError
from eespark.kernels.sampling import assign_blocks, hash_uint64

logger = logging.getLogger(__name__)

# Where two parts come too close, the one named first stays: what is measured is rarer than what is learnt from.
PRIORITY: Final = ("points", "unseen", "test", "validation", "train")


def assign_parts(parcels: DataFrame, shares: dict[str, float], block_m: float, seed: int, frozen: DataFrame | None) -> DataFrame:
    """The parcels with `split`: unseen where their tile is held out, else by ground block so that each class is in each part.

    Args:
        parcels: label_id, class_id, point_x, point_y (EPSG:3035), held_out, and more columns that stay.
        shares: Part -> share of the parcels.
        block_m: Side of a ground block, metres.
        seed: Of the order of blocks.
        frozen: block_x, block_y, split of an older version of the set, which stay as they are; or None.
    """
    placed = parcels.withColumn("block_x", F.floor(F.col("point_x") / block_m)).withColumn("block_y", F.floor(F.col("point_y") / block_m))
    counted = placed.where("NOT held_out").groupBy("block_x", "block_y", "class_id").agg(F.count("*").alias("n")).toPandas()
    blocks = parts_of_blocks(counted, shares, seed, None if frozen is None else frozen.toPandas())
    spark = parcels.sparkSession
    joined = placed.join(F.broadcast(spark.createDataFrame(blocks)), ["block_x", "block_y"], "left")
    return joined.withColumn("split", F.when(F.col("held_out"), F.lit("unseen")).otherwise(F.col("split")))


def parts_of_blocks(counted: pd.DataFrame, shares: dict[str, float], seed: int, frozen: pd.DataFrame | None) -> pd.DataFrame:
    """Part of each ground block: columns block_x, block_y, split.

    Args:
        counted: block_x, block_y, class_id, n.
        shares: Part -> share.
        seed: Of the hashes.
        frozen: Blocks that have a part already.
    """
    if counted.empty:
        return pd.DataFrame({"block_x": np.zeros(1, np.int64), "block_y": np.zeros(1, np.int64), "split": ["train"]})
    table = counted.pivot_table(index=["block_x", "block_y"], columns="class_id", values="n", fill_value=0, aggfunc="sum").sort_index()
    index = table.index.to_frame(index=False).astype(np.int64)
    index["split"] = None
    if frozen is not None and len(frozen):
        index["split"] = index.drop(columns="split").merge(frozen, on=["block_x", "block_y"], how="left")["split"]
    new = index["split"].isna().to_numpy()
    if new.any():
        keys = hash_uint64(seed, index.loc[new, "block_x"].to_numpy(), index.loc[new, "block_y"].to_numpy())
        index.loc[new, "split"] = assign_blocks(table.to_numpy().astype(np.int64)[new], keys, shares)
    return index


def drop_near_other_parts(placed: DataFrame, guard_m: float) -> DataFrame:
    """The rows without those that come within `guard_m` of a row of another part that goes before theirs (`PRIORITY`).

    Args:
        placed: label_id, split, geometry (WKB, metric CRS), and more columns that stay.
        guard_m: Metres; 0 drops what touches.
    """
    shapes = placed.select("label_id", part_rank().alias("rank"), F.expr("ST_GeomFromWKB(geometry)").alias("shape"))
    first, second = shapes.alias("a"), shapes.alias("b")
    near = first.join(second, F.expr(f"ST_Distance(a.shape, b.shape) <= {float(guard_m)} AND a.rank < b.rank"), "inner")
    return placed.join(near.select(F.col("b.label_id").alias("label_id")).distinct(), "label_id", "left_anti")


def audit(placed: DataFrame, samples: DataFrame, radius_m: float, guard_m: float) -> dict[str, Any]:
    """How apart the parts of a set are, measured on what was drawn.

    Args:
        placed: label_id, split, geometry (WKB, metric CRS), valid_from, valid_to: the labels that gave a sample.
        samples: sample_id, tile, row, col, label_id, class_id, split.
        radius_m: How far to look for the nearest of another part.
        guard_m: The distance that was promised.

    Raises:
        LeakError: A label or a pixel is in two parts, or two parts share ground or come closer than `guard_m`.
    """
    shared_labels = samples.groupBy("label_id").agg(F.countDistinct("split").alias("n")).where("n > 1").count()
    shared_pixels = samples.groupBy("tile", "row", "col").agg(F.countDistinct("split").alias("n")).where("n > 1").count()
    shapes = placed.select("label_id", "split", "valid_from", "valid_to", F.expr("ST_GeomFromWKB(geometry)").alias("shape"))
    first, second = shapes.alias("a"), shapes.alias("b")
    near = first.join(second, F.expr(f"ST_Distance(a.shape, b.shape) <= {float(radius_m)} AND a.split < b.split"), "inner")
    gap_days = F.greatest(F.datediff("a.valid_from", "b.valid_to"), F.datediff("b.valid_from", "a.valid_to"), F.lit(0))
    measured = near.groupBy(F.col("a.split").alias("one"), F.col("b.split").alias("other")).agg(
        F.min(F.expr("ST_Distance(a.shape, b.shape)")).alias("distance_m"),
        F.sum(F.expr("CAST(ST_Area(ST_Intersection(a.shape, b.shape)) > 1e-6 AS INT)")).alias("overlapping"),
        F.min(gap_days).alias("time_gap_days"),
    )
    pairs = {
        f"{row['one']}-{row['other']}": {
            "distance_m": round(row["distance_m"], 2),
            "overlapping": int(row["overlapping"]),
            "time_gap_days": int(row["time_gap_days"]),
        }
        for row in measured.collect()
    }
    classes = samples.groupBy("split", "class_id").agg(F.count("*").alias("samples"), F.countDistinct("label_id").alias("labels")).collect()
    by_part: dict[str, dict[str, dict[str, int]]] = {}
    for row in sorted(classes, key=lambda r: (r["split"], -1 if r["class_id"] is None else r["class_id"])):
        by_part.setdefault(row["split"], {})[str(row["class_id"])] = {"samples": int(row["samples"]), "labels": int(row["labels"])}
    told = {
        "shared_labels": shared_labels,
        "shared_pixels": shared_pixels,
        "searched_radius_m": radius_m,
        "guard_m": guard_m,
        "nearest": pairs,
        "note": "a pair of parts that is not listed has nothing within the radius; time_gap_days 0 means the same crop year",
        "classes_by_part": by_part,
    }
    _refuse_leaks(told)
    return told


def _refuse_leaks(told: dict[str, Any]) -> None:
    faults = [f"{told[what]} {what.replace('_', ' ')}" for what in ("shared_labels", "shared_pixels") if told[what]]
    for pair, found in told["nearest"].items():
        if found["overlapping"]:
            faults.append(f"{found['overlapping']} overlaps of {pair}")
        if found["distance_m"] < told["guard_m"]:
            faults.append(f"{pair} only {found['distance_m']} m apart")
    if faults:
        raise LeakError(
            f"needed parts that share nothing and keep {told['guard_m']} m apart, found {'; '.join(faults)}; raise guard_m or split_block_m"
        )


def part_rank() -> Column:
    """Place of a row's `split` in `PRIORITY`, the least first."""
    rank = F.lit(len(PRIORITY))
    for index, name in enumerate(PRIORITY):
        rank = F.when(F.col("split") == name, index).otherwise(rank)
    return rank


def block_parts(spark: SparkSession, placed: DataFrame) -> DataFrame:
    """Blocks and their parts, to be kept beside the set: a later version starts from them.

    Args:
        spark: The session.
        placed: block_x, block_y, split of all parcels that got a part, those that the guard distance dropped too.
    """
    return placed.where("split <> 'unseen'").select("block_x", "block_y", "split").distinct()
