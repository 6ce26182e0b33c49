"""Maps beside bare inference: `predict_map` from catalog to COGs, and ONNX Runtime on the same series ready in memory."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.baselines import onnx_rate
from benchmarks.inputs import SEED
from benchmarks.running import Repeats, cores, main, session
from benchmarks.timing import Lap, compare, interleave, spread, timed
from benchmarks.training_sets import write_set
from eespark.grid import Block
from eespark.io.cube import read_cube
from eespark.kernels.packing import pack_dates
from eespark.predict import Bundle, load_bundle
from eespark.schema import PRODUCTS
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.map_blocks import tile_dates
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.tables import open_table
from eespark.synthetic.archive import make_archive
from eespark.synthetic.region import UNLABELLED
from eespark.synthetic.settings import ArchiveSettings
from eespark.train.settings import FitSettings, ModelSettings

# The demo's network and the literature's.
MODELS = {"bilstm_2x48": {"units": 48, "layers": 2, "features": 48}, "bilstm_3x128": {"units": 128, "layers": 3, "features": 64}}
MIN_CLEAR, BATCH = 5, 512


@dataclass(frozen=True)
class Sizes(Repeats):
    """px of the mapped tile and of a block of the first, second, ... network of MODELS, and dates.

    JPEG 2000 tiles at 10 m are as large as the map's blocks, as they are on whole tiles, and those at 20 m as much larger as the agency's.
    """

    size_px: tuple[int, ...] = (1_024, 512)
    map_block_px: tuple[int, ...] = (512, 256)
    dates: int = 24


FULL = Sizes()
TINY = Sizes(size_px=(128,), map_block_px=(64,), dates=8, runs=1, warm_up=0)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates in thousand pixels a second, by network."""
    spark, results = session("mapping"), {}
    for name, size_px, map_block_px in zip(MODELS, sizes.size_px, sizes.map_block_px, strict=False):
        print(name)
        folder = root / "scratch" / f"mapping-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        bundle = _bundle(folder, name)
        archive = _archive(root / "input", size_px, (map_block_px, map_block_px * 5 // 8), sizes.dates)
        scan_archive(spark, ScanSettings(archive=str(archive), products=str(folder / "products"), summary="unused"))
        places = {"products": str(folder / "products"), "bundle": bundle, "maps": str(folder / "maps"), "summary": "unused"}
        season = {"first_day": date(2017, 9, 1), "last_day": date(2018, 8, 31), "min_clear": MIN_CLEAR}
        settings = MapSettings.model_validate({**places, **season, "tiles": [UNLABELLED], "block_px": map_block_px})
        results[name] = _compare(spark, settings, sizes, size_px)
        shutil.rmtree(folder)
    return {"by_model": results}


def _archive(root: Path, size_px: int, jp2_block_px: tuple[int, int], dates: int) -> Path:
    """The archive of a crop year whose tile without labels is mapped; made where it is absent."""
    output = root / f"year-{size_px}-{dates}-{jp2_block_px[0]}"
    plan = {"output": str(output), "summary": "unused", "seed": SEED, "size_px": size_px, "jp2_block_px": jp2_block_px}
    make_archive(ArchiveSettings.model_validate({**plan, "dates_per_tile": dates, "faults": False, "workers": cores()}))
    return output / "archive"


def _bundle(folder: Path, name: str) -> str:
    """A bundle of a network trained for one step: its weights do not matter here, its size does."""
    write_set(folder / "set", 512, 64, 24)
    fit = FitSettings(model=ModelSettings.model_validate({"name": "bilstm", **MODELS[name]}), epochs=1)
    # In another process: TensorFlow would keep its memory and threads beside the laps.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        other.submit(_fit, fit.model_dump_json(), str(folder / "set"), str(folder / "bundle")).result()
    return str(folder / "bundle")


def _fit(settings: str, training_set: str, bundle: str) -> None:
    from eespark.train.fit import fit

    fit(FitSettings.model_validate_json(settings), training_set, bundle)


def _compare(spark: SparkSession, settings: MapSettings, sizes: Sizes, size_px: int) -> dict[str, Any]:
    bundle = load_bundle(settings.bundle)
    products = tile_dates(open_table(spark, settings.products, PRODUCTS), settings).where(F.col("tile") == UNLABELLED).head()["dates"]
    dates = [{**one.asDict(), "bands": json.loads(one["bands"])} for one in products]
    dates = [{**one, "offsets": json.loads(one["offsets"])} for one in dates]
    step = range(0, size_px, settings.block_px)
    blocks = [Block(row, col, min(settings.block_px, size_px - row), min(settings.block_px, size_px - col)) for row in step for col in step]
    ready = [ready_series(dates, block, str(Path(settings.bundle).parent / f"ready-{n}.npy")) for n, block in enumerate(blocks)]
    model = (Path(settings.bundle) / "model.onnx").read_bytes()
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores(), onnx_rate.start, (model, [kept for _, kept in ready])) as pool:
        sides = {
            "predict_map": lambda: _map(spark, settings),
            "onnxruntime": lambda: _bare(pool, bundle, blocks, ready, size_px),
            "reading": lambda: _reading(pool, dates, blocks, sum(len(places) for places, _ in ready)),
        }
        laps = interleave(sides, sizes.runs, sizes.warm_up)
    rates = {name: [lap.work / lap.seconds for lap in laps[name]] for name in ("onnxruntime", "reading")}
    both = spread(1 / (1 + bare / read) for bare, read in zip(rates["onnxruntime"], rates["reading"], strict=True))
    told = {"reading": spread(rates["reading"]), "ratio_of_both_in_turn": both, "dates": len({one["day"] for one in dates})}
    return {**compare(laps, "predict_map", "onnxruntime", "thousand pixels"), **told}


def _reading(pool: Any, dates: list[dict[str, Any]], blocks: list[Block], pixels: int) -> Lap:
    """Reading alone: what a map must do before there is anything to infer, on the same cores."""
    seconds, _ = timed(lambda: pool.map(_read_block, [(dates, block) for block in blocks], chunksize=1))
    return Lap(seconds, pixels / 1e3)


def _read_block(task: tuple[list[dict[str, Any]], Block]) -> int:
    dates, block = task
    return len(read_cube(dates, block, np.ones((block.rows, block.cols), bool)).clear)


def ready_series(dates: list[dict[str, Any]], block: Block, file: str) -> tuple[Any, onnx_rate.Kept]:
    """Places (row-major) of a block's series with enough clear dates, and the series in batches as the network likes them best, in a file.

    In the order of their clear dates and without the dates that do not count, as `predict_map` has them too; from pixel order the
    network would take longer.
    """
    cube = read_cube(dates, block, np.ones((block.rows, block.cols), bool))
    number = cube.clear.sum(axis=1)
    enough = np.flatnonzero(number >= MIN_CLEAR)
    places = enough[np.argsort(number[enough], kind="stable")]
    batches: list[onnx_rate.Batch] = []
    for first in range(0, len(places), BATCH):
        rows = places[first : first + BATCH]
        clear = cube.clear[rows]
        batches.append(pack_dates(cube.reflectance[rows], clear, np.broadcast_to(cube.days, clear.shape) * clear))
    return places, onnx_rate.keep(file, batches)


def _map(spark: SparkSession, settings: MapSettings) -> Lap:
    shutil.rmtree(settings.maps, ignore_errors=True)
    seconds, told = timed(lambda: predict_map(spark, settings))
    with rasterio.open(Path(settings.maps) / UNLABELLED / "class.tif") as dataset:
        layer = dataset.read(1)
    return Lap(seconds, told["pixels"] / 1e3, _counts(layer))


def _bare(pool: Any, bundle: Bundle, blocks: list[Block], ready: list[tuple[Any, onnx_rate.Kept]], size_px: int) -> Lap:
    seconds, found = timed(lambda: onnx_rate.run_blocks(pool, len(blocks)))
    layer = np.full((size_px, size_px), 255, np.uint8)
    for block, (places, _), best in zip(blocks, ready, found, strict=True):
        layer[block.row + places // block.cols, block.col + places % block.cols] = bundle.class_ids[best]
    return Lap(seconds, sum(len(places) for places, _ in ready) / 1e3, _counts(layer))


def _counts(layer: Any) -> dict[str, int]:
    """How often each class stands in a layer, and a sum that moves when two pixels change places."""
    place = np.arange(1, layer.size + 1, dtype=np.int64)
    return {"mapped": int((layer != 255).sum()), "weighted": int((layer.reshape(-1) * place % 1_000_003).sum())}


if __name__ == "__main__":
    main("mapping", FULL, TINY, measure)
