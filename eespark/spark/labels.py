"""Labels: declarations and survey points read by ranges on executors, placed in a legend, marked where they may not be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd
import shapely
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from eespark.errors import EESparkError, FormatError
from eespark.geometry import accurate_transformer, erode, repair, reproject
from eespark.grid import square_key, square_keys, utm_zones
from eespark.io.lucas import LucasSettings, count_points, read_points
from eespark.io.vectors import SourceRecord, SourceSettings, count_features, read_chunk
from eespark.legend import load_codes, load_legend, place_record
from eespark.schema import LABELS, PRODUCTS
from eespark.spark.blocks import LABEL_CRS
from eespark.spark.label_settings import ImportSettings
from eespark.spark.tables import conform, ensure_table, jvm_url, open_table, retry_conflicts, sql_text, table_schema
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)
REASONS: Final = ("empty", "no_crs", "invalid", "not_observed", "imprecise", "no_class", "too_small", "outside_tiles", "overlap")


def import_labels(spark: SparkSession, settings: ImportSettings) -> dict[str, Any]:
    """Import every source whole, in the place of what was imported from it before; the counts of the summary.

    Raises:
        FormatError: A source's key is not unique.
    """
    ensure_table(spark, settings.labels, LABELS)
    squares = _owner_squares(spark, settings)
    spark.sparkContext.setJobDescription("import_labels: read, repair, place")
    read = _read_all(spark, settings, squares).persist()
    _check_keys(read)
    spark.sparkContext.setJobDescription("import_labels: overlaps")
    marked = conform(mark_overlaps(read, settings.max_overlap_share), LABELS).persist()
    summary = _summarise(marked, settings)
    every = [*(source.name for source in settings.polygons), *(source.name for source in settings.points)]
    names = ", ".join(sql_text(name) for name in every)

    def write() -> None:
        marked.write.format("delta").mode("overwrite").option("replaceWhere", f"source IN ({names})").save(jvm_url(settings.labels))

    retry_conflicts(write, "writing labels")
    marked.unpersist()
    read.unpersist()
    return summary


def mark_overlaps(labels: DataFrame, max_share: float) -> DataFrame:
    """The labels, those of a year that share more than `max_share` of the smaller one's ground marked `overlap`."""
    usable = labels.where("usable AND area_m2 > 0").select(
        "label_id", "valid_from", "area_m2", F.expr("ST_GeomFromWKB(geometry)").alias("shape")
    )
    first, second = usable.alias("a"), usable.alias("b")
    near = first.join(
        second, F.expr("ST_Intersects(a.shape, b.shape) AND a.label_id < b.label_id AND a.valid_from = b.valid_from"), "inner"
    )
    shared = near.where(F.expr(f"ST_Area(ST_Intersection(a.shape, b.shape)) > {float(max_share)} * least(a.area_m2, b.area_m2)"))
    both = shared.select(F.explode(F.array("a.label_id", "b.label_id")).alias("label_id")).distinct().withColumn("_overlap", F.lit(True))
    joined = labels.join(both, "label_id", "left")
    return joined.withColumn("usable", F.col("usable") & F.col("_overlap").isNull()).withColumn(
        "reason", F.when(F.col("_overlap"), F.lit("overlap")).otherwise(F.col("reason"))
    )


def _owner_squares(spark: SparkSession, settings: ImportSettings) -> dict[str, str]:
    """Square -> tile that owns its ground, of all tiles in the catalog."""
    rows = open_table(spark, settings.products, PRODUCTS).where("tile IS NOT NULL").select("tile").distinct().collect()
    return {square_key(row["tile"]): row["tile"] for row in rows} | settings.adopted_squares


