"""JPEG 2000 tiles decoded by GDAL with nothing else done: the most that any extraction can reach on these cores."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.pool import Pool

import rasterio
from rasterio.windows import Window

# What it takes to decode a band: its path, and rows and columns of the windows.
Job = tuple[str, tuple[tuple[int, int, int, int], ...]]


def decode(jobs: Sequence[Job]) -> int:
    """Pixels of the decoded windows (row, col, rows, cols), each file opened once, one thread."""
    pixels = 0
    with rasterio.Env(GDAL_NUM_THREADS=1, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for path, windows in jobs:
            with rasterio.open(path) as dataset:
                for row, col, rows, cols in windows:
                    pixels += dataset.read(1, window=Window(col, row, cols, rows)).size
    return pixels


def decode_products(pool: Pool, products: Sequence[Sequence[Job]]) -> int:
    """Pixels decoded of several products, one at a time in each process of the pool."""
    return sum(pool.imap_unordered(decode, products, chunksize=1))
