"""Parts of a set of patches: no polygon, and no ground that may show the same ice, on two sides; with the audit that ships with the set.

Floes drift and fast ice stays, so what repeated ground means is a setting: by default the same ground is never in two parts, whenever it
was seen. Where the pack moves, `guard_days` lets ground count as new ice after some days, but for fast ice, which is the same all season.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from eespark.errors import LeakError, SettingsError
from eespark.spark.scenes import named
from eespark.spark.splits import part_rank, parts_of_blocks

logger = logging.getLogger(__name__)

_STEPS: Final = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))


@dataclass(frozen=True)
class SplitRule:
    """How patches are parted.

    Attributes:
        by: block, scene or polygon: what goes into one part as a whole.
        block_m: Side of a ground block.
        by_season: Whether the ground of another ice season is other ground.
        shares: Part -> share of the patches.
        unseen_scenes: Scenes that are held out, as product_id or as its beginning.
        unseen_seasons: Ice seasons that are held out.
        guard_m: Distance of centres below which patches of two parts are on the same ground.
        guard_days: Days after which the same ground shows other ice; None: never.
        seed: Of the order in which units are dealt.
        scenes_of: Part -> scenes that go into it by name, as `unseen_scenes`.
    """

    by: str
    block_m: float
    by_season: bool
    shares: dict[str, float]
    unseen_scenes: tuple[str, ...]
    unseen_seasons: tuple[str, ...]
    guard_m: float
    guard_days: int | None
    seed: int
    scenes_of: Mapping[str, Sequence[str]] = field(default_factory=dict)


def season_column(start_month: int) -> Column:
    """Ice season of `sensing_time`, as 2018/19: from the first of a month to the year after."""
    year = F.year(F.add_months("sensing_time", 1 - start_month))
    return F.concat(year.cast("string"), F.lit("/"), F.lpad(F.pmod(year + 1, F.lit(100)).cast("string"), 2, "0"))


def assign_parts(patches: DataFrame, rule: SplitRule) -> DataFrame:
    """The patches with `split`.

    Args:
        patches: sample_id, label_root, label_roots, product_id, season, x, y, class_id, and more columns that stay. Those with
            `label_roots` are tiles, which are of many polygons: they are dealt by their own middle.
        rule: How.

    Raises:
        SettingsError: Tiles by polygon.
    """
    whole = F.when(F.col("label_roots").isNull(), F.col("label_root")).otherwise(F.col("sample_id").cast("string"))
    patches = patches.withColumn("_whole", whole)
    if rule.by == "polygon" and patches.where("label_roots IS NOT NULL").limit(1).count():
        raise SettingsError("needed split_by block or scene for tiles, found polygon; a tile has looks of many polygons")
    roots = patches.groupBy("_whole").agg(F.avg("x").alias("_rx"), F.avg("y").alias("_ry"))
    placed = patches.join(roots, "_whole").drop("_whole").withColumn("block_x", _unit(rule)).withColumn("block_y", F.lit(0).cast("bigint"))
    fixed = _fixed(rule)
    counted = placed.where(fixed.isNull()).groupBy("block_x", "block_y", "class_id").agg(F.count("*").alias("n")).toPandas()
    units = parts_of_blocks(counted, rule.shares, rule.seed, None)
    told = patches.sparkSession.createDataFrame(pd.DataFrame(units).astype({"split": str}))
    joined = placed.join(F.broadcast(told), ["block_x", "block_y"], "left")
    return joined.withColumn("split", F.coalesce(fixed, F.col("split"))).drop("block_x", "block_y", "_rx", "_ry")


def _unit(rule: SplitRule) -> Column:
    """A number for what goes into one part as a whole."""
    season = F.col("season") if rule.by_season else F.lit("")
    if rule.by == "scene":
        return F.xxhash64("product_id")
    if rule.by == "polygon":
        return F.xxhash64("label_root")
    # By the middle of the polygon, so that it is whole.
    return F.xxhash64(F.floor(F.col("_rx") / rule.block_m), F.floor(F.col("_ry") / rule.block_m), season)


def _fixed(rule: SplitRule) -> Column:
    """The part that a patch's scene or season is meant for by name; null where it is dealt."""
    part = F.when(F.col("season").isin(list(rule.unseen_seasons)) | named(rule.unseen_scenes), F.lit("unseen"))
    for name, scenes in rule.scenes_of.items():
        part = part.when(named(scenes), F.lit(name))
    return part


