"""An archive of Sentinel-2 products: what lies in it, and one product read into one row of the catalog.

A product is a .SAFE folder, a zip of one, or a STAC item with COG assets. Listing stops at these; their insides are looked
into by whoever reads the product, one product at a time.
"""

from __future__ import annotations

import hashlib
import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fsspec

from eespark.bands import RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io import rasters, safe_s2, stac_s2
from eespark.io.storage import open_filesystem

Row = dict[str, Any]
_MAX_MEMBERS = 100_000


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


@dataclass(frozen=True)
class _Listing:
    """Files of one product: path below its .SAFE folder -> (bytes, seconds since 1970)."""

    files: dict[str, tuple[int, float]]
    root: str


def list_archive(url: str) -> Iterator[Candidate]:
    """The products below a folder, in order of their paths.

    Raises:
        MissingError: There is no such folder.
    """
    filesystem, root = open_filesystem(url)
    if not filesystem.isdir(root):
        raise MissingError(f"needed an archive folder, found none at {url}")
    folders = [root]
    while folders:
        for entry in sorted(filesystem.ls(folders.pop(), detail=True), key=lambda e: str(e["name"])):
            path = str(entry["name"]).rstrip("/")
            name = posixpath.basename(path)
            if entry["type"] == "directory":
                if name.endswith(".SAFE"):
                    yield Candidate(name.removesuffix(".SAFE"), _url(filesystem, path), "safe")
                elif not name.startswith((".", "_")):
                    folders.append(path)
            elif name.endswith(".zip") and name.startswith("S2"):
                yield Candidate(name.removesuffix(".zip").removesuffix(".SAFE"), _url(filesystem, path), "zip")
            elif name.endswith(".json") and name.startswith("S2"):
                yield Candidate(name.removesuffix(".json"), _url(filesystem, path), "stac")


def fingerprint(candidate: Candidate) -> tuple[str, int, datetime]:
    """A hash of the names, sizes and times of the product's files, their total bytes, and the latest time.

    A zip or a STAC item counts as one file.
    """
    files = _list_files(candidate).files
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
    listing = _list_files(candidate)
    if candidate.kind == "zip":
        with open_filesystem(candidate.url)[0].open(listing.root, "rb") as stream, zipfile.ZipFile(stream) as archive:
            members = _zip_members(archive, candidate.url)
            prefix = _zip_prefix(members)
            sizes = {name.removeprefix(prefix): size for name, size in members.items()}
            row = _read(candidate, sizes, lambda name: archive.read(prefix + name), options)
        row["bands"] = {band: rasters.gdal_path(candidate.url, prefix + path) for band, path in row["bands"].items()}
    else:
        filesystem, _ = open_filesystem(candidate.url)
        sizes = {name: size for name, (size, _) in listing.files.items()}
        row = _read(candidate, sizes, lambda name: bytes(filesystem.cat_file(f"{listing.root}/{name}")), options)
        row["bands"] = {band: rasters.gdal_path(f"{candidate.url}/{path}") for band, path in row["bands"].items()}
    return _look_at_rasters(row, options)


def _read(candidate: Candidate, sizes: dict[str, int], read: Any, options: ScanOptions) -> Row:
    names = list(sizes)
    metadata = safe_s2.read_metadata(candidate.product_id, names, read)
    bands = safe_s2.band_files(names, metadata.level)
    if options.check_sizes:
        faults = safe_s2.size_faults(safe_s2.manifest_sizes(names, read), sizes, list(bands.values()))
        if faults:
            raise FormatError(f"{len(faults)} file(s) differ from the manifest: {faults[0]}; fetch the product again")
    return {**vars(metadata), "bands": bands}


def _look_at_rasters(row: Row, options: ScanOptions) -> Row:
    look = rasters.check_last_tile if options.check_pixels else rasters.raster_info
    infos = {band: look(path) for band, path in row["bands"].items()}
    finest = infos["B02"]
    for band, info in infos.items():
        if info.count != 1:
            raise FormatError(f"{band}: needed one band, found {info.count}")
        rasters.check_companion(band, info, finest, RESOLUTION_M[band] // RESOLUTION_M["B02"])
        if info.crs is not None and info.crs != row["crs"]:
            raise FormatError(f"{band}: metadata says {row['crs']}, the raster says {info.crs}; fetch the product again")
    # The raster's own size and place win over those in the XML, which a decimated or cropped copy keeps from its origin.
    return {**row, "shape": list(finest.shape), "transform": list(finest.transform)}


def _list_files(candidate: Candidate) -> _Listing:
    filesystem, root = open_filesystem(candidate.url)
    if candidate.kind != "safe":
        return _Listing({posixpath.basename(root): _size_and_time(filesystem.info(root))}, root)
    found = filesystem.find(root, detail=True)
    return _Listing({str(path)[len(root) + 1 :]: _size_and_time(info) for path, info in found.items()}, root)


def _size_and_time(info: dict[str, Any]) -> tuple[int, float]:
    modified = next((info[key] for key in ("mtime", "LastModified", "last_modified", "modificationTime") if key in info), 0.0)
    return int(info.get("size") or 0), modified.timestamp() if isinstance(modified, datetime) else float(modified)


def _zip_members(archive: zipfile.ZipFile, url: str) -> dict[str, int]:
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise FormatError(f"{url}: needed at most {_MAX_MEMBERS} members, found {len(infos)}")
    for info in infos:
        if info.filename.startswith(("/", "\\")) or ".." in info.filename.replace("\\", "/").split("/"):
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
