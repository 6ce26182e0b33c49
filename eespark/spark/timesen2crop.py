"""Export of a sample set's observations in the published layout of TimeSen2Crop, by tasks that each write their own files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from eespark.bands import BANDS, REFLECTANCE_NODATA, Flag
from eespark.errors import MissingError, SettingsError
from eespark.io.storage import publish_folder, remove_tree
from eespark.io.timesen2crop import ClassFolder, Series, write_class, write_tile_files
from eespark.job import JobSettings
from eespark.legend import load_legend
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.settings import Share, Url
from eespark.spark.tables import open_table

logger = logging.getLogger(__name__)

_CHUNK: Final = 10_000  # samples that one task holds and writes
_PLACES: Final = ("row", "col", "x", "y", "crs", "sample_id", "label_id", "point_x", "point_y", "split", "inclusion_probability", "weight")
# Of two observations of a day (halves of a tile-date), the one that says more of the ground.
_RANK: Final = {Flag.CLEAR: 0, Flag.UNCLASSIFIED: 1, Flag.SNOW: 2, Flag.SHADOW: 3, Flag.CLOUD: 4, Flag.NO_DATA: 5}


class TimeSen2CropSettings(JobSettings):
    """Settings of `export_timesen2crop`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    samples: Annotated[Url, Field(description="Delta table of the samples")]
    observations: Annotated[Url, Field(description="Delta table of the observations")]
    sample_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version; its classes are of the legend timesen2crop")]
    output: Annotated[Url, Field(description="folder to write, whole or not at all: one folder a tile, <year>_<tile> for later years")]
    max_cloud_share: Annotated[Share, Field(description="products with more cloud are left out (TimeSen2Crop: 0.8)")] = 0.8


def export_timesen2crop(spark: SparkSession, settings: TimeSen2CropSettings) -> dict[str, Any]:
    """Write the files; the counts of the summary.

    Raises:
        MissingError: The sample set has no samples with a class.
        SettingsError: Its classes are not those of the layout.
    """
    samples = _samples(spark, settings)
    dates = _dates(spark, settings, samples)
    building = settings.output.rstrip("/") + ".building"
    remove_tree(building)
    spark.sparkContext.setJobDescription("export_timesen2crop: series")
    series = _series(spark, settings, samples)
    chunk = (F.col("number") / _CHUNK).cast("int")
    by_folder = {folder: [int(day.toordinal()) for day in days] for folder, days in dates.items()}
    counted = (
        series.withColumn("_chunk", chunk)
        .groupBy("folder", "class_id", "_chunk")
        .applyInPandas(_class_writer(building, by_folder), "folder string, class_id int, samples bigint, empty_dates bigint")
        .collect()
    )
    spark.sparkContext.setJobDescription("export_timesen2crop: dates and places")
    samples.groupBy("folder").applyInPandas(_tile_writer(building, by_folder), "folder string, samples bigint").collect()
    publish_folder(building, settings.output)
    return _summarise(settings, counted, dates)


def _samples(spark: SparkSession, settings: TimeSen2CropSettings) -> DataFrame:
    """The samples with folder and number: folders of the first crop year have the tile's name, later ones <year>_<tile>."""
    # The set is of parcels: survey points are for validation only.
    rows = open_table(spark, settings.samples, SAMPLES).where("split <> 'points' AND class_id IS NOT NULL")
    rows = rows.where(F.col("sample_set") == settings.sample_set)
    found = rows.agg(F.min(F.year("valid_to")).alias("year"), F.collect_set("class_id").alias("classes")).head()
    if found["year"] is None:
        raise MissingError(f"needed samples of {settings.sample_set} with a class in {settings.samples}, found none; run draw_samples")
    odd = sorted(set(found["classes"]) - {c.class_id for c in load_legend("timesen2crop").classes})
    if odd:
        raise SettingsError(
            f"{settings.sample_set}: needed the classes of the legend timesen2crop, found also {odd}; draw with that legend"
        )
    later = F.concat_ws("_", F.year("valid_to").cast("string"), "tile")
    rows = rows.withColumn("folder", F.when(F.year("valid_to") == found["year"], F.col("tile")).otherwise(later))
    number = F.row_number().over(Window.partitionBy("folder", "class_id").orderBy("sample_id")) - 1
    return rows.withColumn("number", number).select("folder", "class_id", "number", "tile", "valid_from", "valid_to", *_PLACES)


