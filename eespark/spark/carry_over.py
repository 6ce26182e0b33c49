"""What an older version of a sample set has observed already: copied into the new version, not read again.

A sample is named by its tile, pixel and label, whatever its class or part, and an observation depends on nothing but the product's files
and the pixel. So where both versions have a sample, and the older one observed it in this very product, their observations are one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.schema import EXTRACTIONS, OBSERVATIONS, SAMPLES
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.ledger import Planned
from eespark.spark.tables import open_table, table_exists

_KEYS: Final = ["product_id", "fingerprint"]
# The tile is named so that a filter on it reaches both sides of a join.
_PLACE: Final = ["tile", "sample_id", "x", "y"]
_NAMED: Final = 500


@dataclasses.dataclass(frozen=True)
class CarryOver:
    """From which version is copied.

    Attributes:
        spark: Session.
        settings: Of the extraction.
        older: name@version; None: nothing is copied.
    """

    spark: SparkSession
    settings: ExtractSettings
    older: str | None

    @classmethod
    def of(cls, spark: SparkSession, settings: ExtractSettings) -> CarryOver:
        """From the newest of the older versions for which products were read, where that is wanted."""
        if not (settings.carry_over and table_exists(spark, settings.extractions) and table_exists(spark, settings.observations)):
            return cls(spark, settings, None)
        name, _, version = settings.sample_set.partition("@")
        sets = open_table(spark, settings.extractions, EXTRACTIONS).select("sample_set").distinct().collect()
        parts = [row["sample_set"].partition("@") for row in sets]
        numbers = [int(number) for other, _, number in parts if other == name and int(number) < int(version)]
        return cls(spark, settings, f"{name}@{max(numbers)}" if numbers else None)

    def samples(self) -> DataFrame:
        """Rows of the sample set with `known`: whether the older version has the sample too, at the same place."""
        rows = open_table(self.spark, self.settings.samples, SAMPLES)
        ours = rows.where(F.col("sample_set") == self.settings.sample_set)
        if self.older is None:
            return ours.withColumn("known", F.lit(False))
        theirs = rows.where(F.col("sample_set") == self.older).select(*_PLACE, F.lit(True).alias("_known"))
        return ours.join(theirs, _PLACE, "left").withColumn("known", F.coalesce("_known", F.lit(False))).drop("_known")

    def products(self, planned: Sequence[Planned]) -> frozenset[str]:
        """Those planned products in which the older version observed all its samples of the tile.

        What was tried before for ours and lacks, as it failed or was forgotten, is to be read again, not copied.
        """
        first = {product: fingerprint for product, fingerprint, attempt in planned if attempt == 1}
        if self.older is None or not first:
            return frozenset()
        rows = open_table(self.spark, self.settings.samples, SAMPLES).where(F.col("sample_set") == self.older)
        drawn = rows.groupBy("tile").agg(F.count("*").alias("_drawn"))
        # Counted, not told by the ledger: observations of older versions may have been deleted to save space.
        seen = self._observed(first).groupBy(*_KEYS, "tile").agg(F.count("*").alias("_seen"))
        whole = seen.join(F.broadcast(drawn), "tile").where(F.col("_seen") == F.col("_drawn")).select(*_KEYS).collect()
        return frozenset(row["product_id"] for row in whole if first.get(row["product_id"]) == row["fingerprint"])

    def observations(self, products: DataFrame, samples: DataFrame) -> DataFrame:
        """Observations of the older version as those of ours.

        Args:
            products: Known ones: product_id, fingerprint, tile; few.
            samples: Of `samples`.
        """
        told = products.select(*_KEYS, "tile").collect()
        tiles = sorted({row["tile"] for row in told})
        theirs = self._observed([row["product_id"] for row in told]).where(F.col("tile").isin(tiles))
        wanted = samples.where(F.col("known") & F.col("tile").isin(tiles)).select("sample_id")
        found = theirs.join(F.broadcast(products.select(*_KEYS)), _KEYS, "left_semi").join(wanted, "sample_id", "left_semi")
        return found.withColumn("sample_set", F.lit(self.settings.sample_set)).select(*OBSERVATIONS.names)

    def _observed(self, products: Collection[str]) -> DataFrame:
        rows = open_table(self.spark, self.settings.observations, OBSERVATIONS).where(F.col("sample_set") == self.older)
        # A long list costs more than the files that it would leave out.
        return rows.where(F.col("product_id").isin(list(products))) if len(products) <= _NAMED else rows
