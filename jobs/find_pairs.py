"""Find optical products that see the ground of SAR scenes within some hours, with pictures of both on one grid."""

from __future__ import annotations

from eespark.spark.pairs import PairSettings, find_pairs
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("find_pairs", PairSettings, find_pairs)
