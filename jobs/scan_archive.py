"""Bring the catalog of products up to date with an archive of Sentinel-2 products."""

from __future__ import annotations

from eespark.spark.catalog import ScanSettings, check_scan, scan_archive
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("scan_archive", ScanSettings, scan_archive, check_scan)
