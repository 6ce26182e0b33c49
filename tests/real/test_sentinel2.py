"""Real Sentinel-2 products: what the agency wrote is read as it was documented."""

from __future__ import annotations

import contextlib
import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eespark.bands import BANDS, Flag, flags_of_scl
from eespark.errors import EESparkError, FormatError, MissingError
from eespark.grid import TileGrid
from eespark.io import rasters, safe_s2
from eespark.io.archive import Candidate, ScanOptions, list_archive, scan_product
from eespark.synthetic.safe import write_jp2
from tests.codestream import coding_of

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")]

ZIPPED = "S2A_MSIL1C_20180629T000241_N0206_R030_T56JMM_20180629T012042"
BARE = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911"
COGS = "S2A_29RKH_20200219_0_L2A"
# product: mission, level, tile, sensing time, relative orbit, baseline, CRS, offset of all bands; as its own XML has it.
METADATA = {
    "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135": (
        "S2A", "L1C", "01LAC", datetime(2020, 7, 17, 22, 20, 29, 740125, UTC), 29, "02.09", "EPSG:32701", 0.0,
    ),
    "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857": (
        "S2A", "L2A", "07HFE", datetime(2019, 2, 12, 19, 33, 32, 161000, UTC), 13, "02.12", "EPSG:32707", 0.0,
    ),
    "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126": (
        "S2B", "L2A", "33XWJ", datetime(2022, 4, 13, 15, 8, 7, 846358, UTC), 25, "04.00", "EPSG:32633", -1000.0,
    ),
}  # fmt: skip
LISTINGS = 30
OLD_NAMES = {"L1C_02.01", "L1C_02.01_tile", "L1C_02.02", "L1C_02.04_old", "L2A_02.01"}


@pytest.fixture(scope="module")
def archive(real_data: Path) -> Path:
    return real_data / "sentinel2"


@pytest.fixture(scope="module")
def candidates(archive: Path) -> dict[str, Candidate]:
    return {one.product_id: one for one in list_archive(str(archive))}


@pytest.fixture(scope="module")
def zipped(candidates: dict[str, Candidate]) -> dict[str, Any]:
    # Its pixels were decimated and its manifest was not, so sizes cannot be checked.
    return scan_product(candidates[ZIPPED], ScanOptions(check_sizes=False))


def listing(file: Path) -> tuple[str, list[str]]:
    """Name of the product and the paths below its folder."""
    with file.open(encoding="utf-8") as stream:
        paths = [row[1] for row in csv.reader(stream, delimiter=";")]
    (top,) = {path.split("/", 1)[0] for path in paths}
    return top.removesuffix(".SAFE"), [path.split("/", 1)[1] for path in paths]


def test_that_all_products_of_the_archive_are_found(candidates: dict[str, Candidate]) -> None:
    kinds = {name: one.kind for name, one in candidates.items()}
    assert kinds == {ZIPPED: "zip", BARE: "safe", COGS: "stac"} | dict.fromkeys(METADATA, "safe")


def test_that_those_without_all_bands_are_refused_with_the_reason(candidates: dict[str, Candidate]) -> None:
    for name in (*METADATA, BARE):
        with pytest.raises(MissingError, match=r"found no file of B02 B03 B04 B05 B06 B07 B8A B11 B12"):
            scan_product(candidates[name], ScanOptions())


def test_that_every_product_is_a_row_or_a_reason(candidates: dict[str, Candidate]) -> None:
    read = {}
    for name, one in candidates.items():
        with contextlib.suppress(EESparkError):
            read[name] = scan_product(one, ScanOptions(check_sizes=False))["tile"]
    assert read == {COGS: "29RKH", ZIPPED: "56JMM"}


def test_that_files_smaller_than_the_manifest_says_are_refused(candidates: dict[str, Candidate]) -> None:
    with pytest.raises(FormatError, match=r"9 file\(s\) differ from the manifest.*B02.jp2: manifest.safe says 72412779 bytes, found 92692"):
        scan_product(candidates[ZIPPED], ScanOptions())


def test_that_the_zip_is_read_as_its_metadata_has_it(zipped: dict[str, Any]) -> None:
    wanted = {
        "mission": "S2A", "level": "L1C", "tile": "56JMM", "relative_orbit": 30, "baseline": "02.06", "crs": "EPSG:32756", "scale": 10_000,
        "sensing_time": datetime(2018, 6, 29, 0, 2, 41, 461000, UTC), "offsets": dict.fromkeys(BANDS, 0.0),
    }  # fmt: skip
    assert {name: zipped[name] for name in wanted} == wanted


def test_that_the_size_of_the_raster_wins_over_that_of_the_xml(zipped: dict[str, Any]) -> None:
    shapes = {band: rasters.raster_info(zipped["bands"][band]).shape for band in BANDS}
    assert zipped["shape"] == [439, 439]
    assert {shapes[band] for band in ("B02", "B03", "B04")} == {(439, 439)}
    assert {shapes[band] for band in BANDS if band not in ("B02", "B03", "B04")} == {(219, 219)}
    # 10,980 px of 10 m over 439 px.
    np.testing.assert_allclose(zipped["transform"], [109_800 / 439, 0, 399_960, 0, -109_800 / 439, 6_700_000])


def test_that_a_quarter_of_the_zip_is_without_data(zipped: dict[str, Any]) -> None:
    # B06, B07, B8A and B11 of this copy hold small values where the others hold none.
    shares = [(rasters.read_window(zipped["bands"][band]) == 0).mean() for band in ("B02", "B03", "B04", "B05", "B12")]
    np.testing.assert_allclose(shares, 0.26, atol=0.015)


