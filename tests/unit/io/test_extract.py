"""Observations of an L1C product by its cloud mask; products are made small, scanned and then read."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from eespark.bands import BANDS, REFLECTANCE_NODATA, Flag
from eespark.errors import FormatError
from eespark.grid import Block, TileGrid
from eespark.io.archive import Candidate, ScanOptions, scan_product
from eespark.io.cube import read_cube
from eespark.io.extract import extract_product
from eespark.synthetic.names import ProductName
from eespark.synthetic.safe import write_manifest, write_product

START = datetime(2018, 5, 7, 10, 0, 31, tzinfo=UTC)
NAME = ProductName("S2A", "L1C", "33UXP", 122, 15_000, START, START - timedelta(seconds=2), START + timedelta(hours=3), "02.06")
GRID = TileGrid("33UXP", "EPSG:32633", 600_000, 5_400_000, 192, 192)
MASK = f"GRANULE/{NAME.granule}/QI_DATA/MSK_CLOUDS_B00.gml"
FACTS = {"footprint": [(16.3, 48.7), (16.4, 48.7), (16.4, 48.6), (16.3, 48.7)], "percentages": [0.0] * 12, "cloud": 0.0}


def images(**more: np.ndarray) -> dict[str, Any]:
    """Bands of 1000 everywhere but for the last 20 m column, which is no data."""
    values: dict[str, Any] = {}
    for band in BANDS:
        side = 192 if band in ("B02", "B03", "B04") else 96
        values[band] = np.full((side, side), 1000, np.uint16)
        values[band][:, -side // 96 :] = 0
    return values | more


def layers() -> np.ndarray:
    """32 x 32 pixels of 60 m: the north under opaque cloud, south of it two columns of cirrus, with one clear pixel in the cloud."""
    values = np.zeros((32, 32), np.uint8)
    values[:8] = 1
    values[8:, :2] = 2
    values[3, 3] = 0
    return values


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("whole"), NAME, GRID, images(CLOUDS=layers()), FACTS, (64, 32))


@pytest.fixture
def product(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "archive" / whole.name))


def scan(path: Path, **options: bool) -> dict[str, Any]:
    kind = "zip" if path.suffix == ".zip" else "safe"
    return scan_product(Candidate(path.name.removesuffix(".zip").removesuffix(".SAFE"), str(path), kind), ScanOptions(**options))


def centres(*places: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.array(places).T
    return GRID.centres(rows, cols)


# Row and column of the 10 m grid -> flag: 60 m pixels are six of them, the last two columns are no data.
EXPECTED = {
    (0, 0): Flag.CLOUD, (47, 100): Flag.CLOUD, (48, 100): Flag.CLEAR, (100, 11): Flag.CLOUD, (100, 12): Flag.CLEAR, (18, 18): Flag.CLEAR,
    (23, 23): Flag.CLEAR, (24, 24): Flag.CLOUD, (191, 189): Flag.CLEAR, (191, 190): Flag.NO_DATA, (0, 191): Flag.CLOUD,
}  # fmt: skip


def test_that_flags_are_those_of_the_mask_in_folder_and_zip_alike(product: Path, tmp_path: Path) -> None:
    zipped = tmp_path / f"{NAME.product_id}.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in product.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(product.parent).as_posix())
    for row in (scan(product), scan(zipped)):
        found = extract_product(row, *centres(*EXPECTED))
        assert [Flag(one).name for one in found.flag] == [one.name for one in EXPECTED.values()]
        read = np.array([flag == Flag.CLEAR for flag in EXPECTED.values()])
        assert (found.reflectance[read] == 1000).all()
        assert (found.reflectance[~read] == REFLECTANCE_NODATA).all()


def test_that_no_tile_is_decoded_of_which_all_samples_are_cloud(product: Path) -> None:
    row = scan(product)
    assert extract_product(row, *centres((0, 0), (40, 150), (100, 5))).pixels_decoded == 0
    # One clear pixel: a tile of each band.
    assert extract_product(row, *centres((0, 0), (100, 100))).pixels_decoded == 3 * 64 * 64 + 6 * 32 * 32
    broken = row | {"bands": {**row["bands"], "B04": "/nowhere.jp2"}}
    assert (extract_product(broken, *centres((0, 0), (100, 5))).flag == Flag.CLOUD).all()


def test_that_a_product_without_a_mask_stays_unclassified(product: Path) -> None:
    shutil.rmtree(product / "GRANULE" / NAME.granule / "QI_DATA")
    write_manifest(product, NAME)
    row = scan(product)
    assert "CLOUDS" not in row["bands"]
    found = extract_product(row, *centres((0, 0), (191, 191)))
    assert found.flag.tolist() == [Flag.UNCLASSIFIED, Flag.NO_DATA]
    assert (found.reflectance[0] == 1000).all()


def test_that_a_raster_mask_tells_snow(product: Path) -> None:
    shutil.rmtree(product / "GRANULE" / NAME.granule / "QI_DATA")
    file = product / "GRANULE" / NAME.granule / "QI_DATA" / "MSK_CLASSI_B00.jp2"
    file.parent.mkdir()
    values = np.zeros((3, 32, 32), np.uint8)
    values[0, 0], values[1, 1], values[2, 2] = 1, 1, 1
    profile = {"driver": "JP2OpenJPEG", "count": 3, "height": 32, "width": 32, "dtype": "uint8", "crs": GRID.crs}
    profile |= {"REVERSIBLE": "YES", "QUALITY": "100", "transform": rasterio.Affine(60, 0, 600_000, 0, -60, 5_400_000)}
    with rasterio.open(file, "w", **profile) as dataset:
        dataset.write(values)
    write_manifest(product, NAME)
    row = scan(product)
    assert row["bands"]["CLOUDS"] == str(file)
    flags = extract_product(row, *centres((0, 90), (6, 90), (12, 90), (18, 90), (18, 191))).flag
    assert [Flag(one).name for one in flags] == ["CLOUD", "CLOUD", "SNOW", "CLEAR", "NO_DATA"]


def test_that_a_cube_takes_the_clear_pixels_of_the_mask(product: Path) -> None:
    row = scan(product) | {"day": 7}
    # From row 42: the last row of clouds is 47; columns 6 and 7 are cirrus to column 11.
    cube = read_cube([row], Block(42, 6, 12, 10), np.ones((12, 10), bool))
    expected = np.zeros((12, 10), bool)
    expected[6:, 6:] = True
    np.testing.assert_array_equal(cube.clear.reshape(12, 10), expected)
    assert (cube.reflectance[expected.ravel()] == 1000).all()
    assert not cube.reflectance[~expected.ravel()].any()


BROKEN = {
    "hostile": ('<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]><Mask>&x;</Mask>', "needed plain XML"),
    "cut short": ("<eop:Mask", "needed plain XML, found ParseError"),
    "another file": ("<Metadata/>", "needed a mask"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_that_a_mask_that_cannot_be_read_is_the_reason(product: Path, fault: str) -> None:
    text, reason = BROKEN[fault]
    (product / MASK).write_text(text)
    with pytest.raises(FormatError, match=rf"MSK_CLOUDS_B00\.gml: {reason}"):
        scan(product, check_sizes=False)
    with pytest.raises(FormatError, match=r"1 file\(s\) differ from the manifest: .*MSK_CLOUDS_B00\.gml: manifest\.safe says"):
        scan(product)


def test_that_a_mask_that_the_manifest_lists_must_be_there(product: Path) -> None:
    (product / MASK).unlink()
    with pytest.raises(FormatError, match=r"MSK_CLOUDS_B00\.gml: manifest\.safe says \d+ bytes, found no file"):
        scan(product)
    assert "CLOUDS" not in scan(product, check_sizes=False)["bands"]


def test_that_scene_classes_go_before_a_mask(tmp_path: Path) -> None:
    name = replace(NAME, level="L2A", baseline="02.14")
    scenes = np.full((96, 96), 4, np.uint8)
    folder = write_product(tmp_path, name, GRID, images(SCL=scenes, CLOUDS=layers()), FACTS, (64, 32))
    row = scan(folder)
    assert set(row["bands"]) == {*BANDS, "SCL"}
    assert (extract_product(row, *centres((0, 0), (100, 100))).flag == Flag.CLEAR).all()


@pytest.mark.parametrize("member", ["a::b/x.xml", "S2A_X.SAFE/GRANULE/x::http://example.invalid/QI_DATA/MSK_CLOUDS_B00.gml"])
def test_that_a_member_whose_name_would_chain_addresses_is_refused(product: Path, tmp_path: Path, member: str) -> None:
    zipped = tmp_path / f"{NAME.product_id}.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(member, b"x")
    with pytest.raises(FormatError, match="leads outside the zip"):
        scan(zipped)
