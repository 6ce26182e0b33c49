"""What the long jobs would do now, from catalog, ledgers and measured rates; nothing is read but headers, and nothing written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.bands import BANDS, RESOLUTION_M
from eespark.errors import EESparkError
from eespark.io import rasters
from eespark.io.storage import read_text, url_exists
from eespark.plan import Plan
from eespark.schema import EXTRACTIONS, PRODUCTS
from eespark.spark.carry_over import CarryOver
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.ice_maps import IceMapSettings, scenes_left
from eespark.spark.ledger import left_to_read
from eespark.spark.map_blocks import tile_dates
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import tiles_left
from eespark.spark.observations import wanted_products
from eespark.spark.patches import PatchSettings, wanted_scenes
from eespark.spark.tables import open_table, table_exists

logger = logging.getLogger(__name__)
FINE: Final = sum(RESOLUTION_M[band] == 10 for band in BANDS)
# The scene classes are read too, at 20 m.
COARSE: Final = len(BANDS) - FINE + 1
AGENCY_JP2_PX: Final = (1024, 640)
"""Sides of the agency's JPEG 2000 tiles at 10 m and 20 m, px."""
# Of a row of observations in Parquet, as measured: nine numbers that follow one another closely, and keys that repeat.
_BYTES_A_ROW: Final = 30
# Where nothing was measured yet, a second and core: decoded JPEG 2000, pixels of scenes, pixels mapped from a year, cells of ice.
DECODED_MPX: Final = 7.0
_SCENE_MPX, _MAPPED_MPX, _ICE_MCELLS = 4.0, 0.004, 0.01
_MAP_LAYERS: Final = 4


def plan_series(spark: SparkSession, settings: ExtractSettings, jp2_px: tuple[int, int] | None = None, rate: float | None = None) -> Plan:
    """What `extract_series` would read now, cloud not counted: tiles under cloud are not decoded; what it would copy is not counted.

    Args:
        spark: Session.
        settings: Of the job.
        jp2_px: Sides of the JPEG 2000 tiles at 10 m and 20 m; None: as a product of the archive has them.
        rate: Million pixels a second and core, where no ledger tells it.

    Raises:
        MissingError: No catalog, or no samples.
    """
    carry = CarryOver.of(spark, settings)
    samples = carry.samples()
    tiles = [row["tile"] for row in samples.select("tile").distinct().collect()]
    wanted = wanted_products(spark, settings, tiles)
    jp2_px = jp2_px or _jp2_px(wanted)
    shape = {"_rows": F.element_at("shape", 1), "_cols": F.element_at("shape", 2)}
    kept = wanted.select("product_id", "fingerprint", "tile", "size_bytes", *(column.alias(name) for name, column in shape.items()))
    products = _left(spark, settings.extractions, settings.sample_set, kept, settings.retry_failed)
    # A product of which all is copied has no points left, thus no task.
    by_tile = _work_by_tile(samples, products, jp2_px).withColumn("known", F.lit(False))
    if carry.older is not None:
        rest = _work_by_tile(samples.where(~F.col("known")), products, jp2_px)
        by_tile = by_tile.unionByName(rest.withColumn("known", F.lit(True)))
    rows = _mark_known(products, carry).join(by_tile, ["tile", "known"]).persist()
    whole = F.col("_rows") * F.col("_cols") * (FINE + COARSE / 4)
    told = rows.agg(
        F.count("*").alias("tasks"), F.sum("pixels").alias("pixels"), F.max("pixels").alias("largest"),
        F.sum(F.col("size_bytes") * F.col("pixels") / whole).alias("bytes"), F.sum("samples").alias("observations"),
    ).head()  # fmt: skip
    counts = _counts(rows, "tile")
    rows.unpersist()
    found, source = _ledger_rate(spark, settings.extractions, rate or DECODED_MPX)
    observations = int(told["observations"] or 0)
    return Plan(
        int(told["tasks"]), counts, float(told["pixels"] or 0) / 1e6, float(told["largest"] or 0) / 1e6, "Mpx to decode", found, source,
        float(told["bytes"] or 0) / 1e9, observations * _BYTES_A_ROW / 1e9, {"observations": observations, "jp2_px": list(jp2_px)},
    )  # fmt: skip


