"""What the schemas of STAC extensions ask of an item, in our own words: the schemas themselves lie on the network.

Read from the published schemas of eo 1.1.0, projection 2.0.0, mgrs 1.0.0, raster 1.1.0, sat 1.0.0, sar 1.0.0, processing 1.1.0 and
sentinel-2 1.0.0, against which the items of this project were validated when these rules were written. Only fields that we use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Rule = Callable[[Any], bool]


def is_number(value: Any, least: float = float("-inf"), most: float = float("inf")) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_integer(value: Any, least: int | None = None) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (least is None or value >= least)


def is_list(value: Any, lengths: tuple[int, ...], each: Rule) -> bool:
    return isinstance(value, list) and len(value) in lengths and all(each(one) for one in value)


def are_bands(value: Any, fields: dict[str, Rule]) -> bool:
    """A list of one band or more, each with one field or more, those that are known of their type."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(band, dict) and band and all(fields.get(k, lambda _: True)(v) for k, v in band.items()) for band in value)
    )


# Of eo 1.1.0.
COMMON_NAMES = {
    "coastal", "blue", "green", "red", "rededge", "yellow", "pan", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11",
    "lwir12",
}  # fmt: skip
EO_BAND: dict[str, Rule] = {
    "name": lambda v: isinstance(v, str),
    "common_name": lambda v: v in COMMON_NAMES,
    "center_wavelength": is_number,
}
RASTER_BAND: dict[str, Rule] = {"nodata": lambda v: is_number(v) or v in ("nan", "inf", "-inf"), "scale": is_number, "offset": is_number}

# Prefix -> (name and version of the extension, every field that we may use with its rule).
EXTENSIONS: dict[str, tuple[str, dict[str, Rule]]] = {
    "eo": ("eo/v1.1.0", {"eo:cloud_cover": lambda v: is_number(v, 0, 100), "eo:bands": lambda v: are_bands(v, EO_BAND)}),
    "proj": (
        "projection/v2.0.0",
        {
            "proj:code": lambda v: v is None or isinstance(v, str),
            "proj:shape": lambda v: is_list(v, (2,), is_integer),
            "proj:transform": lambda v: is_list(v, (6, 9), is_number),
        },
    ),
    "mgrs": (
        "mgrs/v1.0.0",
        {
            "mgrs:utm_zone": is_integer,
            "mgrs:latitude_band": lambda v: isinstance(v, str),
            "mgrs:grid_square": lambda v: isinstance(v, str),
        },
    ),
    "raster": ("raster/v1.1.0", {"raster:bands": lambda v: are_bands(v, RASTER_BAND)}),
    "sat": ("sat/v1.0.0", {"sat:relative_orbit": lambda v: is_integer(v, 1)}),
    "processing": (
        "processing/v1.1.0",
        {
            "processing:level": lambda v: isinstance(v, str),
            "processing:software": lambda v: isinstance(v, dict) and all(isinstance(one, str) for one in v.values()),
        },
    ),
    "sar": (
        "sar/v1.0.0",
        {
            "sar:instrument_mode": lambda v: isinstance(v, str),
            "sar:frequency_band": lambda v: v in ("P", "L", "S", "C", "X", "Ku", "K", "Ka"),
            "sar:center_frequency": is_number,
            "sar:polarizations": lambda v: is_list(v, (1, 2, 3, 4), lambda one: one in ("HH", "VV", "HV", "VH")) and len(set(v)) == len(v),
            "sar:product_type": lambda v: isinstance(v, str),
        },
    ),
    "s2": (
        "sentinel-2/v1.0.0",
        {
            "s2:processing_baseline": lambda v: isinstance(v, str) and re.search(r"^\d\d\.\d\d$", v) is not None,
            "s2:datastrip_id": lambda v: isinstance(v, str),
        },
    ),
}
# Fields that an item must have in its properties once it names the extension: all of them, or one of them.
ALL_OF = {
    "mgrs": ("mgrs:latitude_band", "mgrs:grid_square"),
    "sar": ("sar:instrument_mode", "sar:frequency_band", "sar:polarizations", "sar:product_type"),
}
ONE_OF = {"sat": ("sat:relative_orbit",), "processing": ("processing:level",)}


def extension_faults(item: dict[str, Any]) -> list[str]:
    """What an item has against the extensions that it names, or that it should name for the fields that it has."""
    named = set(item["stac_extensions"])
    unknown = [f"names {url}, which has no rule" for url in sorted(named - {_url(prefix) for prefix in EXTENSIONS})]
    return [*unknown, *_field_faults(item, named), *_lacking(item, named)]


def _url(prefix: str) -> str:
    return f"https://stac-extensions.github.io/{EXTENSIONS[prefix][0]}/schema.json"


def _field_faults(item: dict[str, Any], named: set[str]) -> Iterator[str]:
    places = {"properties": item["properties"], **{f"assets.{key}": asset for key, asset in item["assets"].items()}}
    for place, fields in places.items():
        for field, value in fields.items():
            prefix, colon, _ = field.partition(":")
            if not colon:
                continue
            rule = EXTENSIONS[prefix][1].get(field) if prefix in EXTENSIONS else None
            if rule is None:
                yield f"{place}: {field} is in no extension"
            elif _url(prefix) not in named:
                yield f"{place}: {field} is used and its extension not named"
            elif not rule(value):
                yield f"{place}: {field} may not be {value!r}"
    if "eo:bands" in item["properties"] and not any("eo:bands" in asset for asset in item["assets"].values()):
        yield "properties: eo:bands belongs to the assets"


def _lacking(item: dict[str, Any], named: set[str]) -> Iterator[str]:
    for prefix in EXTENSIONS:
        if _url(prefix) in named:
            yield from (f"lacks {field}" for field in ALL_OF.get(prefix, ()) if field not in item["properties"])
            if prefix in ONE_OF and not any(field in item["properties"] for field in ONE_OF[prefix]):
                yield f"lacks any field of {prefix}"
