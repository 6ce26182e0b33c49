"""What one task of a map does on an executor: read a block's dates, predict, write its part. No Spark in here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from eespark.burn import burn_labels
from eespark.errors import EESparkError, StorageFullError
from eespark.grid import Block, TileGrid
from eespark.io.cube import Cube, read_cube
from eespark.io.guard import call_within
from eespark.io.mapfiles import empty_layers, write_parcel_part, write_part
from eespark.kernels.sampling import hash_text, hash_uniform
from eespark.kernels.series import regular_series
from eespark.predict import Bundle, Prediction, load_bundle
from eespark.spark.blocks import eroded_polygons
from eespark.spark.map_settings import MapSettings
from eespark.spark.parcels import find_parcels, parcel_series

Row = dict[str, Any]
Bools = npt.NDArray[np.bool_]
Priors = npt.NDArray[np.float64] | None

_BATCH: Final = 512  # series: larger batches leave the cores' caches, smaller ones pay for each call
_PIECE: Final = 65_536  # series that are brought to a regular grid at once, which bounds memory


def predict_row(row: Row, settings: MapSettings, part: str, priors: Mapping[int, float] | None) -> Row:
    """Predict one block and write its part; what happened, as a row.

    The block is read in a process of its own, which is ended when it hangs; it loads the bundle anew, which takes less time than
    one date takes to read.

    Args:
        row: Of `block_frame`.
        settings: Of the job.
        part: URL of the part to write.
        priors: Class id -> share to expect; None for those of the training set.

    Raises:
        StorageFullError: No room for the part.
    """
    started = datetime.now(UTC)
    keys = ("tile", "block_row", "block_col")
    told: Row = {**{key: row[key] for key in keys}, "status": "failed", "pixels": 0, "reason": None}
    work = _predict_parcels if settings.mode == "parcels" else _predict_pixels
    try:
        told["pixels"] = call_within(settings.block_seconds, _name(row), work, row, settings, part, priors)
        told["status"] = "done"
    except StorageFullError:
        raise  # no hole: all other blocks would follow it
    except EESparkError as error:
        told["reason"] = f"{type(error).__name__}: {error}"
    return {**told, "seconds": (datetime.now(UTC) - started).total_seconds()}


def sample_row(row: Row, settings: MapSettings) -> tuple[list[list[float]], str | None]:
    """Calibrated class probabilities of some pixels (or parcels) of one block, and why there are none where it failed."""
    try:
        return call_within(settings.block_seconds, _name(row), _sample, row, settings), None
    except EESparkError as error:
        return [], f"{type(error).__name__}: {error}"


def _name(row: Row) -> str:
    return f"block {row['block_row']},{row['block_col']} of {row['tile']}"


def _places(row: Row) -> tuple[TileGrid, Block, list[Row]]:
    grid = TileGrid(row["tile"], row["crs"], row["x_min"], row["y_max"], row["tile_rows"], row["tile_cols"], row["pixel_m"])
    block = Block(row["block_row"], row["block_col"], row["block_rows"], row["block_cols"])
    dates = [{**d, "bands": json.loads(d["bands"]), "offsets": json.loads(d["offsets"])} for d in row["dates"] or []]
    return grid, block, dates


def _predict_pixels(row: Row, settings: MapSettings, part: str, priors: Mapping[int, float] | None) -> int:
    grid, block, dates = _places(row)
    wanted = _mask(row["mask"], grid, block)
    layers = empty_layers(block.rows, block.cols)
    pixels = 0
    if wanted.any() and dates:
        cube = read_cube(dates, block, wanted)
        number = cube.clear.sum(axis=1)
        layers["clear_dates"][wanted] = np.minimum(number, 254)
        enough = number >= settings.min_clear
        pixels = int(enough.sum())
        if pixels:
            bundle = load_bundle(settings.bundle)
            found = predict_cube(bundle, cube, np.flatnonzero(enough), _shares(bundle, priors))
            place = np.flatnonzero(wanted)[enough]
            layers["class"].reshape(-1)[place] = found.class_ids.astype(np.uint8)
            layers["probability"].reshape(-1)[place] = np.rint(100 * found.confidence).astype(np.uint8)
            layers["novelty"].reshape(-1)[place] = np.rint(100 * found.novelty).astype(np.uint8)
    write_part(part, layers)
    return pixels


def _predict_parcels(row: Row, settings: MapSettings, part: str, priors: Mapping[int, float] | None) -> int:
    grid, block, dates = _places(row)
    parcels, place = find_parcels(row["parcels"], grid, block, settings)
    if place is not None:
        cube = parcel_series(dates, place, len(parcels), settings.parcel_clear_share)
        number = cube.clear.sum(axis=1)
        parcels["clear_dates"] = pd.Series(number, dtype="Int16").where(parcels["pixels"] > 0)
        enough = np.flatnonzero(number >= settings.min_clear)
        if len(enough):
            bundle = load_bundle(settings.bundle)
            found = predict_cube(bundle, cube, enough, _shares(bundle, priors))
            parcels.loc[enough, "predicted"] = found.class_ids
            parcels.loc[enough, "probability"] = found.confidence
            parcels.loc[enough, "novelty"] = found.novelty
            parcels.loc[enough, "reason"] = None
    write_parcel_part(part, parcels)
    return int(parcels["pixels"].sum())


def _sample(row: Row, settings: MapSettings) -> list[list[float]]:
    grid, block, dates = _places(row)
    most = -(-settings.prior_samples // settings.prior_blocks)
    if settings.mode == "parcels":
        parcels, place = find_parcels(row["parcels"], grid, block, settings)
        if place is None:
            return []
        cube = parcel_series(dates, place, len(parcels), settings.parcel_clear_share)
        order = np.argsort(hash_uniform(settings.seed, [hash_text(str(one)) for one in parcels["label_id"]]), kind="stable")
    else:
        cube = read_cube(dates, block, _thinned(_mask(row["mask"], grid, block), block, most, settings.seed))
        order = np.arange(len(cube.clear))
    enough = order[cube.clear[order].sum(axis=1) >= settings.min_clear][:most]
    found = predict_cube(load_bundle(settings.bundle), cube, enough, None)
    return [[float(p) for p in one] for one in found.probabilities]


def _thinned(wanted: Bools, block: Block, most: int, seed: int) -> Bools:
    """About `most` of the wanted pixels, chosen by a hash of their place; all where there are no more."""
    rows, cols = np.nonzero(wanted)
    draw = hash_uniform(seed, rows + block.row, cols + block.col)
    kept = np.sort(np.argsort(draw, kind="stable")[:most])
    thin = np.zeros_like(wanted)
    thin[rows[kept], cols[kept]] = True
    return thin


def _mask(polygons: list[bytes] | None, grid: TileGrid, block: Block) -> Bools:
    if polygons is None:
        return np.ones((block.rows, block.cols), bool)
    wanted = np.zeros((block.rows, block.cols), bool)
    if polygons:
        burnt = burn_labels(eroded_polygons(polygons, grid.crs, 0.0), grid, "centre", block)
        wanted[burnt.rows - block.row, burnt.cols - block.col] = True
    return wanted


def predict_cube(bundle: Bundle, cube: Cube, which: npt.NDArray[np.int64], priors: Priors) -> Prediction:
    """What the bundle says of some series of a cube.

    Series with as many clear dates are predicted together: the network then walks over no dates that do not count.

    Args:
        bundle: Loaded.
        cube: Of n series.
        which: (k,) series to predict.
        priors: (classes,) shares to expect; None for those of the training set.

    Returns:
        k predictions in the order of `which`.
    """
    order = np.argsort(cube.clear[which].sum(axis=1), kind="stable")
    pieces = []
    for first in range(0, max(len(which), 1), _PIECE):
        rows = which[order[first : first + _PIECE]]
        pieces.append(bundle.predict(*_inputs(bundle, cube, rows), priors=priors, batch=_BATCH))
    back = np.empty(len(which), np.int64)
    back[order] = np.arange(len(which))
    names = ("probabilities", "class_ids", "confidence", "novelty")
    return Prediction(*(np.concatenate([getattr(piece, name) for piece in pieces])[back] for name in names))


def _inputs(bundle: Bundle, cube: Cube, rows: npt.NDArray[np.int64]) -> tuple[Any, Any, Any]:
    reflectance, clear = cube.reflectance[rows], cube.clear[rows]
    day = np.broadcast_to(cube.days, clear.shape)
    if bundle.manifest["grid"]["kind"] == "regular":
        step = int(bundle.manifest["grid"]["step_days"])
        grid_days = np.arange(int(bundle.manifest["times"])) * step
        gap = int(bundle.manifest["grid"].get("max_gap_days", 45))
        reflectance, clear = regular_series(day.astype(np.int64), reflectance, clear, grid_days, gap)
        day = np.broadcast_to(grid_days.astype(np.int16), clear.shape)
    return reflectance, clear, day * clear


def _shares(bundle: Bundle, priors: Mapping[int, float] | None) -> Priors:
    return None if priors is None else np.array([priors[int(class_id)] for class_id in bundle.class_ids], np.float64)
