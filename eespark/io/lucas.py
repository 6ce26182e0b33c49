"""LUCAS 2018 micro-data (CSV of 97 columns) as label records, with the reason why a point may not be used.

Codes: LUCAS 2018 Technical reference document C1, instructions for surveyors (Eurostat), and the record descriptor of the
harmonised LUCAS data base (d'Andrimont et al. 2020, 10.1038/s41597-020-00675-z).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from itertools import islice
from typing import Any, Final, Literal

import shapely
from pydantic import Field

from eespark.errors import FormatError, MissingError
from eespark.io.storage import open_filesystem
from eespark.io.vectors import SourceRecord
from eespark.settings import Settings, Url

MISSING: Final[Mapping[str, str]] = {
    "GPS_PROJ": "8",
    "GPS_PREC": "8888",
    "GPS_LAT": "88.888888",
    "GPS_LONG": "88.888888",
    "GPS_EW": "8",
    "OBS_DIST": "8888",
    "OBS_DIRECT": "8",
    "OBS_TYPE": "8",
    "LC1": "8",
    "PARCEL_AREA_HA": "8",
}
"""The code for "not relevant" by column: 8 is missing in one column and a precision of 8 m in another."""

_NEEDED: Final = ("POINT_ID", "TH_LAT", "TH_LONG", "SURVEY_DATE", *MISSING)
_IN_THE_FIELD: Final = {"1", "2"}  # seen from up to 100 m, and from farther; 3 and above are photo-interpreted or not seen
_ON_THE_POINT, _NORTH, _EAST = "1", "2", "3"
_WEST_OF_GREENWICH: Final = "2"
_PARCEL_CODES: Final = {"1": 0.0, "2": 0.5, "3": 1.0, "4": 10.0}  # code -> lower bound of the class, ha
_METRES_A_DEGREE: Final = 111_195.0  # of a meridian, on the sphere of 6,371 km: good to 0.6 %, 2 cm of a move of 3 m


class LucasSettings(Settings):
    """Where the LUCAS micro-data lie, and which points are good enough for a 10 m pixel."""

    name: str = Field("lucas_2018", min_length=1, description="name of the source in tables")
    url: Url
    year: int = Field(2018, ge=2006, le=2100, description="year of the survey")
    codes: str = Field("lucas", description="code list of eespark/legends")
    position: Literal["gps", "theoretical"] = Field(
        "gps", description="gps: where the observer stood, moved by look_m; theoretical: the point of the survey's grid"
    )
    max_precision_m: float = Field(10.0, gt=0, description="m; largest GPS_PREC, the receiver's own stated error")
    max_distance_m: float = Field(
        10.0, ge=0, description="m; largest OBS_DIST between observer and point with position gps: farther off he stood on other land"
    )
    min_parcel_ha: float = Field(0.5, ge=0, description="ha; least lower bound of the parcel's size class: 0, 0.5, 1 or 10")
    look_m: float = Field(
        3.0, ge=0, description="m; how far to move where the observer looked north or east: the rule is for lines less than 3 m wide"
    )
    weight: str | None = Field(None, description="column of the survey weight; default 1 for every point")
    attributes: tuple[str, ...] = Field(("NUTS0", "LC1_PERC", "LU1", "OBS_TYPE", "OBS_DIST"), description="columns kept as attributes")
    delimiter: str = Field(",", min_length=1, max_length=1, description="between the columns")


def count_points(source: LucasSettings) -> int:
    """Number of points of the file.

    Raises:
        MissingError: No file, or a column is absent (those that exist are listed).
        FormatError: Not CSV in UTF-8.
    """
    return sum(1 for _ in _rows(source))


def read_points(source: LucasSettings, first: int, count: int) -> Iterator[SourceRecord]:
    """Points `first` to `first + count - 1` in the order of the file, as WKB points in EPSG:4326 (longitude, latitude).

    Args:
        source: The source.
        first: From 0.
        count: How many; fewer come at the end.

    Raises:
        MissingError: No file, or a column is absent (those that exist are listed).
        FormatError: Not CSV in UTF-8, or a number that is none.
    """
    for row in islice(_rows(source), first, first + count):
        yield point_record(row, source)


def point_record(row: Mapping[str, str], source: LucasSettings) -> SourceRecord:
    """One row of the file as a record; with a reason where it may not be used.

    The reason is `not_observed` where nobody was in the field or no cover was recorded, `imprecise` where the position may be
    that of other land. The land cover is that of the survey's point, and the GPS gives the place of the observer: with
    position gps he must have stood on the point, within `max_distance_m`.

    Args:
        row: Column -> text as in the file.
        source: The source.

    Raises:
        FormatError: A number or date that is none.
    """
    values = {name: None if row[name].strip() in ("", code) else row[name].strip() for name, code in MISSING.items()}
    place = _position(row, values, source)
    observed = values["OBS_TYPE"] in _IN_THE_FIELD and values["LC1"] is not None
    reason = "not_observed" if not observed else "imprecise" if place is None or not _precise(row, values, source) else None
    if place is None:
        place = _number(row, "TH_LONG"), _number(row, "TH_LAT")
    return SourceRecord(
        row["POINT_ID"].strip(),
        values["LC1"],
        None,
        {name: row[name].strip() for name in source.attributes if row[name].strip()},
        bytes(shapely.to_wkb(shapely.Point(place))),
        "EPSG:4326",
        reason,
        1.0 if source.weight is None else _number(row, source.weight),
        _date(row),
    )


def _position(row: Mapping[str, str], values: Mapping[str, str | None], source: LucasSettings) -> tuple[float, float] | None:
    """Longitude and latitude of the observed land, degrees; None where the GPS gave none."""
    if source.position == "theoretical":
        lon, lat = _number(row, "TH_LONG"), _number(row, "TH_LAT")
    elif any(values[name] is None for name in ("GPS_PROJ", "GPS_LAT", "GPS_LONG")) or values["GPS_PROJ"] != "1":
        return None
    else:
        lon, lat = _number(row, "GPS_LONG"), _number(row, "GPS_LAT")
        if values["GPS_EW"] == _WEST_OF_GREENWICH:
            lon = -abs(lon)  # the file gives longitudes without sign and the hemisphere beside
    if values["OBS_DIRECT"] == _NORTH:
        lat += source.look_m / _METRES_A_DEGREE
    elif values["OBS_DIRECT"] == _EAST:
        lon += source.look_m / (_METRES_A_DEGREE * math.cos(math.radians(lat)))
    return lon, lat


def _precise(row: Mapping[str, str], values: Mapping[str, str | None], source: LucasSettings) -> bool:
    if values["OBS_DIRECT"] not in (_ON_THE_POINT, _NORTH, _EAST):
        return False
    area = _PARCEL_CODES.get(values["PARCEL_AREA_HA"] or "")
    if source.min_parcel_ha > 0 and (area is None or area < source.min_parcel_ha):
        return False
    if source.position == "theoretical":
        return True
    limits = (("GPS_PREC", source.max_precision_m), ("OBS_DIST", source.max_distance_m))
    return all(values[name] is not None and _number(row, name) <= limit for name, limit in limits)


def _rows(source: LucasSettings) -> Iterator[dict[str, str]]:
    filesystem, path = open_filesystem(source.url)
    if not filesystem.exists(path):
        raise MissingError(f"needed the LUCAS micro-data {source.url}, found nothing there")
    needed = (*_NEEDED, *source.attributes, *(() if source.weight is None else (source.weight,)))
    with filesystem.open(path, "rb") as stream:
        reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""), delimiter=source.delimiter)
        try:
            existing = list(reader.fieldnames or ())
            absent = [name for name in dict.fromkeys(needed) if name not in existing]
            if absent:
                found = ", ".join(existing) or "none"
                raise MissingError(f"{source.url}: needed the columns {', '.join(absent)}, found {found}; is it the 2018 micro-data?")
            for row in reader:
                _check_length(row, reader.line_num, source.url)
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise FormatError(f"{source.url}: needed CSV in UTF-8, found another file: {error}") from error


def _check_length(row: Mapping[Any, Any], line: int, url: str) -> None:
    if None in row or None in row.values():
        raise FormatError(f"{url}: needed as many columns as the header in line {line}, found more or fewer; fetch the file again")


def _number(row: Mapping[str, str], name: str) -> float:
    try:
        return float(row[name])
    except ValueError as error:
        raise FormatError(f"point {row['POINT_ID']}: needed a number in {name}, found {row[name]!r}") from error


def _date(row: Mapping[str, str]) -> date | None:
    text = row["SURVEY_DATE"].strip()
    if not text:
        return None
    for pattern in ("%d/%m/%y", "%d/%m/%Y"):
        try:
            return datetime.strptime(text, pattern).date()
        except ValueError:
            continue
    raise FormatError(f"point {row['POINT_ID']}: needed a date dd/mm/yy in SURVEY_DATE, found {text!r}")
