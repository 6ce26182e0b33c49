"""The page on growth, made from the JSON of `scale`, `growth` and the benchmarks of speed, and from nothing else.

python -m benchmarks.scaling_page            prints it from build/bench
python -m benchmarks.scaling_page --store    keeps that JSON in docs/speed and writes docs/scaling.md from it
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import STORE, by_number, table
from benchmarks.running import BUILD, ROOT

PAGE = ROOT / "docs" / "scaling.md"
NAMES = ("scale", "growth")
Told = Mapping[str, Any]
CASES = {"16 tiles x 33 dates": (16, 33), "118 tiles x 73 dates": (118, 73)}
# A whole EW scene is 10,400 lines and samples in two polarisations of 16 bits.
_SIDE_PX = 10_400
_SCENE_MPX = _SIDE_PX**2 * 2 / 1e6
_SCENE_GB = _SCENE_MPX * 2 / 1e3
_PIXELS = 65_000
"""Samples of a tile in what is projected."""
_GOAL_MB = 2_000

STEPS = ("scan", "write labels", "join labels with blocks", "write samples", "plan extraction")

INTRO = """# Growth

Written by `python -m benchmarks.scaling_page --store` from `docs/speed/scale.json`, `growth.json` and the results of `make bench`; do not
edit by hand. `make bench-scale` measures the first two.
"""

SETTINGS = """## Settings, and what limits next

* **16 tiles**: one machine of 16 cores and 64 GB with `deploy/conf/spark-machine.conf`, or four executors of four cores. **118 tiles**:
  `deploy/conf/spark-large.conf` with 25 executors of 4 cores, 4 GB of heap and 4 GB beside it for Python and GDAL; a driver of 4 GB.
  `products_per_commit: 512` (some five tasks a core and commit), and `spark.sql.shuffle.partitions 1200`, so that a task of the training
  set gets half a million observations.
* **Scenes**: one is a task that holds a strip. 24 run on one machine in minutes but for dense maps; 1,000 want executors as above, for
  dense maps are the cost.
* **Decoding is the limit** of extraction: JPEG 2000 at some 7 Mpx a second and core, whatever is done with the pixels. More cores help
  until the store is: 100 cores decode 700 Mpx, of 8 bits coded, thus read some 700 MB a second.
* **Next**: an archive is listed by one thread of the driver, which takes long on object stores that hold 100,000 folders. A scan merges its
  rows with the whole catalog, seconds for a catchment, minutes for a continent. The log of a table that grows nightly wants
  `compact_tables`.
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
    parts += [_projected(told, speed), SETTINGS, _machines(told)]
    return flowed("\n".join(part for part in parts if part))


def flowed(text: str) -> str:
    """The text with each paragraph and each item of a list on one line; tables and titles as they are."""
    lines: list[str] = []
    for line in text.split("\n"):
        follows = lines and lines[-1] and not lines[-1].startswith(("|", "#"))
        if line and follows and not line.startswith(("|", "#", "* ")):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


def _scale(told: Told, sizes: Told) -> str:
    cases, plan = told["cases"], told["cases"][-1]["planned"]
    few, more, many = cases
    return f"""## The whole catchment, in metadata

{many["products"]:,} products ({many["tiles"]} tiles nearest to the middle of the Danube's catchment, {sizes["dates"]} dates of each; true
names and metadata, bands that hold no pixels) and {many["labels"]:,} declared parcels, half of them below 1.5 ha. Beside them
{few["products"]:,} products with {few["labels"]:,} parcels and with {more["labels"]:,}, so that what parcels cost and what products cost
show apart. Each case has a session of its own: a driver of {told["driver_memory"].replace("g", " GB")}, and two executors of one core with
{told["heap_mb"]:,} MB of heap, all on this machine's cores; {told["shuffle_partitions"]} partitions of a shuffle. Labels are made, and meet
{sizes["block_px"]:,} px blocks ({many["pairs"]:,} pairs), in tasks. Pure pixels of all tiles were not burnt here; [speed](speed.md) has
those of one.

{_step_seconds(cases)}
### What the driver holds

Heap of its JVM after each step, the least of several collections of garbage, and the most of its Python, MB:

{_driver(cases)}
{_grows(cases)}

### What a task holds

An executor has one core, so its JVM and its Python worker hold what one task holds. Most memory at once (MB), of all three cases,
and of other jobs: extraction of {told["extraction"]["pixels"]:,} pixels all over a whole product of
{told["extraction"]["size_px"]:,} px, {_built(few)["observations"]:,} observations written and built into a training set, and
{told["scenes"]["patches"]:,} patches of 20 px from {told["scenes"]["scenes"]} scenes of {told["scenes"]["size_px"]:,} px, whose
strips hold as much more as real scenes are wider.

{_tasks(told)}
Extraction of one pixel a parcel is planned as {plan["tasks"]:,} tasks, one a product: {plan["mpx"]:,} Mpx to decode,
{plan["largest_mpx"]} Mpx in the largest. Tiles have {plan["samples_by_tile"][0]:,} to {plan["samples_by_tile"][1]:,} points, as labels
are spread evenly; real tiles differ more.
"""


