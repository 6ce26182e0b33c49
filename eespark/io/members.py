"""The files of one product, whether it is a folder or a zip: their sizes, their bytes, and GDAL's names of them."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from eespark.errors import FormatError
from eespark.io import safe_xml
from eespark.io.remote_names import gdal_path
from eespark.io.storage import read_bytes, reading

_MAX_MEMBERS: Final = 100_000
# What file systems call the time of a file: local, S3, Azure and others, WebHDFS, HTTP.
_MODIFIED: Final = ("mtime", "LastModified", "last_modified", "modificationTime", "Last-Modified")


@dataclass(frozen=True)
class Candidate:
    """A product found in an archive, not yet looked into. `kind` is safe, zip or stac."""

    product_id: str
    url: str
    kind: str


@dataclass(frozen=True)
class Members:
    """What lies in a product.

    Attributes:
        sizes: Path below the product's folder -> bytes.
        read: Gives the bytes of a metadata file; one above `MAX_XML_BYTES` is a `FormatError`.
        path: Gives GDAL's name of a member, or its URL where it is no raster.
    """

    sizes: dict[str, int]
    read: Callable[[str], bytes]
    path: Callable[[str], str]

    @property
    def names(self) -> list[str]:
        """Paths below the product's folder."""
        return list(self.sizes)


@contextmanager
def open_members(candidate: Candidate) -> Iterator[Members]:
    """The files of a folder or of a zip, open as long as the context lasts.

    Raises:
        MissingError: There is no such product.
        FormatError: The zip is broken, leads outside itself or holds more than one product.
    """
    if candidate.kind != "zip":
        sizes = {name: size for name, (size, _) in list_files(candidate).items()}
        read = _small(sizes, lambda name: read_bytes(f"{candidate.url}/{name}"))
        yield Members(sizes, read, lambda name: _file_path(f"{candidate.url}/{name}"))
        return
    with reading(candidate.url) as (filesystem, path), filesystem.open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
        members = _zip_members(archive, candidate.url)
        prefix = _zip_prefix(members)
        sizes = {name.removeprefix(prefix): size for name, size in members.items() if name.startswith(prefix)}
        read = _small(sizes, lambda name: archive.read(prefix + name))
        yield Members(sizes, read, lambda name: _member_path(candidate.url, prefix + name))


def list_files(candidate: Candidate) -> dict[str, tuple[int, float]]:
    """Path below the product's folder (a zip's or an item's own name) -> (bytes, seconds since 1970)."""
    with reading(candidate.url) as (filesystem, root):
        if candidate.kind != "safe":
            return {posixpath.basename(root): _size_and_time(filesystem.info(root))}
        files = {}
        for path, info in filesystem.find(root, detail=True).items():
            # The index page of a web server tells names alone, and links that sort it stand among them.
            told = info if info.get("size") is not None else None if "?" in path else filesystem.info(path)
            if told is not None:
                files[str(path)[len(root) + 1 :]] = _size_and_time(told)
        return files


def _small(sizes: dict[str, int], read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    def read_small(name: str) -> bytes:
        # Before it is unpacked: a member of a few bytes may inflate to gigabytes.
        if sizes[name] > safe_xml.MAX_XML_BYTES:
            raise FormatError(f"{name}: needed metadata below {safe_xml.MAX_XML_BYTES} bytes, found {sizes[name]}; do not use this file")
        return read(name)

    return read_small


# Polygons are read by us, everything else by GDAL.
def _member_path(url: str, member: str) -> str:
    return f"zip://{member}::{url}" if member.endswith(".gml") else gdal_path(url, member)


def _file_path(url: str) -> str:
    return url if url.endswith(".gml") else gdal_path(url)


def _size_and_time(info: dict[str, Any]) -> tuple[int, float]:
    modified = next((info[key] for key in _MODIFIED if key in info), 0.0)
    if isinstance(modified, str):
        modified = parsedate_to_datetime(modified)
    return int(info.get("size") or 0), modified.timestamp() if isinstance(modified, datetime) else float(modified)


def _zip_members(archive: zipfile.ZipFile, url: str) -> dict[str, int]:
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise FormatError(f"{url}: needed at most {_MAX_MEMBERS} members, found {len(infos)}")
    for info in infos:
        # "::" chains one address to another.
        if info.filename.startswith(("/", "\\")) or "::" in info.filename or ".." in info.filename.replace("\\", "/").split("/"):
            raise FormatError(f"{url}: member {info.filename!r} leads outside the zip; do not use this file")
    return {info.filename: info.file_size for info in infos if not info.is_dir()}


def _zip_prefix(members: dict[str, int]) -> str:
    tops = {name.split("/", 1)[0] for name in members if "/" in name}
    safes = [top for top in tops if top.endswith(".SAFE")]
    if len(safes) != 1:
        raise FormatError(f"needed a zip with one .SAFE folder, found {len(safes)}: {sorted(tops)[:3]}")
    return safes[0] + "/"
