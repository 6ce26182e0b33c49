"""Build a training set of patches: parted by ground, scene or polygon, audited, with statistics of its training part."""

from __future__ import annotations

from eespark.spark.patch_sets import PatchSetSettings, build_patch_set
from eespark.spark.session import run_spark_job

if __name__ == "__main__":
    run_spark_job("build_patch_set", PatchSetSettings, build_patch_set)
