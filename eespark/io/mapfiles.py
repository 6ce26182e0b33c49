"""Maps on disk: parts of a tile as they are predicted, and the finished tile as COGs, parcels and a STAC item."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pystac
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from eespark.errors import FormatError
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import Block, TileGrid
from eespark.io import rasters
from eespark.io.storage import NPZ_ERRORS, join_url, local_path, read_bytes, write_bytes

LAYERS: Final = {"class": 255, "probability": 255, "clear_dates": 255, "novelty": 255}
"""Layer -> no data. Probability and novelty are percent (0..100), clear dates their number (254 stands for more), class a legend id."""
Layers = dict[str, npt.NDArray[np.uint8]]

PARCEL_CRS: Final = "EPSG:3035"
PARCEL_COLUMNS: Final = {
    "label_id": "object",
    "declared": "Int32",
    "predicted": "Int32",
    "probability": "float32",
    "novelty": "float32",
    "clear_dates": "Int16",
    "pixels": "Int32",
    "cut": "bool",
    "reason": "object",
    "geometry": "object",
}
"""Columns of a table of parcels: classes as legend ids, null where there is none; probability and novelty 0..1; clear dates of the median
series and pure pixels it was made of; cut: some of the parcel lay beyond the reach of its block; reason: why there is no class
(no_pure_pixels, too_few_clear_dates); geometry: WKB in EPSG:3035."""

SCENE_LAYERS: Final = {"class": 255, "probability": 255, "backscatter": 255, "analyst": 255}
"""As `LAYERS`, of maps of scenes: backscatter is 5 times the decibels above -40, analyst the class of the polygon drawn there."""
_OF_CLASSES: Final = frozenset({"class", "analyst"})
_UNITS: Final = {"probability": "%", "novelty": "%", "clear_dates": "1", "backscatter": "0.2 dB above -40 dB"}
_STRIP: Final = 1_024  # rows of a tile that are painted at once


def part_url(folder: str, block: Block) -> str:
    """Where a block's part lies until its tile is finished; `folder` belongs to one tile and one run alone."""
    return join_url(folder, f"{block.row}_{block.col}.part")


def write_part(url: str, layers: Layers) -> None:
    """Write the layers of one block, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **layers)
    write_bytes(url, buffer.getvalue())


def read_part(url: str, block: Block, names: Iterable[str] = tuple(LAYERS)) -> Layers:
    """The layers of one block.

    Raises:
        MissingError: There is no such part.
        FormatError: It is not of this block.
    """
    content = read_bytes(url)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as part:
            layers = {name: part[name] for name in names}
    except NPZ_ERRORS as error:
        raise FormatError(f"{url}: needed a part of a map, found something else ({error}); delete it and run again") from error
    if any(layer.shape != (block.rows, block.cols) for layer in layers.values()):
        raise FormatError(f"{url}: needed {block.rows} x {block.cols} pixels, found {layers['class'].shape}; delete it and run again")
    return layers


def empty_layers(rows: int, cols: int) -> Layers:
    """Layers of no data."""
    return {name: np.full((rows, cols), nodata, np.uint8) for name, nodata in LAYERS.items()}


def parcel_table(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A table with the columns of `PARCEL_COLUMNS`, those not given being null."""
    count = len(columns["label_id"])
    full = {name: columns.get(name, [None] * count) for name in PARCEL_COLUMNS}
    return pd.DataFrame({name: pd.Series(full[name], dtype=dtype) for name, dtype in PARCEL_COLUMNS.items()})


def write_parcel_part(url: str, parcels: pd.DataFrame) -> None:
    """Write the parcels of one block, whole or not at all."""
    buffer = io.BytesIO()
    parcels.to_parquet(buffer, index=False)
    write_bytes(url, buffer.getvalue())


def read_parcel_part(url: str) -> pd.DataFrame:
    """The parcels of one block.

    Raises:
        MissingError: There is no such part.
        FormatError: It is not a table of parcels.
    """
    content = read_bytes(url)
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{url}: needed parcels of a map, found something else ({error}); delete it and run again") from error
    if list(table.columns) != list(PARCEL_COLUMNS):
        raise FormatError(f"{url}: needed the columns {', '.join(PARCEL_COLUMNS)}, found {', '.join(table.columns)}; delete it, run again")
    return table.astype(PARCEL_COLUMNS)


def paint_parcels(grid: TileGrid, parcels: pd.DataFrame) -> Layers:
    """Layers of a tile on which each pixel whose centre lies in a parcel has what was predicted of it.

    Of parcels that overlap, the one that stands later in the table is seen.
    """
    layers = empty_layers(grid.rows, grid.cols)
    some = parcels["predicted"].notna().to_numpy()
    values = {
        "class": np.where(some, parcels["predicted"].fillna(0), LAYERS["class"]),
        "probability": np.where(some, np.rint(100 * parcels["probability"].fillna(0)), LAYERS["probability"]),
        "novelty": np.where(some, np.rint(100 * parcels["novelty"].fillna(0)), LAYERS["novelty"]),
        "clear_dates": np.minimum(parcels["clear_dates"].fillna(LAYERS["clear_dates"]), 255),
    }
    tables = {name: np.r_[LAYERS[name], value].astype(np.uint8) for name, value in values.items()}
    shapes = reproject(shapely.from_wkb(parcels["geometry"].to_numpy(object)), accurate_transformer(PARCEL_CRS, grid.crs))
    tree = shapely.STRtree(shapes)
    for row in range(0, grid.rows, _STRIP):
        strip = grid.window(Block(row, 0, min(_STRIP, grid.rows - row), grid.cols))
        near = np.sort(tree.query(shapely.box(*strip.bounds)))
        if len(near):
            marked = [(shapes[i], int(i) + 1) for i in near]
            burnt = rasterize(marked, out_shape=(strip.rows, strip.cols), transform=Affine(*strip.transform), fill=0, dtype="int32")
            for name, table in tables.items():
                layers[name][row : row + strip.rows] = table[burnt]
    return layers


