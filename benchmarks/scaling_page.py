"""The page on growth, made from the JSON of `scale`, `growth` and the benchmarks of speed, and from nothing else.

python -m benchmarks.scaling_page            prints it from build/bench
python -m benchmarks.scaling_page --store    keeps that JSON in docs/speed and writes docs/scaling.md from it
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import STORE, by_number, table
from benchmarks.running import BUILD, ROOT

PAGE = ROOT / "docs" / "scaling.md"
NAMES = ("scale", "growth")
Told = Mapping[str, Any]
CASES = {"16 tiles x 33 dates": (16, 33), "118 tiles x 73 dates": (118, 73)}
# A whole EW scene is 10,400 lines and samples in two polarisations of 16 bits.
_SCENE_MPX = 10_400**2 * 2 / 1e6
_SCENE_GB = _SCENE_MPX * 2 / 1e3

STEPS = ("scan", "write labels", "join labels with blocks", "write samples", "plan extraction")

INTRO = """# Growth

Written by `python -m benchmarks.scaling_page --store` from `docs/speed/scale.json`, `growth.json` and the results of `make bench`; do not
edit by hand. `make bench-scale` measures the first two.
"""


def load(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """What benchmarks told, by name; those that were not run are absent."""
    files = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def render(told: Told, speed: Told) -> str:
    """The page in Markdown."""
    parts = [INTRO]
    if "scale" in told:
        parts += [_scale(told["scale"]["results"], told["scale"]["sizes"])]
    if "growth" in told:
        parts += [_growth(told["growth"]["results"], told["growth"]["sizes"])]
    parts += [_projected(told, speed), _settings(), _machines(told)]
    return "\n".join(part for part in parts if part)


def _scale(told: Told, sizes: Told) -> str:
    small, large = (one for _, one in by_number(told["by_tiles"]))
    columns = ("s", "tasks", "longest / median task, s")
    head = (
        "step", *(f"{n} tiles: {what}" for n, _ in by_number(told["by_tiles"]) for what in columns), "largest input of a task, MB",
        "worker, peak MB", "JVM kept, MB: few, many",
    )  # fmt: skip
    rows = []
    for step in STEPS:
        cells = []
        for one in (small["steps"][step], large["steps"][step]):
            cells += [one["seconds"], f"{one['tasks']:,}", f"{one['longest_task_s']:.1f} / {one['median_task_s']:.1f}"]
        few, many = small["steps"][step], large["steps"][step]
        rows.append((step, *cells, many["largest_input_mb"], many["worker_peak_mb"], f"{few['jvm_kept_mb']}, {many['jvm_kept_mb']}"))
    plan, kept = large["planned"], max(one["jvm_kept_mb"] for one in large["steps"].values())
    decoded, worker = max(side**2 for side in plan["jp2_px"]) * 2 / 1e6, max(one["worker_peak_mb"] for one in large["steps"].values())
    memory = told["driver_memory"].replace("g", " GB")
    return f"""## The whole catchment, in metadata

{large["products"]:,} products ({sizes["tiles"][1]} tiles nearest to the middle of the Danube's catchment, {sizes["dates"]} dates of
each; true names and metadata,
bands that hold no pixels) and {large["labels"]:,} declared parcels; beside them {small["products"]:,} products and {small["labels"]:,}
parcels.
Driver and tasks share one JVM of {memory} on this machine's cores: the whole plan fits into it. Labels are made, and meet
{sizes["block_px"]:,} px
blocks ({large["pairs"]:,} pairs), in tasks. Pure pixels of all tiles were not burnt here; [speed](speed.md) has those of one.

{table(head, rows)}
The driver's Python peaks at {small["python_peak_mb"]} MB with the few and {large["python_peak_mb"]} MB with the many. What its
JVM holds after one collection of garbage stays below {math.ceil(kept / 100) * 100} MB, and varies by hundreds of MB from run to
run. Products and parcels grow together here, in one session, so this does not tell which of them costs what.

Extraction of one pixel a parcel is planned as {plan["tasks"]:,} tasks, one a product: {plan["mpx"]:,} Mpx to decode,
{plan["largest_mpx"]} Mpx in the largest. A task holds the points of its tile ({plan["largest_pack_mb"]:.1f} MB at most), one decoded
JPEG 2000 tile ({decoded:.1f} MB) and GDAL's cache (64 MB) beside the packages of its worker. The steps above peak at {worker} MB a worker;
extraction was not run here, so that its tasks stay below 2 GB is reckoned from this and not measured. Tiles have
{plan["samples_by_tile"][0]:,} to {plan["samples_by_tile"][1]:,} points, as labels are spread evenly; real tiles differ more.
"""


def _growth(told: Told, sizes: Told) -> str:
    counts = [count for count, _ in by_number(told["seconds_per_tile"]["local[1]"])]
    head = ("master", *(f"{count} tile{'s' if count != '1' else ''}, s a tile" for count in counts), f"efficiency at {counts[-1]}")
    rows = (
        (name, *(f"{one[c]['median']:.2f} ({one[c]['min']:.2f} to {one[c]['max']:.2f})" for c in counts), f"{told['efficiency'][name]:.2f}")
        for name, one in told["seconds_per_tile"].items()
    )
    return f"""## Small tiles, more cores

