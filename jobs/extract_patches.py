"""Cut patches of scenes inside analysts' polygons: one scene is one task, and is opened once."""

from __future__ import annotations

from eespark.spark.patches import PatchSettings, extract_patches
from eespark.spark.plans import plan_patches
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("extract_patches", PatchSettings, extract_patches, plan=plan_patches)