def plan_patches(spark: SparkSession, settings: PatchSettings) -> Plan:
    """What `extract_patches` would read now, whole scenes counted: only strips and columns with a patch are read.

    Raises:
        MissingError: No catalog, or no usable labels.
    """
    scenes, _ = wanted_scenes(spark, settings)
    pixels = (F.element_at("shape", 1).cast("double") * F.element_at("shape", 2) * 2 / 1e6).alias("mpx")
    kept = scenes.select("product_id", "fingerprint", "size_bytes", pixels)
    rows = _left(spark, settings.extractions, settings.patch_set, kept, settings.retry_failed).persist()
    told = rows.agg(F.count("*"), F.sum("mpx"), F.max("mpx"), F.sum("size_bytes")).head()
    by_scene = _counts(rows, "product_id")
    rows.unpersist()
    rate, source = _ledger_rate(spark, settings.extractions, _SCENE_MPX)
    tasks, mpx, largest, size = int(told[0]), float(told[1] or 0), float(told[2] or 0), float(told[3] or 0)
    return Plan(tasks, by_scene, mpx, largest, "Mpx of scenes, two bands", rate, source, size / 1e9, 0.0)


def plan_maps(spark: SparkSession, settings: MapSettings) -> Plan:
    """What `predict_map` would map now: blocks without a part, of tiles without a whole map.

    Raises:
        MissingError: No catalog, or no bundle.
    """
    works = tiles_left(spark, settings)
    by_tile = {work.grid.tile: len(work.missing) for work in works if work.missing}
    pixels = [block.rows * block.cols for work in works for block in work.missing]
    share = {work.grid.tile: sum(b.rows * b.cols for b in work.missing) / (work.grid.rows * work.grid.cols) for work in works}
    products = open_table(spark, settings.products, PRODUCTS)
    named = tile_dates(products, settings).select("tile", F.explode("dates.product_id").alias("product_id"))
    sizes = named.join(products.select("product_id", "size_bytes"), "product_id").groupBy("tile").agg(F.sum("size_bytes").alias("bytes"))
    read = sum(float(row["bytes"]) * share.get(row["tile"], 0.0) for row in sizes.collect())
    rate, source = _summary_rate(settings.summary, ("pixels", "core_seconds"), _MAPPED_MPX)
    mpx = sum(pixels) / 1e6
    return Plan(
        len(pixels), by_tile, mpx, max(pixels, default=0) / 1e6, "Mpx to map", rate, source, read / 1e9, mpx * _MAP_LAYERS / 1e3,
        {"tiles": len(works)},
    )  # fmt: skip


def plan_ice_maps(spark: SparkSession, settings: IceMapSettings) -> Plan:
    """What `predict_ice_map` would map now: strips without a part, of scenes without a whole map.

    Raises:
        MissingError: No scene of the settings in the catalog, or no bundle.
    """
    works = scenes_left(spark, settings)
    cells = [strip.rows * strip.cols for work in works for strip in work.missing]
    by_scene = {work.scene["product_id"]: len(work.missing) for work in works if work.missing}
    names = [work.scene["product_id"] for work in works]
    sizes = open_table(spark, settings.products, PRODUCTS).where(F.col("product_id").isin(names)).agg(F.sum("size_bytes")).head()[0]
    rate, source = _summary_rate(settings.summary, ("pixels", "core_seconds"), _ICE_MCELLS)
    mcells = sum(cells) / 1e6
    return Plan(
        len(cells), by_scene, mcells, max(cells, default=0) / 1e6, "million cells to map", rate, source, float(sizes or 0) / 1e9,
        mcells * _MAP_LAYERS / 1e3, {"scenes": len(works)},
    )  # fmt: skip


def _work_by_tile(samples: DataFrame, products: DataFrame, jp2_px: tuple[int, int]) -> DataFrame:
    """tile, pixels, samples."""
    return pixels_by_tile(samples, products, jp2_px).join(samples.groupBy("tile").agg(F.count("*").alias("samples")), "tile")


