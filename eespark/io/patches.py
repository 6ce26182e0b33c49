"""Patches of one scene inside its polygons: the scene opened once, read in strips, polygons burnt in image geometry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely
from rasterio import Affine
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from eespark.errors import FormatError
from eespark.geometry import Geometries, accurate_transformer
from eespark.io.sar_scene import SarScene
from eespark.kernels.patches import Places, patch_places, squares_of
from eespark.kernels.sampling import hash_uint64
from eespark.kernels.sar_tables import Window
from eespark.sar_geometry import SceneGeometry

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Edges of polygons are straight in the polar CRS and bend in the image: they are followed by points this far apart.
_STEP_M: Final = 400.0
_SEA_M: Final = 0.0


@dataclass(frozen=True)
class PatchOptions:
    """Which patches are cut.

    Attributes:
        size: Looks of a side.
        stride: Looks from patch to patch.
        looks: Pixels of the scene in a look's side.
        purity: Least share of a patch that its polygon covers.
        most_per_label: Patches of a polygon at most, those with the least hashes; 0 is no limit.
        strip: Looks of the rows that are held at once, besides those of a patch.
    """

    size: int
    stride: int
    looks: int
    purity: float
    most_per_label: int
    strip: int


@dataclass(frozen=True)
class Patches:
    """Patches of one strip.

    Attributes:
        rows: (n,) first rows, in looks of the scene.
        cols: (n,) first columns.
        label: (n,) position in the list of polygons.
        purity: (n,) share that the polygon covers.
        x: (n,) metres; centres in the polar CRS.
        y: (n,) metres.
        bands: Polarisations.
        sigma: (n, polarisations, size, size) sigma nought, linear.
        incidence: (n, size, size) degrees.
        pixels: Of the scene that were read for them, all polarisations together.
    """

    rows: Ints
    cols: Ints
    label: Ints
    purity: Floats
    x: Floats
    y: Floats
    bands: tuple[str, ...]
    sigma: npt.NDArray[np.float32]
    incidence: npt.NDArray[np.float32]
    pixels: int


def cut_patches(scene: SarScene, polygons: Geometries, land: Geometries, polar_crs: str, options: PatchOptions) -> Iterator[Patches]:
    """The patches of a scene, strip by strip, row-major in each. Strips and columns without a patch are not read.

    Args:
        scene: Open.
        polygons: (n,) in `polar_crs`.
        land: (m,) in `polar_crs`; patches that touch it are left out.
        polar_crs: Projected.
        options: Which patches.

    Raises:
        FormatError: A polygon cannot be placed in the image, or the raster cannot be decoded.
    """
    shapes, ground = (place_in_image(scene.geometry, one, polar_crs, options.looks) for one in (polygons, land))
    places = find_places(shapes, ground, (scene.shape[0] // options.looks, scene.shape[1] // options.looks), options)
    for first in range(0, int(places.rows.max(initial=-1)) + 1, options.strip):
        here = (places.rows >= first) & (places.rows < first + options.strip)
        if here.any():
            part = Places(places.rows[here], places.cols[here], places.label[here], places.purity[here])
            found = _cut(scene, part, polar_crs, options)
            if len(found.rows):
                yield found


def find_places(shapes: Geometries, land: Geometries, shape: tuple[int, int], options: PatchOptions) -> Places:
    """Where patches may be cut by the polygons alone, at most `most_per_label` of each; `label` is the position in the list.

    Args:
        shapes: (n,) polygons in looks of the image.
        land: (m,) in looks of the image.
        shape: Looks of the image.
        options: Which patches.
    """
    height, width = shape
    found: list[Places] = []
    boxes = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    for first in range(0, height, options.strip):
        rows = min(options.strip + options.size - 1, height - first)
        touched = np.flatnonzero((boxes[:, 1] < first + rows) & (boxes[:, 3] > first))
        if rows < options.size or not len(touched):
            continue
        window = Window(first, 0, rows, width)
        labels = burn_once(shapes, touched, window)
        spans = {int(k) + 1: tuple(np.clip(boxes[k] - (0, first, 0, first), 0, (width, rows, width, rows)).astype(int)) for k in touched}
        near = {k: (top, bottom, left, right) for k, (left, top, right, bottom) in spans.items()}
        found.append(patch_places(labels, ~covered(land, window), options.size, options.stride, options.purity, first, near))
    columns = [np.concatenate([np.zeros(0), *(getattr(one, name) for one in found)]) for name in ("rows", "cols", "label", "purity")]
    rows_, cols, label = (one.astype(np.int64) for one in columns[:3])
    kept = thin_out(label, rows_, cols, options.most_per_label)
    return Places(rows_[kept], cols[kept], label[kept] - 1, columns[3][kept])


def place_in_image(geometry: SceneGeometry, shapes: Sequence[object] | Geometries, polar_crs: str, looks: int) -> Geometries:
    """Polygons in looks of the image: x along the samples, y along the lines, the first look from 0 to 1; sea level.

    Raises:
        FormatError: A polygon lies on the other side of the track.
    """
    if len(shapes) == 0:
        return np.zeros(0, dtype=object)
    to_degrees = accurate_transformer(polar_crs, "EPSG:4326")

    def move(points: Floats) -> Floats:
        longitude, latitude = to_degrees.transform(points[:, 0], points[:, 1])
        line, sample = geometry.to_image(np.asarray(longitude), np.asarray(latitude), _SEA_M)
        return np.stack([(sample + 0.5) / looks, (line + 0.5) / looks], axis=-1)

    dense = shapely.segmentize(np.asarray(shapes, dtype=object), _STEP_M)
    moved = move(shapely.get_coordinates(dense))
    if not np.isfinite(moved).all():
        raise FormatError("needed polygons on the side that the instrument looks to, found one on the other; is it of this scene?")
    return np.asarray(shapely.make_valid(shapely.set_coordinates(dense.copy(), moved)), dtype=object)


def burn_once(shapes: Geometries, members: npt.NDArray[np.int64], window: Window) -> npt.NDArray[np.int32]:
    """(rows, cols) 1 + the position of the polygon whose inside holds the centre of each look, 0 where there is none or are several."""
    shape, boxes = (window.rows, window.cols), _looks_around(shapes[members], window)
    labels, times = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
    if ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() > window.rows * window.cols:
        place = Affine.translation(window.col, window.row)
        drawn = shapes[members]
        rasterize(((one, int(k) + 1) for one, k in zip(drawn, members, strict=True)), out=labels, transform=place)
        rasterize(((one, 1) for one in drawn), out=times, transform=place, merge_alg=MergeAlg.add)
        return np.asarray(np.where(times == 1, labels, 0), np.int32)
    # Few and small: each is burnt in its own box.
    for k, (left, top, right, bottom) in zip(members.tolist(), boxes.tolist(), strict=True):
        if right > left and bottom > top:
            box, place = np.s_[top:bottom, left:right], Affine.translation(window.col + left, window.row + top)
            inside = rasterize([(shapes[k], 1)], out_shape=(bottom - top, right - left), dtype=np.uint8, transform=place)
            labels[box][inside > 0] = k + 1
            times[box] += inside
    return np.asarray(np.where(times == 1, labels, 0), np.int32)


def _looks_around(shapes: Geometries, window: Window) -> Ints:
    """(n, 4) left, top, right, bottom, in looks of the window, of what holds all centres that a polygon may hold."""
    bounds = np.nan_to_num(shapely.bounds(shapes)) - np.array([window.col, window.row, window.col, window.row])
    low, high = np.floor(bounds[:, :2]), np.ceil(bounds[:, 2:])
    limit = np.array([window.cols, window.rows])
    return np.asarray(np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], axis=1), np.int64)


def covered(shapes: Geometries, window: Window) -> npt.NDArray[np.bool_]:
    """(rows, cols) looks of a window that polygons in looks of the image touch."""
    if not len(shapes):
        return np.zeros((window.rows, window.cols), bool)
    shifted = shapely.transform(shapes, lambda points: points - np.array([window.col, window.row]))
    return np.asarray(rasterize(((one, 1) for one in shifted), out_shape=(window.rows, window.cols), dtype=np.uint8, all_touched=True)) > 0


def _cut(scene: SarScene, places: Places, polar_crs: str, options: PatchOptions) -> Patches:
    """The patches of some places that are valid all over: not in the border, in no polarisation."""
    size = options.size
    top, left = int(places.rows.min()), int(places.cols.min())
    window = Window(top, left, int(places.rows.max()) + size - top, int(places.cols.max()) + size - left)
    looks = scene.looks(window, options.looks)
    valid = np.logical_and.reduce(list(looks.valid.values()))
    whole = _squares(valid, places, window, size).all(axis=(1, 2))
    kept = Places(places.rows[whole], places.cols[whole], places.label[whole], places.purity[whole])
    x, y = centres_on_ground(scene.geometry, (kept.rows, kept.cols), (size, options.looks), polar_crs)
    sigma = np.stack([_squares(power, kept, window, size) for power in looks.power.values()], axis=1)
    angles = _squares(looks.incidence, kept, window, size)
    read = window.rows * window.cols * options.looks**2 * len(looks.power)
    return Patches(kept.rows, kept.cols, kept.label, kept.purity, x, y, tuple(looks.power), sigma, angles, read)


def centres_on_ground(
    geometry: SceneGeometry, corners: tuple[Ints, Ints], square: tuple[int, int], polar_crs: str
) -> tuple[Floats, Floats]:
    """X and y (n,) in a polar CRS of the centres of squares, at sea level.

    Args:
        geometry: Of the scene.
        corners: First rows and columns, in looks.
        square: Looks of a side, and pixels of a look's side.
        polar_crs: Projected.
    """
    size, looks = square
    line, sample = ((one + (size - 1) / 2 + 0.5) * looks - 0.5 for one in corners)
    longitude, latitude = geometry.to_ground(line, sample, _SEA_M)
    x, y = accurate_transformer("EPSG:4326", polar_crs).transform(longitude, latitude)
    return np.asarray(x), np.asarray(y)


def _squares(values: npt.NDArray[Any], places: Places, window: Window, size: int) -> npt.NDArray[Any]:
    """(n, size, size) squares of values of a window."""
    return squares_of(values, places.rows - window.row, places.cols - window.col, size)


def thin_out(label: Ints, rows: Ints, cols: Ints, most: int) -> npt.NDArray[np.bool_]:
    """Which patches stay where a polygon has more than `most`: those with the least hashes of their places; 0 is no limit."""
    if most == 0 or not len(label):
        return np.ones(len(label), bool)
    keys = hash_uint64(rows, cols)
    order = np.lexsort((keys, label))
    starts = np.r_[0, np.flatnonzero(np.diff(label[order])) + 1]
    rank = np.arange(len(label)) - np.repeat(starts, np.diff(np.r_[starts, len(label)]))
    kept = np.zeros(len(label), bool)
    kept[order[rank < most]] = True
    return kept
