"""Catalogs and sample sets for the benchmarks of extraction: one real product under many names, points drawn evenly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from benchmarks.inputs import TileInput
from eespark.schema import PRODUCTS, SAMPLES, Table
from eespark.spark.contents import sum_of_hashes
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.tables import conform, ensure_table

Ints = npt.NDArray[np.int64]
SAMPLE_SET = "bench@1"
_FIRST, _LAST = date(2017, 9, 1), date(2018, 8, 31)


@dataclass(frozen=True)
class Work:
    """What an extraction reads: products of tiles, and the pixels in each of them."""

    tiles: tuple[str, ...]
    products_per_tile: int
    cloud_share: float
    rows: Ints
    cols: Ints


def write_tables(spark: SparkSession, folder: Path, tile: TileInput, work: Work) -> None:
    """The tables `products` and `samples` below `folder`, in the place of what was there."""
    _overwrite(spark.createDataFrame([_row(one) for one in product_rows(tile, work)], _ddl(PRODUCTS)), folder / "products", PRODUCTS)
    x, y = tile.grid.centres(work.rows, work.cols)
    points = pa.table({"n": np.arange(len(x)), "row": work.rows.astype(np.int32), "col": work.cols.astype(np.int32), "x": x, "y": y})
    pq.write_table(points, folder / "points.parquet")
    tiles = spark.createDataFrame([(name, number) for number, name in enumerate(work.tiles)], "tile string, number int")
    same = {"sample_set": SAMPLE_SET, "crs": tile.grid.crs, "label_id": "none", "source": "bench", "split": "train"}
    same |= {"class_id": 0, "class_ids": None, "valid_from": _FIRST, "valid_to": _LAST, "inclusion_probability": 1.0, "weight": 1.0}
    rows = spark.read.parquet(str(folder / "points.parquet")).crossJoin(F.broadcast(tiles))
    rows = rows.withColumn("sample_id", F.col("n") * len(work.tiles) + F.col("number"))
    rows = rows.withColumns({"point_x": F.col("x"), "point_y": F.col("y"), **{name: F.lit(value) for name, value in same.items()}})
    _overwrite(rows, folder / "samples", SAMPLES)


def product_rows(tile: TileInput, work: Work) -> list[dict[str, Any]]:
    """Rows of the catalog: the one product as if sensed every five days in each tile."""
    rows = []
    for name in work.tiles:
        for number in range(work.products_per_tile):
            when = datetime(2017, 9, 3, 10, tzinfo=UTC) + timedelta(days=5 * number)
            told = {"product_id": f"{tile.product['product_id']}_{name}_{number}", "tile": name, "sensing_time": when}
            told |= {"status": "current", "size_bytes": 0, "modified": when, "fingerprint": "0" * 16, "ingested_at": when}
            rows.append({**tile.product, **told, "bands": tile.bands_under(work.cloud_share)})
    return rows


def extraction(folder: Path, run: str) -> ExtractSettings:
    """Settings of an extraction from the tables of `folder` into tables of its own below `folder/run`."""
    places = {name: str(folder / name) for name in ("products", "samples")}
    places |= {name: str(folder / run / name) for name in ("observations", "extractions", "packs")}
    return ExtractSettings.model_validate({**places, "summary": "unused", "sample_set": SAMPLE_SET})


def parquet_bytes(folder: Path) -> int:
    """Of the rows of a table, or of a set."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet") if "_delta_log" not in file.parts)


def content_hash(observations: DataFrame) -> str:
    """The same for the same observations, in whatever order and files they are."""
    columns = ("product_id", "sample_id", F.col("flag").cast("int"), "reflectance")
    count, total = observations.agg(F.count("*"), sum_of_hashes(F.xxhash64(*columns))).head()
    return f"{count}:{total}"


def _row(told: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(told.get(name) for name in PRODUCTS.names)


def _ddl(table: Table) -> str:
    return ", ".join(f"{column.name} {column.dtype}" for column in table.columns)


def _overwrite(rows: DataFrame, folder: Path, table: Table) -> None:
    ensure_table(rows.sparkSession, str(folder), table)
    conform(rows, table).write.format("delta").mode("overwrite").save(str(folder))


def tile_names(count: int) -> tuple[str, ...]:
    """Names of tiles that lie side by side."""
    letters: Sequence[str] = "ABCDEFGHJKLMNPQRSTUV"
    return tuple(f"33T{column}{row}" for column in "UVWX" for row in letters)[:count]
