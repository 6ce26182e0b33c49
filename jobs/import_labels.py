"""Import declared parcels and survey points: repaired, reprojected, placed in a legend, marked where they may not be used."""

from __future__ import annotations

from eespark.spark.label_settings import ImportSettings
from eespark.spark.labels import import_labels
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("import_labels", ImportSettings, import_labels)
