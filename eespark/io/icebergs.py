"""Icebergs of a scene: those that analysts drew, as points or outlines, and those that stand out in HV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from eespark.errors import FormatError
from eespark.geometry import Geometries, accurate_transformer
from eespark.io.patches import covered, place_in_image
from eespark.io.sar_scene import SarScene
from eespark.io.vectors import SourceSettings, count_features, read_chunk
from eespark.kernels.cfar import CfarOptions, Targets, find_targets
from eespark.kernels.sar_tables import Window
from eespark.polar_geometry import to_polar

_SEA_M: Final = 0.0
_AT_ONCE: Final = 50_000


@dataclass(frozen=True)
class Bergs:
    """Icebergs of a scene in a polar CRS.

    Attributes:
        shapes: (n,) points or outlines.
        x: (n,) metres; centres.
        y: (n,) metres.
        area_m2: (n,) NaN where unknown.
        contrast_db: (n,) NaN where drawn.
    """

    shapes: Geometries
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    area_m2: npt.NDArray[np.float64]
    contrast_db: npt.NDArray[np.float64]


def read_drawn(url: str, crs: str | None, polar_crs: str, scratch: str) -> Bergs:
    """The icebergs of a vector file.

    Args:
        url: Of the file.
        crs: Used only where the file states none.
        polar_crs: To bring them to.
        scratch: Local folder for what is fetched and unpacked.

    Raises:
        MissingError: No such file.
        FormatError: No vector file, or one without a CRS.
    """
    settings = SourceSettings(name="icebergs", url=url, crs=crs, year=2000, codes="none")
    shapes: list[Any] = []
    for first in range(0, count_features(settings, scratch), _AT_ONCE):
        for record in read_chunk(settings, first, _AT_ONCE, scratch):
            if record.geometry is None:
                continue
            if record.crs is None:
                raise FormatError(f"{url}: needed a CRS, found none; set crs of the source")
            shapes += list(to_polar([shapely.from_wkb(record.geometry)], record.crs, polar_crs))
    kept = np.empty(len(shapes), dtype=object)
    kept[:] = shapes
    centres, area = shapely.centroid(kept), shapely.area(kept)
    return Bergs(kept, shapely.get_x(centres), shapely.get_y(centres), np.where(area > 0, area, np.nan), np.full(len(kept), np.nan))


def detect(scene: SarScene, band: str, land: Geometries, polar_crs: str, options: CfarOptions, strip: int = 1_024) -> Bergs:
    """Icebergs that stand out in a band of an open scene; read strip by strip.

    Args:
        scene: Open.
        band: Polarisation; HV, in which ice is dark and icebergs are bright.
        land: Polygons in `polar_crs` where none is looked for.
        polar_crs: Projected.
        options: Of the detector.
        strip: Lines that are kept of each reading.

    Raises:
        MissingError: The scene has no such polarisation.
        FormatError: The raster cannot be decoded.
    """
    coast = place_in_image(scene.geometry, land, polar_crs, 1)
    parts = list(_strips(scene, band, coast, options, strip))
    rows, cols, pixels, contrast = (np.concatenate([getattr(one, name) for one in parts]) for name in Targets.__dataclass_fields__)
    longitude, latitude = scene.geometry.to_ground(rows, cols, _SEA_M)
    x, y = (np.asarray(one) for one in accurate_transformer("EPSG:4326", polar_crs).transform(longitude, latitude))
    pixel_m2 = scene.geometry.sample_spacing_m**2
    return Bergs(np.asarray(shapely.points(x, y), dtype=object), x, y, pixels * pixel_m2, contrast)


def _strips(scene: SarScene, band: str, coast: Geometries, options: CfarOptions, strip: int) -> Iterator[Targets]:
    """Targets whose centre lies in each strip; around it as much is read as a ring needs."""
    lines, samples = scene.shape
    for first in range(0, lines, strip):
        last = min(first + strip, lines)
        top, bottom = max(first - 2 * options.ring, 0), min(last + 2 * options.ring, lines)
        window = Window(top, 0, bottom - top, samples)
        power, valid = scene.sigma(band, window)
        found = find_targets(power, valid & ~covered(coast, window), options)
        own = (found.rows + top >= first) & (found.rows + top < last)
        yield Targets(found.rows[own] + top, found.cols[own], found.pixels[own], found.contrast_db[own])


def some_of(bergs: Bergs, keep: Sequence[bool] | npt.NDArray[np.bool_]) -> Bergs:
    """Some of the icebergs."""
    return Bergs(*(getattr(bergs, name)[np.asarray(keep, bool)] for name in Bergs.__dataclass_fields__))
