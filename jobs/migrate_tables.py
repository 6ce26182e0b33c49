"""Bring tables that an older eespark wrote to today's schemas; what is in them stays."""

from __future__ import annotations

from eespark.spark.migration import MigrateSettings, check_migration, migrate_tables
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("migrate_tables", MigrateSettings, migrate_tables, check_migration)
