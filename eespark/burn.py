"""Pure pixels of polygons: which pixels of a grid lie inside, by the purity rule.

Pure functions; nothing is opened here. "Inside" is always decided by GEOS, the engine behind `ST_Contains` too, so a burn
and a point-wise spatial join give the same pixels; rasterisation only finds the cells of large polygons that are so far
from the boundary that nothing needs to be asked.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize

from eespark.errors import FormatError
from eespark.geometry import Geometries, Geometry
from eespark.grid import Block, Ints, TileGrid

Bools = npt.NDArray[np.bool_]
Rule = Literal["cell", "centre"]

_CELL_PX: Final = 2  # six of the nine bands have 20 m pixels: two of the 10 m grid
_RASTERISE_FROM: Final = 4096  # candidate cells; below, asking GEOS about each is quicker than two rasterisations
_ASK_AT_ONCE: Final = 1_000_000  # pairs of polygon and cell, which bounds the memory of a batch


@dataclass(frozen=True)
class Burn:
    """Pure pixels of many polygons.

    Attributes:
        rows: (n,) int64, rows of the 10 m grid, ascending with `cols` (row-major).
        cols: (n,) int64.
        index: (n,) int64, position in the list of polygons.
        ambiguous: 10 m pixels that lie in two polygons or more, which are left out.
    """

    rows: Ints
    cols: Ints
    index: Ints
    ambiguous: int


def pure_centres(polygon: Geometry, grid: TileGrid) -> tuple[Ints, Ints]:
    """Rows and columns of the pixels whose centre lies inside a polygon (on its boundary is outside), row-major."""
    _, rows, cols = _inside(np.array([polygon], dtype=object), grid, _centres_inside)
    return rows, cols


def pure_cells(polygon: Geometry, grid: TileGrid) -> tuple[Ints, Ints]:
    """Rows and columns, counted in 20 m cells, of the whole cells inside a polygon (they may touch its boundary), row-major.

    Cells start at the grid's upper left corner; a last odd row or column holds no whole cell.
    """
    _, rows, cols = _inside(np.array([polygon], dtype=object), _cell_grid(grid), _boxes_inside)
    return rows, cols


def _cell_grid(grid: TileGrid) -> TileGrid:
    size_m = grid.pixel_m * _CELL_PX
    return TileGrid(grid.tile, grid.crs, grid.x_min, grid.y_max, grid.rows // _CELL_PX, grid.cols // _CELL_PX, size_m)


def burn_labels(polygons: Sequence[Geometry] | Geometries, grid: TileGrid, rule: Rule, block: Block | None = None) -> Burn:
    """Pure pixels of many polygons on one block of a tile, those that lie in two polygons left out.

    Memory is bounded by the block: only its own cells are looked at. Polygons are not cut at its edge, as that would
    move their boundary by a rounding error.

    Args:
        polygons: Eroded polygons in the CRS of the grid; empty ones and None are allowed.
        grid: The 10 m grid of the tile, whose origin the 20 m cells start from.
        rule: `cell`, the four pixels of each 20 m cell that lies inside; or `centre`, each pixel whose centre does.
        block: Part of the grid to look at; default all of it.

    Returns:
        Pixels in rows and columns of `grid` (not of the block).

    Raises:
        FormatError: The block starts or ends within a 20 m cell.
    """
    place = block or Block(0, 0, grid.rows, grid.cols)
    edges = [(place.row, 0), (place.col, 0), (place.row + place.rows, grid.rows), (place.col + place.cols, grid.cols)]
    if rule == "cell" and any(at % _CELL_PX and at != end for at, end in edges):
        raise FormatError(f"needed a block that cuts no 20 m cell (starts and ends even), found {place}")
    window = grid.window(place)
    shapes = np.empty(len(polygons), dtype=object)
    shapes[:] = polygons
    if rule == "cell":
        step = _CELL_PX
        index, rows, cols = _inside(shapes, _cell_grid(window), _boxes_inside)
    else:
        step = 1
        index, rows, cols = _inside(shapes, window, _centres_inside)
    width = max(place.cols // step, 1)
    flat = rows * width + cols
    times = np.bincount(flat, minlength=1)
    rows, cols, index = (values[times[flat] == 1] for values in (rows, cols, index))
    ambiguous = int((times > 1).sum()) * step * step
    corner = np.arange(step)
    rows = (rows[:, None, None] * step + corner[:, None] + 0 * corner).ravel() + place.row
    cols = (cols[:, None, None] * step + corner + 0 * corner[:, None]).ravel() + place.col
    index = np.repeat(index, step * step)
    order = np.lexsort((cols, rows))
    return Burn(rows[order], cols[order], index[order], ambiguous)


def _centres_inside(polygons: Geometries, grid: TileGrid, rows: Ints, cols: Ints) -> Bools:
    x, y = grid.centres(rows, cols)
    return np.asarray(shapely.contains_xy(polygons, x, y), dtype=bool)


def _boxes_inside(polygons: Geometries, grid: TileGrid, rows: Ints, cols: Ints) -> Bools:
    left, top = grid.x_min + cols * grid.pixel_m, grid.y_max - rows * grid.pixel_m
    with _uncollected():
        return np.asarray(shapely.contains(polygons, shapely.box(left, top - grid.pixel_m, left + grid.pixel_m, top)), dtype=bool)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: each new geometry counts for it, none is in one, and with millions of them it takes a sixth of a burn."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _corners_inside(polygons: Geometries, grid: TileGrid, rows: Ints, cols: Ints) -> Bools:
    """Whether the upper left corners of cells lie in a polygon or on its boundary."""
    x, y = grid.x_min + cols * grid.pixel_m, grid.y_max - rows * grid.pixel_m
    return np.asarray(shapely.intersects_xy(polygons, x, y), dtype=bool)


Test = Callable[[Geometries, TileGrid, Ints, Ints], Bools]


def _inside(polygons: Geometries, grid: TileGrid, test: Test) -> tuple[Ints, Ints, Ints]:
    """Index of polygon, row and column of the cells that pass an exact test, in the order of polygons, row-major in each."""
    shapely.prepare(polygons)
    windows = _windows(polygons, grid)
    sizes = windows[:, 2] * windows[:, 3]
    found = [_inside_large(polygons[i], grid, Block(*windows[i].tolist()), test, i) for i in np.flatnonzero(sizes >= _RASTERISE_FROM)]
    small = np.flatnonzero((sizes > 0) & (sizes < _RASTERISE_FROM))
    batch = np.cumsum(sizes[small]) // _ASK_AT_ONCE
    for which in np.split(small, np.flatnonzero(np.diff(batch)) + 1):
        index, rows, cols = _cells(which, windows[which])
        if test is _boxes_inside:
            # A point is asked at a small part of the cost of a box, corners are shared, and most boxes outside have a corner outside.
            likely = _all_corners_inside(polygons, grid, which, windows[which])
            index, rows, cols = index[likely], rows[likely], cols[likely]
        inside = test(polygons[index], grid, rows, cols)
        found.append((index[inside], rows[inside], cols[inside]))
    index, rows, cols = (np.concatenate([np.zeros(0, np.int64), *part]) for part in zip(*found, strict=True))
    order = np.argsort(index, kind="stable")
    return index[order], rows[order], cols[order]


def _cells(which: Ints, windows: Ints) -> tuple[Ints, Ints, Ints]:
    """Number of polygon, row and column of all cells of the polygons' windows (n, 4), row-major in each."""
    member, rows, cols = _spread(windows)
    return which[member], windows[member, 0] + rows, windows[member, 1] + cols


