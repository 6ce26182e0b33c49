"""Write a training set of patches as the NumPy and CSV files that others exchange."""

from __future__ import annotations

from eespark.job import run_job
from eespark.train.patch_exchange import ExportPatchesSettings, export_patches

if __name__ == "__main__":
    run_job("export_patches", ExportPatchesSettings, export_patches)
