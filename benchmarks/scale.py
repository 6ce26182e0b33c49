"""The whole catchment in metadata: catalog scanned, parcels joined with blocks, extraction planned; what the driver holds at two sizes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.events import steps_of
from benchmarks.processes import peak_mb, reset_peak, spark_workers
from benchmarks.running import ROOT, main
from benchmarks.scale_inputs import catchment_tiles, label_rows, make_archive, sample_rows
from benchmarks.scaling import _kept as heap_kept_mb
from benchmarks.timing import timed
from eespark.schema import LABELS, PRODUCTS, SAMPLES
from eespark.spark.blocks import block_table, label_blocks, tile_grids
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.observations import ExtractSettings
from eespark.spark.plans import plan_series
from eespark.spark.session import make_session, read_properties
from eespark.spark.tables import conform, ensure_table, open_table

SAMPLE_SET = "scale@1"
# Of a row in the file of a tile's points that every task of the tile reads whole: id, x and y.
_PACK_BYTES = 24


@dataclass(frozen=True)
class Sizes:
    """Tiles and labels at both sizes, dates of each tile, px of a block."""

    tiles: tuple[int, ...] = (12, 118)
    labels: tuple[int, ...] = (200_000, 2_000_000)
    dates: int = 73
    block_px: int = 1024


FULL = Sizes()
TINY = Sizes(tiles=(2, 3), labels=(200, 600), dates=2, block_px=4096)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Steps by number of tiles, and the driver's memory after each size."""
    scratch = root / "scratch" / "scale"
    shutil.rmtree(scratch, ignore_errors=True)
    spark = _session(scratch)
    told = {}
    for tiles, labels in zip(sizes.tiles, sizes.labels, strict=True):
        told[str(tiles)] = _one(spark, root, scratch / str(tiles), (tiles, labels, sizes.dates, sizes.block_px))
    spark.stop()
    by_group = steps_of(scratch / "events")
    for tiles, one in told.items():
        for step, of_step in one["steps"].items():
            of_step |= by_group.get(f"{step} {tiles}", {})
    return {"by_tiles": told, "driver_memory": read_properties(scratch / "spark.conf")["spark.driver.memory"]}


def _session(scratch: Path) -> SparkSession:
    """A session of its own that logs its events."""
    (scratch / "events").mkdir(parents=True)
    told = read_properties(ROOT / "deploy" / "conf" / "spark-machine.conf")
    told |= {"spark.eventLog.enabled": "true", "spark.eventLog.dir": f"file:{scratch / 'events'}", "spark.eventLog.compress": "false"}
    (scratch / "spark.conf").write_text("".join(f"{key} {value}\n" for key, value in told.items()))
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()  # a session that logs no events
    return make_session("bench scale", scratch / "spark.conf")


def _one(spark: SparkSession, root: Path, folder: Path, size: tuple[int, int, int, int]) -> dict[str, Any]:
    count, labels, dates, block_px = size
    tiles = catchment_tiles(count)
    archive = make_archive(root / "input" / f"scale-{count}-{dates}", tiles, dates)
    steps: dict[str, dict[str, Any]] = {}
    reset_peak(os.getpid())

    def step(name: str, work: Any) -> Any:
        spark.sparkContext.setJobGroup(f"{name} {count}", name)
        seconds, found = timed(work)
        workers = max(map(peak_mb, spark_workers()), default=0.0)
        steps[name] = {"seconds": round(seconds, 1), "worker_peak_mb": round(workers), "jvm_kept_mb": round(heap_kept_mb(spark))}
        return found

    urls = {name: str(folder / name) for name in ("products", "labels", "samples")}
    scan = ScanSettings(archive=str(archive), products=urls["products"], summary="unused", check_sizes=False, check_pixels=False)
    scanned = step("scan", lambda: scan_archive(spark, scan))
    assert scanned["current"] == count * dates, scanned
    for name, table, make in (("labels", LABELS, lambda: label_rows(spark, tiles, labels)),):
        ensure_table(spark, urls[name], table)
        step(
            "write labels", lambda make=make, table=table: conform(make(), table).write.format("delta").mode("append").save(urls["labels"])
        )
    pairs = step("join labels with blocks", lambda: _join(spark, urls, block_px))
    ensure_table(spark, urls["samples"], SAMPLES)
    rows = sample_rows(open_table(spark, urls["labels"], LABELS), tiles, SAMPLE_SET)
    step("write samples", lambda: conform(rows, SAMPLES).write.format("delta").mode("append").save(urls["samples"]))
    places = urls | {name: str(folder / name) for name in ("observations", "extractions", "packs")}
    places.pop("labels")
    extract = ExtractSettings.model_validate({**places, "summary": "unused", "sample_set": SAMPLE_SET})
    plan = step("plan extraction", lambda: plan_series(spark, extract))
    samples = open_table(spark, urls["samples"], SAMPLES).groupBy("tile").count().agg(F.max("count"), F.min("count")).head()
    return {
        "products": scanned["current"], "labels": labels, "pairs": pairs, "steps": steps, "python_peak_mb": round(peak_mb(os.getpid())),
        "planned": {
            "tasks": plan.tasks, "mpx": round(plan.work), "largest_mpx": round(plan.largest, 1), "jp2_px": plan.more["jp2_px"],
            "largest_pack_mb": round(samples[0] * _PACK_BYTES / 1e6, 3), "samples_by_tile": [int(samples[1]), int(samples[0])],
            "observations": plan.more["observations"],
        },
    }  # fmt: skip


def _join(spark: SparkSession, urls: dict[str, str], block_px: int) -> int:
    """Pairs of labels and blocks of all tiles, as `draw_samples` makes them."""
    labels = open_table(spark, urls["labels"], LABELS).where("usable")
    blocks = block_table(spark, tile_grids(open_table(spark, urls["products"], PRODUCTS), "L2A", None), block_px)
    pairs = label_blocks(labels.select("label_id", "class_id", "geometry", F.col("tile").alias("home")), blocks)
    # Every pair goes with its polygon where its block is burnt, as in the draw; kept, or counting would leave the polygons where they are.
    moved = pairs.repartition("tile", "block_row", "block_col").persist(StorageLevel.DISK_ONLY)
    count = moved.count()
    moved.unpersist()
    return int(count)


if __name__ == "__main__":
    main("scale", FULL, TINY, measure)
