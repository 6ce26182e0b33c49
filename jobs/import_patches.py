"""Make a training set of patches that came as NumPy and CSV files."""

from __future__ import annotations

from eespark.job import run_job
from eespark.train.patch_exchange import ImportPatchesSettings, import_patches

if __name__ == "__main__":
    run_job("import_patches", ImportPatchesSettings, import_patches)