def drop_leaks(parted: DataFrame, rule: SplitRule) -> DataFrame:
    """The patches without those whose polygon, or whose ground, is in a part that goes before theirs (`splits.PRIORITY`)."""
    ranked = parted.withColumn("_rank", part_rank())
    of_polygons = _by_polygon(ranked, "_rank")
    first = of_polygons.groupBy("root").agg(F.min("_rank").alias("_first"))
    late = of_polygons.join(first, "root").where("_rank > _first").select("sample_id").distinct()
    whole = ranked.join(late, "sample_id", "left_anti")
    near = _near(whole, rule, rule.guard_m).where("one._rank < other._rank")
    return whole.join(near.select(F.col("other.sample_id").alias("sample_id")).distinct(), "sample_id", "left_anti").drop("_rank")


def audit(parted: DataFrame, rule: SplitRule) -> dict[str, Any]:
    """How apart the parts are, measured on what was written.

    Raises:
        LeakError: A polygon is in two parts, or two parts come closer than `guard_m` on ground that may show the same ice.
    """
    shared = _by_polygon(parted, "split").groupBy("root").agg(F.countDistinct("split").alias("n")).where("n > 1").count()
    radius = 2 * rule.guard_m
    ranked = parted.withColumn("_rank", part_rank())
    distance = F.expr("sqrt(pow(one.x - other.x, 2) + pow(one.y - other.y, 2))")
    near = (
        _near(ranked, rule, radius).where("one._rank < other._rank").groupBy(F.col("one.split").alias("a"), F.col("other.split").alias("b"))
    )
    nearest = {f"{row['a']}-{row['b']}": round(float(row["least"]), 1) for row in near.agg(F.min(distance).alias("least")).collect()}
    told = {
        "shared_polygons": shared,
        "guard_m": rule.guard_m,
        "guard_days": rule.guard_days,
        "searched_radius_m": radius,
        "nearest_m": nearest,
    }
    told |= {"note": "a pair of parts that is not listed has nothing within the radius", "by_part": _counts(parted)}
    close = [f"{pair} only {metres} m apart" for pair, metres in nearest.items() if metres < rule.guard_m]
    if shared or close:
        faults = "; ".join([f"{shared} polygons in two parts"] * bool(shared) + close)
        raise LeakError(f"needed parts that share no polygon and no ground, found {faults}; report it with the settings")
    return told


def _by_polygon(patches: DataFrame, column: str) -> DataFrame:
    """sample_id, root and a column: one row for each polygon that a patch or tile has looks of."""
    polygons = F.coalesce("label_roots", F.array("label_root"))
    return patches.select("sample_id", F.explode(polygons).alias("root"), column)


def _near(ranked: DataFrame, rule: SplitRule, radius: float) -> DataFrame:
    """Pairs `one`, `other` within a radius whose ground may show the same ice."""
    columns = ("sample_id", "split", "_rank", "x", "y", "season", "fast", F.to_date("sensing_time").alias("day"))
    cells = (F.floor(F.col("x") / radius).alias("cx"), F.floor(F.col("y") / radius).alias("cy"))
    places = ranked.select(*columns, *cells)
    moves = F.explode(F.array(*(F.struct(F.lit(i).alias("i"), F.lit(j).alias("j")) for i, j in _STEPS))).alias("move")
    around = places.select("*", moves).withColumn("cx", F.col("cx") + F.col("move.i")).withColumn("cy", F.col("cy") + F.col("move.j"))
    same = F.expr(f"pow(one.x - other.x, 2) + pow(one.y - other.y, 2) < {float(radius) ** 2}")
    if rule.by_season:
        same &= F.col("one.season") == F.col("other.season")
    if rule.guard_days is not None:
        soon = F.abs(F.datediff("one.day", "other.day")) <= rule.guard_days
        still = F.col("one.fast") & F.col("other.fast") & (F.col("one.season") == F.col("other.season"))
        same &= soon | still
    return around.drop("move").alias("one").join(places.alias("other"), ["cx", "cy"]).where("one.split <> other.split").where(same)


def _counts(parted: DataFrame) -> dict[str, Any]:
    rows = parted.groupBy("split", "class_id").agg(
        F.count("*").alias("patches"), F.countDistinct("label_root").alias("polygons"), F.countDistinct("product_id").alias("scenes")
    )
    told: dict[str, Any] = {}
    for row in sorted(rows.collect(), key=lambda one: (one["split"], one["class_id"])):
        told.setdefault(row["split"], {})[str(row["class_id"])] = {name: int(row[name]) for name in ("patches", "polygons", "scenes")}
    return told
