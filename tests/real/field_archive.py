"""The real field of 33 dates, written out as an archive of L2A products."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from eespark.bands import BANDS
from eespark.grid import TileGrid
from eespark.synthetic.names import BASELINE_OFFSET, ProductName
from eespark.synthetic.safe import write_product

TILE = "30TUM"
FIRST_OF_NEW_BASELINE = 16
"""Number of the first date that is written as baseline 04.00, its DN 1000 higher as the agency's are."""


@dataclass(frozen=True)
class Field:
    """The field as its file has it.

    Attributes:
        dates: Days of sensing, ascending.
        red: (dates, rows, cols) B04 x 10,000, NaN where no data.
        infrared: (dates, rows, cols) B08 x 10,000.
        scl: (dates, rows, cols) scene classes.
        ndvi: (dates, rows, cols).
        corner: Left and top edge, metres, EPSG:32630.
    """

    dates: list[datetime]
    red: npt.NDArray[np.float32]
    infrared: npt.NDArray[np.float32]
    scl: npt.NDArray[np.float32]
    ndvi: npt.NDArray[np.float32]
    corner: tuple[float, float]


def read_field(path: Path) -> Field:
    """The field in `raw_s2_ndvi_field.nc`."""
    with h5py.File(path) as file:
        days = [datetime(1990, 1, 1, tzinfo=UTC) + timedelta(days=int(day)) for day in file["t"][:]]
        red, infrared, scl, ndvi = (file[name][:] for name in ("B04", "B08", "SCL", "NDVI"))
        # Coordinates are those of pixel centres, 10 m apart.
        corner = (float(file["x"][0]) - 5.0, float(file["y"][0]) + 5.0)
    return Field(days, red, infrared, scl, ndvi, corner)


def field_grid(field: Field) -> TileGrid:
    """The 10 m grid of the archive: each real pixel is a block of 2 x 2, so the field is twice as long and wide as it was."""
    _, rows, cols = field.ndvi.shape
    return TileGrid(TILE, "EPSG:32630", *field.corner, 2 * rows, 2 * cols)


def write_field(field: Field, folder: Path) -> list[Path]:
    """One product a date, those of later dates with the offset of baseline 04.00.

    The file holds B04 and B08 of 10 m, and this project reads B8A of 20 m in the place of B08. So that nothing is resampled, a real
    pixel becomes one 20 m cell: B8A holds the values of B08 as they are, B04 holds each value four times. The bands that the file
    lacks hold B04 too: they must not be no data, and no test looks at them.
    """
    grid = field_grid(field)
    move = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    left, bottom, right, top = grid.bounds
    outline = [move.transform(x, y) for x, y in ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))]
    written = []
    for number, day in enumerate(field.dates):
        name = _name(day, "02.14" if number < FIRST_OF_NEW_BASELINE else "04.00")
        scl = np.nan_to_num(field.scl[number], nan=0).astype(np.uint8)
        share = 100.0 * np.bincount(scl.ravel(), minlength=12) / scl.size
        facts = {"footprint": outline, "percentages": share.tolist(), "cloud": float(share[8:11].sum())}
        written.append(write_product(folder, name, grid, _images(field, number, name.baseline) | {"SCL": scl}, facts, (64, 32)))
    return written


def _images(field: Field, number: int, baseline: str) -> dict[str, Any]:
    def digital_numbers(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
        return np.where(np.isnan(values), 0, np.nan_to_num(values) + BASELINE_OFFSET[baseline]).astype(np.uint16)

    red, infrared = digital_numbers(field.red[number]), digital_numbers(field.infrared[number])
    coarse = {band: infrared if band == "B8A" else red for band in BANDS if band not in ("B02", "B03", "B04")}
    return coarse | dict.fromkeys(("B02", "B03", "B04"), np.repeat(np.repeat(red, 2, axis=0), 2, axis=1))


def _name(day: datetime, baseline: str) -> ProductName:
    start = day.replace(hour=11, minute=2, second=1)
    return ProductName("S2A", "L2A", TILE, 94, 19_000, start, start + timedelta(seconds=8), start + timedelta(hours=4), baseline)
