"""Quick looks for a reader's eye: decimated rasters, and a few columns of the first rows of Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from eespark.errors import FormatError, MissingError
from eespark.geometry import accurate_transformer, reproject
from eespark.io.rasters import open_raster
from eespark.io.storage import open_filesystem


@dataclass(frozen=True)
class Quicklook:
    """A single-band raster, decimated.

    Attributes:
        values: (rows, cols) in the raster's own type.
        valid: (rows, cols) False where the raster has no data.
        transform: Affine coefficients a b c d e f of the decimated grid.
        crs: As the raster says it, for example EPSG:32633.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    transform: tuple[float, float, float, float, float, float]
    crs: str

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the CRS of the raster."""
        a, _, left, _, e, top = self.transform
        rows, cols = self.values.shape
        return (left, top + rows * e, left + cols * a, top)


def read_quicklook(path: str, longest_px: int) -> Quicklook:
    """A raster's first band, no side longer than `longest_px`, nearest neighbour (overviews serve it where there are some).

    Raises:
        MissingError: No such file.
        FormatError: Not a raster, or one without a CRS.
    """
    with open_raster(path) as dataset:
        if dataset.crs is None:
            raise FormatError(f"{path}: needed a raster with a CRS, found none; write it with one")
        step = max(1.0, max(dataset.shape) / longest_px)
        shape = (max(1, round(dataset.height / step)), max(1, round(dataset.width / step)))
        values = dataset.read(1, out_shape=shape, resampling=Resampling.nearest)
        across, down = dataset.width / shape[1], dataset.height / shape[0]
        a, b, left, d, e, top = tuple(dataset.transform)[:6]
        transform = (a * across, b * down, left, d * across, e * down, top)
        return Quicklook(values, _valid(values, dataset.nodata), transform, dataset.crs.to_string())


def read_like(path: str, like: Quicklook) -> Quicklook:
    """A raster's first band on the grid of another quick look, nearest neighbour; no data where it does not reach.

    Raises:
        MissingError: No such file.
        FormatError: Not a raster, or one without a CRS.
    """
    rows, cols = like.values.shape
    with open_raster(path) as dataset:
        if dataset.crs is None:
            raise FormatError(f"{path}: needed a raster with a CRS, found none; write it with one")
        nodata = dataset.nodata if dataset.nodata is not None else np.iinfo(dataset.dtypes[0]).max
        with WarpedVRT(
            dataset, crs=like.crs, transform=Affine(*like.transform), width=cols, height=rows, nodata=nodata, resampling=Resampling.nearest
        ) as view:
            values = view.read(1)
        return Quicklook(values, _valid(values, nodata), like.transform, like.crs)


def outline_in(look: Quicklook, crs: str) -> npt.NDArray[np.float64]:
    """(n, 2) x and y of a raster's outline in another CRS, with points enough for its bent edges."""
    box = shapely.segmentize(shapely.box(*look.bounds), max(look.bounds[2] - look.bounds[0], 1.0) / 8)
    outline = reproject(np.array([box]), accurate_transformer(look.crs, crs))[0]
    return np.asarray(shapely.get_coordinates(outline), np.float64)


def read_columns(url: str, columns: Sequence[str], most_rows: int) -> pa.Table:
    """Some columns of the first row groups below a folder, until there are `most_rows` rows or more.

    Raises:
        MissingError: No Parquet there, or one without these columns.
        FormatError: Not Parquet.
    """
    filesystem, root = open_filesystem(url)
    paths = sorted(one for one in filesystem.find(root) if one.endswith(".parquet"))
    if not paths:
        raise MissingError(f"needed Parquet files in {url}, found none")
    tables: list[pa.Table] = []
    rows = 0
    for path in paths:
        with filesystem.open(path, "rb") as stream:
            try:
                file = pq.ParquetFile(stream)
            except pa.ArrowInvalid as error:
                raise FormatError(f"{path}: needed Parquet, found something else ({error}); write it again") from error
            absent = sorted(set(columns) - set(file.schema_arrow.names))
            if absent:
                raise MissingError(f"{path}: needed the columns {', '.join(absent)}, found {', '.join(file.schema_arrow.names)}")
            for group in range(file.num_row_groups):
                if rows >= most_rows:
                    return pa.concat_tables(tables)
                tables.append(file.read_row_group(group, columns=list(columns)))
                rows += tables[-1].num_rows
    return pa.concat_tables(tables)


def _valid(values: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    return np.ones(values.shape, bool) if nodata is None else np.asarray(values != nodata)
