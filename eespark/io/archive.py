"""An archive of Sentinel-2 and Sentinel-1 products: what lies in it, and one product read into one row of the catalog.

A product is a .SAFE folder (also one that lost its suffix), a zip of one, or a STAC item with COG assets. Listing stops at
these; their insides are looked into by whoever reads the product, one product at a time.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import fsspec

from eespark.bands import CLOUD_MASK, RESOLUTION_M
from eespark.errors import FormatError, MissingError
from eespark.io import rasters, safe_s1, safe_s2, safe_xml, stac_optical, stac_s2
from eespark.io.cloud_mask import check_mask
from eespark.io.members import Candidate, Members, list_files, open_members
from eespark.io.scene_row import read_scene
from eespark.io.storage import reading

Row = dict[str, Any]
_MAX_DEPTH: Final = 32  # folders; a server may answer every path by a page that links further down


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
        named = safe_s2.is_product_name(name) or safe_s1.is_scene_name(name)
        whole = name.endswith(".SAFE") or (named and not _holds_safe(filesystem, path))
        return Candidate(name.removesuffix(".SAFE"), url, "safe") if whole else None
    if name.startswith(("S1", "S2")) and name.endswith(".zip"):
        return Candidate(name.removesuffix(".zip").removesuffix(".SAFE"), url, "zip")
    if name.endswith(".json") and (name.startswith("S2") or stac_optical.NAMES.match(name)):
        return Candidate(name.removesuffix(".json"), url, "stac")
    return None


def _holds_safe(filesystem: fsspec.AbstractFileSystem, folder: str) -> bool:
    # Unzipping often makes a folder of the zip's name around the product.
    return any(str(path).rstrip("/").endswith(".SAFE") for path in filesystem.ls(folder, detail=False))


def fingerprint(candidate: Candidate) -> tuple[str, int, datetime]:
    """A hash of the names, sizes and times of the product's files, their total bytes, and the latest time.

    A zip or a STAC item counts as one file.
    """
    files = list_files(candidate)
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
        if stac_optical.NAMES.match(candidate.product_id):
            return stac_optical.read_item(candidate.product_id, candidate.url)
        return stac_s2.read_item(candidate.url)
    with open_members(candidate) as members:
        if safe_s1.is_scene_name(candidate.product_id):
            return read_scene(candidate.product_id, members, check_sizes=options.check_sizes, check_pixels=options.check_pixels)
        row = _read_optical(candidate.product_id, members, options)
    return _look_at_rasters(row, options)


def _read_optical(product_id: str, members: Members, options: ScanOptions) -> Row:
    sizes, names = members.sizes, members.names
    metadata = safe_s2.read_metadata(product_id, names, members.read)
    bands = safe_s2.band_files(names, metadata.level)
    mask = safe_s2.cloud_mask_file(names) if metadata.level == "L1C" else None
    if mask is not None:
        bands[CLOUD_MASK] = mask
    if options.check_sizes:
        expected = safe_xml.manifest_sizes(names, members.read)
        # A mask that was lost on the way leaves no trace but in the manifest, and all would be taken for unclassified.
        lost = safe_s2.cloud_mask_file(expected) if metadata.level == "L1C" and mask is None else None
        safe_xml.check_sizes(expected, sizes, [*bands.values(), *([lost] if lost else [])])
    return {**vars(metadata), "bands": {band: members.path(name) for band, name in bands.items()}}


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


def _url(filesystem: fsspec.AbstractFileSystem, path: str) -> str:
    return path if "file" in filesystem.protocol else str(filesystem.unstrip_protocol(path))
