"""More and more small tiles through extraction, on one core, on two, and on two executors: seconds a tile, efficiency."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.apart import answer, run_apart, session_apart
from benchmarks.inputs import draw_pixels, prepare
from benchmarks.running import Repeats, main
from benchmarks.tables import Work, extraction, tile_names, write_tables
from benchmarks.timing import spread, timed
from eespark.spark.observations import extract_series

_HEAP_MB = 1200
MASTERS = {"local[1]": 1, "local[2]": 2, f"local-cluster[2,1,{_HEAP_MB}]": 2}


@dataclass(frozen=True)
class Sizes(Repeats):
    """Tiles of each run; px of a tile and of its JPEG 2000 tiles, products and pixels of each."""

    runs: int = 3
    tiles: tuple[int, ...] = (1, 2, 4, 8)
    size_px: int = 1_024
    block_px: tuple[int, int] = (1024, 640)
    products: int = 3
    pixels: int = 5_000


FULL = Sizes()
TINY = Sizes(runs=1, warm_up=0, tiles=(1, 2), size_px=256, block_px=(64, 40), products=2, pixels=200)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Seconds a tile by master and number of tiles; masters take turns, each lap a session of its own."""
    prepare(root / "input", sizes.size_px, sizes.block_px)
    told: dict[str, dict[str, list[float]]] = {name: {str(count): [] for count in sizes.tiles} for name in MASTERS}
    for _ in range(sizes.runs):
        for master in MASTERS:
            for count, seconds in _lap(sizes, root, master).items():
                told[master][count].append(seconds / int(count))
    results = {name: {count: spread(values) for count, values in one.items()} for name, one in told.items()}
    most = str(max(sizes.tiles))
    alone = results["local[1]"][most]["median"]
    efficiency = {name: round(alone / one[most]["median"] / MASTERS[name], 3) for name, one in results.items()}
    return {"seconds_per_tile": results, "cores": MASTERS, "efficiency": efficiency, "products_per_tile": sizes.products}


def _lap(sizes: Sizes, root: Path, master: str) -> dict[str, float]:
    """Seconds by number of tiles, in a session of its own after a warm-up."""
    told = {"tiles": sizes.tiles, "size_px": sizes.size_px, "block_px": sizes.block_px, "products": sizes.products, "pixels": sizes.pixels}
    return dict(run_apart("benchmarks.growth", told | {"root": str(root), "master": master}))


def measure_apart(told: dict[str, Any]) -> dict[str, float]:
    """The laps of one session."""
    root, folder, seconds = Path(told["root"]), Path(told["root"]) / "scratch" / "growth", {}
    tile = prepare(root / "input", told["size_px"], tuple(told["block_px"]))
    with session_apart(folder, told["master"], _HEAP_MB) as spark:
        for number, count in enumerate([min(told["tiles"]), *told["tiles"]]):
            work = Work(tile_names(count), told["products"], 0.0, *draw_pixels(tile.grid, told["pixels"], told["pixels"]))
            write_tables(spark, folder / str(count), tile, work)
            settings = extraction(folder / str(count), f"run-{os.getpid()}-{number}")
            seconds[str(count)] = timed(lambda settings=settings: extract_series(spark, settings))[0]  # the first is a warm-up
    return seconds


if __name__ == "__main__":
    if not answer(measure_apart):
        main("growth", FULL, TINY, measure)
