"""What lies in an archive, and why a product cannot be used; products are made small and then broken."""

from __future__ import annotations

import os
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eespark.bands import BANDS
from eespark.errors import EESparkError, FormatError, MissingError
from eespark.grid import TileGrid
from eespark.io import safe_xml
from eespark.io.archive import Candidate, ScanOptions, fingerprint, list_archive, scan_product
from eespark.synthetic.names import ProductName
from eespark.synthetic.safe import write_jp2, write_product

START = datetime(2018, 5, 7, 10, 0, 31, tzinfo=UTC)
NAME = ProductName("S2A", "L2A", "33UXP", 122, 15_000, START, START - timedelta(seconds=2), START + timedelta(hours=3), "02.14")
GRID = TileGrid("33UXP", "EPSG:32633", 600_000, 5_400_000, 128, 128)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    images = {b: rng.integers(300, 4_000, (128, 128) if b in ("B02", "B03", "B04") else (64, 64)).astype(np.uint16) for b in BANDS}
    images["SCL"] = np.full((64, 64), 4, np.uint8)
    outline = [(16.36, 48.74), (16.38, 48.74), (16.38, 48.72), (16.36, 48.72), (16.36, 48.74)]
    facts = {"footprint": outline, "percentages": [0.0] * 12, "cloud": 0.0}
    return write_product(tmp_path_factory.mktemp("whole"), NAME, GRID, images, facts, (64, 32))


@pytest.fixture
def product(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "archive" / whole.name))


def scan(path: Path, **options: bool) -> dict[str, object]:
    kind = "zip" if path.suffix == ".zip" else "safe"
    return scan_product(Candidate(path.name.removesuffix(".zip").removesuffix(".SAFE"), str(path), kind), ScanOptions(**options))


def pack(folder: Path, file: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent).as_posix())
        for name, content in more.items():
            archive.writestr(name, content)
    return file


def band(product: Path, name: str) -> Path:
    (found,) = product.glob(f"GRANULE/*/IMG_DATA/*/*_{name}_*.jp2")
    return found


def test_that_a_whole_product_is_read_from_folder_and_zip_alike(product: Path, tmp_path: Path) -> None:
    folder, zipped = scan(product), scan(pack(product, tmp_path / f"{product.stem}.zip"))
    assert folder["shape"] == [128, 128]
    assert folder["transform"] == [10, 0, 600_000, 0, -10, 5_400_000]
    assert {name: value for name, value in folder.items() if name != "bands"} == {n: v for n, v in zipped.items() if n != "bands"}
    for name, path in zipped["bands"].items():  # type: ignore[attr-defined]
        with rasterio.open(path) as one, rasterio.open(folder["bands"][name]) as other:  # type: ignore[index]
            assert (one.read() == other.read()).all()


def test_that_the_products_of_an_archive_are_listed_in_the_order_of_their_paths(tmp_path: Path) -> None:
    id_ = NAME.product_id
    for folder in (f"2018/05/{id_}.SAFE/GRANULE", "a/S2B_OLD.SAFE", f"b/{id_}", f".hidden/{id_}.SAFE", f"_temporary/{id_}.SAFE", "c/empty"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("S2A_z.zip", "S2A_y.SAFE.zip", "readme.json", "other.zip", "a/S2A_33UXP.json", f"2018/05/{id_}.SAFE/S2.json"):
        (tmp_path / file).write_text("")
    found = [(one.product_id, os.path.relpath(one.url, tmp_path), one.kind) for one in list_archive(str(tmp_path))]
    assert found == [
        (id_, f"2018/05/{id_}.SAFE", "safe"),
        ("S2A_y", "S2A_y.SAFE.zip", "zip"),
        ("S2A_z", "S2A_z.zip", "zip"),
        ("S2A_33UXP", "a/S2A_33UXP.json", "stac"),
        ("S2B_OLD", "a/S2B_OLD.SAFE", "safe"),
        (id_, f"b/{id_}", "safe"),
    ]


def test_that_a_folder_that_lost_its_suffix_is_read(product: Path) -> None:
    bare = product.rename(product.with_suffix(""))
    (found,) = list_archive(str(product.parent))
    assert found == Candidate(NAME.product_id, str(bare), "safe")
    assert scan_product(found, ScanOptions())["tile"] == "33UXP"


def test_that_a_folder_of_the_zips_name_around_a_product_is_looked_into(product: Path) -> None:
    around = product.parent / NAME.product_id
    around.mkdir()
    inside = product.rename(around / product.name)
    assert [one.url for one in list_archive(str(product.parent))] == [str(inside)]


def test_that_no_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="needed an archive folder"):
        next(list_archive(str(tmp_path / "nowhere")))


