"""Sentinel-1 GRD products in the agency's SAFE format, EW and IW: names, files, and what the catalog keeps of them.

Two layouts: the agency's own names, and the short ones of the cloud copies (`annotation/ew-hh.xml`), whose `productInfo.json` tells both.
Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element

import numpy as np
from shapely import Polygon, to_wkb

from eespark.errors import FormatError, MissingError
from eespark.io.s1_annotation import read_geometry
from eespark.io.safe_xml import find_text, number, parse_member, parse_xml
from eespark.sar_geometry import SceneGeometry

POLARISATIONS: Final[dict[str, tuple[str, ...]]] = {"SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH")}
ROLES: Final = ("annotation", "calibration", "noise", "measurement")
_NAME: Final = re.compile(
    r"^(?P<mission>S1[A-D])_(?P<mode>EW|IW)_GRD(?P<resolution>[FHM])_1S(?P<polarisation>SH|SV|DH|DV)_(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})"
    r"_(?P<orbit>\d{6})_(?P<datatake>[0-9A-F]{6})_(?P<unique>[0-9A-F]{4})(?:_COG)?$"
)
_CORE: Final = r"(?:s1[a-d]-(?:ew|iw)-grd|ew|iw)-(?P<band>hh|hv|vv|vh)(?:-[\w-]*)?"
_FILES: Final = {
    "annotation": re.compile(rf"^annotation/{_CORE}\.xml$"),
    "calibration": re.compile(rf"^annotation/calibration/calibration-{_CORE}\.xml$"),
    "noise": re.compile(rf"^annotation/calibration/noise-{_CORE}\.xml$"),
    "measurement": re.compile(rf"^measurement/{_CORE}\.tiff?$"),
}


@dataclass(frozen=True)
class SceneName:
    """The parts of a product's name."""

    mission: str
    mode: str
    bands: tuple[str, ...]
    start: datetime
    stop: datetime
    datatake: str


@dataclass(frozen=True)
class BandFiles:
    """Paths of one polarisation below the product's folder."""

    annotation: str
    calibration: str
    noise: str
    measurement: str


@dataclass(frozen=True)
class SceneMetadata:
    """What the manifest and the annotation of the first band say, with units as in `eespark.schema.PRODUCTS`."""

    mission: str
    level: str
    sensing_time: datetime
    relative_orbit: int
    baseline: str
    datastrip: str
    footprint: bytes
    shape: tuple[int, int]


def is_scene_name(name: str) -> bool:
    """Whether it is the name of a GRD product of EW or IW, without .SAFE."""
    return _NAME.match(name) is not None


def parse_scene_name(product_id: str) -> SceneName:
    """The parts of a product's name.

    Raises:
        FormatError: It is no GRD product of EW or IW.
    """
    match = _NAME.match(product_id)
    if match is None:
        raise FormatError(f"{product_id}: needed the name of a GRD product of EW or IW, as S1A_EW_GRDM_1SDH_<start>_<stop>_...")
    start, stop = (datetime.strptime(match[key], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for key in ("start", "stop"))
    return SceneName(match["mission"], match["mode"], POLARISATIONS[match["polarisation"]], start, stop, match["datatake"])


def scene_files(product_id: str, names: Iterable[str]) -> dict[str, BandFiles]:
    """Polarisation -> its files, in the order of the product's name.

    Args:
        product_id: Name without .SAFE.
        names: Paths below the product's folder.

    Raises:
        MissingError: A polarisation of the name has no measurement, annotation, calibration or noise.
    """
    found: dict[str, dict[str, str]] = {}
    for name in sorted(names):
        for role, pattern in _FILES.items():
            match = pattern.match(name)
            if match is not None:
                found.setdefault(match["band"].upper(), {}).setdefault(role, name)
    bands = parse_scene_name(product_id).bands
    absent = [f"{role} of {band}" for band in bands for role in ROLES if role not in found.get(band, {})]
    if absent:
        told = f"needed {', '.join(ROLES)} of {' and '.join(bands)}, found no {', '.join(absent)}"
        raise MissingError(f"{product_id}: {told}; fetch the product again")
    return {band: BandFiles(**found[band]) for band in bands}


def agency_names(names: list[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Path in the product -> path that the manifest gives it: other ones in the cloud layout, whose `productInfo.json` tells them.

    Raises:
        FormatError: That file is no such table.
    """
    info = next((name for name in names if name == "productInfo.json"), None)
    if info is None:
        return {name: name for name in names}
    try:
        told = json.loads(read(info))["filenameMap"]
        renamed = {str(short): str(long) for long, short in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{info}: needed filenameMap, agency's names -> names here, found {type(error).__name__}: {error}") from error
    return {name: renamed.get(name, name) for name in names}


def read_scene_metadata(product_id: str, names: list[str], read: Callable[[str], bytes]) -> SceneMetadata:
    """What the catalog keeps of a scene.

    Args:
        product_id: Name without .SAFE.
        names: Paths below the product's folder.
        read: Gives the bytes of one of them.

    Raises:
        MissingError: A file or an entry is absent.
        FormatError: It is not what it should be.
    """
    name = parse_scene_name(product_id)
    manifest = parse_member("manifest.safe", names, read)
    first = next(iter(scene_files(product_id, names).values()))
    geometry = read_geometry(parse_xml(read(first.annotation), first.annotation), product_id)
    return SceneMetadata(
        mission=name.mission,
        level="GRD",
        sensing_time=name.start,
        relative_orbit=int(number(find_text(manifest, "relativeOrbitNumber", product_id), "relativeOrbitNumber", product_id)),
        baseline=processor_version(manifest, product_id),
        datastrip=name.datatake,
        footprint=outline(geometry),
        shape=geometry.shape,
    )


def processor_version(manifest: Element, product_id: str) -> str:
    """Version of the processor (IPF) as 03.52.

    Raises:
        MissingError: The manifest does not tell it.
    """
    for element in manifest.iter():
        if element.tag.rsplit("}", 1)[-1] == "software" and element.get("name") == "Sentinel-1 IPF":
            major, minor = divmod(round(100 * number(element.get("version", ""), "software version", product_id)), 100)
            return f"{major:02d}.{minor:02d}"
    raise MissingError(f"{product_id}: needed the version of the Sentinel-1 IPF in manifest.safe, found none; fetch the product again")


def outline(geometry: SceneGeometry, steps: int = 8) -> bytes:
    """Outline of the scene as WKB, EPSG:4326, with `steps` points a side: between the corners its sides bend by tens of kilometres.

    Longitudes go on beyond 180 where the scene crosses the antimeridian, so that the outline stays one ring.
    """
    lines, samples = geometry.shape[0] - 1, geometry.shape[1] - 1
    along = np.linspace(0, 1, steps, endpoint=False)
    zero, one = np.zeros(steps), np.ones(steps)
    rows = lines * np.concatenate([zero, along, one, 1 - along])
    cols = samples * np.concatenate([along, one, 1 - along, zero])
    longitude, latitude = geometry.to_ground(rows, cols)
    return bytes(to_wkb(Polygon(list(zip(np.unwrap(longitude, period=360), latitude, strict=True)))))
