"""Sentinel-1: calibration beside plain reading, patches beside loaders of crops, dense maps beside bare inference."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely

from benchmarks.baselines.crops import calibrated, kept_open, opened_each_time
from benchmarks.inputs import SEED
from benchmarks.running import Repeats, cores, main
from benchmarks.timing import Lap, compare, interleave, timed
from eespark.geometry import accurate_transformer
from eespark.io.archive import list_archive
from eespark.io.members import Candidate
from eespark.io.patches import PatchOptions, cut_patches
from eespark.io.sar_scene import SarScene, open_scene
from eespark.kernels.sar_tables import Window
from eespark.polar_geometry import POLAR_CRS
from eespark.predict import Bundle, load_bundle
from eespark.predict_ice import Plan, plan_of, predict_strip, read_window
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings
from eespark.train.patch_exchange import ImportPatchesSettings, import_patches
from eespark.train.settings import FitSettings

NOTHING = np.zeros(0, dtype=object)
DENSE = {"name": "vgg16_nopool", "width": 0.125, "features": 32}


@dataclass(frozen=True)
class Sizes(Repeats):
    """px of the scene's side and of a strip; polygons and looks of a patch; px of the side of the ground that is mapped densely."""

    size_px: int = 6_144
    strip_px: int = 512
    polygons: int = 20
    patch: int = 20
    mapped_px: int = 1_024


FULL = Sizes()
TINY = Sizes(size_px=256, strip_px=64, polygons=6, patch=8, mapped_px=64, runs=1, warm_up=0)


def measure(sizes: Sizes, root: Path) -> dict[str, Any]:
    """Rates of the three comparisons."""
    candidate = _scene(root / "input", sizes.size_px)
    folder = root / "scratch" / "polar"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told = {"calibration": _calibration(candidate, sizes), "patches": _patches(candidate, sizes, folder)}
    told["dense"] = _dense(candidate, sizes, folder)
    shutil.rmtree(folder)
    return told


def _scene(root: Path, size_px: int) -> Candidate:
    output = root / f"scene-{size_px}"
    plan = {"output": str(output), "summary": "unused", "seed": SEED, "size_px": size_px, "dates": 2, "faults": False, "workers": cores()}
    make_polar_archive(PolarSettings.model_validate(plan))
    return next(one for one in list_archive(str(output / "archive")) if one.kind == "safe")


_open: dict[str, Any] = {}


def _start(candidate: Candidate, bundle: str | None = None, ready: list[Any] | None = None) -> None:
    """Each process opens the scene, and loads the bundle, once."""
    stack = ExitStack()
    _open.update(scene=stack.enter_context(open_scene(candidate)), stack=stack, ready=ready)
    _open["bundle"] = None if bundle is None else load_bundle(bundle)


def _calibrate(task: tuple[str, Window]) -> float:
    power, _ = _open["scene"].sigma(*task)
    return float(power.sum())


def _read_plainly(task: tuple[str, Window]) -> float:
    band, window = task
    dataset = _open["scene"].bands[band].dataset
    dn = dataset.read(1, window=rasterio.windows.Window(window.col, window.row, window.cols, window.rows))
    return float((dn.astype(np.float32) * np.float32(1.7e-3) + np.float32(0.2)).sum())


def _calibration(candidate: Candidate, sizes: Sizes) -> dict[str, Any]:
    print("calibration")
    with open_scene(candidate) as scene:
        (lines, samples), bands = scene.shape, tuple(scene.bands)
    firsts = range(0, lines, sizes.strip_px)
    tasks = [(band, Window(row, 0, min(sizes.strip_px, lines - row), samples)) for band in bands for row in firsts]
    pixels = len(bands) * lines * samples / 1e6
    # One thread a process on either side, as tasks have them.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(cores(), _start, (candidate,)) as pool:

        def side(function: Any) -> Lap:
            seconds, _ = timed(lambda: pool.map(function, tasks, chunksize=1))
            return Lap(seconds, pixels)

        laps = interleave({"sigma": lambda: side(_calibrate), "read": lambda: side(_read_plainly)}, sizes.runs, sizes.warm_up)
    return compare(laps, "sigma", "read", "Mpx")


