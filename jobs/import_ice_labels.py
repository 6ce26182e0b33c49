"""Read analysts' polygons and ice charts, place them in a legend and join them with the scenes that they were drawn on."""

from __future__ import annotations

from eespark.spark.ice_labels import IceImportSettings, check_ice_import, import_ice_labels
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("import_ice_labels", IceImportSettings, import_ice_labels, check_ice_import)
