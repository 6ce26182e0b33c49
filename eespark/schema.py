"""Every table of eespark, in one place: column, Spark type, unit and meaning, null or not.

Kept free of pyspark so that readers without a JVM can check a table; `eespark.spark.tables`
turns a `Table` into a Spark schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Column:
    """One column: `dtype` is Spark's simple string, `meaning` starts with the unit where there is one."""

    name: str
    dtype: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One table with its key; its version goes up when its columns change, and `migrate_tables` brings older ones to it."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    version: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def ddl(self) -> str:
        """The columns as a Spark DDL string."""
        return ", ".join(f"{c.name} {c.dtype}{'' if c.nullable else ' NOT NULL'}" for c in self.columns)


_C = Column

PRODUCTS: Final = Table(
    "products",
    ("product_id",),
    (
        _C("product_id", "string", "name of the product without .SAFE or .zip"),
        _C("url", "string", "where the product lies: folder, zip or STAC item"),
        _C("kind", "string", "safe, zip or stac"),
        _C("mission", "string", "S2A, S2B, S2C, S1A, S3A, LC08, ...", True),
        _C("level", "string", "L1C, L2A, GRD; QUICKLOOK where a product is paired and looked at only", True),
        _C("tile", "string", "MGRS tile without the leading T; null for scenes of Sentinel-1", True),
        _C("sensing_time", "timestamp", "UTC", True),
        _C("relative_orbit", "int", "1..143", True),
        _C("baseline", "string", "processing baseline as NN.NN", True),
        _C("datastrip", "string", "identifier of the datastrip, which tells halves of a tile-date apart; datatake of Sentinel-1", True),
        _C("footprint", "binary", "WKB, EPSG:4326", True),
        _C("crs", "string", "of the rasters, as EPSG:n", True),
        _C("transform", "array<double>", "m; a b c d e f of the 10 m grid (or the finest that exists); null in image geometry", True),
        _C("shape", "array<int>", "rows, cols of that grid; lines, samples of a scene", True),
        _C(
            "bands",
            "map<string,string>",
            "band, polarisation, SCL or CLOUDS (mask of L1C) -> GDAL path of its raster; URL where the mask is GML",
            True,
        ),
        _C("offsets", "map<string,double>", "band -> number added to DN before the division by scale", True),
        _C("scale", "double", "quantification value", True),
        _C("cloud_share", "double", "0..1, from the metadata", True),
        _C(
            "dark_reflectance",
            "double",
            "0..1; 1st percentile of clear B04, of STAC items only: shows an offset that was applied twice",
            True,
        ),
        _C("status", "string", "current, superseded, quarantined"),
        _C("reason", "string", "why it is not current", True),
        _C("size_bytes", "bigint", "sum over its files"),
        _C("modified", "timestamp", "latest of its files"),
        _C("fingerprint", "string", "of the names, sizes and times of its files"),
        _C("ingested_at", "timestamp", "when the row was last written"),
    ),
    version=2,
)

LABELS: Final = Table(
    "labels",
    ("label_id",),
    (
        _C("label_id", "string", "source:source_key:valid_from year"),
        _C("source", "string", "name of the source in the settings, e.g. invekos_2018"),
        _C("source_key", "string", "key of the record in its source"),
        _C("legend", "string", "name@version of the legend of class_id"),
        _C("source_code", "string", "crop code or name as declared", True),
        _C("hcat", "string", "HCAT code, 10 digits", True),
        _C("class_id", "int", "class of the legend", True),
        _C("class_ids", "array<int>", "all classes that the code may stand for (LUCAS); null when it is one", True),
        _C("attributes", "map<string,string>", "columns kept from the source"),
        _C("geometry", "binary", "WKB in crs", True),
        _C("crs", "string", "EPSG:3035 for crops"),
        _C("valid_from", "date", "first day of the crop year"),
        _C("valid_to", "date", "last day of the crop year"),
        _C("area_m2", "double", "m2; 0 for points", True),
        _C("weight", "double", "survey weight (LUCAS), 1 elsewhere"),
        _C("usable", "boolean", "may be sampled"),
        _C(
            "reason",
            "string",
            "why not: invalid, empty, no_crs, no_class, too_small, overlap, outside_tiles, not_observed, imprecise",
            True,
        ),
        _C("tile", "string", "owner tile of the label's representative point", True),
        _C("point_x", "double", "m; representative point, EPSG:3035", True),
        _C("point_y", "double", "m; representative point, EPSG:3035", True),
    ),
)