def _patches(candidate: Candidate, sizes: Sizes, folder: Path) -> dict[str, Any]:
    print("patches")
    file = str(folder / "calibrated.tif")
    options = PatchOptions(sizes.patch, sizes.patch // 2, 1, 1.0, 0, 512)
    with open_scene(candidate) as scene:
        polygons = _polygons(scene, sizes)
        _write_calibrated(scene, file)
        found = list(cut_patches(scene, polygons, NOTHING, POLAR_CRS, options))
    places = [(int(row), int(col)) for one in found for row, col in zip(one.rows, one.cols, strict=True)]

    def ours() -> Any:
        with open_scene(candidate) as opened:
            return np.concatenate([one.sigma for one in cut_patches(opened, polygons, NOTHING, POLAR_CRS, options)])

    def side(load: Any) -> Any:
        def lap() -> Lap:
            seconds, patches = timed(load)
            return Lap(seconds, len(patches), {"patches": len(patches), "sum": f"{patches.sum(dtype=float):.5g}"})

        return lap

    loaders = {
        "opened_each_time": lambda: opened_each_time(candidate, places, sizes.patch),
        "kept_open": lambda: kept_open(candidate, places, sizes.patch),
        "calibrated_before": lambda: calibrated(file, places, sizes.patch),
    }
    laps = interleave({"cut_patches": side(ours), **{name: side(load) for name, load in loaders.items()}}, sizes.runs, sizes.warm_up)
    return {name: compare(laps, "cut_patches", name, "patches") for name in loaders}


def _polygons(scene: SarScene, sizes: Sizes) -> np.ndarray:
    """Discs of 0.6 to 2.4 km all over the scene; they may overlap."""
    rng = np.random.default_rng(SEED)
    line, sample = rng.uniform(0.05, 0.95, (2, sizes.polygons)) * np.array(scene.shape)[:, None]
    longitude, latitude = scene.geometry.to_ground(line, sample, 0.0)
    x, y = accurate_transformer("EPSG:4326", POLAR_CRS).transform(longitude, latitude)
    return np.asarray(shapely.buffer(shapely.points(x, y), rng.uniform(600, 2_400, sizes.polygons)), dtype=object)


def _write_calibrated(scene: SarScene, file: str) -> None:
    """HH and HV as a float32 GeoTIFF, as tools for SAR write them."""
    lines, samples = scene.shape
    profile = {"driver": "GTiff", "height": lines, "width": samples, "count": 2, "dtype": "float32"}
    with rasterio.open(file, "w", **profile) as target:
        for row in range(0, lines, 512):
            window = Window(row, 0, min(512, lines - row), samples)
            place = rasterio.windows.Window(0, row, samples, window.rows)
            for number, power in enumerate(scene.looks(window, 1).power.values(), start=1):
                target.write(power, number, window=place)


def _dense(candidate: Candidate, sizes: Sizes, folder: Path) -> dict[str, Any]:
    print("dense")
    bundle_url = _bundle(folder, sizes)
    bundle = load_bundle(bundle_url)
    plan = plan_of(bundle.manifest, None)
    side = min(sizes.mapped_px, sizes.size_px)
    strips = [(row, min(plan.block, side - row)) for row in range(0, side, plan.block)]
    with open_scene(candidate) as scene:
        ready = [_ready(scene, plan, strip) for strip in strips]
    pixels = sum(rows for _, rows in strips) * sizes.size_px / 1e6
    with multiprocessing.get_context("spawn").Pool(cores(), _start, (candidate, bundle_url, ready)) as pool:

        def lap(function: Any) -> Lap:
            tasks = [(number, strip, plan) for number, strip in enumerate(strips)]
            seconds, classes = timed(lambda: pool.map(function, tasks, chunksize=1))
            return Lap(seconds, pixels, {"weighted": int(sum(classes))})

        laps = interleave({"predict_strip": lambda: lap(_predict), "onnxruntime": lambda: lap(_bare)}, sizes.runs, sizes.warm_up)
    return compare(laps, "predict_strip", "onnxruntime", "Mpx")


def _ready(scene: SarScene, plan: Plan, strip: tuple[int, int]) -> list[tuple[Any, Any, Any]]:
    """Inputs of the network for the blocks of a strip, with their halos, and which part of the outputs counts."""
    (height, width), halo, blocks = plan.cells(scene.shape), plan.size // 2, []
    top, bottom = max(strip[0] - halo, 0), min(strip[0] + strip[1] + halo, height)
    for first in range(0, width, plan.block):
        wide = min(plan.block, width - first)
        left, right = max(first - halo, 0), min(first + wide + halo, width)
        sigma, incidence = read_window(scene, plan, NOTHING, Window(top, left, bottom - top, right - left))
        inner = (slice(strip[0] - top, strip[0] - top + strip[1]), slice(first - left, first - left + wide))
        blocks.append((sigma, incidence, inner))
    return blocks


def _predict(task: tuple[int, tuple[int, int], Plan]) -> int:
    _, strip, plan = task
    layers = predict_strip(_open["scene"], _open["bundle"], plan, NOTHING, strip)
    return _weighted(layers["class"])


def _bare(task: tuple[int, tuple[int, int], Plan]) -> int:
    bundle: Bundle = _open["bundle"]
    parts = []
    for sigma, incidence, inner in _open["ready"][task[0]]:
        logits, _ = bundle.run(sigma[None], incidence[None])
        best = bundle.class_ids[logits[0][inner].argmax(axis=-1)]
        parts.append(np.where(np.isnan(sigma[inner][..., 0]), 255, best))
    return _weighted(np.concatenate(parts, axis=1))


def _weighted(layer: Any) -> int:
    return int((layer.astype(np.int64).ravel() * np.arange(1, layer.size + 1) % 1_000_003).sum())


def _bundle(folder: Path, sizes: Sizes) -> str:
    """A bundle of a dense network trained for one step: its weights do not matter here, its size does."""
    rng, classes = np.random.default_rng(SEED), (0, 3, 4, 5)
    for part, count in (("train", 64), ("validation", 16)):
        array = np.full((count, 16, 16, 3), 30.0, np.float32)
        array[..., :2] = rng.normal(-18, 4, (count, 16, 16, 2))
        array[..., 2] += rng.uniform(-8, 8, (count, 1, 1))
        np.save(folder / f"{part}.npy", array)
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("class_id",), *((classes[number % 4],) for number in range(count))])
    told = {"folder": str(folder), "training_set": str(folder / "set"), "legend": "seaice_uit", "name": "bench@1", "summary": "unused"}
    import_patches(ImportPatchesSettings.model_validate(told))
    fit = FitSettings.model_validate({"model": DENSE, "epochs": 1, "batch": 64, "onnx_tolerance": 1e-2})
    # In another process: TensorFlow would keep its memory and threads beside the laps.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as other:
        other.submit(_fit, fit.model_dump_json(), str(folder / "set"), str(folder / "bundle")).result()
    return str(folder / "bundle")


def _fit(settings: str, training_set: str, bundle: str) -> None:
    from eespark.train.fit import fit

    fit(FitSettings.model_validate_json(settings), training_set, bundle)


if __name__ == "__main__":
    main("polar", FULL, TINY, measure)