def write_layers(folder: str, grid: TileGrid, layers: Layers, classes: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """Write a tile's layers as COGs.

    Args:
        folder: Local folder of the tile's maps.
        grid: Of the tile.
        layers: (rows, cols) each.
        classes: Class id -> (name, #rrggbb).

    Returns:
        pixels (with a class), by_class.
    """
    target = local_path(folder)
    for name, values in layers.items():
        rasters.write_cog(f"{target}/{name}.tif", values, _profile(name, grid, classes))
    found, counts = np.unique(layers["class"][layers["class"] != LAYERS["class"]], return_counts=True)
    return {"pixels": int(counts.sum()), "by_class": {str(c): int(n) for c, n in zip(found, counts, strict=True)}}


def _profile(name: str, grid: TileGrid, classes: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    profile: dict[str, Any] = {"crs": grid.crs, "transform": grid.transform, "nodata": _nodata(name), "descriptions": [name]}
    if name in _OF_CLASSES:
        profile["colormap"] = {c: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for c, (_, colour) in classes.items()}
        profile["tags"] = {f"CLASS_{c}": text for c, (text, _) in classes.items()}
        return profile
    units = {"probability": "percent", "novelty": "percent", "clear_dates": "number of dates, 254 for more"}
    return {**profile, "resampling": "AVERAGE", "tags": {"UNIT": units.get(name, _UNITS[name])}}


def _nodata(name: str) -> int:
    return {**LAYERS, **SCENE_LAYERS}[name]


def write_parcels(folder: str, parcels: pd.DataFrame) -> dict[str, Any]:
    """Write a tile's parcels as GeoParquet.

    Returns:
        parcels, parcels_with_class, parcels_cut, parcels_as_declared, parcels_without_class (by reason).
    """
    table = geopandas.GeoDataFrame(
        parcels.drop(columns="geometry"), geometry=shapely.from_wkb(parcels["geometry"].to_numpy(object)), crs=PARCEL_CRS
    )
    table.to_parquet(f"{local_path(folder)}/parcels.parquet", index=False)
    return {
        "parcels": len(parcels),
        "parcels_with_class": int(parcels["predicted"].notna().sum()),
        "parcels_cut": int(parcels["cut"].sum()),
        "parcels_as_declared": int((parcels["predicted"] == parcels["declared"]).fillna(False).sum()),
        "parcels_without_class": {str(reason): int(n) for reason, n in parcels["reason"].value_counts().sort_index().items()},
    }


def write_item(
    folder: str,
    grid: TileGrid,
    season: tuple[datetime, datetime],
    properties: Mapping[str, Any],
    classes: Mapping[int, tuple[str, str]],
    with_parcels: bool = False,
) -> None:
    """Write the tile's STAC item beside its COGs."""
    outline = reproject(np.array([shapely.segmentize(shapely.box(*grid.bounds), 10_000)]), accurate_transformer(grid.crs, "EPSG:4326"))[0]
    item = pystac.Item(
        id=f"crop-map-{grid.tile}-{season[1]:%Y}",
        geometry=json.loads(shapely.to_geojson(outline)),
        bbox=list(outline.bounds),
        datetime=None,
        properties={
            "start_datetime": season[0].astimezone(UTC).isoformat(),
            "end_datetime": season[1].astimezone(UTC).isoformat(),
            "proj:code": grid.crs,
            "proj:shape": [grid.rows, grid.cols],
            "proj:transform": list(grid.transform),
            "grid:code": f"MGRS-{grid.tile}",
            **properties,
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
            "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
        ],
    )
    for name in LAYERS:
        item.add_asset(name, layer_asset(name, classes))
    if with_parcels:
        kind = "application/vnd.apache.parquet"
        item.add_asset("parcels", pystac.Asset(href="./parcels.parquet", media_type=kind, roles=["data"], title="declared parcels"))
    write_bytes(join_url(folder, "item.json"), json.dumps(item.to_dict(include_self_link=False), indent=1).encode())


def layer_asset(name: str, classes: Mapping[int, tuple[str, str]]) -> pystac.Asset:
    """A layer's COG as an asset of a STAC item, its classes told where it is that of classes."""
    extra: dict[str, Any] = {"data_type": "uint8", "nodata": _nodata(name)}
    if name in _UNITS:
        extra["unit"] = _UNITS[name]
    if name in _OF_CLASSES:
        extra["classification:classes"] = [
            {"value": c, "name": _machine_name(text), "title": text, "color_hint": colour[1:].upper()}
            for c, (text, colour) in sorted(classes.items())
        ]
    title = name.replace("_", " ")
    return pystac.Asset(href=f"./{name}.tif", media_type=pystac.MediaType.COG, roles=["data"], title=title, extra_fields=extra)


def _machine_name(text: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
