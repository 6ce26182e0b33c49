"""The blocks of tiles as rows: grid, dates, and the parcels that lie in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.grid import Block, TileGrid
from eespark.spark.blocks import block_table, label_blocks
from eespark.spark.map_settings import MapSettings
from eespark.spark.parcels import parcels_of_blocks

KEYS: Final = ("tile", "block_row", "block_col")


def tile_dates(products: DataFrame, settings: MapSettings) -> DataFrame:
    """tile, dates: its current products of the season as an array in the order of days."""
    season = (F.to_date("sensing_time") >= F.lit(settings.first_day)) & (F.to_date("sensing_time") <= F.lit(settings.last_day))
    clear = F.coalesce("cloud_share", F.lit(0.0)) <= settings.max_cloud_share
    rows = products.where((F.col("status") == "current") & (F.col("level") == settings.level)).where(season & clear)
    rows = rows.withColumn("day", F.datediff(F.to_date("sensing_time"), F.lit(settings.first_day)))
    texts = [F.to_json(name).alias(name) for name in ("bands", "offsets")]
    one = F.struct("day", "product_id", "fingerprint", *texts, "scale", "shape", "transform")
    return rows.groupBy("tile").agg(F.array_sort(F.collect_list(one)).alias("dates"))


def block_frame(
    spark: SparkSession, settings: MapSettings, dates: DataFrame, labels: DataFrame | None, wanted: Mapping[TileGrid, tuple[Block, ...]]
) -> DataFrame:
    """One row a block, each a task of its own: its grid, the dates of its tile, and mask or parcels where labels are given."""
    rows = [(grid.tile, block.row, block.col) for grid, blocks in wanted.items() for block in blocks]
    blocks = block_table(spark, wanted, settings.block_px).join(
        F.broadcast(spark.createDataFrame(rows, "tile string, block_row int, block_col int")), list(KEYS), "left_semi"
    )
    empty = F.lit(None).cast("array<binary>")
    if labels is None:
        blocks = blocks.withColumn("mask", empty)
    elif settings.mode == "parcels":
        columns = ("label_id", "class_id", "geometry", "tile", "point_x", "point_y")
        reach_m = settings.reach_px * max(grid.pixel_m for grid in wanted)
        blocks = parcels_of_blocks(labels.select(*columns), blocks, reach_m).withColumn("mask", empty)
    else:
        pairs = label_blocks(labels.withColumn("home", F.col("tile")), blocks)
        mask = pairs.groupBy(*KEYS).agg(F.collect_list("geometry").alias("mask"))
        # Blocks without a parcel have nothing to map, and are written as no data without reading a pixel.
        blocks = blocks.join(mask, list(KEYS), "left").withColumn("mask", F.coalesce("mask", F.array().cast("array<binary>")))
    spread = blocks.drop("footprint").repartitionByRange(max(1, len(rows)), *KEYS)
    return spread.join(F.broadcast(dates), "tile", "left")
