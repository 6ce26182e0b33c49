"""An archive of Sentinel-2 products: what lies in it, and one product read into one row of the catalog.

A product is a .SAFE folder (also one that lost its suffix), a zip of one, or a STAC item with COG assets. Listing stops at
these; their insides are looked into by whoever reads the product, one product at a time.
"""

from __future__ import annotations

import hashlib
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import fsspec

from eespark.bands import CLOUD_MASK, RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io import rasters, safe_s2, stac_s2
from eespark.io.cloud_mask import check_mask
from eespark.io.storage import read_bytes, reading

Row = dict[str, Any]
_MAX_MEMBERS: Final = 100_000
_MAX_DEPTH: Final = 32  # folders; a server may answer every path by a page that links further down
# What file systems call the time of a file: local, S3, Azure and others, WebHDFS, HTTP.
_MODIFIED: Final = ("mtime", "LastModified", "last_modified", "modificationTime", "Last-Modified")


@dataclass(frozen=True)
class Candidate:
    """A product found in an archive, not yet looked into. `kind` is safe, zip or stac."""

    product_id: str
    url: str
    kind: str


@dataclass(frozen=True)
class ScanOptions:
    """How a product is checked: its sizes against the manifest, the last tile of every band."""

    check_sizes: bool = True
    check_pixels: bool = True


def list_archive(url: str) -> Iterator[Candidate]:
    """The products below a folder, in order of their paths.

    Raises:
        MissingError: There is no such folder.
        FormatError: Its server does not answer, or folders lie in folders without end.
    """
    with reading(url) as (filesystem, root):
        if not filesystem.isdir(root):
            raise MissingError(f"needed an archive folder, found none at {url}; a web server must show an index page of each folder")
        pending = [(root, "directory")]
        while pending:
            path, kind = pending.pop()
            found = _candidate(filesystem, path, kind) if path != root else None
            if found is not None:
                yield found
            elif kind == "directory" and (path == root or not posixpath.basename(path).startswith((".", "_"))):
                if path.count("/") - root.count("/") > _MAX_DEPTH:
                    raise FormatError(f"needed folders at most {_MAX_DEPTH} deep in {url}, found {path}; name a folder within")
                entries = filesystem.ls(path, detail=True)
                pending += sorted(((str(e["name"]).rstrip("/"), str(e["type"])) for e in entries), reverse=True)


def _candidate(filesystem: fsspec.AbstractFileSystem, path: str, kind: str) -> Candidate | None:
    name, url = posixpath.basename(path), _url(filesystem, path)
    if kind == "directory":
        whole = name.endswith(".SAFE") or (safe_s2.is_product_name(name) and not _holds_safe(filesystem, path))
        return Candidate(name.removesuffix(".SAFE"), url, "safe") if whole else None
    if name.startswith("S2") and name.endswith(".zip"):
        return Candidate(name.removesuffix(".zip").removesuffix(".SAFE"), url, "zip")
    if name.startswith("S2") and name.endswith(".json"):
        return Candidate(name.removesuffix(".json"), url, "stac")
    return None


def _holds_safe(filesystem: fsspec.AbstractFileSystem, folder: str) -> bool:
    # Unzipping often makes a folder of the zip's name around the product.
    return any(str(path).rstrip("/").endswith(".SAFE") for path in filesystem.ls(folder, detail=False))


def fingerprint(candidate: Candidate) -> tuple[str, int, datetime]:
    """A hash of the names, sizes and times of the product's files, their total bytes, and the latest time.

    A zip or a STAC item counts as one file.
    """
    files = _list_files(candidate)
    digest = hashlib.sha256()
    for name in sorted(files):
        size, modified = files[name]
        digest.update(f"{name}|{size}|{modified:.0f}\n".encode())
    latest = max((modified for _, modified in files.values()), default=0.0)
    return digest.hexdigest()[:16], sum(size for size, _ in files.values()), datetime.fromtimestamp(latest, UTC)


