"""One Sentinel-1 scene read into one row of the catalog."""

from __future__ import annotations

from typing import Any

from eespark.errors import FormatError
from eespark.io import rasters, safe_s1, safe_xml
from eespark.io.members import Members


def read_scene(product_id: str, members: Members, *, check_sizes: bool, check_pixels: bool) -> dict[str, Any]:
    """The columns of `products` that the scene's own files tell; `bands` holds the measurements by polarisation.

    Args:
        product_id: Name without .SAFE.
        members: Its files.
        check_sizes: Compare them with the manifest.
        check_pixels: Decode the last block of every measurement.

    Raises:
        EESparkError: The scene cannot be used; the text is the reason.
    """
    names = members.names
    metadata = safe_s1.read_scene_metadata(product_id, names, members.read)
    files = safe_s1.scene_files(product_id, names)
    if check_sizes:
        expected = safe_xml.manifest_sizes(names, members.read)
        agency = safe_s1.agency_names(names, members.read)
        needed = [name for one in files.values() for name in vars(one).values()]
        found = {agency[name]: members.sizes[name] for name in needed}
        safe_xml.check_sizes(expected, found, list(found))
    bands = {band: members.path(one.measurement) for band, one in files.items()}
    look = rasters.check_last_tile if check_pixels else rasters.raster_info
    for band, path in bands.items():
        info = look(path)
        if info.count != 1 or info.dtype != "uint16" or info.shape != metadata.shape:
            raise FormatError(
                f"{band}: needed one layer of uint16 with {metadata.shape} lines and samples as annotated, "
                f"found {info.count} of {info.dtype} with {info.shape}; fetch the product again"
            )
    return {**vars(metadata), "shape": list(metadata.shape), "bands": bands}
