"""The class shares of a tile, estimated from some of its pixels or parcels, for predictions that expect what is there."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from eespark.grid import Block, TileGrid
from eespark.io.storage import join_url, read_text, url_exists, write_json
from eespark.kernels.sampling import hash_text, hash_uniform
from eespark.predict import estimate_priors
from eespark.spark.map_blocks import KEYS
from eespark.spark.map_settings import MapSettings
from eespark.spark.map_tasks import sample_row

logger = logging.getLogger(__name__)

_FEWEST: Final = 100  # with fewer probability vectors the shares would be chance
_SAMPLES: Final = "tile string, block_row int, block_col int, number int, probabilities array<double>, reason string"
_SHARES: Final = "tile string, samples bigint, blocks bigint, shares array<double>, moved double, failed map<string,string>"
_ARROW: Final = pa.schema(
    [
        ("tile", pa.string()),
        ("block_row", pa.int32()),
        ("block_col", pa.int32()),
        ("number", pa.int32()),
        ("probabilities", pa.list_(pa.float64())),
        ("reason", pa.string()),
    ]
)


def read_priors(folder: str) -> dict[str, Any] | None:
    """What `tile_priors` told of a tile, as `write_priors` wrote it; None where it did not."""
    url = join_url(folder, "priors.json")
    return dict(json.loads(read_text(url))) if url_exists(url) else None


def write_priors(folder: str, told: Mapping[str, Any]) -> None:
    """Keep a tile's shares beside its parts, so that a run that is killed ends with the shares that it began with."""
    write_json(join_url(folder, "priors.json"), told)


def filled_blocks(
    frame: DataFrame, settings: MapSettings, blocks: Mapping[TileGrid, tuple[Block, ...]]
) -> dict[TileGrid, tuple[Block, ...]]:
    """Those of the blocks that hold a parcel."""
    rows = frame.where(F.size("parcels" if settings.mode == "parcels" else "mask") > 0).select(*KEYS).collect()
    filled = {(row["tile"], row["block_row"], row["block_col"]) for row in rows}
    return {grid: tuple(b for b in some if (grid.tile, b.row, b.col) in filled) for grid, some in blocks.items()}


def choose_blocks(blocks: Mapping[TileGrid, tuple[Block, ...]], settings: MapSettings) -> dict[TileGrid, tuple[Block, ...]]:
    """At most `prior_blocks` blocks of each tile, by a hash of their places; tiles without any are left out."""
    chosen = {}
    for grid, some in blocks.items():
        draw = hash_uniform(settings.seed, hash_text(grid.tile), [block.row for block in some], [block.col for block in some])
        order = np.argsort(draw, kind="stable")[: settings.prior_blocks]
        if len(order):
            chosen[grid] = tuple(some[int(i)] for i in order)
    return chosen


def tile_priors(frame: DataFrame, settings: MapSettings, bundle: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The class shares of each tile by expectation-maximisation over some of its pixels (parcels, where these are predicted).

    Pixels are chosen by a hash, as their blocks are. A block that fails is left out. The shares are estimated on an executor; the
    driver gets one row a tile.

    Args:
        frame: Of `block_frame`, the chosen blocks.
        settings: Of the job.
        bundle: Its manifest.

    Returns:
        By tile: shares (class id -> share; None where they are not to be used, and then the reason), estimated (the same, used or not),
        moved, samples, blocks, failed_blocks.
    """
    ids = [str(one["id"]) for one in bundle["classes"]]
    sampled = frame.mapInArrow(_sampler(settings), _SAMPLES)
    rows = sampled.groupBy("tile").applyInPandas(_estimator(np.asarray(bundle["priors"], np.float64)), _SHARES).collect()
    told = {}
    for row in rows:
        reason = _doubt(row, settings)
        estimated = None if row["shares"] is None else dict(zip(ids, row["shares"], strict=True))
        told[row["tile"]] = {
            "shares": None if reason else estimated,
            "estimated": estimated,
            "reason": reason,
            "moved": row["moved"],
            "samples": int(row["samples"]),
            "blocks": int(row["blocks"]),
            "failed_blocks": dict(row["failed"]),
        }
        if reason:
            logger.warning("%s: class shares stay those of training: %s", row["tile"], reason)
    return told


def _doubt(row: Any, settings: MapSettings) -> str | None:
    """Why estimated shares are not to be used.

    Expectation-maximisation trusts the network's probabilities. Where these are under-confident or wrong on new ground, its maximum of
    likelihood leaves a few classes with everything. It then ends far from what the network itself counts, which is what is looked at.
    """
    if row["shares"] is None:
        return f"only {row['samples']} samples, needed {_FEWEST}"
    if row["moved"] > settings.max_prior_move:
        return f"they lie {row['moved']:.2f} from the network's own mean, more than max_prior_move={settings.max_prior_move}"
    return None


def _sampler(settings: MapSettings) -> Any:
    def sample(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                vectors, reason = sample_row(row, settings)
                keys = {key: row[key] for key in KEYS}
                found = [{**keys, "number": i, "probabilities": one, "reason": None} for i, one in enumerate(vectors)]
                # The row without a number tells of the block itself.
                told = {**keys, "number": None, "probabilities": None, "reason": reason}
                yield pa.RecordBatch.from_pylist([told, *found], schema=_ARROW)

    return sample


def _estimator(old: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    def estimate(rows: pd.DataFrame) -> pd.DataFrame:
        # The order of rows is chance, and with it the last digit of sums; the shares must not be.
        rows = rows.sort_values(["block_row", "block_col", "number"])
        blocks, vectors = rows[rows["number"].isna()], rows[rows["number"].notna()]
        shares, moved = None, None
        if len(vectors) >= _FEWEST:
            probabilities = np.stack(vectors["probabilities"].to_list())
            found = estimate_priors(probabilities, old)
            shares, moved = found.tolist(), float(np.abs(found - probabilities.mean(axis=0)).sum() / 2)
        failed = {f"{r.block_row},{r.block_col}": r.reason for r in blocks[blocks["reason"].notna()].itertuples()}
        told = {"samples": len(vectors), "blocks": len(blocks), "shares": shares, "moved": moved, "failed": failed}
        return pd.DataFrame({"tile": [rows["tile"].iloc[0]], **{name: [value] for name, value in told.items()}})

    return estimate
