"""Validate classifiers of ice on patches they never saw: by scene, season, region and incidence angle, beside pixel classifiers."""

from __future__ import annotations

from eespark.spark.ice_validation import IceValidateSettings, validate_ice
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("validate_ice", IceValidateSettings, validate_ice)
