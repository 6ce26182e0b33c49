"""Which scenes polygons of ice belong to: the one they were drawn on, all that a regional chart covers, those that see fast ice again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import shapely
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from eespark.io.ice_labels import IceSource
from eespark.polar_geometry import to_polar
from eespark.schema_polar import ICE_LABELS


def scene_outlines(products: DataFrame, polar_crs: str) -> DataFrame:
    """Current scenes of Sentinel-1: scene, started, outline (WKB in `polar_crs`)."""

    def outline(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            shapes = to_polar(shapely.from_wkb(batch["footprint"].to_numpy()), "EPSG:4326", polar_crs)
            yield batch[["scene", "started"]].assign(outline=list(shapely.to_wkb(np.asarray(shapes, dtype=object))))

    scenes = products.where("status = 'current' AND level = 'GRD'").select(
        F.col("product_id").alias("scene"), F.col("sensing_time").alias("started"), "footprint"
    )
    return scenes.mapInPandas(outline, "scene string, started timestamp, outline binary")


def match_scenes(labels: DataFrame, scenes: DataFrame, sources: Sequence[IceSource], min_overlap_share: float) -> DataFrame:
    """The labels with the scene that each was drawn on; one without a scene is not usable, for the reason `no_scene`.

    A label that names its scene keeps it. Of the others, each takes the scene nearest in time, within `max_gap_s` of its source, that it
    lies in by `min_overlap_share`. Labels of a chart of a region become as many as there are scenes within that time that they meet, each
    cut to its scene, named after it and marked by `carried_from`, so that a split keeps the pieces together.

    Args:
        labels: Columns of `ice_labels`.
        scenes: Of `scene_outlines`.
        sources: Whose labels they are.
        min_overlap_share: Of a label that must lie in its scene.
    """
    charts = [source.name for source in sources if source.whole_chart]
    regional, near = F.col("source").isin(charts), _near_scenes(labels, scenes, sources)
    pieces = _cut_to_scene(near.where(F.col("l.source").isin(charts)))
    lost = labels.where(regional).join(pieces.select(F.col("carried_from").alias("label_id")).distinct(), "label_id", "left_anti")
    drawn = _nearest(labels.where(~regional), near, min_overlap_share)
    placed = drawn.unionByName(_without_scene(lost)).unionByName(pieces.select(*drawn.columns))
    return placed.withColumn("usable", F.col("reason").isNull()).withColumn("fast", F.coalesce("fast", F.lit(False)))


def _near_scenes(labels: DataFrame, scenes: DataFrame, sources: Sequence[IceSource]) -> DataFrame:
    """l, s, _cut, _share, _gap: labels with the scenes that they meet and that fit their name or time."""
    gaps = F.create_map(*(F.lit(one) for source in sources for one in (source.name, source.max_gap_s)))
    left = labels.withColumn("_shape", F.expr("ST_GeomFromWKB(geometry)")).alias("l")
    right = F.broadcast(scenes.withColumn("_outline", F.expr("ST_GeomFromWKB(outline)"))).alias("s")
    near = left.where("geometry IS NOT NULL").join(right, F.expr("ST_Intersects(_outline, _shape)"), "inner")
    gap = F.abs(F.unix_timestamp("s.started") - F.unix_timestamp("l.observed"))
    named = F.col("l.scene").isNotNull()
    fits = F.when(named, F.col("l.scene") == F.col("s.scene")).otherwise(gap <= gaps[F.col("l.source")])
    cut = near.where(fits).withColumn("_gap", gap).withColumn("_cut", _intersection())
    return cut.withColumn("_share", F.expr("ST_Area(_cut)") / F.col("l.area_m2"))


def _intersection() -> Column:
    """The area that a label and an outline share."""
    return F.expr("ST_CollectionExtract(ST_Intersection(_outline, _shape), 3)")


def _nearest(labels: DataFrame, near: DataFrame, min_overlap_share: float) -> DataFrame:
    order = Window.partitionBy("l.label_id").orderBy(F.col("_gap").asc_nulls_last(), F.desc("_share"), "s.scene")
    best = near.where(F.col("_share") >= min_overlap_share).withColumn("_rank", F.row_number().over(order)).where("_rank = 1")
    best = best.select("l.label_id", F.col("s.scene").alias("_scene"), F.col("s.started").alias("_started"))
    joined = labels.join(best, "label_id", "left").withColumn("scene", F.col("_scene"))
    return _without_scene(joined).withColumn("observed", F.coalesce("observed", "_started")).drop("_scene", "_started")


def _without_scene(labels: DataFrame) -> DataFrame:
    lost = F.col("scene").isNull() & F.col("reason").isNull()
    return labels.withColumn("reason", F.when(lost, F.lit("no_scene")).otherwise(F.col("reason")))


def _cut_to_scene(near: DataFrame) -> DataFrame:
    """What of each label lies in each scene (`_cut`), as a label of its own."""
    changed = ("label_id", "geometry", "scene", "area_m2", "carried_from")
    return near.where("ST_Area(_cut) > 0").select(
        *(F.col(f"l.{name}").alias(name) for name in ICE_LABELS.names if name not in changed),
        F.concat(F.col("l.label_id"), F.lit("@"), F.col("s.scene")).alias("label_id"),
        F.expr("ST_AsBinary(_cut)").alias("geometry"),
        F.col("s.scene").alias("scene"),
        F.expr("ST_Area(_cut)").alias("area_m2"),
        F.coalesce("l.carried_from", "l.label_id").alias("carried_from"),
    )


def carry_fast(labels: DataFrame, scenes: DataFrame, days: int) -> DataFrame:
    """Copies of the labels of land-fast ice for the other scenes of the same winter that see their ground, cut to those scenes.

    Land-fast ice does not move until it breaks up. A winter runs from October to June; copies are marked by `carried_from`, so that a split
    keeps them with what they came from.
    """
    # October to June, numbered by the year in which it ends; other months have none.
    winter = F.when(F.month("when") >= 10, F.year("when") + 1).when(F.month("when") <= 6, F.year("when"))
    still = labels.where("usable AND fast").withColumn("when", F.col("observed")).withColumn("_winter", winter)
    still = still.withColumn("_shape", F.expr("ST_GeomFromWKB(geometry)")).alias("l")
    seen = scenes.withColumn("when", F.col("started")).withColumn("_winter", winter)
    seen = F.broadcast(seen.withColumn("_outline", F.expr("ST_GeomFromWKB(outline)"))).alias("s")
    near = still.join(seen, F.expr("ST_Intersects(_outline, _shape)"), "inner")
    apart = F.abs(F.datediff("s.started", "l.observed"))
    near = near.where(F.expr("l._winter = s._winter AND l.scene <> s.scene")).where(apart <= days)
    return _cut_to_scene(near.withColumn("_cut", _intersection()))
