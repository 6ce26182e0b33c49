"""Which scenes of the catalog a job works on."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.schema import PRODUCTS
from eespark.spark.tables import open_table


def named(names: Iterable[str]) -> Column:
    """Whether `product_id` is one of some names, or begins with one."""
    found = F.lit(False)
    for name in names:
        found = found | F.col("product_id").startswith(name)
    return found


def current_scenes(spark: SparkSession, products: str, names: Iterable[str] | None = None) -> DataFrame:
    """The current scenes of a catalog, all or those that are named.

    Args:
        spark: Session.
        products: Delta table of the catalog.
        names: As `named` takes them; None for all.
    """
    rows = open_table(spark, products, PRODUCTS).where("status = 'current' AND level = 'GRD'")
    return rows if names is None else rows.where(named(names))
