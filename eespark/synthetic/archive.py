"""Makes the archive: landscape, products, labels, truth; whole under its final name or not at all."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.features import rasterize
from shapely.geometry import Polygon, box

from eespark import __version__
from eespark.bands import CLOUD_MASK
from eespark.grid import TileGrid
from eespark.io.storage import local_path, publish_folder, write_json
from eespark.synthetic.cloud_mask import cloud_layers
from eespark.synthetic.crops import CROPS, NO_CROP, class_of_kind
from eespark.synthetic.footprint import ground_of_grid, product_facts
from eespark.synthetic.frozen import parameters_hash
from eespark.synthetic.labels import declare, survey, write_invekos
from eespark.synthetic.landscape import build_landscape
from eespark.synthetic.phenology import draw_traits
from eespark.synthetic.plan import Product, plan_products
from eespark.synthetic.region import TILES, UNLABELLED, WORLD_EPSG, crop_grid
from eespark.synthetic.render import render
from eespark.synthetic.safe import write_product
from eespark.synthetic.settings import ArchiveSettings
from eespark.synthetic.workers import run_in_processes

logger = logging.getLogger(__name__)

MANIFEST = "truth/manifest.json"
_STRIP = 1_024
# Row 0 of a tile's patches is what lies between them.
_VERGE = np.array([len(CROPS)], np.int16)


@dataclass(frozen=True)
class Work:
    """One product and where its tile's patches lie: what a worker gets."""

    product: Product
    patches: str
    table: str
    seed: int
    archive: str
    block_px: tuple[int, int]


def make_archive(settings: ArchiveSettings) -> dict[str, Any]:
    """Make the archive at `settings.output`, or leave it when an equal one is there.

    Returns:
        Counts for the job's summary.
    """
    final = Path(local_path(settings.output))
    key = _identity(settings)
    if _is_made(final, key):
        logger.info("%s holds the archive of these settings already", final)
        return {"skipped": True, "output": str(settings.output)}
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as scratch:
        whole, work = Path(scratch) / "whole", Path(scratch) / "work"
        for folder in (whole / "archive", whole / "labels", whole / "truth", work):
            folder.mkdir(parents=True)
        summary = _fill(settings, whole, work, key)
        publish_folder(str(whole), str(final))
    return summary


def _identity(settings: ArchiveSettings) -> dict[str, Any]:
    kept = settings.model_dump(mode="json", exclude={"output", "summary", "log_level", "workers"})
    return {"settings": kept, "parameters_hash": parameters_hash(), "eespark_version": __version__}


def _is_made(final: Path, key: dict[str, Any]) -> bool:
    path = final / MANIFEST
    if not path.is_file():
        return False
    made = json.loads(path.read_text(encoding="utf-8"))
    return all(made.get(name) == value for name, value in key.items())


def _fill(settings: ArchiveSettings, whole: Path, work: Path, key: dict[str, Any]) -> dict[str, Any]:
    grids = {tile: crop_grid(tile, settings.size_px) for tile in TILES}
    extents = {tile: ground_of_grid(grid, WORLD_EPSG) for tile, grid in grids.items()}
    landscape = build_landscape(settings.seed, list(extents.values()), settings.parcel_median_ha)
    logger.info("landscape: %d patches, %d of them parcels", len(landscape), int((landscape["kind"] < len(CROPS)).sum()))
    for tile, grid in grids.items():
        write_patches(landscape, grid, work, whole / "truth" / f"class_{tile}.tif")
    products = plan_products(settings)
    tasks = [
        Work(
            p,
            str(work / f"{p.name.tile}.npy"),
            str(work / f"{p.name.tile}.npz"),
            settings.seed,
            str(whole / "archive"),
            settings.jp2_block_px,
        )
        for p in products
    ]
    made = []
    for number, record in enumerate(run_in_processes(make_product, tasks, settings.workers), start=1):
        made.append(record)
        if number % 10 == 0 or number == len(tasks):
            logger.info("products: %d of %d", number, len(tasks))
    counts = _write_labels(settings, landscape, extents, whole)
    faults = {r["product_id"]: {"fault": r["fault"], "band": r["fault_band"]} for r in made if r["fault"]}
    write_json(
        str(whole / MANIFEST), {**key, "products": made, "faults": faults, "tiles": list(TILES), "unlabelled_tile": UNLABELLED, **counts}
    )
    return {
        "products": len(made),
        "faults": {k: v["fault"] for k, v in faults.items()},
        **counts,
        "parameters_hash": key["parameters_hash"],
    }