def _step_seconds(cases: Sequence[Told]) -> str:
    columns = ("s", "tasks", "longest / median task, s")
    names = [f"{one['products']:,} products, {one['labels']:,} parcels" for one in cases]
    rows = []
    for step in STEPS:
        row: list[Any] = [step]
        for one in (case["steps"][step] for case in cases):
            row += [one["seconds"], f"{one['tasks']:,}", f"{one['longest_task_s']:.1f} / {one['median_task_s']:.1f}"]
        rows.append((*row, cases[-1]["steps"][step]["shuffle_gb"]))
    return table(("step", *(f"{name}: {what}" for name in names for what in columns), "GB shuffled, most"), rows)


def _driver(cases: Sequence[Told]) -> str:
    names = [f"{one['products']:,} products, {one['labels']:,} parcels" for one in cases]
    rows = [(step, *(one["steps"][step]["jvm_kept_mb"] for one in cases)) for step in STEPS]
    return table(("after", *names), [*rows, ("Python, most", *(one["python_peak_mb"] for one in cases))])


def _grows(cases: Sequence[Told]) -> str:
    """How the driver's heap differs between cases, worded by what was measured."""
    few, more, many = ({step: one["steps"][step]["jvm_kept_mb"] for step in STEPS} for one in cases)
    by_parcels, by_products = (max(b[step] - a[step] for step in STEPS) for a, b in ((few, more), (more, many)))
    most = max(one["steps"][step]["jvm_kept_mb"] for one in cases for step in STEPS)
    return (
        f"{cases[1]['labels'] / cases[0]['labels']:.0f} times the parcels add at most {max(by_parcels, 0)} MB to a step, "
        f"{cases[2]['products'] / cases[1]['products']:.1f} times the products at most {max(by_products, 0)} MB. "
        f"The most that is held is {most:,} MB."
    )


def _built(few: Told) -> Told:
    return dict(few["steps"]["build training set"])


def _tasks(told: Told) -> str:
    cases = told["cases"]
    found = {step: [one["steps"][step] for one in cases] for step in STEPS}
    found |= {step: [cases[0]["steps"][step]] for step in ("write observations", "build training set")}
    found |= {"extraction": [told["extraction"]["steps"]["extraction"]]}
    found |= {step: [one] for step, one in told["scenes"]["steps"].items()}
    rows = []
    for step, ones in found.items():
        held = {key: max(one[key] for one in ones) for key in ("executor_peak_mb", "worker_peak_mb", "largest_input_mb")}
        both = max(one["executor_peak_mb"] + one["worker_peak_mb"] for one in ones)
        rows.append((step, held["executor_peak_mb"], held["worker_peak_mb"], both, f"{held['largest_input_mb']:.1f}"))
    most = most_of_a_task_mb(told)
    step = next(row for row in rows if row[3] == most)
    verdict = f"The most of them, {most:,} MB of `{step[0]}`, is {'below' if most < _GOAL_MB else 'above'} the 2 GB that a task may have.\n"
    return table(("step", "executor's JVM", "Python worker", "both", "largest input of a task"), rows) + "\n" + verdict


def most_of_a_task_mb(told: Told) -> int:
    """Most that an executor of one core and its worker held together."""
    steps = [one for case in (*told["cases"], told["extraction"], told["scenes"]) for one in case["steps"].values()]
    return int(max(one["executor_peak_mb"] + one["worker_peak_mb"] for one in steps))


def _growth(told: Told, sizes: Told) -> str:
    counts = [count for count, _ in by_number(told["seconds_per_tile"]["local[1]"])]
    head = ("master", *(f"{count} tile{'s' if count != '1' else ''}, s a tile" for count in counts), f"efficiency at {counts[-1]}")
    rows = (
        (name, *(f"{one[c]['median']:.2f} ({one[c]['min']:.2f} to {one[c]['max']:.2f})" for c in counts), f"{told['efficiency'][name]:.2f}")
        for name, one in told["seconds_per_tile"].items()
    )
    return f"""## Small tiles, more cores

`extract_series` of tiles of {sizes["size_px"]:,} px with {sizes["products"]} products and {sizes["pixels"]:,} pixels each. A job has
some seconds of its own (Delta's commits, the ledger), which show where tiles are few and small. Efficiency is the time on one core over
the time on so many, a core. `local-cluster` runs two executors of one core in processes of their own, which share the two cores with
the driver.

{table(head, rows)}"""


