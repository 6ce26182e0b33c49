"""Real cloud masks of L1C products, against GDAL's own reader of GML."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.features import rasterize

from eespark.bands import BANDS, Flag
from eespark.io import safe_s2
from eespark.io.archive import Candidate, ScanOptions, scan_product
from eespark.io.cloud_mask import mask_flags, parse_cloud_polygons
from eespark.io.extract import extract_product

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]

MASK = "MSK_CLOUDS_B00_T57UVB.gml"
ZIPPED = "S2A_MSIL1C_20180629T000241_N0206_R030_T56JMM_20180629T012042"
WEST, NORTH = 399_960, 6_200_040  # of the tile, as the mask's own envelope has it


@pytest.mark.parametrize("pixel_m", [10, 60])
def test_that_clouds_are_those_of_an_independent_reader(real_data: Path, tmp_path: Path, pixel_m: int) -> None:
    # A copy: GDAL leaves a schema beside the files that it reads.
    file = Path(shutil.copy(real_data / "sentinel2" / MASK, tmp_path / MASK))
    theirs = pyogrio.read_dataframe(file)
    transform = rasterio.Affine(pixel_m, 0, WEST, 0, -pixel_m, NORTH)
    side = 109_800 // pixel_m
    expected = rasterize(theirs.geometry, out_shape=(side, side), transform=transform, dtype="uint8").astype(bool)
    # Every seventh row and column at 10 m: a million and a half pixels suffice.
    step = 7 if pixel_m == 10 else 1
    rows, cols = (index.ravel() for index in np.meshgrid(np.arange(0, side, step), np.arange(0, side, step), indexing="ij"))
    product = {"bands": {"CLOUDS": str(real_data / "sentinel2" / MASK)}, "transform": list(transform)[:6], "shape": [side, side]}
    found, _ = mask_flags(product, rows, cols)
    np.testing.assert_array_equal(found == Flag.CLOUD, expected[rows, cols])
    assert round((found == Flag.CLOUD).mean(), 3) == 0.981


def test_that_every_feature_is_read(real_data: Path) -> None:
    polygons, crs = parse_cloud_polygons((real_data / "sentinel2" / MASK).read_bytes(), MASK)
    # 184 opaque and 88 cirrus, as GDAL counts them.
    assert (len(polygons), crs) == (272, "EPSG:32657")


def test_that_the_mask_of_every_l1c_variant_is_found(real_data: Path) -> None:
    found = {}
    for file in sorted((real_data / "sentinel2" / "safe-listings").glob("L1C*.csv")):
        with file.open(encoding="utf-8") as stream:
            paths = [row[1].partition("/")[2] for row in csv.reader(stream, delimiter=";")]
        found[file.stem] = safe_s2.cloud_mask_file(path for path in paths if path.startswith("GRANULE/"))
    # The listing of a single tile has no product around it.
    assert [name for name, path in found.items() if path is None] == ["L1C_02.01_tile"]
    ends = {name: path.rsplit("/", 1)[1] for name, path in found.items() if path is not None}
    assert ends.pop("L1C_04.00") == "MSK_CLASSI_B00.jp2"
    assert ends.pop("L1C_02.01") == "S2A_OPER_MSK_CLOUDS_SGS__20151218T001707_A002543_T59HNA_B00_MSIL1C.gml"
    assert ends.pop("L1C_02.04_old").endswith("T04MGV_B00_MSIL1C.gml")
    assert ends.pop("L1C_02.02").endswith("T34HCF_B00_MSIL1C.gml")
    assert set(ends.values()) == {"MSK_CLOUDS_B00.gml"}


def test_that_the_empty_mask_of_the_zip_makes_all_pixels_with_data_clear(real_data: Path) -> None:
    zipped = real_data / "sentinel2" / f"{ZIPPED}.zip"
    # Its pixels were decimated and its manifest was not, so sizes cannot be checked.
    row = scan_product(Candidate(ZIPPED, str(zipped), "zip"), ScanOptions(check_sizes=False))
    assert row["bands"]["CLOUDS"].endswith(f"/QI_DATA/MSK_CLOUDS_B00.gml::{zipped}")
    rows, cols = (index.ravel() for index in np.indices((439, 439)))
    a, _, c, _, e, f = row["transform"]
    found = extract_product(row, c + (cols + 0.5) * a, f + (rows + 0.5) * e)
    whole = np.ones(len(rows), bool)
    for band in BANDS:
        with rasterio.open(row["bands"][band]) as dataset:
            image = dataset.read(1)
        # A 10 m pixel takes the value of the coarser one that holds its centre.
        at = [np.floor((place + 0.5) * size / 439).astype(int) for place, size in zip((rows, cols), image.shape, strict=True)]
        whole &= (image[tuple(at)] > 0) & (image[tuple(at)] < 65_535)
    np.testing.assert_array_equal(found.flag, np.where(whole, Flag.CLEAR, Flag.NO_DATA))
    # About 26 % of each band is without data, and a little more of all nine together.
    assert 0.26 < (found.flag == Flag.NO_DATA).mean() < 0.30