def test_that_a_size_other_than_the_manifests_is_the_reason(product: Path) -> None:
    file = band(product, "B05")
    before = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(
        FormatError, match=rf"1 file\(s\) differ from the manifest: .*B05_20m.jp2: manifest.safe says {before} bytes, found"
    ):
        scan(product)
    assert scan(product, check_sizes=False)["tile"] == "33UXP"


def test_that_a_file_cut_short_does_not_pass_even_without_sizes(product: Path) -> None:
    file = band(product, "B11")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(FormatError, match=r"B11_20m\.jp2: needed a readable raster"):
        scan(product, check_sizes=False)


def test_that_a_missing_band_is_the_reason(product: Path) -> None:
    band(product, "B8A").unlink()
    with pytest.raises(MissingError, match="found no file of B8A"):
        scan(product)


def test_that_a_crs_other_than_the_metadatas_is_the_reason(product: Path) -> None:
    other = TileGrid("34UCU", "EPSG:32634", 600_000, 5_400_000, 128, 128)
    write_jp2(band(product, "B12"), np.full((64, 64), 900, np.uint16), other, 20, 32)
    with pytest.raises(FormatError, match="B12: metadata says EPSG:32633, the raster says EPSG:32634"):
        scan(product, check_sizes=False)


def test_that_a_band_of_another_size_is_the_reason(product: Path) -> None:
    write_jp2(band(product, "B06"), np.full((32, 64), 900, np.uint16), GRID, 20, 32)
    with pytest.raises(FormatError, match=r"B06: needed about \(64\.0, 64\.0\) pixels"):
        scan(product, check_sizes=False)


def test_that_a_file_that_only_points_elsewhere_is_refused(product: Path) -> None:
    # GDAL knows a format by its content: a VRT under the name of a band would read any file or host that it names.
    target = band(product, "B03").with_name("target.tif")
    shutil.copy(band(product, "B03"), target)
    band(product, "B04").write_text(
        '<VRTDataset rasterXSize="128" rasterYSize="128"><SRS>EPSG:32633</SRS><GeoTransform>600000,10,0,5400000,0,-10</GeoTransform>'
        f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename>{target}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(FormatError, match="needed a GeoTIFF or JPEG 2000, found VRT"):
        scan(product, check_sizes=False)


@pytest.mark.parametrize("member", ["../outside.xml", "/etc/outside.xml", "x/../../outside.xml", "..\\outside.xml"])
def test_that_a_zip_that_leads_outside_itself_is_refused(product: Path, tmp_path: Path, member: str) -> None:
    with pytest.raises(FormatError, match="leads outside the zip"):
        scan(pack(product, tmp_path / f"{product.stem}.zip", **{member: b"x"}))


def test_that_a_zip_of_two_products_is_refused(product: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"needed a zip with one \.SAFE folder, found 2"):
        scan(pack(product, tmp_path / f"{product.stem}.zip", **{"S2A_OTHER.SAFE/manifest.safe": b"x"}))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_that_a_zip_cut_short_is_refused(product: Path, tmp_path: Path, kept: float) -> None:
    file = pack(product, tmp_path / f"{product.stem}.zip")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FormatError, match="needed a whole zip, found a broken one"):
        scan(file)


def test_that_a_zip_with_a_damaged_member_is_refused(product: Path, tmp_path: Path) -> None:
    file = pack(product, tmp_path / f"{product.stem}.zip")
    content = bytearray(file.read_bytes())
    place = content.index(b"<HORIZONTAL_CS_CODE>")
    content[place : place + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(content)
    with pytest.raises(FormatError, match="needed a whole zip, found a broken one: Bad CRC-32"):
        scan(file)


def test_that_metadata_that_would_inflate_are_not_unpacked(product: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_xml, "MAX_XML_BYTES", 1_000)
    with pytest.raises(FormatError, match=r"needed metadata below 1000 bytes, found \d+; do not use this file"):
        scan(product)


def test_that_a_fingerprint_changes_with_any_file(product: Path) -> None:
    candidate = Candidate(NAME.product_id, str(product), "safe")
    first, size, _ = fingerprint(candidate)
    assert fingerprint(candidate)[0] == first
    file = band(product, "B02")
    assert size == sum(path.stat().st_size for path in product.rglob("*") if path.is_file())
    # The same size at another time.
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 5))
    later, same_size, modified = fingerprint(candidate)
    assert (later != first, same_size) == (True, size)
    assert modified == datetime.fromtimestamp(file.stat().st_mtime, UTC)
    file.rename(file.with_name("other.jp2"))
    assert len({first, later, fingerprint(candidate)[0]}) == 3


def test_that_every_reason_is_an_error_of_ours_and_says_what_to_do(product: Path) -> None:
    (product / "MTD_MSIL2A.xml").unlink()
    with pytest.raises(EESparkError, match=r"needed MTD_MSIL2A.xml, found no such file in the product; fetch it again"):
        scan(product)
