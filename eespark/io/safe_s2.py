"""Sentinel-2 products in the agency's SAFE format, L1C and L2A, folder or zip: metadata and where the bands lie.

Source: Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), file trees of baselines 02.04 to 05.xx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.etree.ElementTree import Element

from shapely import Polygon, to_wkb
from shapely.errors import ShapelyError

from eespark.bands import BANDS, INSTRUMENT_BANDS
from eespark.errors import FormatError, MissingError
from eespark.io.safe_xml import find_text, number, parse_member, utc_time

_NAME: Final = re.compile(
    r"^(?P<mission>S2[A-D])_MSI(?P<level>L1C|L2A)_(?P<start>\d{8}T\d{6})_(?:N(?P<baseline>\d{4})_)?R(?P<orbit>\d{3})_T(?P<tile>[0-9A-Z]{5})_(?P<made>\d{8}T\d{6})$"
)
_BAND_FILE: Final = re.compile(r"(?:^|/)(?:[A-Z0-9]+_)?T?\w*?_(B\d\d|B8A|SCL)(?:_(\d\d)m)?\.(?:jp2|tif)$")
# The folder's name is part of a chained address for masks in zips, so it may hold nothing that an address could be made of.
_CLOUD_FILE: Final = re.compile(
    r"^GRANULE/[\w.-]+/QI_DATA/(?:MSK_CLASSI_B00\.jp2|MSK_CLOUDS_B00\.gml|\w+_MSK_CLOUDS_\w+_B00_MSIL1C\.gml)$", re.ASCII
)


@dataclass(frozen=True)
class Metadata:
    """What a product's XML says, with units as in `eespark.schema.PRODUCTS`."""

    mission: str
    level: str
    tile: str
    sensing_time: datetime
    relative_orbit: int
    baseline: str
    datastrip: str
    footprint: bytes
    crs: str
    offsets: dict[str, float]
    scale: float
    cloud_share: float | None


@dataclass(frozen=True)
class SafeName:
    """The parts of a SAFE product's name (compact naming, since December 2016)."""

    mission: str
    level: str
    tile: str


def is_product_name(name: str) -> bool:
    """Whether it is the compact name of a Sentinel-2 product, without .SAFE."""
    return _NAME.match(name) is not None


def parse_name(product_id: str) -> SafeName:
    """Mission, level and tile of a product by its name.

    Raises:
        FormatError: Not a compact Sentinel-2 name, e.g. a product of before December 2016 that holds many tiles.
    """
    match = _NAME.match(product_id)
    if match is None:
        raise FormatError(
            f"{product_id}: needed a name as S2A_MSIL2A_<start>_N<baseline>_R<orbit>_T<tile>_<made>; "
            "products of before December 2016 hold many tiles: convert them first"
        )
    return SafeName(match["mission"], match["level"], match["tile"])


def band_files(names: list[str], level: str) -> dict[str, str]:
    """Path of each of the nine bands (and SCL of L2A), at its finest resolution.

    Args:
        names: Paths in the product, below its .SAFE folder.
        level: L1C or L2A.

    Raises:
        MissingError: A band has no file.
    """
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        match = _BAND_FILE.search(name)
        if match is None or "IMG_DATA/" not in name:
            continue
        metres = int(match[2] or 0)
        if match[1] not in best or metres < best[match[1]][0]:
            best[match[1]] = (metres, name)
    wanted = BANDS if level == "L1C" else (*BANDS, "SCL")
    absent = [band for band in wanted if band not in best]
    if absent:
        raise MissingError(f"needed the bands {' '.join(wanted)}, found no file of {' '.join(absent)}; fetch the product again")
    return {band: best[band][1] for band in wanted}


def cloud_mask_file(names: Iterable[str]) -> str | None:
    """Path of the cloud mask of an L1C product, None where it has none: a raster from baseline 04.00 on, polygons before.

    Args:
        names: Paths in the product, below its .SAFE folder.
    """
    found = [name for name in names if _CLOUD_FILE.match(name)]
    return min(found, key=lambda name: (name.endswith(".gml"), name), default=None)


