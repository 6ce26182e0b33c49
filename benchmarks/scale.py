"""The whole catchment in metadata: catalog scanned, parcels joined with blocks, extraction planned; and the tasks that hold most.

Three sizes, so that products and parcels grow apart: few of both, more parcels, more of both. Each has a session of its own, whose
executors are processes apart from the driver, with one core each: what a process holds is what one task holds.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.apart import CONF, answer, run_apart, session_apart
from benchmarks.events import steps_of
from benchmarks.inputs import draw_pixels, prepare
from benchmarks.running import main
from benchmarks.scale_inputs import catchment_tiles, label_rows, make_archive, observation_rows, sample_rows, write_sample_set
from benchmarks.scale_polar import measure_scenes
from benchmarks.scale_steps import Steps
from benchmarks.tables import Work, extraction, parquet_bytes, tile_names, write_tables
from eespark.schema import LABELS, OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.dataset import BuildSettings, build_training_set
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.observations import extract_series
from eespark.spark.plans import plan_series
from eespark.spark.session import read_properties
from eespark.spark.tables import open_table

SAMPLE_SET = "scale@1"
HEAP_MB = 1200
"""Heap of an executor of one core."""
SHUFFLE_PARTITIONS = 32
"""So that a task of the training set gets half a million observations, as SETTINGS of the page have it for a catchment."""
_MASTER = f"local-cluster[2,1,{HEAP_MB}]"
# Of a row in the file of a tile's points that every task of the tile reads whole: id, x and y.
_PACK_BYTES = 24
_JOIN = "join labels with blocks"


@dataclass(frozen=True)
class Sizes:
    """Tiles and labels of each case, dates of a tile, px of a block; the product whose extraction is measured, its pixels; px of scenes."""

    tiles: tuple[int, ...] = (12, 12, 118)
    labels: tuple[int, ...] = (200_000, 2_000_000, 2_000_000)
    dates: int = 73
    block_px: int = 1024
    size_px: int = 10_980
    jp2_px: tuple[int, int] = (1024, 640)
    pixels: int = 65_000
    scene_px: int = 6_144


FULL = Sizes()
TINY = Sizes(tiles=(2, 2, 3), labels=(200, 600, 600), dates=6, block_px=4096, size_px=256, jp2_px=(64, 40), pixels=500, scene_px=512)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Steps of each case, and of an extraction and a training set: seconds, tasks, memory."""
    shutil.rmtree(root / "scratch" / "scale", ignore_errors=True)
    told = {"sizes": asdict(sizes), "root": str(root)}
    cases = []
    for number in range(len(sizes.tiles)):
        print(f"  {sizes.tiles[number]} tiles, {sizes.labels[number]:,} labels", flush=True)
        cases.append(run_apart("benchmarks.scale", {**told, "case": number}))
    others = {}
    for name in OTHERS:
        print(f"  {name}", flush=True)
        others[name] = run_apart("benchmarks.scale", {**told, "case": name})
    return {
        "cases": cases, **others, "heap_mb": HEAP_MB, "shuffle_partitions": SHUFFLE_PARTITIONS,
        "driver_memory": read_properties(CONF)["spark.driver.memory"],
    }  # fmt: skip


def measure_apart(told: dict[str, Any]) -> dict[str, Any]:
    """One case, or another measurement, in this process."""
    sizes = Sizes(**{name: tuple(value) if isinstance(value, list) else value for name, value in told["sizes"].items()})
    case, root = told["case"], Path(told["root"])
    folder = root / "scratch" / "scale" / str(case)
    (folder / "events").mkdir(parents=True)
    properties = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": f"file:{folder / 'events'}", "spark.eventLog.compress": "false"}
    properties |= {"spark.sql.shuffle.partitions": str(SHUFFLE_PARTITIONS)}
    with session_apart(folder, _MASTER, HEAP_MB, properties) as spark:
        steps = Steps(spark)
        found = OTHERS[case](steps, sizes, root, folder) if case in OTHERS else _case(steps, sizes, case, root, folder)
        found["python_peak_mb"] = steps.python_peak_mb()
    for step, of_step in steps_of(folder / "events").items():
        steps.told[step] |= of_step
    return {**found, "steps": steps.told}