def pixels_by_tile(samples: DataFrame, products: DataFrame, jp2_px: tuple[int, int]) -> DataFrame:
    """tile, pixels: of the internal tiles that hold a sample, over all bands of a product.

    Args:
        samples: tile, row, col.
        products: tile, _rows, _cols.
        jp2_px: Sides of the tiles at 10 m and 20 m.
    """
    shapes = products.groupBy("tile").agg(F.max("_rows").alias("_rows"), F.max("_cols").alias("_cols"))
    frame = samples.select("tile", "row", "col").join(F.broadcast(shapes), "tile")
    counted = None
    for scale, side, layers in ((1, jp2_px[0], FINE), (2, jp2_px[1], COARSE)):
        span = {axis: F.floor(F.col(axis) / (scale * side)).alias(f"_{axis}") for axis in ("row", "col")}
        blocks = frame.select("tile", *span.values(), (F.col("_rows") / scale).alias("_high"), (F.col("_cols") / scale).alias("_wide"))
        area = F.least(F.lit(side), F.col("_high") - F.col("_row") * side) * F.least(F.lit(side), F.col("_wide") - F.col("_col") * side)
        one = blocks.distinct().groupBy("tile").agg((F.sum(area) * layers).alias("pixels"))
        counted = one if counted is None else counted.unionByName(one)
    assert counted is not None
    return counted.groupBy("tile").agg(F.sum("pixels").alias("pixels"))


def _jp2_px(products: DataFrame) -> tuple[int, int]:
    """Sides of the internal tiles of one product's B02 and B05; the agency's where they cannot be read now."""
    rows = products.select("product_id", F.element_at("bands", "B02").alias("fine"), F.element_at("bands", "B05").alias("coarse"))
    one = rows.orderBy("product_id").head()
    if one is None:
        return AGENCY_JP2_PX
    try:
        fine, coarse = (rasters.raster_info(one[name]).block[0] for name in ("fine", "coarse"))
    except EESparkError as error:
        logger.warning("the size of the archive's JPEG 2000 tiles could not be read, the agency's are taken: %s", error)
        return AGENCY_JP2_PX
    return fine, coarse


def _left(spark: SparkSession, ledger: str, name: str, products: DataFrame, retry_failed: bool) -> DataFrame:
    if not table_exists(spark, ledger):
        return products
    rows = open_table(spark, ledger, EXTRACTIONS).where(F.col("sample_set") == name)
    return left_to_read(products, rows, retry_failed)


def _mark_known(products: DataFrame, carry: CarryOver) -> DataFrame:
    """With `known`: whether observations of an older version of the set would be copied, and the rest alone read."""
    if carry.older is None:
        return products.withColumn("known", F.lit(False))
    never = products.where("tried IS NULL").select("product_id", "fingerprint").collect()
    known = carry.products([(row["product_id"], row["fingerprint"], 1) for row in never])
    return products.withColumn("known", F.col("product_id").isin(list(known)))


def _counts(rows: DataFrame, key: str) -> dict[str, int]:
    return {row[key]: int(row["n"]) for row in rows.groupBy(key).agg(F.count("*").alias("n")).orderBy(key).collect()}


def _ledger_rate(spark: SparkSession, ledger: str, default: float) -> tuple[float, str]:
    """Million pixels a second and core of the ledger's own tasks, else the default; and which."""
    if table_exists(spark, ledger):
        rows = open_table(spark, ledger, EXTRACTIONS).where("status = 'done' AND seconds > 0 AND pixels_decoded > 0")
        told = rows.agg(F.sum("pixels_decoded").alias("pixels"), F.sum("seconds").alias("seconds"), F.count("*").alias("n")).head()
        if told["n"]:
            return float(told["pixels"]) / 1e6 / float(told["seconds"]), f"{told['n']} products of the ledger"
    return default, "the settings"


def _summary_rate(summary: str, names: tuple[str, str], default: float) -> tuple[float, str]:
    """Millions a second and core as the job's last run measured them, else the default; and which."""
    told: Mapping[str, Any] = json.loads(read_text(summary)) if url_exists(summary) else {}
    done, seconds = (float(told.get(name) or 0) for name in names)
    if done > 0 and seconds > 0:
        return done / 1e6 / seconds, "the job's last run"
    return default, "a default: no run was measured yet"
