"""Classes of the square tiles of scenes, as semantic labelling by patches gives them: CSV files with scene, row, column and class."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import shapely

from eespark.errors import EESparkError, FormatError, MissingError
from eespark.geometry import accurate_transformer
from eespark.ice_legend import load_ice_legend, place_class
from eespark.io.ice_labels import IceSource, base_row
from eespark.io.members import Candidate
from eespark.io.sar_scene import read_scene_geometry
from eespark.io.storage import read_bytes
from eespark.sar_geometry import SceneGeometry

_NUMBERS: Final = ("row", "col")
# Edges of tiles are straight in the image and bend on the ground: they are followed by points this many pixels apart.
_STEP_PX: Final = 64
_SEA_M: Final = 0.0


def read_grid_file(source: IceSource, url: str, polar_crs: str, scenes: Mapping[str, Candidate]) -> Iterator[dict[str, Any]]:
    """The tiles of a file as columns of `ice_labels`; their outlines follow from the scenes' geometry, at sea level.

    Tiles have `grid_px` pixels a side and are counted from 0; a tile of a scene that is not among `scenes` has the reason `no_scene`, one
    whose scene cannot be read, or that lies outside of it, the reason `invalid`.

    Args:
        source: Whose file it is.
        url: Of the file.
        polar_crs: CRS to bring the tiles to.
        scenes: Product -> where it is.

    Raises:
        MissingError: A column that must be there is not.
        FormatError: No text, or a number that is none.
    """
    legend, file = load_ice_legend(source.legend), posixpath.basename(url)
    known: dict[str, SceneGeometry | None] = {}
    for number, (scene, row, col, code) in enumerate(_lines(source, url)):
        if scene in scenes and scene not in known:
            known[scene] = _geometry(scenes[scene])
        placed = place_class(code, legend)
        told = base_row(source, f"{file}:{number}", legend) | {"scene": scene, "observed": None, "crs": polar_crs, "geometry": None}
        told |= {"class_id": placed.class_id, "second_class_id": None, "share": None, "concentration": None, "area_m2": None}
        reason, geometry = placed.reason, known.get(scene)
        if geometry is None:
            reason = "no_scene" if scene not in scenes else "invalid"
        elif min(row, col) < 0 or (row + 1) * source.grid_px > geometry.shape[0] or (col + 1) * source.grid_px > geometry.shape[1]:
            reason = "invalid"
        else:
            outline = _outline(geometry, row, col, source.grid_px, polar_crs)
            told |= {"geometry": bytes(shapely.to_wkb(outline)), "area_m2": float(outline.area)}
        yield {**told, "reason": reason}


def _geometry(candidate: Candidate) -> SceneGeometry | None:
    try:
        return read_scene_geometry(candidate)
    except (EESparkError, OSError):
        return None


def _lines(source: IceSource, url: str) -> Iterator[tuple[str, int, int, str]]:
    try:
        reader = csv.DictReader(io.StringIO(read_bytes(url).decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise FormatError(f"{url}: needed text in UTF-8, found something else ({error})") from error
    names = {name.strip().lower(): name for name in reader.fieldnames or []}
    wanted = (source.scene_column or "scene", *_NUMBERS, source.class_column)
    absent = [name for name in wanted if name.lower() not in names]
    if absent:
        raise MissingError(f"{url}: needed the columns {', '.join(wanted)}, found {', '.join(names) or 'none'}; correct {source.name!r}")
    scene, row, col, code = (names[name.lower()] for name in wanted)
    for number, line in enumerate(reader, start=2):
        try:
            place = int(line[row]), int(line[col])
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"{url}, line {number}: needed whole numbers in row and col, found {line[row]!r} and {line[col]!r}"
            ) from error
        yield str(line[scene]).strip().removesuffix(".zip").removesuffix(".SAFE"), *place, str(line[code]).strip()


def _outline(geometry: SceneGeometry, row: int, col: int, side: int, polar_crs: str) -> shapely.Polygon:
    square = shapely.segmentize(shapely.box(col * side, row * side, (col + 1) * side, (row + 1) * side), _STEP_PX)
    edges = shapely.get_coordinates(square) - 0.5
    longitude, latitude = geometry.to_ground(edges[:, 1], edges[:, 0], _SEA_M)
    x, y = accurate_transformer("EPSG:4326", polar_crs).transform(longitude, latitude)
    return shapely.Polygon(np.stack([x, y], axis=-1))