def _case(steps: Steps, sizes: Sizes, number: int, root: Path, folder: Path) -> dict[str, Any]:
    count, labels = sizes.tiles[number], sizes.labels[number]
    tiles = catchment_tiles(count)
    archive = make_archive(root / "input" / f"scale-{count}-{sizes.dates}", tiles, sizes.dates)
    urls = {name: str(folder / name) for name in ("products", "labels", "samples", "observations", "extractions", "packs")}
    scan = ScanSettings(archive=str(archive), products=urls["products"], summary="unused", check_sizes=False, check_pixels=False)
    scanned = steps.run("scan", lambda: scan_archive(steps.spark, scan))
    assert scanned["current"] == count * sizes.dates, scanned
    steps.write("write labels", label_rows(steps.spark, tiles, labels), LABELS, urls["labels"])
    pairs = steps.run(_JOIN, lambda: steps.join(urls, sizes.block_px))
    rows = sample_rows(open_table(steps.spark, urls["labels"], LABELS), tiles, SAMPLE_SET)
    steps.write("write samples", rows, SAMPLES, urls["samples"])
    places = {name: url for name, url in urls.items() if name != "labels"}
    extract = ExtractSettings.model_validate({**places, "summary": "unused", "sample_set": SAMPLE_SET})
    plan = steps.run("plan extraction", lambda: plan_series(steps.spark, extract))
    by_tile = [row["count"] for row in open_table(steps.spark, urls["samples"], SAMPLES).groupBy("tile").count().collect()]
    if number == 0:
        _build(steps, urls, folder)
    return {
        "tiles": count, "products": scanned["current"], "labels": labels, "pairs": pairs,
        "planned": {
            "tasks": plan.tasks, "mpx": round(plan.work), "largest_mpx": round(plan.largest, 1), "jp2_px": plan.more["jp2_px"],
            "largest_pack_mb": round(max(by_tile) * _PACK_BYTES / 1e6, 3), "samples_by_tile": [min(by_tile), max(by_tile)],
            "observations": plan.more["observations"],
        },
    }  # fmt: skip


def _build(steps: Steps, urls: dict[str, str], folder: Path) -> None:
    """A training set of observations that are made up: every sample on every date."""
    samples, products = (open_table(steps.spark, urls[name], table) for name, table in (("samples", SAMPLES), ("products", PRODUCTS)))
    steps.write("write observations", observation_rows(samples, products), OBSERVATIONS, urls["observations"])
    write_sample_set(folder / "sets", SAMPLE_SET)
    places = {name: urls[name] for name in ("products", "samples", "observations")}
    settings = BuildSettings.model_validate(
        {**places, "sets": str(folder / "sets"), "sample_set": SAMPLE_SET, "training_set": str(folder / "set"), "summary": "unused",
         "max_cloud_share": 1.0, "min_clear": 1}
    )  # fmt: skip
    steps.run("build training set", lambda: build_training_set(steps.spark, settings))
    observations = open_table(steps.spark, urls["observations"], OBSERVATIONS).count()
    steps.told["build training set"] |= {"observations": observations, "bytes": parquet_bytes(folder / "set")}


def _extract(steps: Steps, sizes: Sizes, root: Path, folder: Path) -> dict[str, Any]:
    """Two products of a whole tile, whose pixels lie all over it."""
    tile = prepare(root / "input", sizes.size_px, sizes.jp2_px)
    work = Work(tile_names(1), 2, 0.0, *draw_pixels(tile.grid, sizes.pixels, sizes.pixels))
    write_tables(steps.spark, folder, tile, work)
    counts = steps.run("extraction", lambda: extract_series(steps.spark, extraction(folder, f"run-{os.getpid()}")))
    return {"pixels": sizes.pixels, "size_px": sizes.size_px, "products_read": counts["products_read"]}


def _scenes(steps: Steps, sizes: Sizes, root: Path, folder: Path) -> dict[str, Any]:
    return measure_scenes(steps, sizes.scene_px, root, folder)


OTHERS = {"extraction": _extract, "scenes": _scenes}


if __name__ == "__main__":
    if not answer(measure_apart):
        main("scale", FULL, TINY, measure)
