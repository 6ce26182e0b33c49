"""What an extraction will cost, before it runs: tasks, pixels, core-hours, bytes; from catalog, samples and measured rates."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.bands import BANDS, RESOLUTION_M
from eespark.job import JobSettings
from eespark.schema import EXTRACTIONS, SAMPLES
from eespark.settings import Url, load_settings
from eespark.spark.ledger import left_to_read
from eespark.spark.observations import ExtractSettings, wanted_products
from eespark.spark.tables import open_table, table_exists

logger = logging.getLogger(__name__)
_FINE: Final = sum(RESOLUTION_M[band] == 10 for band in BANDS)
# The scene classes are read too, at 20 m.
_COARSE: Final = len(BANDS) - _FINE + 1
# Of a row of observations in Parquet, as measured: nine numbers that follow one another closely, and keys that repeat.
_BYTES_A_ROW: Final = 30


class ForecastSettings(JobSettings):
    """Settings of `forecast`."""

    series: Annotated[Url, Field(description="settings file of extract_series")]
    cores: Annotated[int, Field(ge=1, description="task slots that it will run on")] = 2
    jp2_px: Annotated[tuple[int, int], Field(description="px of the JPEG 2000 tiles at 10 m and 20 m; the agency's are 1024 and 640")] = (
        1024, 640,
    )  # fmt: skip
    mpx_per_core_s: Annotated[float, Field(gt=0, description="million pixels decoded a second and core, where no ledger tells it")] = 7.0
    fixed_s: Annotated[float, Field(ge=0, description="s a job takes besides its tasks")] = 20.0


def forecast(spark: SparkSession, settings: ForecastSettings) -> dict[str, Any]:
    """What `extract_series` would read by a settings file if it ran now, cloud not counted: tiles under cloud are not decoded.

    Raises:
        MissingError: No catalog, or no samples.
    """
    extract = load_settings(settings.series, ExtractSettings)
    samples = open_table(spark, extract.samples, SAMPLES).where(F.col("sample_set") == extract.sample_set)
    products = _missing(spark, extract, samples)
    pixels = _pixels_by_tile(samples, products, settings.jp2_px)
    counted = samples.groupBy("tile").agg(F.count("*").alias("samples"))
    rows = products.join(pixels, "tile").join(counted, "tile").persist()
    whole = F.col("_rows") * F.col("_cols") * (_FINE + _COARSE / 4)
    told = rows.agg(
        F.count("*").alias("tasks"), F.sum("pixels").alias("pixels"), F.max("pixels").alias("largest"),
        F.sum(F.col("size_bytes") * F.col("pixels") / whole).alias("bytes"), F.sum("samples").alias("observations"),
    ).head()  # fmt: skip
    by_tile = {row["tile"]: int(row["n"]) for row in rows.groupBy("tile").agg(F.count("*").alias("n")).orderBy("tile").collect()}
    rows.unpersist()
    rate, source = _rate(spark, extract, settings)
    core_s = float(told["pixels"] or 0) / 1e6 / rate
    longest_s = float(told["largest"] or 0) / 1e6 / rate
    found = {
        "tasks": int(told["tasks"]),
        "products_by_tile": by_tile,
        "mpx_to_decode": round(float(told["pixels"] or 0) / 1e6, 1),
        "core_hours": round(core_s / 3600, 3),
        # No less than its longest task, however many cores there are.
        "seconds": round(settings.fixed_s + max(core_s / settings.cores, longest_s), 1) if told["tasks"] else 0.0,
        "gb_to_read": round(float(told["bytes"] or 0) / 1e9, 3),
        "gb_to_write": round(int(told["observations"] or 0) * _BYTES_A_ROW / 1e9, 4),
        "observations": int(told["observations"] or 0),
        "mpx_per_core_s": round(rate, 2),
        "rate_from": source,
    }
    logger.info(
        "forecast: %d tasks, %.1f core-hours, %.0f s on %d cores, %.1f GB to read", found["tasks"], found["core_hours"], found["seconds"],
        settings.cores, found["gb_to_read"],
    )  # fmt: skip
    return found


def _missing(spark: SparkSession, extract: ExtractSettings, samples: DataFrame) -> DataFrame:
    """Products that are wanted and not read: product_id, tile, size_bytes, _rows, _cols."""
    tiles = [row["tile"] for row in samples.select("tile").distinct().collect()]
    wanted = wanted_products(spark, extract, tiles)
    shape = {"_rows": F.element_at("shape", 1), "_cols": F.element_at("shape", 2)}
    products = wanted.select("product_id", "fingerprint", "tile", "size_bytes", *(column.alias(name) for name, column in shape.items()))
    if not table_exists(spark, extract.extractions):
        return products
    rows = open_table(spark, extract.extractions, EXTRACTIONS).where(F.col("sample_set") == extract.sample_set)
    return left_to_read(products, rows, extract.retry_failed)


def _pixels_by_tile(samples: DataFrame, products: DataFrame, jp2_px: tuple[int, int]) -> DataFrame:
    """tile, pixels: of the internal tiles that hold a sample, over all bands of a product."""
    shapes = products.groupBy("tile").agg(F.max("_rows").alias("_rows"), F.max("_cols").alias("_cols"))
    frame = samples.select("tile", "row", "col").join(F.broadcast(shapes), "tile")
    counted = None
    for scale, side, layers in ((1, jp2_px[0], _FINE), (2, jp2_px[1], _COARSE)):
        span = {axis: F.floor(F.col(axis) / (scale * side)).alias(f"_{axis}") for axis in ("row", "col")}
        blocks = frame.select("tile", *span.values(), (F.col("_rows") / scale).alias("_high"), (F.col("_cols") / scale).alias("_wide"))
        area = F.least(F.lit(side), F.col("_high") - F.col("_row") * side) * F.least(F.lit(side), F.col("_wide") - F.col("_col") * side)
        one = blocks.distinct().groupBy("tile").agg((F.sum(area) * layers).alias("pixels"))
        counted = one if counted is None else counted.unionByName(one)
    assert counted is not None
    return counted.groupBy("tile").agg(F.sum("pixels").alias("pixels"))


def _rate(spark: SparkSession, extract: ExtractSettings, settings: ForecastSettings) -> tuple[float, str]:
    """Million pixels a second and core, and where that is from: the ledger's own tasks, or the settings."""
    if table_exists(spark, extract.extractions):
        rows = open_table(spark, extract.extractions, EXTRACTIONS).where("status = 'done' AND seconds > 0 AND pixels_decoded > 0")
        told = rows.agg(F.sum("pixels_decoded").alias("pixels"), F.sum("seconds").alias("seconds"), F.count("*").alias("n")).head()
        if told["n"]:
            return float(told["pixels"]) / 1e6 / float(told["seconds"]), f"{told['n']} products of the ledger"
    return settings.mpx_per_core_s, "the settings"
