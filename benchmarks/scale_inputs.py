"""A catchment as large as the real one in metadata alone: products whose bands are empty, parcels made in tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import rasterio
import shapely
from pyproj import Transformer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark import __version__
from eespark.bands import BANDS, RESOLUTION_M
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import TileGrid, mgrs_name, square_keys, utm_zones
from eespark.io.storage import write_manifest
from eespark.manifest import build_manifest
from eespark.schema import LABELS
from eespark.spark.blocks import LABEL_CRS
from eespark.synthetic import safe_xml
from eespark.synthetic.names import ProductName

SIDE_PX: Final = 10_980
_MIDDLE: Final = (18.5, 46.5)  # of the Danube catchment, degrees
_JP2_PX: Final = {10: 1024, 20: 640}
_CLASSES: Final = 16  # of the legend timesen2crop
# An assumption, not a published distribution: log-normal, half of the parcels below 1.5 ha.
_MEDIAN_M2, _SPREAD = 15_000.0, 0.95
SEASON: Final = (date(2017, 9, 1), date(2018, 8, 31))


def catchment_tiles(count: int) -> list[TileGrid]:
    """So many real tiles, those nearest to the middle of the catchment, with the grids that the agency gives them."""
    lon, lat = (one.ravel() for one in np.meshgrid(np.arange(5.0, 32.0, 0.1), np.arange(41.0, 52.0, 0.1)))
    zone = utm_zones(lon, lat)
    found: dict[str, tuple[float, TileGrid]] = {}
    for number in np.unique(zone):
        own = zone == number
        epsg = f"EPSG:{32600 + number}"
        easting, northing = Transformer.from_crs("EPSG:4326", epsg, always_xy=True).transform(lon[own], lat[own])
        keys = square_keys(lon[own], lat[own], easting, northing, zone[own])
        for key, x, y, where, above in zip(keys, easting, northing, lon[own], lat[own], strict=True):
            left, top = 100_000.0 * (x // 100_000), 100_000.0 * (y // 100_000 + 1)
            away = float(np.hypot((where - _MIDDLE[0]) * 0.7, above - _MIDDLE[1]))
            grid = TileGrid(mgrs_name(float(above), str(key)), epsg, left - 20.0, top, SIDE_PX, SIDE_PX)
            # Slivers at the borders of zones are seen by few points, far from the middle of their square.
            if abs(x - left - 50_000) < 15_000 and abs(y - top + 50_000) < 15_000:
                found.setdefault(grid.tile, (away, grid))
    nearest = sorted(found.values(), key=lambda one: (one[0], one[1].tile))[:count]
    return [grid for _, grid in sorted(nearest, key=lambda one: one[1].tile)]


def make_archive(folder: Path, tiles: list[TileGrid], dates: int) -> Path:
    """An archive of L2A products with true names and metadata; their bands are sparse rasters, linked from one set a tile."""
    if not (folder / "made").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(_make_tile, [folder] * len(tiles), tiles, [dates] * len(tiles)))
        (folder / "made").touch()
    return folder / "archive"


def _make_tile(folder: Path, grid: TileGrid, dates: int) -> None:
    bands = {}
    for band in (*BANDS, "SCL"):
        bands[band] = folder / "bands" / f"{grid.tile}_{band}.tif"
        bands[band].parent.mkdir(parents=True, exist_ok=True)
        _sparse(bands[band], grid, RESOLUTION_M[band])
    outline = shapely.segmentize(shapely.box(*grid.bounds), 20_000.0)
    ring = shapely.get_coordinates(reproject(np.array([outline]), accurate_transformer(grid.crs, "EPSG:4326"))[0])
    for number in range(dates):
        cloud = float((number * 37 + len(grid.tile)) % 97)
        percentages = [0.0] * 12
        percentages[4], percentages[9] = 100.0 - cloud, cloud
        facts = {"footprint": [tuple(point) for point in ring], "percentages": percentages, "cloud": cloud}
        _write_product(folder / "archive", _name(grid.tile, number), grid, bands, facts)


def _sparse(path: Path, grid: TileGrid, pixel_m: int) -> None:
    side = SIDE_PX * 10 // pixel_m
    profile = {
        "driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint16", "crs": grid.crs, "tiled": True,
        "blockxsize": _JP2_PX[pixel_m], "blockysize": _JP2_PX[pixel_m], "sparse_ok": True,
        "transform": rasterio.Affine(pixel_m, 0, grid.x_min, 0, -pixel_m, grid.y_max),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile):
        pass


def _name(tile: str, number: int) -> ProductName:
    start = datetime(2017, 9, 3, 10, 0, 31, tzinfo=UTC) + timedelta(days=5 * number)
    mission, orbit = ("S2A", 14_000) if number % 2 == 0 else ("S2B", 5_000)
    made = start + timedelta(days=900, hours=number)
    return ProductName(mission, "L2A", tile, 122, orbit + 72 * number, start, start - timedelta(seconds=5), made, "02.14")


def _write_product(archive: Path, name: ProductName, grid: TileGrid, bands: dict[str, Path], facts: dict[str, Any]) -> None:
    root = archive / f"{name.product_id}.SAFE"
    for band, source in bands.items():
        path = root / name.image_file(band)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(source, path)
    texts = {
        "MTD_MSIL2A.xml": safe_xml.product_xml(name, [name.image_file(band)[:-4] for band in bands], facts),
        f"GRANULE/{name.granule}/MTD_TL.xml": safe_xml.tile_xml(name, grid, facts),
        f"DATASTRIP/{name.datastrip_folder}/MTD_DS.xml": safe_xml.datastrip_xml(name),
    }
    for relative, text in texts.items():
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / relative).write_text(text, encoding="utf-8")


def label_rows(spark: SparkSession, tiles: list[TileGrid], count: int) -> DataFrame:
    """Rows of `labels`: parcels spread evenly over the squares of the tiles, made where they are used, none of them on the driver."""
    tasks = max(8, count // 20_000)
    grids = [(grid.tile, grid.crs, grid.x_min + 20.0, grid.y_max - 100_000.0) for grid in tiles]

    def make(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield from _parcels(batch["id"].to_numpy(), grids)

    made = spark.range(0, count, 1, tasks).mapInPandas(
        make, "label_id string, class_id int, geometry binary, tile string, point_x double, point_y double, area_m2 double"
    )
    same = {"source": "declared", "source_key": "1", "legend": "timesen2crop@1", "crs": LABEL_CRS, "usable": True, "weight": 1.0}
    first, last = SEASON
    rows = made.withColumns({name: F.lit(value) for name, value in same.items()})
    rows = rows.withColumns({"valid_from": F.lit(first), "valid_to": F.lit(last), "attributes": F.create_map().cast("map<string,string>")})
    absent = {"source_code": "string", "hcat": "string", "class_ids": "array<int>", "reason": "string"}
    return rows.withColumns({name: F.lit(None).cast(kind) for name, kind in absent.items()}).select(*LABELS.names)


def _parcels(ids: Any, grids: list[tuple[str, str, float, float]]) -> Iterator[pd.DataFrame]:
    rng = np.random.default_rng(int(ids[0]))
    home = ids % len(grids)
    for number in np.unique(home):
        own = ids[home == number]
        tile, crs, left, bottom = grids[number]
        area = _MEDIAN_M2 * np.exp(_SPREAD * rng.standard_normal(len(own)))
        ratio, turn = np.exp(0.5 * rng.standard_normal(len(own))), rng.uniform(0, np.pi, len(own))
        half = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)]) / 2
        middle = np.array([[left], [bottom]]) + rng.uniform(500, 99_500, (2, len(own)))
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        along = corners[:, 0, None] * half[0], corners[:, 1, None] * half[1]
        x = middle[0] + along[0] * np.cos(turn) - along[1] * np.sin(turn)
        y = middle[1] + along[0] * np.sin(turn) + along[1] * np.cos(turn)
        shapes = reproject(shapely.polygons(np.stack([x.T, y.T], axis=-1)), accurate_transformer(crs, LABEL_CRS))
        points = shapely.centroid(shapes)
        yield pd.DataFrame(
            {
                "label_id": [f"declared:{one}:2018" for one in own], "class_id": (own * 7 % _CLASSES).astype(np.int32),
                "geometry": shapely.to_wkb(shapes), "tile": tile, "point_x": shapely.get_x(points), "point_y": shapely.get_y(points),
                "area_m2": area,
            }
        )  # fmt: skip


def sample_rows(labels: DataFrame, tiles: list[TileGrid], name: str) -> DataFrame:
    """Rows of `samples`: the pixel of each label's middle, as many as a draw of one pixel a parcel."""
    grids = {grid.tile: (grid.crs, grid.x_min, grid.y_max) for grid in tiles}

    def place(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for tile, rows in batch.groupby("tile"):
                crs, x_min, y_max = grids[str(tile)]
                x, y = accurate_transformer(LABEL_CRS, crs).transform(rows["point_x"].to_numpy(), rows["point_y"].to_numpy())
                cols, lines = ((x - x_min) // 10).astype(np.int32), ((y_max - y) // 10).astype(np.int32)
                told = {"x": x_min + 10 * cols + 5, "y": y_max - 10 * lines - 5, "row": lines, "col": cols, "crs": crs}
                yield rows.assign(**told)

    columns = "label_id string, source string, tile string, class_id int, point_x double, point_y double, valid_from date, valid_to date"
    rows = labels.select(*(one.split(" ")[0] for one in columns.split(", ")))
    placed = rows.mapInPandas(place, f"{columns}, x double, y double, row int, col int, crs string")
    same = {"sample_set": name, "split": "train", "inclusion_probability": 1.0, "weight": 1.0}
    placed = placed.withColumns({key: F.lit(value) for key, value in same.items()})
    return placed.withColumns({"sample_id": F.xxhash64("label_id"), "class_ids": F.lit(None).cast("array<int>")})


def observation_rows(samples: DataFrame, products: DataFrame) -> DataFrame:
    """Rows of `observations`: every sample on every date of its tile, with made up reflectance, three in five clear."""
    dates = products.where("status = 'current'").select("product_id", "fingerprint", "tile", "sensing_time")
    rows = samples.select("sample_set", "sample_id", "tile").join(F.broadcast(dates), "tile")
    number = F.xxhash64("sample_id", "product_id")
    band = [F.pmod(F.shiftright(number, 6 * one), F.lit(4_000)).cast("smallint") for one in range(len(BANDS))]
    flag = F.when(F.pmod(number, F.lit(5)) < 3, 0).otherwise(1).cast("tinyint")
    return rows.withColumns({"reflectance": F.array(*band), "flag": flag})


def write_sample_set(folder: Path, name: str) -> None:
    """The manifest of a sample set, as much as `build_training_set` asks for."""
    told = {"sample_set": name, "legend": "timesen2crop@1", "counts": {}, "audit": {}, "settings": {}}
    write_manifest(str(folder / name), build_manifest("sample_set", told, __version__))
