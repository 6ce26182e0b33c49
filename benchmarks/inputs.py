"""Inputs of the benchmarks: a whole product in the agency's size and coding, its parcels, and scene classes under more cloud."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt

from eespark.bands import BANDS
from eespark.grid import TileGrid
from eespark.io import rasters
from eespark.io.archive import ScanOptions, list_archive, scan_product
from eespark.io.storage import publish_folder, write_json
from eespark.synthetic.archive import Work, make_product, write_patches
from eespark.synthetic.crops import CROPS, class_of_kind
from eespark.synthetic.footprint import ground_of_grid
from eespark.synthetic.landscape import build_landscape
from eespark.synthetic.noise import smooth_field, subseed
from eespark.synthetic.plan import Product, plan_products
from eespark.synthetic.region import TILES, WORLD_EPSG, crop_grid
from eespark.synthetic.safe import write_jp2
from eespark.synthetic.settings import ArchiveSettings

SEED = 20_180_831
CLOUD_SHARES = (0.4, 0.6)
_CLOUDY = 9  # SCL: cloud, high probability
# Sums of smooth fields with these give as many JPEG 2000 tiles wholly under cloud as a real mask of 44 % (tests/real/test_bench_clouds.py).
_CLOUD_M, _CLOUD_FALL, _CLOUD_LEAST_M = 50_000.0, 0.7, 200.0


@dataclass(frozen=True)
class TileInput:
    """One product and what stands beside it.

    Attributes:
        folder: Where all lies.
        grid: 10 m grid of the tile.
        product: Columns of `products` that the product's files tell.
        bits_per_pixel: Of the coded bands, mean over their pixels.
    """

    folder: Path
    grid: TileGrid
    product: dict[str, Any]
    bits_per_pixel: float

    @property
    def parcels(self) -> geopandas.GeoDataFrame:
        """All parcels that touch the tile: key, class_id, geometry (EPSG:32633)."""
        return geopandas.read_parquet(self.folder / "parcels.parquet")

    def bands_under(self, cloud_share: float) -> dict[str, str]:
        """Band -> path, the scene classes with so much cloud (0 for those of the product itself)."""
        if cloud_share == 0:
            return dict(self.product["bands"])
        return {**self.product["bands"], "SCL": str(self.folder / f"SCL_{round(100 * cloud_share)}.jp2")}


def prepare(root: Path, size_px: int, jp2_block_px: tuple[int, int]) -> TileInput:
    """The inputs of this size below `root`, made where they are absent. A whole tile costs a quarter of an hour of one core.

    Args:
        root: Folder.
        size_px: px at 10 m of the tile's side; 10980 is the whole tile.
        jp2_block_px: px of the internal tiles at 10 m and 20 m; the agency's are 1024 and 640.
    """
    folder = root / f"tile-{size_px}-{jp2_block_px[0]}-{jp2_block_px[1]}"
    if not (folder / "facts.json").is_file():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=root) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            _make(whole, Path(scratch), size_px, jp2_block_px)
            publish_folder(str(whole), str(folder))
    (candidate,) = list_archive(str(folder))
    product = {**scan_product(candidate, ScanOptions()), "product_id": candidate.product_id, "url": candidate.url, "kind": candidate.kind}
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return TileInput(folder, crop_grid(TILES[0], size_px), product, float(facts["bits_per_pixel"]))


def _make(whole: Path, scratch: Path, size_px: int, jp2_block_px: tuple[int, int]) -> None:
    plan = {"output": str(whole), "summary": "unused", "seed": SEED, "size_px": size_px, "jp2_block_px": jp2_block_px, "faults": False}
    settings = ArchiveSettings.model_validate(plan)
    grid = crop_grid(TILES[0], size_px)
    landscape = build_landscape(settings.seed, [ground_of_grid(grid, WORLD_EPSG)], settings.parcel_median_ha)
    write_patches(landscape, grid, scratch, scratch / "class.tif")
    product = _clearest(settings)
    patches, table = (str(scratch / f"{grid.tile}.{ending}") for ending in ("npy", "npz"))
    make_product(Work(product, patches, table, settings.seed, str(whole), jp2_block_px))
    parcels = landscape[landscape["kind"] < len(CROPS)].reset_index(drop=True)
    parcels["class_id"] = [class_of_kind(int(kind)) for kind in parcels["kind"]]
    parcels[["key", "class_id", "geometry"]].to_parquet(whole / "parcels.parquet")
    bands = {band: whole / f"{product.name.product_id}.SAFE" / product.name.image_file(band) for band in (*BANDS, "SCL")}
    classes = rasters.read_window(str(bands["SCL"]))
    for share in CLOUD_SHARES:
        covered = np.where(cloud_mask(classes.shape, share, subseed(SEED, 0)), np.uint8(_CLOUDY), classes)
        write_jp2(whole / f"SCL_{round(100 * share)}.jp2", covered, grid, 20, jp2_block_px[1])
    pixels = sum(int(np.prod(rasters.raster_info(str(bands[band])).shape)) for band in BANDS)
    write_json(str(whole / "facts.json"), {"bits_per_pixel": 8 * sum(bands[band].stat().st_size for band in BANDS) / pixels})


def _clearest(settings: ArchiveSettings) -> Product:
    def veiled(product: Product) -> float:
        weather = product.scene.weather
        return weather.cloud_share + weather.cirrus + weather.snow + (weather.edge is not None)

    return min((product for product in plan_products(settings) if product.name.tile == TILES[0]), key=veiled)


def cloud_mask(shape: tuple[int, ...], share: float, seed: int, pixel_m: float = 20.0) -> npt.NDArray[np.bool_]:
    """(rows, cols) where `share` of the pixels lie under cloud: fronts of tens of kilometres down to puffs of some hundred metres.

    Args:
        shape: Rows and cols.
        share: Share of the pixels.
        seed: Of the field.
        pixel_m: Size of a pixel, metres.
    """
    y, x = (np.arange(count, dtype=np.float64) * pixel_m for count in shape)
    field = np.zeros(shape, np.float32)
    octave = 0
    while _CLOUD_M / 2**octave >= _CLOUD_LEAST_M:
        field += np.float32(_CLOUD_FALL**octave) * smooth_field(subseed(seed, octave), x, y, _CLOUD_M / 2**octave)
        octave += 1
    return np.asarray(field > np.quantile(field, 1 - share))


def draw_pixels(grid: TileGrid, count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of `count` pixels of a grid, each once, drawn evenly, in row-major order."""
    flat = np.sort(np.random.default_rng(seed).choice(grid.rows * grid.cols, count, replace=False))
    return flat // grid.cols, flat % grid.cols


def jp2_tiles(rows: Sequence[int] | npt.NDArray[np.int64], cols: Sequence[int] | npt.NDArray[np.int64], block_px: int) -> int:
    """How many internal tiles of `block_px` hold one of the pixels."""
    return len(np.unique(np.asarray(rows) // block_px * 1_000_000 + np.asarray(cols) // block_px))