def _spread(windows: Ints) -> tuple[Ints, Ints, Ints]:
    """Number of window, row and column in it of all cells of windows (n, 4), row-major in each."""
    sizes = windows[:, 2] * windows[:, 3]
    member = np.repeat(np.arange(len(windows)), sizes)
    place = np.arange(len(member)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    width = windows[member, 3]
    return member, place // width, place % width


def _all_corners_inside(polygons: Geometries, grid: TileGrid, which: Ints, windows: Ints) -> Bools:
    """Whether the four corners of each cell of `_cells` lie in its polygon or on its boundary, each corner asked once."""
    lattice = windows + np.array([0, 0, 1, 1])
    index, corner_rows, corner_cols = _cells(which, lattice)
    inside = _corners_inside(polygons[index], grid, corner_rows, corner_cols)
    member, rows, cols = _spread(windows)
    corners, width = lattice[:, 2] * lattice[:, 3], lattice[member, 3]
    upper = (np.cumsum(corners) - corners)[member] + rows * width + cols
    return np.asarray(inside[upper] & inside[upper + 1] & inside[upper + width] & inside[upper + width + 1])


def _windows(polygons: Geometries, grid: TileGrid) -> Ints:
    """(n, 4) first row, first column, rows and columns of the part of the grid that each polygon's box meets; zeros for none."""
    box = shapely.bounds(polygons)
    some = np.isfinite(box).all(axis=1)
    west, south, east, north = np.where(some[:, None], box, 0.0).T
    first_row, first_col = (np.maximum(first, 0) for first in grid.pixels(west, north))
    last_row, last_col = grid.pixels(east, south)
    rows = np.minimum(last_row, grid.rows - 1) - first_row + 1
    cols = np.minimum(last_col, grid.cols - 1) - first_col + 1
    some &= (rows > 0) & (cols > 0)
    windows: Ints = np.where(some[:, None], np.stack([first_row, first_col, rows, cols], axis=1), 0)
    return windows


def _inside_large(polygon: Geometry, grid: TileGrid, block: Block, test: Test, index: int) -> tuple[Ints, Ints, Ints]:
    inside, doubtful = _rasterised(polygon, grid.window(block))
    rows, cols = np.nonzero(doubtful)
    inside[rows, cols] = False
    if test is _boxes_inside:
        likely = _corners_inside(np.full(len(rows), polygon, dtype=object), grid, rows + block.row, cols + block.col)
        rows, cols = rows[likely], cols[likely]
    inside[rows, cols] = test(np.full(len(rows), polygon, dtype=object), grid, rows + block.row, cols + block.col)
    rows, cols = np.nonzero(inside)
    return np.full(len(rows), index, np.int64), rows + block.row, cols + block.col


def _rasterised(polygon: Geometry, grid: TileGrid) -> tuple[Bools, Bools]:
    """Cells that lie inside, and the doubtful ones within a cell of the boundary, where the first says nothing."""
    margin = 2
    shape = (grid.rows + 2 * margin, grid.cols + 2 * margin)
    transform = Affine(*grid.transform) @ Affine.translation(-margin, -margin)
    filled = rasterize([(polygon, 1)], out_shape=shape, transform=transform, dtype="uint8")
    touched = rasterize([(shapely.boundary(polygon), 1)], out_shape=shape, transform=transform, dtype="uint8", all_touched=True)
    near = touched.astype(bool)  # and a cell more, lest the two ways to trace a line differ by rounding
    near[1:] |= near[:-1].copy()
    near[:-1] |= near[1:].copy()
    near[:, 1:] |= near[:, :-1].copy()
    near[:, :-1] |= near[:, 1:].copy()
    inner = (slice(margin, -margin), slice(margin, -margin))
    return filled.astype(bool)[inner], near[inner]