`extract_series` of tiles of {sizes["size_px"]:,} px with {sizes["products"]} products and {sizes["pixels"]:,} pixels each. A job has
some seconds of its own (Delta's commits, the ledger), which
show where tiles are few and small. Efficiency is the time on one core over the time on so many, a core. `local-cluster` runs two
executors of one core in processes
of their own, which share the two cores with the driver.

{table(head, rows)}"""


def _projected(told: Told, speed: Told) -> str:
    food, polar = _food(told, speed), _polar(speed)
    tables = [table(("what", *CASES), food)] if food else []
    tables += [table(("what", "24 scenes", "1,000 scenes"), polar)] if polar else []
    head = "## Projected\n\nMultiplied from measured rates, not measured; every date free of cloud.\n"
    return "\n".join([head, *tables]) if tables else ""


def _food(told: Told, speed: Told) -> list[tuple[str, ...]]:
    lines = []
    if "extraction" in speed:
        one = speed["extraction"]
        laps = one["results"]["by_pixels"]["65000"]
        hours = statistics.median(laps["seconds"][laps["ours"]]) * one["machine"]["cores"] / one["sizes"]["products"] / 3600
        lines.append(("extraction at 65,000 pixels a tile, core-hours", *(f"{t * d * hours:,.0f}" for t, d in CASES.values())))
        lines.append(("on 100 cores, hours", *(f"{t * d * hours / 100:,.1f}" for t, d in CASES.values())))
    if "scaling" in speed:
        results = speed["scaling"]["results"]
        most = results["by_tiles"][max(results["by_tiles"], key=int)]
        a_product = most["observation_bytes"]["median"] / int(max(results["by_tiles"], key=int)) / results["products_per_tile"]
        lines.append(("archive read, GB", *(f"{t * d * results['product_bytes'] / 1e9:,.0f}" for t, d in CASES.values())))
        lines.append(("observations of 65,000 pixels a tile, GB", *(f"{t * d * a_product / 1e9:,.1f}" for t, d in CASES.values())))
    if "scale" in told:
        tiles, large = by_number(told["scale"]["results"]["by_tiles"])[-1]
        scan = large["steps"]["scan"]["seconds"] * told["scale"]["machine"]["cores"] / large["products"] / 3600
        join = large["steps"]["join labels with blocks"]
        lines.append(("scan of metadata, core-hours", *(f"{t * d * scan:,.3f}" for t, d in CASES.values())))
        lines.append(("parcels met with blocks, GB shuffled", *(f"{t / int(tiles) * join['shuffle_gb']:,.2f}" for t, _ in CASES.values())))
    return lines


def _polar(speed: Told) -> list[tuple[str, ...]]:
    if "polar" not in speed:
        return []
    one = speed["polar"]["results"]
    cores = speed["polar"]["machine"]["cores"]
    calibrated = one["calibration"]["rates"][one["calibration"]["ours"]]["median"] / cores
    dense = one["dense"]["rates"][one["dense"]["ours"]]["median"] / cores
    scenes = (24, 1_000)
    return [
        ("calibrated whole, core-hours", *(f"{n * _SCENE_MPX / calibrated / 3600:,.3f}" for n in scenes)),
        ("dense classes of every pixel, core-hours", *(f"{n * _SCENE_MPX / 2 / dense / 3600:,.0f}" for n in scenes)),
        ("archive read, GB", *(f"{n * _SCENE_GB:,.0f}" for n in scenes)),
    ]


def _settings() -> str:
    return """## Settings, and what limits next

* **16 tiles**: one machine of 16 cores and 64 GB with `deploy/conf/spark-machine.conf`, or four executors of four cores. **118 tiles**:
  `deploy/conf/spark-large.conf` with 25 executors of 4 cores, 4 GB of heap and 4 GB beside it for Python and GDAL; a driver of 4 GB.
  `products_per_commit: 512` (some five tasks a core and commit), and `spark.sql.shuffle.partitions 400`. What a training set shuffles at
  this size was not measured.
* **Scenes**: one is a task that holds a strip. 24 run on one machine in minutes but for dense maps; 1,000 want executors as above, for
  dense
  maps are the cost.
* **Decoding is the limit** of extraction: JPEG 2000 at some 7 Mpx a second and core, whatever is done with the pixels. More cores help
  until
  the store is: 100 cores decode 700 Mpx, of 8 bits coded, thus read some 700 MB a second.
* **Next**: an archive is listed by one thread of the driver, which takes long on object stores that hold 100,000 folders. A scan merges its
  rows with the whole catalog, seconds for a catchment, minutes for a continent. The log of a table that grows nightly wants
  `compact_tables`.
"""


def _machines(told: Told) -> str:
    rows = []
    for name, one in told.items():
        m = one["machine"]
        rows.append(
            (name, m["date"], m["commit"], m["cpu"], m["cores"], f"{m['memory_gb']:.0f} GB", f"{m['load_before']}, {m['load_after']}")
        )
    return (
        f"## Where and when\n\n{table(('benchmark', 'date', 'commit', 'processor', 'cores', 'memory', 'load before, after'), rows)}"
        if rows
        else ""
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="keep the JSON in docs/speed and write docs/scaling.md")
    speed = load(STORE, ("extraction", "scaling", "polar"))
    if not parser.parse_args().store:
        print(render(load(BUILD, NAMES), speed))
        return
    for name, told in load(BUILD, NAMES).items():
        (STORE / f"{name}.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(render(load(STORE, NAMES), speed), encoding="utf-8")
    print(f"bench: {PAGE}")


if __name__ == "__main__":
    main()
