"""What the benchmarks of growth are made of: the tasks that an event log tells, tiles of the catchment, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.events import steps_of
from benchmarks.page import STORE
from benchmarks.scale_inputs import catchment_tiles, make_archive
from benchmarks.scaling_page import load, render
from eespark.grid import square_bounds, tile_epsg
from eespark.io.archive import ScanOptions, list_archive, scan_product


def _task(stage: int, seconds: float, read: int, written: int) -> dict[str, Any]:
    metrics = {"Peak Execution Memory": 5_000_000, "Input Metrics": {"Bytes Read": 1_000_000}}
    metrics |= {
        "Shuffle Read Metrics": {"Remote Bytes Read": read, "Local Bytes Read": 2},
        "Shuffle Write Metrics": {"Shuffle Bytes Written": written},
    }
    info = {"Launch Time": 1_000, "Finish Time": 1_000 + int(1000 * seconds)}
    return {"Event": "SparkListenerTaskEnd", "Stage ID": stage, "Task Info": info, "Task Metrics": metrics}


def test_that_tasks_are_counted_by_the_group_of_their_job(tmp_path: Path) -> None:
    starts = [(1, [10, 11], "scan"), (2, [12], "join"), (3, [13], None)]
    events: list[dict[str, Any]] = [
        {"Event": "SparkListenerJobStart", "Job ID": job, "Stage IDs": stages, "Properties": {"spark.jobGroup.id": group} if group else {}}
        for job, stages, group in starts
    ]
    events += [_task(10, 1, 0, 500_000_000), _task(11, 2, 3_000_000, 0), _task(11, 8, 7_000_000, 0), _task(11, 3, 0, 0), _task(12, 1, 0, 0)]
    events += [_task(13, 99, 0, 0)]
    (tmp_path / "events").write_text("\n".join(json.dumps(event) for event in events))
    told = steps_of(tmp_path)
    assert sorted(told) == ["join", "scan"]
    assert told["scan"] == {
        "tasks": 4, "tasks_of_longest_stage": 3, "median_task_s": 3.0, "longest_task_s": 8.0, "shuffle_gb": 0.5, "largest_input_mb": 8.0,
        "largest_execution_mb": 5.0,
    }  # fmt: skip
    assert told["join"]["tasks"] == 1


def test_that_the_tiles_of_the_catchment_are_real_and_lie_where_they_are_named() -> None:
    tiles = catchment_tiles(118)
    names = [tile.tile for tile in tiles]
    assert len(set(names)) == 118
    # Budapest, Belgrade and Vienna.
    assert {"34TCT", "34TDQ", "33UXP"} <= set(names)
    for tile in tiles:
        left, bottom, right, top = square_bounds(tile.tile, tile.y_max - 50_000)
        assert tile.crs == f"EPSG:{tile_epsg(tile.tile)}"
        assert (tile.x_min, tile.y_max) == (left - 20, top)
        assert tile.bounds[2] > right
        assert tile.bounds[1] < bottom


def test_that_products_in_metadata_alone_are_read_as_whole_ones(tmp_path: Path) -> None:
    (tile,) = catchment_tiles(1)
    found = list(list_archive(str(make_archive(tmp_path, [tile], 3))))
    assert len(found) == 3
    row = scan_product(found[1], ScanOptions(check_sizes=False, check_pixels=False))
    assert (row["tile"], row["shape"], row["transform"][2]) == (tile.tile, [10_980, 10_980], tile.x_min)
    assert row["cloud_share"] == pytest.approx(((2 * 37 + 5) % 97) / 100)  # S2A comes first: the third date


def test_that_the_page_is_that_of_what_is_stored() -> None:
    told = load(STORE, ("scale", "growth"))
    assert "scale" in told
    page = STORE.parent / "scaling.md"
    assert page.read_text(encoding="utf-8") == render(told, load(STORE, ("extraction", "scaling", "polar")))
