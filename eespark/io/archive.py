"""An archive of Sentinel-2 products: what lies in it, and one product read into one row of the catalog.

A product is a .SAFE folder (also one that lost its suffix), a zip of one, or a STAC item with COG assets. Listing stops at
these; their insides are looked into by whoever reads the product, one product at a time.
"""

from __future__ import annotations

import hashlib
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import fsspec

from eespark.bands import RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io import rasters, safe_s2, stac_s2
from eespark.io.storage import open_filesystem

Row = dict[str, Any]
_MAX_MEMBERS: Final = 100_000
# What zipfile raises on zips that are broken, cut short, encrypted or packed in a way it does not know.
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


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
    pending = [(root, "directory")]
    while pending:
        path, kind = pending.pop()
        found = _candidate(filesystem, path, kind) if path != root else None
        if found is not None:
            yield found
        elif kind == "directory" and (path == root or not posixpath.basename(path).startswith((".", "_"))):
            entries = sorted(((str(e["name"]).rstrip("/"), str(e["type"])) for e in filesystem.ls(path, detail=True)), reverse=True)
            pending += entries


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
    row = _read_zip(candidate, listing, options) if candidate.kind == "zip" else _read_folder(candidate, listing, options)
    return _look_at_rasters(row, options)


def _read_zip(candidate: Candidate, listing: _Listing, options: ScanOptions) -> Row:
    try:
        with open_filesystem(candidate.url)[0].open(listing.root, "rb") as stream, zipfile.ZipFile(stream) as archive:
            members = _zip_members(archive, candidate.url)
            prefix = _zip_prefix(members)
            sizes = {name.removeprefix(prefix): size for name, size in members.items() if name.startswith(prefix)}
            row = _read(candidate, sizes, lambda name: archive.read(prefix + name), options)
    except _ZIP_ERRORS as error:
        raise FormatError(f"needed a whole zip, found a broken one: {error}; fetch the product again") from error
    row["bands"] = {band: rasters.gdal_path(candidate.url, prefix + path) for band, path in row["bands"].items()}
    return row


def _read_folder(candidate: Candidate, listing: _Listing, options: ScanOptions) -> Row:
    filesystem, _ = open_filesystem(candidate.url)
    sizes = {name: size for name, (size, _) in listing.files.items()}
    row = _read(candidate, sizes, lambda name: bytes(filesystem.cat_file(f"{listing.root}/{name}")), options)
    row["bands"] = {band: rasters.gdal_path(f"{candidate.url}/{path}") for band, path in row["bands"].items()}
    return row


def _read(candidate: Candidate, sizes: dict[str, int], read: Callable[[str], bytes], options: ScanOptions) -> Row:
    def read_small(name: str) -> bytes:
        # Before it is unpacked: a member of a few bytes may inflate to gigabytes.
        if sizes[name] > safe_s2.MAX_XML_BYTES:
            raise FormatError(f"{name}: needed metadata below {safe_s2.MAX_XML_BYTES} bytes, found {sizes[name]}; do not use this file")
        return read(name)

    names = list(sizes)
    metadata = safe_s2.read_metadata(candidate.product_id, names, read_small)
    bands = safe_s2.band_files(names, metadata.level)
    if options.check_sizes:
        faults = safe_s2.size_faults(safe_s2.manifest_sizes(names, read_small), sizes, list(bands.values()))
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