def _projected(told: Told, speed: Told) -> str:
    food, polar = _food(told, speed), _polar(told, speed)
    tables = [table(("what", *CASES), food)] if food else []
    tables += [table(("what", "24 scenes", "1,000 scenes"), polar)] if polar else []
    head = "## Projected\n\nMultiplied from measured rates, not measured; every date free of cloud.\n"
    return "\n".join([head, *tables]) if tables else ""


def _food(told: Told, speed: Told) -> list[tuple[str, ...]]:
    lines = []
    if "extraction" in speed:
        one = speed["extraction"]
        laps = one["results"]["by_pixels"][str(_PIXELS)]
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
        lines += _food_of_scale(told["scale"])
    return lines


def _food_of_scale(told: Told) -> list[tuple[str, ...]]:
    results, cores = told["results"], told["machine"]["cores"]
    many, built = results["cases"][-1], _built(results["cases"][0])
    scan = many["steps"]["scan"]["seconds"] * cores / many["products"] / 3600
    joined = many["steps"]["join labels with blocks"]["shuffle_gb"] / many["tiles"]
    observations = [t * d * _PIXELS for t, d in CASES.values()]
    a_task = most_of_a_task_mb(results) / 1e3
    return [
        ("scan of metadata, core-hours", *(f"{t * d * scan:,.3f}" for t, d in CASES.values())),
        ("parcels met with blocks, GB shuffled", *(f"{t * joined:,.2f}" for t, _ in CASES.values())),
        ("a training set of them, GB shuffled", *(f"{n / built['observations'] * built['shuffle_gb']:,.1f}" for n in observations)),
        ("its build, core-hours", *(f"{n / built['observations'] * built['seconds'] * cores / 3600:,.2f}" for n in observations)),
        ("the set, GB", *(f"{n / built['observations'] * built['bytes'] / 1e9:,.1f}" for n in observations)),
        ("memory of executors, GB: most of a task, on 16 and on 100 cores", *(f"{cores * a_task:,.0f}" for cores in (16, 100))),
    ]


def _polar(told: Told, speed: Told) -> list[tuple[str, ...]]:
    if "polar" not in speed:
        return []
    one = speed["polar"]["results"]
    cores = speed["polar"]["machine"]["cores"]
    calibrated = one["calibration"]["rates"][one["calibration"]["ours"]]["median"] / cores
    dense = one["dense"]["rates"][one["dense"]["ours"]]["median"] / cores
    scenes = (24, 1_000)
    rows = [
        ("calibrated whole, core-hours", *(f"{n * _SCENE_MPX / calibrated / 3600:,.3f}" for n in scenes)),
        ("dense classes of every pixel, core-hours", *(f"{n * _SCENE_MPX / 2 / dense / 3600:,.0f}" for n in scenes)),
        ("archive read, GB", *(f"{n * _SCENE_GB:,.0f}" for n in scenes)),
    ]
    return rows + (_polar_of_scale(told["scale"]["results"], scenes) if "scale" in told else [])


def _polar_of_scale(told: Told, scenes: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Patches as dense as in the scenes that were measured."""
    one, steps = told["scenes"], told["scenes"]["steps"]
    whole = (_SIDE_PX / one["size_px"]) ** 2 / one["scenes"]
    held = max(step["executor_peak_mb"] + step["worker_peak_mb"] for step in steps.values()) / 1e3
    return [
        ("patches of 20 px in polygons, as dense as in the synthetic scenes", *(f"{n * whole * one['patches']:,.0f}" for n in scenes)),
        ("their table, GB", *(f"{n * whole * one['patch_bytes'] / 1e9:,.1f}" for n in scenes)),
        ("a set of them, GB shuffled", *(f"{n * whole * steps['build patch set']['shuffle_gb']:,.1f}" for n in scenes)),
        ("the set, GB", *(f"{n * whole * one['set_bytes'] / 1e9:,.1f}" for n in scenes)),
        ("memory of executors, GB: most of a task, on 16 and on 100 cores", *(f"{cores * held:,.0f}" for cores in (16, 100))),
    ]


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