def write_patches(landscape: geopandas.GeoDataFrame, grid: TileGrid, work: Path, truth: Path) -> None:
    """Rasters of the patches' rows (scratch) and of the true class, strip by strip."""
    local = landscape.to_crs(grid.crs)
    inside = local.cx[grid.bounds[0] : grid.bounds[2], grid.bounds[1] : grid.bounds[3]]
    index = inside.sindex
    kinds = np.concatenate([_VERGE, inside["kind"].to_numpy().astype(np.int16)])
    keys = np.concatenate([np.array([1], np.uint64), inside["key"].to_numpy()])
    classes = np.array([class_of_kind(int(k)) for k in kinds], np.uint8)
    rows = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        work / f"{grid.tile}.npy", mode="w+", dtype=np.int32, shape=(grid.rows, grid.cols)
    )
    profile = {
        "driver": "GTiff", "height": grid.rows, "width": grid.cols, "count": 1, "dtype": "uint8", "crs": grid.crs, "nodata": NO_CROP,
        "transform": rasterio.Affine(*grid.transform), "compress": "DEFLATE", "tiled": True, "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    with rasterio.open(truth, "w", **profile) as dataset:
        for first in range(0, grid.rows, _STRIP):
            count = min(_STRIP, grid.rows - first)
            y = grid.y_max - first * 10.0
            near = np.sort(index.query(box(grid.bounds[0], y - count * 10.0, grid.bounds[2], y)))
            shapes = ((inside.geometry.iloc[k], int(k) + 1) for k in near)
            burned = _burn(shapes, len(near), (count, grid.cols), rasterio.Affine(10, 0, grid.x_min, 0, -10, y))
            rows[first : first + count] = burned
            dataset.write(classes[burned], 1, window=rasterio.windows.Window(0, first, grid.cols, count))
    rows.flush()
    np.savez(work / f"{grid.tile}.npz", kind=kinds, key=keys)


def _burn(shapes: Iterator[tuple[Polygon, int]], count: int, shape: tuple[int, int], transform: rasterio.Affine) -> npt.NDArray[np.int32]:
    if not count:
        return np.zeros(shape, np.int32)
    return np.asarray(rasterize(shapes, out_shape=shape, transform=transform, fill=0, dtype=np.int32), np.int32)


def make_product(work: Work) -> dict[str, Any]:
    """Render, encode and write one product, then spoil it if that is planned. Runs in a worker.

    Returns:
        The product's record for the truth.
    """
    product, scene = work.product, work.product.scene
    with np.load(work.table) as table:
        traits = draw_traits(work.seed, table["key"], table["kind"])
    images, clear = render(scene, traits, np.load(work.patches, mmap_mode="r"))
    if scene.level == "L1C":
        images[CLOUD_MASK] = cloud_layers(scene)
    facts = product_facts(scene, images)
    root = write_product(Path(work.archive), product.name, scene.grid, images, facts, work.block_px)
    _spoil(root, product)
    return {
        "product_id": product.name.product_id, "tile": product.name.tile, "date": product.name.start.date().isoformat(),
        "level": product.name.level,
        "baseline": product.name.baseline, "datastrip": product.name.datastrip_id, "fault": product.fault, "fault_band": product.fault_band,
        "cloud_share": round(scene.weather.cloud_share, 4), "snow_share": round(scene.weather.snow, 4), "clear_share": round(clear, 5),
        "valid_share": round(1.0 - facts["percentages"][0] / 100.0, 5),
    }  # fmt: skip


def _spoil(root: Path, product: Product) -> None:
    if product.fault == "truncated":
        path = root / product.name.image_file(product.fault_band)
        # The manifest was written before: it says the full size.
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    elif product.fault == "missing_band":
        (root / product.name.image_file(product.fault_band)).unlink()
    elif product.fault == "zip":
        with zipfile.ZipFile(root.parent / f"{product.name.product_id}.zip", "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                archive.write(path, path.relative_to(root.parent).as_posix())
        shutil.rmtree(root)


def _write_labels(settings: ArchiveSettings, landscape: geopandas.GeoDataFrame, extents: dict[str, Polygon], whole: Path) -> dict[str, Any]:
    parcels = landscape[landscape["kind"] < len(CROPS)].reset_index(drop=True)
    hidden = parcels.intersects(extents[UNLABELLED])
    open_ground = np.logical_or.reduce([parcels.intersects(extents[tile]).to_numpy() for tile in TILES if tile != UNLABELLED])
    labelled = parcels[open_ground & ~hidden.to_numpy()].reset_index(drop=True)
    declared = declare(labelled, settings.seed, settings.wrong_share)
    year = settings.last_date.year
    write_invekos(whole / "labels" / f"invekos_{year}.gpkg", declared, year, settings.seed)
    points = survey(landscape, extents, settings.seed, settings.lucas_spacing_m, year)
    points.to_csv(whole / "labels" / f"lucas_{year}.csv", index=False)
    _write_truth(parcels, declared, whole / "truth" / "parcels.gpkg")
    wrong = declared[(declared["fault"] == "") & (declared["true_kind"] != declared["declared_kind"])]
    return {
        "parcels": len(parcels), "declared": len(declared), "wrongly_declared": len(wrong), "lucas_points": len(points),
        "declaration_faults": {f: int(n) for f, n in declared["fault"].value_counts().sort_index().items() if f},
    }  # fmt: skip


def _write_truth(parcels: geopandas.GeoDataFrame, declared: geopandas.GeoDataFrame, path: Path) -> None:
    """Every parcel with its true class, and the declared class where it was declared."""
    own = declared[declared["key"] != 0].set_index("key")
    table = parcels.copy()
    table["true_class"] = [class_of_kind(int(k)) for k in table["kind"]]
    table["true_kind"] = [CROPS[int(k)].kind for k in table["kind"]]
    kind = table["key"].map(own["declared_kind"])
    table["declared_class"] = [CROPS[int(k)].class_id if k == k and k >= 0 else NO_CROP for k in kind]
    table["fault"] = table["key"].map(own["fault"]).fillna("not_declared")
    table["GEO_ID"] = table["key"].map(own["GEO_ID"])
    table["key"] = [f"{int(k):016x}" for k in table["key"]]
    table.drop(columns=["farm", "kind"]).to_file(path, layer="parcels", driver="GPKG", engine="pyogrio")
