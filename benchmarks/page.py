"""The page of the results, made from the JSON of the benchmarks and from nothing else.

python -m benchmarks.page            prints it from build/bench
python -m benchmarks.page --store    keeps that JSON in docs/speed and writes docs/speed.md from it
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.__main__ import NAMES
from benchmarks.projection import project
from benchmarks.running import BUILD, ROOT

STORE, PAGE = ROOT / "docs" / "speed", ROOT / "docs" / "speed.md"
Told = Mapping[str, Any]

INTRO = """# Speed

Written by `python -m benchmarks.page --store` from `docs/speed/*.json`, which `make bench` measured; do not edit by hand.
Each ratio is the median of laps that took turns (ours, baseline, ours, baseline, ...) in one run after a warm-up, lap by lap; in brackets
the least and the largest. A ratio is how many times the baseline's rate ours is: above 1 is quicker. Both sides use the same cores and
give the same result, which every lap checks. Sessions are started before the first lap; files come from the page cache.
"""


def load(folder: Path) -> dict[str, Any]:
    """What the benchmarks told, by name; those that were not run are absent."""
    files = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def render(told: Told) -> str:
    """The page in Markdown."""
    parts = [INTRO, *(SECTIONS[name](told[name]["results"], told[name]["sizes"]) for name in NAMES if name in told), project(told)]
    return "\n".join([*(part for part in parts if part), _machines(told)])


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ratio(one: Told, goal: float | None = None) -> str:
    """Median, spread, and whether the goal is met."""
    spread = one["ratio"]
    text = f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f})"
    return text if goal is None else f"{text} {'✓' if spread['median'] >= goal else '✗'}"


def rate(one: Told, side: str, digits: int = 2) -> str:
    """Median rate of a side."""
    return f"{one['rates'][one[side]]['median']:.{digits}f}"


def _extraction(told: Told, sizes: Told) -> str:
    head = ("pixels a tile", "extract_series, Mpx decoded a second", "decoding alone", "ratio, goal 0.8")
    rows = ((f"{int(n):,}", rate(one, "ours"), rate(one, "baseline"), ratio(one, 0.8)) for n, one in by_number(told["by_pixels"]))
    return f"""## Extraction beside bare decoding

`extract_series` from table to table (points packed, {sizes["products"]} products read, Delta commits and ledger) on a tile of
{sizes["size_px"]:,} px without cloud. Bands are lossless JPEG 2000 with internal tiles of {" and ".join(map(str, sizes["block_px"]))} px,
{told["bits_per_pixel"]:.1f} bits a pixel. The baseline decodes the same internal tiles by GDAL and does nothing else, one process a core.

{table(head, rows)}"""


def _clouds(told: Told, sizes: Told) -> str:
    head = ("cloud", "pixels a tile", "JPEG 2000 tiles with pixels", "not decoded", "share")
    rows = (
        (f"{float(c):.0%}", f"{int(n):,}", one["tiles"], _range(one["saved_tiles"], ".0f"), _range(one["saved_share"], ".1%"))
        for c, by_pixels in by_number(told["saved"]) for n, one in by_number(by_pixels)
    )  # fmt: skip
    timed = ("cloud", "Mpx decoded", "whole bands", "extract_series, products a minute", "script", "ratio")
    laps = (
        (f"{float(c):.0%}", *(f"{one['pixels_decoded'][side] / 1e6:,.0f}" for side in (one["ours"], one["baseline"])),
         *(f"{60 * one['rates'][one[side]]['median']:.2f}" for side in ("ours", "baseline")), ratio(one))
        for c, one in by_number(told["by_cloud"])
    )  # fmt: skip
    return f"""## Under cloud

Scene classes are read first, and tiles of bands where no pixel is free of cloud are not decoded. Counted over {sizes["masks"]} cloud
masks (median, least and largest) whose wholly clouded tiles are as frequent as in a real mask; pixels are drawn evenly over the tile.

{table(head, rows)}
And timed with {sizes["timed_pixels"]:,} pixels a tile and {sizes["products"]} products, beside a script with geopandas and rasterio
that reads each band whole (`benchmarks/baselines/whole_bands.py`: vectorised, one process a core, Parquet out, no ledger):