def read_metadata(product_id: str, names: list[str], read: Callable[[str], bytes]) -> Metadata:
    """Metadata of the product and of its one granule.

    Args:
        product_id: Name without .SAFE.
        names: Paths below the .SAFE folder.
        read: Gives the bytes of one of them.

    Raises:
        MissingError: A metadata file or an entry of it is absent.
        FormatError: Not XML, XML that attacks its reader, an entry that is no such number, time or place, or more than one granule.
    """
    name = parse_name(product_id)
    product = parse_member(f"MTD_MSI{name.level}.xml", names, read)
    granules = [n for n in names if re.search(r"(^|/)GRANULE/[^/]+/MTD_TL\.xml$", n)]
    if len(granules) > 1:
        raise FormatError(f"{product_id}: needed one granule, found {len(granules)}; split the product by tile first")
    tile = parse_member("MTD_TL.xml", granules, read)
    cloud = find_text(product, "Cloud_Coverage_Assessment", product_id, required=False)
    quantification = "QUANTIFICATION_VALUE" if name.level == "L1C" else "BOA_QUANTIFICATION_VALUE"
    return Metadata(
        mission=name.mission,
        level=name.level,
        tile=name.tile,
        sensing_time=utc_time(find_text(tile, "SENSING_TIME", product_id), "SENSING_TIME", product_id),
        relative_orbit=int(number(find_text(product, "SENSING_ORBIT_NUMBER", product_id), "SENSING_ORBIT_NUMBER", product_id)),
        baseline=find_text(product, "PROCESSING_BASELINE", product_id),
        datastrip=find_text(tile, "DATASTRIP_ID", product_id),
        footprint=_footprint(find_text(product, "EXT_POS_LIST", product_id), product_id),
        crs=_crs(find_text(tile, "HORIZONTAL_CS_CODE", product_id), product_id),
        offsets=_offsets(product, name.level, product_id),
        scale=_scale(find_text(product, quantification, product_id), quantification, product_id),
        cloud_share=number(cloud, "Cloud_Coverage_Assessment", product_id) / 100.0 if cloud else None,
    )


def _offsets(product: Element, level: str, product_id: str) -> dict[str, float]:
    # Absent before baseline 04.00: reflectance then is DN / quantification.
    tag = "BOA_ADD_OFFSET" if level == "L2A" else "RADIO_ADD_OFFSET"
    found = {}
    for element in product.iter(tag):
        index = element.get("band_id", "")
        if not index.isdecimal() or int(index) >= len(INSTRUMENT_BANDS):
            raise FormatError(f"{product_id}: needed band_id 0..12 in <{tag}>, found {element.get('band_id')!r}")
        found[INSTRUMENT_BANDS[int(index)]] = number(element.text or "", tag, product_id)
    if found and not set(BANDS) <= found.keys():
        raise MissingError(f"{product_id}: needed <{tag}> of all bands or of none, found {sorted(found)}")
    return {band: found.get(band, 0.0) for band in BANDS}


def _footprint(text: str, product_id: str) -> bytes:
    numbers = [number(part, "EXT_POS_LIST", product_id) for part in text.split()]
    if len(numbers) < 8 or len(numbers) % 2:
        raise FormatError(f"{product_id}: needed pairs of latitude and longitude in EXT_POS_LIST, found {len(numbers)} numbers")
    try:
        return bytes(to_wkb(Polygon(list(zip(numbers[1::2], numbers[0::2], strict=True)))))
    except (ShapelyError, ValueError) as error:
        raise FormatError(f"{product_id}: needed an outline in EXT_POS_LIST, found none: {error}") from error


def _scale(text: str, tag: str, product_id: str) -> float:
    value = number(text, tag, product_id)
    if value <= 0:
        raise FormatError(f"{product_id}: needed a positive <{tag}>, found {text}; fetch the product again")
    return value


def _crs(text: str, product_id: str) -> str:
    if not re.fullmatch(r"EPSG:\d{4,6}", text):
        raise FormatError(f"{product_id}: needed EPSG:n in <HORIZONTAL_CS_CODE>, found {text!r}; fetch the product again")
    return text