def test_that_the_native_jpeg_2000_has_the_agencys_tiles(archive: Path) -> None:
    (path,) = (archive / BARE).rglob("*_B01.jp2")
    info = rasters.check_last_tile(str(path))
    assert (info.shape, info.block, info.crs) == ((1830, 1830), (192, 192), "EPSG:32631")
    assert round((rasters.read_window(str(path)) > 0).mean(), 3) == 0.591


def test_that_single_pixels_of_the_native_jpeg_2000_equal_the_whole(archive: Path) -> None:
    (path,) = (archive / BARE).rglob("*_B01.jp2")
    rng = np.random.default_rng(5)
    rows, cols = rng.integers(0, 1830, 50), rng.integers(0, 400, 50)
    values, decoded = rasters.read_pixels(str(path), rows, cols)
    assert values.tolist() == rasters.read_window(str(path))[rows, cols].tolist()
    # Three columns of tiles hold them.
    assert decoded <= 3 * 192 * 1830


def test_that_the_stac_item_with_cogs_is_read(candidates: dict[str, Candidate]) -> None:
    row = scan_product(candidates[COGS], ScanOptions())
    wanted = {
        "mission": "S2A", "level": "L2A", "tile": "29RKH", "relative_orbit": 37, "baseline": "02.14", "crs": "EPSG:32629",
        "shape": [1098, 1098], "transform": [100, 0, 199_980, 0, -100, 2_800_020], "offsets": dict.fromkeys(BANDS, 0.0),
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    assert row["sensing_time"] == datetime(2020, 2, 19, 11, 34, 25, 405000, UTC)
    flags = flags_of_scl(rasters.read_window(row["bands"]["SCL"]))
    # The item says 95.9 % not vegetated, 0.64 % cloud and 3.4 % cirrus.
    assert abs((flags == Flag.CLEAR).mean() - 0.959) < 0.01
    assert abs((flags == Flag.CLOUD).mean() - 0.0405) < 0.01
    # Desert: even its darkest ground is bright, and no offset is missing or doubled.
    assert 0.15 < row["dark_reflectance"] < 0.25


def test_that_previews_have_the_share_of_valid_pixels_of_their_tile(archive: Path) -> None:
    files = sorted((archive / "l1c-T19UDP").rglob("*.jp2"))
    valid = np.logical_and.reduce([rasters.read_window(str(file)) > 0 for file in files])
    assert len(files) == 13
    assert valid.shape == (687, 687)
    assert round(valid.mean(), 3) == 0.612


@pytest.mark.parametrize("name", METADATA)
def test_that_metadata_and_offsets_of_each_baseline_are_read(archive: Path, name: str) -> None:
    folder = archive / "metadata-only" / f"{name}.SAFE"
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    found = safe_s2.read_metadata(name, files, lambda file: (folder / file).read_bytes())
    mission, level, tile, sensed, orbit, baseline, crs, offset = METADATA[name]
    assert (found.mission, found.level, found.tile, found.sensing_time) == (mission, level, tile, sensed)
    assert (found.relative_orbit, found.baseline, found.crs, found.scale) == (orbit, baseline, crs, 10_000)
    assert found.offsets == dict.fromkeys(BANDS, offset)


def test_that_the_bands_of_every_product_variant_are_found_at_their_finest_resolution(archive: Path) -> None:
    files = sorted((archive / "safe-listings").glob("*.csv"))
    assert len(files) == LISTINGS
    for file in files:
        _, paths = listing(file)
        found = safe_s2.band_files(paths, file.name[:3])
        if file.name.startswith("L1C"):
            assert list(found) == list(BANDS)
            assert all(path.endswith(f"_{band}.jp2") for band, path in found.items())
        else:
            assert list(found) == [*BANDS, "SCL"]
            fine = {band: path.rsplit("_", 1)[1] for band, path in found.items()}
            assert fine == dict.fromkeys(found, "20m.jp2") | dict.fromkeys(("B02", "B03", "B04"), "10m.jp2")


def test_that_products_of_before_december_2016_are_refused_by_their_name(archive: Path) -> None:
    refused = set()
    for file in (archive / "safe-listings").glob("*.csv"):
        name, _ = listing(file)
        if safe_s2.is_product_name(name):
            parsed = safe_s2.parse_name(name)
            assert parsed.level == file.name[:3]
            assert f"_T{parsed.tile}_" in name
        else:
            with pytest.raises(FormatError, match="products of before December 2016 hold many tiles: convert them first"):
                safe_s2.parse_name(name)
            refused.add(file.stem)
    assert refused == OLD_NAMES


def test_that_the_synthetic_archive_codes_bands_as_the_agency_does(archive: Path, tmp_path: Path) -> None:
    (real,) = (archive / BARE).rglob("*_B01.jp2")
    grid = TileGrid("31TDH", "EPSG:32631", 399_960.0, 4_800_000.0, 384, 384)
    write_jp2(tmp_path / "B01.jp2", np.ones((384, 384), np.uint16), grid, 60, 192)
    told, expected = coding_of(tmp_path / "B01.jp2"), coding_of(real)
    # The agency's bands of 60 m alone have small blocks of code; see `write_jp2`.
    assert (expected.pop("code_block"), expected.pop("precincts")) == ((4, 4), {(64, 64)})
    assert expected.items() <= told.items()