SAMPLES: Final = Table(
    "samples",
    ("sample_set", "sample_id"),
    (
        _C("sample_set", "string", "name@version"),
        _C("sample_id", "bigint", "hash of tile, row, col and label"),
        _C("tile", "string", "owner tile"),
        _C("row", "int", "px in the 10 m grid of the tile"),
        _C("col", "int", "px in the 10 m grid of the tile"),
        _C("x", "double", "m; pixel centre in crs"),
        _C("y", "double", "m; pixel centre in crs"),
        _C("crs", "string", "of the tile"),
        _C("label_id", "string", "label that the pixel lies in"),
        _C("source", "string", "source of the label"),
        _C("class_id", "int", "class of the legend; null for a many-to-many point", True),
        _C("class_ids", "array<int>", "admissible classes of a many-to-many point", True),
        _C("point_x", "double", "m; parcel point, EPSG:3035"),
        _C("point_y", "double", "m; parcel point, EPSG:3035"),
        _C("valid_from", "date", "first day of the label's crop year"),
        _C("valid_to", "date", "last day of the label's crop year"),
        _C("split", "string", "train, validation, test, unseen, points"),
        _C("inclusion_probability", "double", "0..1]"),
        _C("weight", "double", "survey weight of the label"),
    ),
    ("sample_set",),
)

EXTRACTIONS: Final = Table(
    "extractions",
    ("sample_set", "product_id", "fingerprint", "attempt"),
    (
        _C("sample_set", "string", "name@version"),
        _C("product_id", "string", ""),
        _C("fingerprint", "string", "of the product's files when read"),
        _C("attempt", "int", "1, and one more after each failure"),
        _C("tile", "string", ""),
        _C("status", "string", "done or failed"),
        _C("rows", "bigint", "observations written"),
        _C("reason", "string", "why it failed", True),
        _C("seconds", "double", "s spent on the product"),
        _C("pixels_decoded", "bigint", "px of JP2 tiles decoded"),
        _C("chunk", "string", "transaction that wrote it"),
    ),
)

OBSERVATIONS: Final = Table(
    "observations",
    ("sample_set", "product_id", "fingerprint", "sample_id"),
    (
        _C("sample_set", "string", "name@version"),
        _C("product_id", "string", ""),
        _C("fingerprint", "string", "of the product's files when read"),
        _C("sample_id", "bigint", ""),
        _C("tile", "string", ""),
        _C("sensing_time", "timestamp", "UTC"),
        _C("reflectance", "array<smallint>", "x 10,000 after offset, order of BANDS, -32768 no data"),
        _C("flag", "tinyint", "0 clear 1 cloud 2 shadow 3 snow 4 no data 5 unclassified"),
    ),
    ("tile",),
)

# Training sets are Parquet, not Delta; lists are flat, their shape stands in the manifest (time, bands).
TRAINING: Final = Table(
    "training",
    ("sample_id",),
    (
        _C("sample_id", "bigint", ""),
        _C("label_id", "string", ""),
        _C("tile", "string", ""),
        _C("row", "int", "px; null for imported series without a pixel", True),
        _C("col", "int", "px; null for imported series without a pixel", True),
        _C("x", "double", "m in the tile's CRS"),
        _C("y", "double", "m in the tile's CRS"),
        _C("point_x", "double", "m; parcel point, EPSG:3035"),
        _C("point_y", "double", "m; parcel point, EPSG:3035"),
        _C("class_id", "int", "index into the manifest's classes; -1 never occurs: many-to-many points carry class_ids", True),
        _C("class_ids", "array<int>", "admissible classes of a many-to-many point", True),
        _C("inclusion_probability", "double", "0..1]"),
        _C("weight", "double", "survey weight"),
        _C("clear", "smallint", "number of clear dates"),
        _C("reflectance", "array<smallint>", "flat (time, bands), x 10,000; 0 where valid is 0"),
        _C("valid", "array<smallint>", "(time,) 1 where the date is clear (or interpolated on a grid), else 0; padding is 0"),
        _C("day", "array<smallint>", "(time,) days since the first day of the crop year; padding is 0"),
    ),
)
"""Folders `train validation test unseen points`, each a Parquet dataset; a part that is empty is absent."""

SPLITS: Final = ("train", "validation", "test", "unseen", "points")
