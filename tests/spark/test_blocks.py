"""Blocks of the pixel grid: the plan of their join with labels, and which of them a tile owns without asking each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from eespark.grid import Block, TileGrid
from eespark.spark.blocks import block_table, label_blocks, owned, owns_block
from eespark.synthetic.region import TILES, crop_grid


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_that_a_block_said_to_be_owned_is_owned_in_every_pixel_of_its_rim(tile: Any) -> None:
    grid = crop_grid(tile, 10_980)
    claimed = [block for block in grid.blocks(512) if owns_block(grid, block)]
    for block in claimed:
        rows, cols = _rim(block)
        assert owned(grid, rows, cols, {}).all(), block
    # Neighbours overlap by ten kilometres, and 32TQT ends at the border of its zone: never all of a tile.
    assert 50 < len(claimed) < 484


def test_that_a_block_across_the_edge_of_the_square_is_asked_pixel_by_pixel() -> None:
    grid = crop_grid(TILES[0], 10_980)
    row, seen = 4_000, set()
    for shift in range(0, 10_980 - 512, 128):
        block = Block(row, shift, 512, 512)
        share = owned(grid, *_rim(block), {}).mean()
        seen.add((owns_block(grid, block), float(np.ceil(share) if share < 1 else 2)))
    # Never claimed where a pixel is not owned; and blocks of all three kinds were met.
    assert {kind for kind in seen if kind[0]} == {(True, 2.0)}
    assert {share for _, share in seen} == {0.0, 1.0, 2.0}


def test_that_labels_are_not_shuffled_to_meet_the_blocks(spark: Any) -> None:
    grid = TileGrid("33TUN", "EPSG:32633", 300_000.0, 5_300_040.0, 400, 400, 10.0)
    box = shapely.to_wkb(shapely.box(4_450_000, 2_700_000, 4_451_000, 2_701_000))
    labels = spark.createDataFrame([("a", 1, bytearray(box), "33TUN")], "label_id string, class_id int, geometry binary, home string")
    plan = label_blocks(labels, block_table(spark, [grid], 128))._jdf.queryExecution().executedPlan().toString()
    assert "BroadcastIndexJoin" in plan
    assert "Exchange" not in plan


def _rim(block: Block) -> tuple[Any, Any]:
    rows, cols = np.arange(block.row, block.row + block.rows), np.arange(block.col, block.col + block.cols)
    sides = [(rows, np.full(len(rows), col)) for col in cols[[0, -1]]] + [(np.full(len(cols), row), cols) for row in rows[[0, -1]]]
    return tuple(np.concatenate(one) for one in zip(*sides, strict=True))