def _read_all(spark: SparkSession, settings: ImportSettings, squares: dict[str, str]) -> DataFrame:
    ranges = []
    for kind, sources in (("polygons", settings.polygons), ("points", settings.points)):
        for source in sources:
            count = count_features(source, settings.scratch) if isinstance(source, SourceSettings) else count_points(source)
            logger.info("import_labels: %d records in %s", count, source.name)
            firsts = range(0, count, settings.rows_per_task)
            ranges += [(f"{source.name}:{first:012d}", kind, source.model_dump_json(), first) for first in firsts]
    if not ranges:
        raise FormatError("needed at least one record in the label sources, found none; name sources under polygons or points")
    tasks = spark.createDataFrame(ranges, "key string, kind string, source string, first bigint")

    def read(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for row in batch.itertuples(index=False):
                yield _import_range(row, settings, squares)

    return one_task_each(tasks, "key").mapInPandas(read, table_schema(LABELS))


def _import_range(row: Any, settings: ImportSettings, squares: dict[str, str]) -> pd.DataFrame:
    if row.kind == "polygons":
        source: SourceSettings | LucasSettings = SourceSettings.model_validate_json(row.source)
        records = list(read_chunk(source, int(row.first), settings.rows_per_task, settings.scratch))  # type: ignore[arg-type]
    else:
        source = LucasSettings.model_validate_json(row.source)
        records = list(read_points(source, int(row.first), settings.rows_per_task))
    shapes, reasons = _to_label_crs(records, is_points=row.kind == "points")
    frame = _describe(records, source, settings)
    frame["geometry"] = [None if s is None else bytes(shapely.to_wkb(s)) for s in shapes]
    area = np.where([s is None for s in shapes], np.nan, shapely.area(shapes))
    frame["area_m2"] = area
    small = row.kind == "polygons"
    left = shapely.area(erode(shapes, settings.erode_m)) if small else np.full(len(shapes), np.inf)
    points = shapely.point_on_surface(shapes)
    x, y = shapely.get_x(points), shapely.get_y(points)
    frame["tile"] = owner_tiles(x, y, squares)
    frame["point_x"], frame["point_y"] = x, y
    frame["reason"] = _first_reason(frame, reasons, left < settings.min_eroded_m2)
    frame["usable"] = frame["reason"].isna()
    return frame[list(LABELS.names)]


def _to_label_crs(records: list[SourceRecord], *, is_points: bool) -> tuple[Any, list[str | None]]:
    """(n,) shapely geometries in the labels' CRS (None where there is none) and the reason of each."""
    reasons = [record.reason for record in records]
    shapes: Any = np.full(len(records), None, dtype=object)
    for crs in sorted({r.crs for r in records if r.crs is not None and r.geometry is not None}):
        members = [i for i, r in enumerate(records) if r.crs == crs and r.geometry is not None]
        read = shapely.from_wkb(np.array([records[i].geometry for i in members], dtype=object), on_invalid="ignore")
        if not is_points:
            mended = [repair(geometry) for geometry in read]
            read = np.array([geometry for geometry, _ in mended] + [None], dtype=object)[:-1]
            for i, (_, reason) in zip(members, mended, strict=True):
                reasons[i] = reasons[i] or reason
        try:
            shapes[members] = reproject(read, accurate_transformer(crs, LABEL_CRS))
        except EESparkError as error:
            logger.warning("import_labels: %s", error)
            for i in members:
                reasons[i] = "no_crs"
    for i, shape in enumerate(shapes):
        if shape is None:
            reasons[i] = reasons[i] or "invalid"
    return shapes, reasons


def _describe(records: list[SourceRecord], source: SourceSettings | LucasSettings, settings: ImportSettings) -> pd.DataFrame:
    first, last = crop_year(source.year, settings.crop_year_start)
    rows = []
    for record in records:
        placed = _place(source.codes, settings.legend, record.code, record.name)
        rows.append(
            {
                "label_id": f"{source.name}:{record.source_key}:{source.year}",
                "source": source.name,
                "source_key": record.source_key,
                "legend": _legend_key(settings.legend),
                "source_code": record.code or record.name,
                "hcat": placed.hcat[0] if len(placed.hcat) == 1 else None,
                "class_id": placed.class_id,
                "class_ids": list(placed.class_ids) if len(placed.class_ids) > 1 else None,
                "attributes": {**record.attributes, **({"no_class": placed.reason} if placed.reason else {})},
                "crs": LABEL_CRS,
                "valid_from": first,
                "valid_to": last,
                "weight": record.weight,
                "_placed": bool(placed.class_ids),
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"class_id": "Int32"})


def crop_year(year: int, start: str) -> tuple[date, date]:
    """First and last day of the crop year that a declaration of `year` belongs to: it ends in that year.

    Args:
        year: Of the declaration.
        start: Month-day of the first day; 01-01 means the calendar year itself.
    """
    month, day = (int(part) for part in start.split("-"))
    first_year = year if (month, day) == (1, 1) else year - 1
    following = date(first_year + 1, month, day)
    return date(first_year, month, day), date.fromordinal(following.toordinal() - 1)


def owner_tiles(x: Any, y: Any, squares: dict[str, str]) -> list[str | None]:
    """The tile that owns each point of the labels' CRS, None where no tile does.

    Args:
        x: (n,) metres, EPSG:3035; NaN for no point.
        y: (n,) metres.
        squares: Square -> tile.
    """
    owners: list[str | None] = [None] * len(x)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not len(known):
        return owners
    lon, lat = (np.asarray(v) for v in accurate_transformer(LABEL_CRS, "EPSG:4326").transform(x[known], y[known]))
    zones = utm_zones(lon, lat)
    for zone in np.unique(zones):
        for south in (False, True):
            members = (zones == zone) & ((lat < 0) == south)
            if members.any():
                epsg = (32700 if south else 32600) + int(zone)
                east, north = accurate_transformer("EPSG:4326", f"EPSG:{epsg}").transform(lon[members], lat[members])
                keys = square_keys(lon[members], lat[members], np.asarray(east), np.asarray(north), zones[members])
                for index, key in zip(known[members], keys, strict=True):
                    owners[index] = squares.get(str(key))
    return owners


def _first_reason(frame: pd.DataFrame, reasons: list[str | None], too_small: Any) -> pd.Series:
    placed, tile = frame.pop("_placed"), frame["tile"]
    found = []
    for reason, has_class, small, owner in zip(reasons, placed, too_small, tile, strict=True):
        found.append(
            reason or (None if has_class else "no_class") or ("too_small" if small else None) or (None if owner else "outside_tiles")
        )
    return pd.Series(found, index=frame.index, dtype=object)


@lru_cache(maxsize=65_536)
def _place(codes: str, legend: str, code: str | None, name: str | None) -> Any:
    return place_record(_codes(codes), _legend(legend), code, name)


_codes = lru_cache(maxsize=16)(load_codes)
_legend = lru_cache(maxsize=16)(load_legend)


def _legend_key(name: str) -> str:
    return _legend(name).key


def _check_keys(labels: DataFrame) -> None:
    twice = labels.groupBy("label_id").agg(F.count("*").alias("n")).where("n > 1").orderBy("label_id").limit(5).collect()
    if twice:
        examples = ", ".join(f"{row['label_id']} ({row['n']})" for row in twice)
        raise FormatError(f"needed a key that is unique in its source, found {examples}; name another column as key")


def _summarise(labels: DataFrame, settings: ImportSettings) -> dict[str, Any]:
    by_reason = labels.groupBy("source", F.coalesce("reason", F.lit("usable")).alias("reason")).agg(F.count("*").alias("n")).collect()
    classes = labels.where("usable").groupBy("source", "class_id").agg(F.count("*").alias("n")).collect()
    unknown = labels.where("reason = 'no_class'").groupBy("source", "source_code").agg(F.count("*").alias("n"))
    most = (
        unknown.withColumn("_rank", F.row_number().over(Window.partitionBy("source").orderBy(F.desc("n"), "source_code")))
        .where("_rank <= 20")
        .collect()
    )
    sources: dict[str, Any] = {}
    for row in by_reason:
        sources.setdefault(row["source"], {"records": 0, "by_reason": {}, "by_class": {}, "codes_without_class": {}})
        sources[row["source"]]["by_reason"][row["reason"]] = int(row["n"])
        sources[row["source"]]["records"] += int(row["n"])
    for row in classes:
        sources[row["source"]]["by_class"][str(row["class_id"])] = int(row["n"])
    for row in most:
        sources[row["source"]]["codes_without_class"][str(row["source_code"])] = int(row["n"])
    for name, counts in sorted(sources.items()):
        logger.info("import_labels: %s: %s", name, dict(sorted(counts["by_reason"].items())))
    return {
        "sources": sources,
        "table": settings.labels,
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "legend": settings.legend,
    }