{table(timed, laps)}"""


def _sampling(told: Told, sizes: Told) -> str:
    names = {"centre": "centre of the 10 m pixel", "cell": "whole 20 m cell"}
    head = ("inside must be the", "burn, thousand parcels a second", "point by point", "ratio, goal 10")
    rows = ((names[rule], rate(one, "ours"), rate(one, "baseline", 3), ratio(one, 10)) for rule, one in told["by_rule"].items())
    peaks = (
        (f"{one['parcels']:,}", f"{one['pixels']:,}", one["seconds"], f"{one['peak_mb']:.0f} MB")
        for _, one in by_number(told["memory_by_parcels"])
    )
    return f"""## Pure pixels of parcels

{sizes["parcels"]:,} parcels on a tile of {sizes["size_px"]:,} px, drawn in by 5 m. Sedona joins parcels with blocks of
{sizes["burn_px"]:,} px, and each block is burnt in a task. The baseline asks Sedona's index of every pixel or cell of the tile in which
parcel it lies, the parcels broadcast and indexed once so that no pixel is shuffled (`benchmarks/baselines/pointwise.py`). The same
pixels come out of both.

{table(head, rows)}
Peak of the largest Python worker, which sees one block at a time:

{table(("parcels", "pure pixels", "seconds", "peak"), peaks)}"""


def _feed(told: Told, sizes: Told) -> str:
    head = ("network", "from Petastorm, thousand series a second", "in memory", "ratio, goal 0.9")
    rows = ((n, rate(one, "ours"), rate(one, "baseline"), ratio(one, 0.9)) for n, one in told["by_model"].items())
    return f"""## Training feed

One epoch of {sizes["rows"]:,} series of {sizes["times"]} dates by `fit`'s own loop, from Petastorm, and from the very same batches kept in
memory: both end with the same weights, bit by bit. The feed with nothing behind it gives
{told["feed_alone"]["rate"]["median"]:.0f} thousand series a second.

{table(head, rows)}"""


def _ranks(told: Told, sizes: Told) -> str:
    n = sizes["processes"]
    head = (f"{n} processes, thousand series a second", f"one process, {n} threads", "ratio, goal 0.85")
    scores = {side: _mean(values) for side, values in told["validation_macro_f1"].items()}
    return f"""## Processes instead of threads

`fit` in {n} processes of Horovod with one thread each, and in one process with {n} threads: the same set, the same {sizes["batch"]} series
a step in all, epochs after the first. Which series meet in a step differs, so weights do too; validation macro-F1 after
{sizes["epochs"]} epochs is {scores["ranks"]:.3f} and {scores["one_process"]:.3f} on the average.

{table(head, [(rate(told, "ours"), rate(told, "baseline"), ratio(told, 0.85))])}"""


def _mapping(told: Told, sizes: Told) -> str:
    head = (
        "network", "dates", "predict_map, thousand pixels a second", "ONNX Runtime", "reading alone", "ratio, goal 0.8",
        "ratio of reading, then inference",
    )  # fmt: skip
    rows = (
        (n, one["dates"], rate(one, "ours"), rate(one, "baseline"), f"{one['reading']['median']:.2f}", ratio(one, 0.8),
         f"{one['ratio_of_both_in_turn']['median']:.2f}")
        for n, one in told["by_model"].items()
    )  # fmt: skip
    return f"""## Maps beside bare inference

`predict_map` from catalog to COGs, JPEG 2000 decoding and all, and ONNX Runtime on the same series that lie ready in memory in the order
and batches that suit it best, one session of one thread a core. The class layers are equal. Reading alone is the decoding of all dates of
the same blocks into series, on the same cores: where a network is light it takes longer than inference, and the last column is what reading
and then inferring could reach at best. JPEG 2000 tiles are as large as the map's blocks.

