"""Whole scenes cut into squares: a class for every look where polygons tell one, and which cells of a square are whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from eespark.geometry import Geometries
from eespark.io.patches import Ints, burn_once, centres_on_ground, covered, place_in_image
from eespark.io.sar_scene import SarScene
from eespark.kernels.patches import squares_of, whole_cells
from eespark.kernels.sar_tables import Window

NO_CLASS: Final = 255
"""Of a look: land, border, no polygon, or several."""


@dataclass(frozen=True)
class TileOptions:
    """Which squares are cut.

    Attributes:
        size: Looks of a side.
        stride: Looks from square to square.
        looks: Pixels of the scene in a look's side.
        cell: Looks of a cell's side; divides the size.
        least_labelled: Share of a square's looks that must have a class.
        digital: Whether the digital numbers are wanted as well; looks are single pixels then.
    """

    size: int
    stride: int
    looks: int
    cell: int
    least_labelled: float
    digital: bool


@dataclass(frozen=True)
class Tiles:
    """Squares of one row of a scene.

    Attributes:
        rows: (n,) first rows, in looks of the scene.
        cols: (n,) first columns.
        x: (n,) metres; centres in the polar CRS.
        y: (n,) metres.
        bands: Polarisations.
        sigma: (n, polarisations, size, size) sigma nought, linear, NaN on land and in the border.
        incidence: (n, size, size) degrees.
        label: (n, size, size) position of the polygon of each look, -1 where it has no class.
        cells: (n, size / cell, size / cell) whether all looks of a cell have a value.
        digital: (n, polarisations, size, size) digital numbers; None where they were not asked for.
        pixels: Of the scene that were read for them, all polarisations together.
    """

    rows: Ints
    cols: Ints
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    bands: tuple[str, ...]
    sigma: npt.NDArray[np.float32]
    incidence: npt.NDArray[np.float32]
    label: npt.NDArray[np.int32]
    cells: npt.NDArray[np.bool_]
    digital: npt.NDArray[np.uint16] | None
    pixels: int


def cut_tiles(scene: SarScene, polygons: Geometries, land: Geometries, polar_crs: str, options: TileOptions) -> Iterator[Tiles]:
    """The squares of a scene, row by row of squares; those without any value, or with fewer labels than asked for, are left out.

    Args:
        scene: Open.
        polygons: (n,) in `polar_crs`; may be none.
        land: (m,) in `polar_crs`.
        polar_crs: Projected.
        options: Which squares.

    Raises:
        FormatError: A polygon cannot be placed in the image, or the raster cannot be decoded.
    """
    shapes, ground = (place_in_image(scene.geometry, one, polar_crs, options.looks) for one in (polygons, land))
    boxes = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    height, width = (side // options.looks for side in scene.shape)
    cols = np.arange(0, width - options.size + 1, options.stride)
    for row in range(0, height - options.size + 1, options.stride):
        touched = np.flatnonzero((boxes[:, 1] < row + options.size) & (boxes[:, 3] > row))
        # Where labels are asked for, rows without a polygon are not read.
        if len(cols) and (len(touched) or options.least_labelled == 0):
            tiles = _row(scene, (shapes, touched), ground, (row, cols), polar_crs, options)
            if len(tiles.rows):
                yield tiles


def _row(
    scene: SarScene, drawn: tuple[Geometries, Ints], ground: Geometries, place: tuple[int, Ints], polar_crs: str, options: TileOptions
) -> Tiles:
    (row, cols), size = place, options.size
    window = Window(row, 0, size, int(cols[-1]) + size)
    shapes, touched = drawn
    label = burn_once(shapes, touched, window) - 1 if len(touched) else np.full((size, window.cols), -1, np.int32)
    looks = scene.looks(window, options.looks)
    valid = np.logical_and.reduce(list(looks.valid.values())) & ~covered(ground, window)
    label = np.where(valid, label, -1)
    starts = np.zeros(len(cols), np.int64)
    labels, valids = (squares_of(one, starts, cols, size) for one in (label, valid))
    kept = valids.any(axis=(1, 2)) & ((labels >= 0).mean(axis=(1, 2)) >= options.least_labelled)
    starts, cols = starts[kept], cols[kept]
    power = [np.where(valid, one, np.float32(np.nan)) for one in looks.power.values()]
    sigma = np.stack([squares_of(one, starts, cols, size) for one in power], axis=1)
    digital = None
    if options.digital:
        numbers = [scene.digital(band, window) for band in looks.power]
        digital = np.stack([squares_of(one, starts, cols, size) for one in numbers], axis=1)
    rows = starts + row
    x, y = centres_on_ground(scene.geometry, (rows, cols), (size, options.looks), polar_crs)
    angles = squares_of(looks.incidence, starts, cols, size)
    read = window.rows * window.cols * options.looks**2 * len(looks.power)
    cells = whole_cells(valids[kept], options.cell)
    return Tiles(rows, cols, x, y, tuple(looks.power), sigma, angles, labels[kept], cells, digital, read)
