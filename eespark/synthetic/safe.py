"""Products on disk in the agency's layout: names, folders, JP2, metadata, manifest.

Source: file trees and metadata of real products of baselines 02.06 (L1C), 02.12, 02.14 and 04.00 (L2A); Sentinel-2 Products
Specification Document (S2-PDGS-TAS-DI-PSD). Bands that this project does not read are left out of tree and lists alike.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy.typing as npt
import rasterio

from eespark.bands import BANDS, CLOUD_MASK, RESOLUTION_M
from eespark.grid import TileGrid
from eespark.synthetic import safe_xml
from eespark.synthetic.cloud_mask import cloud_gml
from eespark.synthetic.names import ProductName


def write_product(
    folder: Path, name: ProductName, grid: TileGrid, images: dict[str, npt.NDArray[Any]], facts: dict[str, Any], block_px: tuple[int, int]
) -> Path:
    """Write a product; its manifest comes last.

    Args:
        folder: Of the archive.
        name: Of the product.
        grid: 10 m grid of the crop.
        images: (rows, cols) by band, at native resolution; SCL for L2A; CLOUDS, of `cloud_layers`, for an L1C that has a mask.
        facts: `footprint` as [(lon, lat), ...] closed, `percentages` of scene classes, `cloud` percent.
        block_px: Internal tiles at 10 m and 20 m, px.

    Returns:
        The .SAFE folder.
    """
    root = folder / f"{name.product_id}.SAFE"
    bands = (*BANDS, "SCL") if name.level == "L2A" else BANDS
    for band in bands:
        path = root / name.image_file(band)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jp2(path, images[band], grid, RESOLUTION_M[band], block_px[RESOLUTION_M[band] // 20])
    texts = {
        f"MTD_MSI{name.level}.xml": safe_xml.product_xml(name, [name.image_file(b)[:-4] for b in bands], facts),
        f"GRANULE/{name.granule}/MTD_TL.xml": safe_xml.tile_xml(name, grid, facts),
        f"DATASTRIP/{name.datastrip_folder}/MTD_DS.xml": safe_xml.datastrip_xml(name),
        "INSPIRE.xml": safe_xml.inspire_xml(name),
    }
    if CLOUD_MASK in images:
        texts[name.cloud_mask_file] = cloud_gml(name, grid, images[CLOUD_MASK])
    for relative, text in texts.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_manifest(root, name)
    return root


def write_jp2(path: Path, values: npt.NDArray[Any], grid: TileGrid, pixel_m: int, block_px: int) -> None:
    """One band as lossless JPEG 2000 with internal tiles, georeferenced by GeoJP2 and GML boxes.

    The codestream is built as the agency's: 5/3 wavelet of four levels, one layer, LRCP, code blocks of 64 x 64, precincts of
    256 x 256, packet lengths in each tile. (Its bands of 60 m, which are not made here, have code blocks of 4 x 4.)

    Source: opj_compress arguments that repeat a real B02 of 2016 (OpenJPEG commit "opj_compress: add PLT"), code blocks of a real
    B05 (OpenJPEG pull request 783), and the markers of a real B01.
    """
    levels = 4 if values.shape[0] >= 64 else 0
    profile = {
        "driver": "JP2OpenJPEG", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype.name,
        "crs": grid.crs,
        "transform": rasterio.Affine(pixel_m, 0, grid.x_min, 0, -pixel_m, grid.y_max), "REVERSIBLE": "YES", "QUALITY": "100",
        "tiled": True, "BLOCKXSIZE": min(block_px, values.shape[1]), "BLOCKYSIZE": min(block_px, values.shape[0]),
        "RESOLUTIONS": levels + 1, "PRECINCTS": ",".join(["{256,256}"] * (levels + 1)), "PLT": "YES",
    }  # fmt: skip
    with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values, 1)


def write_manifest(root: Path, name: ProductName) -> None:
    """`manifest.safe` with size and MD5 of every other file of the product."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "manifest.safe")
    listed = [
        (p.relative_to(root).as_posix(), p.stat().st_size, hashlib.md5(p.read_bytes(), usedforsecurity=False).hexdigest()) for p in files
    ]
    (root / "manifest.safe").write_text(safe_xml.manifest_xml(name, listed), encoding="utf-8")
