"""What one writes without eespark: geopandas for the points, rasterio for the bands, each read whole; no Spark, no ledger.

Vectorised, one product a process at a time, one output file a product. Of eespark it shares nothing but the list of bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12")
CLEAR, CLOUD, SHADOW, SNOW, NO_DATA, UNCLASSIFIED = range(6)
FLAG_OF_SCL = np.array([NO_DATA, NO_DATA, SHADOW, SHADOW, CLEAR, CLEAR, CLEAR, UNCLASSIFIED, CLOUD, CLOUD, CLOUD, SNOW], np.int8)
NOTHING = -32_768


def read_product(product: Mapping[str, Any], points: str, folder: str) -> int:
    """Write `<folder>/<product_id>.parquet`, the observations of a product at points (GeoParquet in its CRS); how many pixels were read."""
    frame = geopandas.read_parquet(points)
    x, y = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    classes, pixels = _at(product["bands"]["SCL"], x, y)
    flag = FLAG_OF_SCL[classes]
    numbers = np.empty((len(frame), len(BANDS)), np.uint16)
    for index, band in enumerate(BANDS):
        numbers[:, index], count = _at(product["bands"][band], x, y)
        pixels += count
    offset = np.array([product["offsets"][band] for band in BANDS], np.float32)
    values = np.rint((numbers.astype(np.float32) + offset) * np.float32(10_000 / product["scale"]))
    values = np.where(numbers == 0, NOTHING, values).astype(np.int16)
    unread = (flag == CLOUD) | (flag == NO_DATA)
    values[unread] = NOTHING
    flag[((numbers == 0) | (numbers == 65_535)).any(axis=1) & ~unread] = NO_DATA
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), len(BANDS)).cast(pa.list_(pa.int16()))
    same = pa.DictionaryArray.from_arrays(np.zeros(len(frame), np.int32), [product["product_id"]]).cast(pa.string())
    table = pa.table({"product_id": same, "sample_id": frame["sample_id"].to_numpy(), "flag": flag, "reflectance": lists})
    pq.write_table(table, Path(folder) / f"{product['product_id']}.parquet", compression="zstd")
    return pixels


def _at(path: str, x: Any, y: Any) -> tuple[Any, int]:
    """Values of the pixels that hold the points, and how many pixels were read."""
    with rasterio.Env(GDAL_NUM_THREADS=1), rasterio.open(path) as dataset:
        band = dataset.read(1)
        a, _, c, _, e, f = tuple(dataset.transform)[:6]
    return band[np.floor((y - f) / e).astype(np.int64), np.floor((x - c) / a).astype(np.int64)], band.size


def read_products(pool: Pool, products: Sequence[Mapping[str, Any]], points: str, folder: str) -> int:
    """Pixels read of several products, one at a time in each process of the pool."""
    waiting = [pool.apply_async(read_product, (product, points, folder)) for product in products]
    return sum(one.get() for one in waiting)
