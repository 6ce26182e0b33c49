"""Maps on disk: parts of a tile as they are predicted, and the finished tile as COGs with a STAC item."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pystac
import shapely

from eespark.errors import FormatError, MissingError
from eespark.geometry import accurate_transformer, reproject
from eespark.grid import Block, TileGrid
from eespark.io import rasters
from eespark.io.storage import join_url, local_path, read_bytes, url_exists, write_bytes

LAYERS: Final = {"class": 255, "probability": 255, "clear_dates": 255, "novelty": 255}
"""Layer -> no data. Probability and novelty are percent (0..100), clear dates their number (254 stands for more), class a legend id."""
Layers = dict[str, npt.NDArray[np.uint8]]


def part_url(parts: str, tile: str, block: Block) -> str:
    """Where a block's part lies until its tile is finished; `parts` is a folder for this bundle and these settings alone."""
    return join_url(parts, tile, f"{block.row}_{block.col}.npz")


def write_part(url: str, layers: Layers) -> None:
    """Write the layers of one block, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **layers)
    write_bytes(url, buffer.getvalue())


def read_part(url: str, block: Block) -> Layers | None:
    """The layers of one block, or None where there is no such part.

    Raises:
        FormatError: The part is not of this block.
    """
    if not url_exists(url):
        return None
    try:
        with np.load(io.BytesIO(read_bytes(url)), allow_pickle=False) as part:
            layers = {name: part[name] for name in LAYERS}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise FormatError(f"{url}: needed a part of a map, found something else ({error}); delete it and run again") from error
    if any(layer.shape != (block.rows, block.cols) for layer in layers.values()):
        raise FormatError(f"{url}: needed {block.rows} x {block.cols} pixels, found {layers['class'].shape}; delete it and run again")
    return layers


def write_tile(folder: str, grid: TileGrid, blocks: list[Block], parts: str, classes: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """Put the parts of a tile together as COGs; a block without a part stays no data.

    Args:
        folder: Local folder of the tile's maps.
        grid: Of the tile.
        blocks: That cover it.
        parts: Folder of the parts, as in `part_url`.
        classes: Class id -> (name, #rrggbb).

    Returns:
        pixels (with a class), holes (blocks without a part), by_class.

    Raises:
        MissingError: Not one part exists.
    """
    layers = {name: np.full((grid.rows, grid.cols), nodata, np.uint8) for name, nodata in LAYERS.items()}
    holes = 0
    for block in blocks:
        part = read_part(part_url(parts, grid.tile, block), block)
        holes += part is None
        for name, values in (part or {}).items():
            layers[name][block.row : block.row + block.rows, block.col : block.col + block.cols] = values
    if holes == len(blocks):
        raise MissingError(f"tile {grid.tile}: needed a predicted block, found none of {len(blocks)}; see the reasons of the failed blocks")
    target = local_path(folder)
    for name, values in layers.items():
        rasters.write_cog(f"{target}/{name}.tif", values, _profile(name, grid, classes))
    found, counts = np.unique(layers["class"][layers["class"] != LAYERS["class"]], return_counts=True)
    return {"pixels": int(counts.sum()), "holes": holes, "by_class": {str(c): int(n) for c, n in zip(found, counts, strict=True)}}


def _profile(name: str, grid: TileGrid, classes: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    profile: dict[str, Any] = {"crs": grid.crs, "transform": grid.transform, "nodata": LAYERS[name], "descriptions": [name]}
    if name == "class":
        profile["colormap"] = {c: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for c, (_, colour) in classes.items()}
        profile["tags"] = {f"CLASS_{c}": text for c, (text, _) in classes.items()}
        return profile
    units = {"probability": "percent", "novelty": "percent", "clear_dates": "number of dates, 254 for more"}
    return {**profile, "resampling": "AVERAGE", "tags": {"UNIT": units[name]}}


def write_item(folder: str, grid: TileGrid, season: tuple[datetime, datetime], properties: Mapping[str, Any]) -> None:
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
        ],
    )
    for name in LAYERS:
        media = pystac.MediaType.COG
        item.add_asset(name, pystac.Asset(href=f"./{name}.tif", media_type=media, roles=["data"], title=name.replace("_", " ")))
    write_bytes(join_url(folder, "item.json"), json.dumps(item.to_dict(include_self_link=False), indent=1).encode())