def _dates(spark: SparkSession, settings: TimeSen2CropSettings, samples: DataFrame) -> dict[str, list[date]]:
    """Folder -> its dates, oldest first: all of the tile's current products in its crop year that are not too cloudy."""
    seasons = samples.groupBy("folder", "tile").agg(F.min("valid_from").alias("first"), F.max("valid_to").alias("last"))
    day = F.to_date("sensing_time")
    products = _products(spark, settings).select("tile", day.alias("day"))
    rows = seasons.join(products, "tile", "inner").where("day BETWEEN first AND last").select("folder", "day").distinct().collect()
    found: dict[str, list[date]] = {}
    for row in rows:
        found.setdefault(row["folder"], []).append(row["day"])
    return {folder: sorted(days) for folder, days in sorted(found.items())}


def _products(spark: SparkSession, settings: TimeSen2CropSettings) -> DataFrame:
    rows = open_table(spark, settings.products, PRODUCTS).where("status = 'current' AND level = 'L2A'")
    return rows.where(F.coalesce("cloud_share", F.lit(0.0)) <= settings.max_cloud_share)


def _series(spark: SparkSession, settings: TimeSen2CropSettings, samples: DataFrame) -> DataFrame:
    """folder, class_id, number, dates (day, flag, reflectance): one row a sample, also where it was never observed."""
    observed = open_table(spark, settings.observations, OBSERVATIONS).where(F.col("sample_set") == settings.sample_set)
    current = F.broadcast(_products(spark, settings).select("product_id", "fingerprint"))
    observed = observed.join(current, ["product_id", "fingerprint"], "left_semi").withColumn("day", F.to_date("sensing_time"))
    rank = F.lit(9)
    for flag, order in _RANK.items():
        rank = F.when(F.col("flag") == int(flag), order).otherwise(rank)
    daily = observed.groupBy("sample_id", "day").agg(
        F.min_by(F.struct("flag", "reflectance"), F.struct(rank, F.col("product_id"))).alias("seen")
    )
    one = F.struct(F.col("day"), F.col("seen.flag").alias("flag"), F.col("seen.reflectance").alias("reflectance"))
    series = daily.groupBy("sample_id").agg(F.collect_list(one).alias("dates"))
    return samples.select("folder", "class_id", "number", "sample_id").join(series, "sample_id", "left").drop("sample_id")


def _class_writer(building: str, dates: Mapping[str, list[int]]) -> Any:
    def write(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values("number")
        folder, class_id = str(rows["folder"].iloc[0]), int(rows["class_id"].iloc[0])
        series = _aligned(rows, dates.get(folder, []))
        numbers = tuple(int(number) for number in rows["number"])
        write_class(building, ClassFolder(folder, class_id, numbers), series)
        empty = int((~series.reflectance.any(axis=2)).sum())
        return pd.DataFrame({"folder": [folder], "class_id": [class_id], "samples": [len(rows)], "empty_dates": [empty]})

    return write


def _aligned(rows: pd.DataFrame, ordinals: list[int]) -> Series:
    """The series on the dates of the tile: zeros, flagged as cloud, where a sample has no observation."""
    place = {ordinal: index for index, ordinal in enumerate(ordinals)}
    reflectance = np.zeros((len(rows), len(ordinals), len(BANDS)), np.int16)
    flag = np.full((len(rows), len(ordinals)), Flag.CLOUD, np.uint8)
    for number, dates in enumerate(rows["dates"]):
        for one in dates if dates is not None else []:
            index = place.get(one["day"].toordinal())
            if index is not None:
                reflectance[number, index], flag[number, index] = one["reflectance"], one["flag"]
    # No data is no data in all bands: a value that is known beside one that is not would pass for a reflectance.
    reflectance[(reflectance == REFLECTANCE_NODATA).any(axis=2)] = 0
    return Series(reflectance, flag)


def _tile_writer(building: str, dates: Mapping[str, list[int]]) -> Any:
    def write(rows: pd.DataFrame) -> pd.DataFrame:
        folder = str(rows["folder"].iloc[0])
        write_tile_files(building, folder, [date.fromordinal(o) for o in dates.get(folder, [])], rows)
        return pd.DataFrame({"folder": [folder], "samples": [len(rows)]})

    return write


def _summarise(settings: TimeSen2CropSettings, counted: list[Any], dates: Mapping[str, list[date]]) -> dict[str, Any]:
    tiles: dict[str, dict[str, int]] = {}
    for row in counted:
        own = tiles.setdefault(row["folder"], {"samples": 0, "dates": len(dates.get(row["folder"], [])), "empty_dates": 0})
        own["samples"] += int(row["samples"])
        own["empty_dates"] += int(row["empty_dates"])
    by_class: dict[str, int] = {}
    for row in counted:
        by_class[str(row["class_id"])] = by_class.get(str(row["class_id"]), 0) + int(row["samples"])
    logger.info("export_timesen2crop: %d samples of %d tiles", sum(by_class.values()), len(tiles))
    return {"tiles": dict(sorted(tiles.items())), "samples_by_class": dict(sorted(by_class.items())), "output": settings.output}
