"""What STAC items of all missions have in common."""

from __future__ import annotations

import json
import posixpath
from datetime import UTC, datetime
from typing import Any, Final

from shapely import to_wkb
from shapely.errors import ShapelyError
from shapely.geometry import shape

from eespark.errors import FormatError, MissingError
from eespark.io.remote_names import gdal_path
from eespark.io.storage import open_filesystem, read_text

MAX_ITEM_BYTES: Final = 8 * 1024 * 1024


def load_item(url: str) -> dict[str, Any]:
    """A STAC item as its JSON has it.

    Raises:
        MissingError: No such file.
        FormatError: Not a STAC item.
    """
    text = read_text(url)
    if len(text) > MAX_ITEM_BYTES:
        raise FormatError(f"{url}: needed a STAC item below {MAX_ITEM_BYTES} bytes, found {len(text)}")
    try:
        item = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{url}: needed a STAC item, found text that is not JSON: {error}") from error
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
        raise FormatError(f"{url}: needed a STAC item (a Feature with assets), found {type(item).__name__}")
    return item


def asset_path(href: str, item_url: str) -> str:
    """GDAL path of an asset.

    Args:
        href: Of the asset, absolute or beside the item.
        item_url: Of the item.
    """
    # A mirrored archive keeps hrefs of its origin: a file of that name beside the item is the one meant.
    filesystem, item_path = open_filesystem(item_url)
    beside = f"{posixpath.dirname(item_path)}/{posixpath.basename(href)}"
    if filesystem.exists(beside):
        return gdal_path(beside if "file" in filesystem.protocol else str(filesystem.unstrip_protocol(beside)))
    if "://" in href:
        return gdal_path(href)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(item_path), href))
    return gdal_path(path if "file" in filesystem.protocol else str(filesystem.unstrip_protocol(path)))


def footprint_of(item: dict[str, Any], url: str) -> bytes:
    """WKB of an item's geometry.

    Raises:
        FormatError: It has none.
    """
    try:
        return bytes(to_wkb(shape(item["geometry"])))
    except (AttributeError, KeyError, TypeError, ValueError, ShapelyError) as error:
        raise FormatError(f"{url}: needed a geometry, found {type(error).__name__}") from error


def property_of(properties: dict[str, Any], names: tuple[str, ...], url: str) -> Any:
    """The first of some properties that is there.

    Raises:
        MissingError: None is.
    """
    for name in names:
        if properties.get(name) is not None:
            return properties[name]
    raise MissingError(f"{url}: needed the property {' or '.join(names)}, found {', '.join(sorted(properties)[:8])}, ...")


def sensing_time(properties: dict[str, Any], url: str) -> datetime:
    """Time of an item, UTC; where it has a range, its start.

    Raises:
        MissingError: It has none.
    """
    sensed = datetime.fromisoformat(str(property_of(properties, ("datetime", "start_datetime"), url)).replace("Z", "+00:00"))
    return sensed.replace(tzinfo=UTC) if sensed.tzinfo is None else sensed.astimezone(UTC)