def scan_product(candidate: Candidate, options: ScanOptions) -> Row:
    """The columns of `products` that the product's own files tell; the status is left to the catalog.

    Raises:
        EESparkError: The product cannot be used; the text is the reason.
    """
    if candidate.kind == "stac":
        return stac_s2.read_item(candidate.url)
    row = _read_zip(candidate, options) if candidate.kind == "zip" else _read_folder(candidate, options)
    return _look_at_rasters(row, options)


def _read_zip(candidate: Candidate, options: ScanOptions) -> Row:
    with reading(candidate.url) as (filesystem, path), filesystem.open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
        members = _zip_members(archive, candidate.url)
        prefix = _zip_prefix(members)
        sizes = {name.removeprefix(prefix): size for name, size in members.items() if name.startswith(prefix)}
        row = _read(candidate, sizes, lambda name: archive.read(prefix + name), options)
    row["bands"] = {band: _member_path(candidate.url, prefix + name) for band, name in row["bands"].items()}
    return row


def _read_folder(candidate: Candidate, options: ScanOptions) -> Row:
    sizes = {name: size for name, (size, _) in _list_files(candidate).items()}
    row = _read(candidate, sizes, lambda name: read_bytes(f"{candidate.url}/{name}"), options)
    row["bands"] = {band: _file_path(f"{candidate.url}/{name}") for band, name in row["bands"].items()}
    return row


# Polygons are read by us, everything else by GDAL.
def _member_path(url: str, member: str) -> str:
    return f"zip://{member}::{url}" if member.endswith(".gml") else rasters.gdal_path(url, member)


def _file_path(url: str) -> str:
    return url if url.endswith(".gml") else rasters.gdal_path(url)


def _read(candidate: Candidate, sizes: dict[str, int], read: Callable[[str], bytes], options: ScanOptions) -> Row:
    def read_small(name: str) -> bytes:
        # Before it is unpacked: a member of a few bytes may inflate to gigabytes.
        if sizes[name] > safe_s2.MAX_XML_BYTES:
            raise FormatError(f"{name}: needed metadata below {safe_s2.MAX_XML_BYTES} bytes, found {sizes[name]}; do not use this file")
        return read(name)

    names = list(sizes)
    metadata = safe_s2.read_metadata(candidate.product_id, names, read_small)
    bands = safe_s2.band_files(names, metadata.level)
    mask = safe_s2.cloud_mask_file(names) if metadata.level == "L1C" else None
    if mask is not None:
        bands[CLOUD_MASK] = mask
    if options.check_sizes:
        expected = safe_s2.manifest_sizes(names, read_small)
        # A mask that was lost on the way leaves no trace but in the manifest, and all would be taken for unclassified.
        lost = safe_s2.cloud_mask_file(expected) if metadata.level == "L1C" and mask is None else None
        faults = safe_s2.size_faults(expected, sizes, [*bands.values(), *([lost] if lost else [])])
        if faults:
            raise FormatError(f"{len(faults)} file(s) differ from the manifest: {faults[0]}; fetch the product again")
    return {**vars(metadata), "bands": bands}


def _look_at_rasters(row: Row, options: ScanOptions) -> Row:
    look = rasters.check_last_tile if options.check_pixels else rasters.raster_info
    infos = {band: look(path) for band, path in row["bands"].items() if band != CLOUD_MASK}
    finest = infos["B02"]
    for band, info in infos.items():
        if info.count != 1:
            raise FormatError(f"{band}: needed one band, found {info.count}")
        rasters.check_companion(band, info, finest, RESOLUTION_M[band] // RESOLUTION_M["B02"])
        if info.crs is not None and info.crs != row["crs"]:
            raise FormatError(f"{band}: metadata says {row['crs']}, the raster says {info.crs}; fetch the product again")
    if CLOUD_MASK in row["bands"]:
        check_mask(row["bands"][CLOUD_MASK], row["crs"], finest, pixels=options.check_pixels)
    # The raster's own size and place win over those in the XML, which a decimated or cropped copy keeps from its origin.
    return {**row, "shape": list(finest.shape), "transform": list(finest.transform)}


def _list_files(candidate: Candidate) -> dict[str, tuple[int, float]]:
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


def _url(filesystem: fsspec.AbstractFileSystem, path: str) -> str:
    return path if "file" in filesystem.protocol else str(filesystem.unstrip_protocol(path))
