"""What the tasks of `extract_series` do: read one product at the sample points of its tile."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from eespark.bands import BANDS
from eespark.errors import EESparkError
from eespark.io.extract import extract_product
from eespark.io.guard import call_within
from eespark.io.storage import read_bytes
from eespark.schema import OBSERVATIONS
from eespark.spark.task_rows import task_schema

OUTPUT, _ARROW = task_schema(OBSERVATIONS)


class Pack(NamedTuple):
    """Sample points of a tile, as files (npz of sample_id, x, y).

    Attributes:
        url: Of all points.
        samples: How many.
        rest_url: Of those that an older version of the sample set does not have.
        rest: How many.
    """

    url: str
    samples: int
    rest_url: str
    rest: int


def product_reader(sample_set: str, seconds: float, attempts: dict[str, int], packs: dict[str, Pack], known: frozenset[str]) -> Any:
    """What `mapInArrow` runs on rows of the catalog: rows of `OUTPUT`, observations and behind them one row of the ledger a product.

    Args:
        sample_set: name@version.
        seconds: After which a product is given up.
        attempts: Product -> number of the attempt.
        packs: Tile -> its sample points.
        known: Products of which the rest alone is read; the ledger's rows count all.
    """

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for product in batch.to_pylist():
                name, pack = product["product_id"], packs[product["tile"]]
                product["attempt"] = attempts[name]
                yield from _read_product(product, pack.rest_url if name in known else pack.url, pack.samples, sample_set, seconds)

    return read


def _read_product(product: dict[str, Any], url: str, samples: int, sample_set: str, seconds: float) -> Iterator[pa.RecordBatch]:
    started = time.monotonic()
    product = {**product, "bands": dict(product["bands"]), "offsets": dict(product["offsets"])}
    sample_id, x, y = _load_pack(url)
    told = {"status": "failed", "rows": 0, "reason": None, "pixels_decoded": 0}
    try:
        if len(x):
            found = call_within(seconds, product["product_id"], extract_product, product, x, y)
            told["pixels_decoded"] = found.pixels_decoded
            yield from _observation_batches(product, sample_set, sample_id, found)
        told |= {"status": "done", "rows": samples}
    except EESparkError as error:
        told["reason"] = f"{type(error).__name__}: {error}"
    told["seconds"] = time.monotonic() - started
    keys = {"sample_set": sample_set, **{k: product[k] for k in ("product_id", "fingerprint", "attempt", "tile", "sensing_time")}}
    yield pa.RecordBatch.from_pylist([{**dict.fromkeys(_ARROW.names), **keys, **told}], schema=_ARROW)


def _observation_batches(
    product: dict[str, Any], sample_set: str, sample_id: Any, found: Any, rows: int = 50_000
) -> Iterator[pa.RecordBatch]:
    for first in range(0, len(sample_id), rows):
        part = slice(first, first + rows)
        count = len(sample_id[part])
        values = pa.array(found.reflectance[part].reshape(-1), pa.int16())
        lists = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * len(BANDS)), values)
        same = {"sample_set": sample_set, **{k: product[k] for k in ("product_id", "fingerprint", "tile", "sensing_time")}}
        columns = {name: pa.nulls(count, _ARROW.field(name).type) for name in _ARROW.names}
        columns |= {name: pa.array([value] * count, _ARROW.field(name).type) for name, value in same.items()}
        columns |= {"sample_id": pa.array(sample_id[part]), "reflectance": lists, "flag": pa.array(found.flag[part].astype(np.int8))}
        yield pa.RecordBatch.from_arrays([columns[name] for name in _ARROW.names], schema=_ARROW)


@lru_cache(maxsize=2)
def _load_pack(url: str) -> tuple[Any, Any, Any]:
    with np.load(io.BytesIO(read_bytes(url)), allow_pickle=False) as pack:
        return pack["sample_id"], pack["x"], pack["y"]