{table(head, rows)}"""


def _scaling(told: Told, sizes: Told) -> str:
    head = (
        "tiles",
        "seconds a tile",
        "over one tile, goal 0.8 to 1.2",
        "Python driver, peak",
        "JVM, kept after collection",
        "JVM, peak with its tasks",
    )
    rows = (
        (n, _range(one["seconds_per_tile"], ".1f"), f"{told['seconds_per_tile_over_first'][n]:.2f}",
         *(f"{one[key]['median']:.0f} MB" for key in ("python_peak_mb", "jvm_kept_mb", "jvm_peak_mb")))
        for n, one in by_number(told["by_tiles"])
    )  # fmt: skip
    return f"""## From one tile to eight

`extract_series` with {sizes["products"]} products and {sizes["pixels"]:,} pixels a tile, all in a corner of {sizes["ground_px"]:,} px.

{table(head, rows)}"""


def _polar(told: Told, sizes: Told) -> str:
    head = ("what", "eespark", "baseline", "unit a second", "ratio", "goal")
    patches = told["patches"]
    lines = (
        ("calibrated power, noise removed, with its mask; plain reading and one multiply-add", told["calibration"], 0.7),
        ("patches; the scene opened for each of them", patches["opened_each_time"], 10),
        ("patches; the scene kept open", patches["kept_open"], 1.5),
        ("patches; a raster that was calibrated before, kept open", patches["calibrated_before"], None),
        ("dense classes of every pixel; ONNX Runtime on ready arrays", told["dense"], 0.8),
    )
    rows = ((what, rate(one, "ours"), rate(one, "baseline"), one["unit"], ratio(one, goal), goal or "") for what, one, goal in lines)
    return f"""## Sentinel-1

A scene of {sizes["size_px"]:,} x {sizes["size_px"]:,} px in two polarisations, uncompressed and in the page cache. Reading it plainly is as
quick as memory: what calibration adds to it, interpolating gain and noise for every pixel, is then most of the time; from a zip, a disk
or an object store it is a small part. Patches are of {sizes["patch"]} px at half that stride in {sizes["polygons"]} polygons,
{patches["kept_open"]["work"]["cut_patches"]:,} in all: `cut_patches` finds, reads and calibrates them, while the loaders
(`benchmarks/baselines/crops.py`) are told the places; that of the last but one row reads a float32 raster whose making is not counted.
Calibration and dense maps use all cores, patches one.

{table(head, rows)}"""


def by_number(told: Told) -> list[tuple[str, Any]]:
    """Entries whose keys are numbers, in their order; JSON has them in that of their letters."""
    return sorted(told.items(), key=lambda one: float(one[0]))


def _range(spread: Told, form: str) -> str:
    return f"{spread['median']:{form}} ({spread['min']:{form}} to {spread['max']:{form}})"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _machines(told: Told) -> str:
    head = ("benchmark", "date", "commit", "processor", "cores", "memory", "load before, after")
    rows = []
    for name, one in told.items():
        m = one["machine"]
        loads = f"{m['load_before']}, {m['load_after']}"
        rows.append((name, m["date"], m["commit"], m["cpu"], m["cores"], f"{m['memory_gb']:.0f} GB", loads))
    versions = next((one["machine"] for one in told.values()), None)
    text = "" if versions is None else ", ".join(f"{k} {v}" for k, v in versions["versions"].items() if v) + f", GDAL {versions['gdal']}"
    return f"## Where and when\n\n{table(head, rows)}\n{text}\n"


SECTIONS: dict[str, Callable[[Told, Told], str]] = {
    "extraction": _extraction, "clouds": _clouds, "sampling": _sampling, "feed": _feed, "ranks": _ranks, "mapping": _mapping,
    "scaling": _scaling, "polar": _polar,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="keep the JSON in docs/speed and write docs/speed.md")
    if not parser.parse_args().store:
        print(render(load(BUILD)))
        return
    STORE.mkdir(exist_ok=True)
    for name, told in load(BUILD).items():
        (STORE / f"{name}.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # From what is kept: results of an earlier run stay beside those of this one.
    PAGE.write_text(render(load(STORE)), encoding="utf-8")
    print(f"bench: {PAGE}")


if __name__ == "__main__":
    main()
