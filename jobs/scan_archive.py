"""Bring the catalog of products up to date with an archive of Sentinel-2 products."""

from __future__ import annotations

from typing import Any

from eespark.job import run_job
from eespark.spark.catalog import ScanSettings, check_scan, scan_archive
from eespark.spark.session import make_session


def work(settings: ScanSettings) -> dict[str, Any]:
    """Scan, and write a STAC collection where one is asked for."""
    spark = make_session("scan_archive")
    try:
        return scan_archive(spark, settings)
    finally:
        spark.stop()


if __name__ == "__main__":
    run_job("scan_archive", ScanSettings, work, check_scan)
