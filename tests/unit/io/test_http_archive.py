"""An archive behind a web server on this machine gives what the same archive gives as a folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from eespark.bands import BANDS, Flag
from eespark.errors import FormatError, MissingError
from eespark.io import rasters
from eespark.io.archive import Candidate, ScanOptions, fingerprint, list_archive, scan_product
from eespark.io.extract import extract_product
from eespark.io.guard import call_within
from eespark.io.remote_names import gdal_path
from eespark.io.storage import read_bytes
from eespark.synthetic.safe import write_product
from tests.unit.io.test_extract import FACTS, GRID, NAME, centres, images, layers
from tests.unit.io.test_stac import write_item, write_raster
from tests.unit.io.web_server import serve

L2A = replace(NAME, level="L2A", baseline="02.14")
ITEM = "S2A_33UXP_20180507_0_L2A"
ZIPPED = replace(NAME, tile="33UYP").product_id


def small_archive(root: Path) -> Path:
    """A SAFE folder of each level, a zip, and a STAC item with its rasters."""
    rng = np.random.default_rng(3)
    scenes = rng.integers(4, 11, (96, 96)).astype(np.uint8)
    values = {band: rng.integers(500, 4_000, image.shape).astype(np.uint16) for band, image in images().items()}
    write_product(root / "2018", L2A, GRID, values | {"SCL": scenes}, FACTS, (64, 32))
    write_product(root / "2018", NAME, GRID, values | {"CLOUDS": layers()}, FACTS, (64, 32))
    zipped = write_product(root / "scratch", replace(NAME, tile="33UYP"), GRID, values | {"CLOUDS": layers()}, FACTS, (64, 32))
    with zipfile.ZipFile(root / f"{ZIPPED}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(p for p in zipped.rglob("*") if p.is_file()):
            packed.write(path, path.relative_to(zipped.parent).as_posix())
    zipped.rename(root / "_not_listed")
    (root / "scratch").rmdir()
    for band in (*BANDS, "SCL"):
        image = scenes if band == "SCL" else values[band]
        write_raster(root / "cogs" / f"{band}.tif", image, 10 * 192 // len(image))
    write_item(root / "cogs")
    return root


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def url(archive: Path) -> Iterator[str]:
    with serve(archive) as address:
        yield address


def found(place: str) -> dict[str, Candidate]:
    return {one.product_id: one for one in list_archive(place)}


def same(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "bands"}


def test_that_the_same_products_are_listed_in_the_same_order(archive: Path, url: str) -> None:
    local = [(one.product_id, one.kind, one.url.removeprefix(str(archive))) for one in list_archive(str(archive))]
    assert [(one.product_id, one.kind, one.url.removeprefix(url)) for one in list_archive(url)] == local
    assert [(one.product_id, one.kind, one.url.removeprefix(url)) for one in list_archive(url + "/")] == local
    assert [kind for _, kind, _ in local] == ["safe", "safe", "zip", "stac"]


@pytest.mark.parametrize("product_id", [L2A.product_id, NAME.product_id, ZIPPED, ITEM])
def test_that_the_same_rows_are_scanned_and_the_same_observations_extracted(archive: Path, url: str, product_id: str) -> None:
    local, remote = (scan_product(found(place)[product_id], ScanOptions()) for place in (str(archive), url))
    assert same(remote) == same(local)
    assert set(remote["bands"]) == set(local["bands"])
    assert all(url in path for path in remote["bands"].values())
    rows, cols = (index.ravel() for index in np.indices((192, 192)))
    expected = extract_product(local, *GRID.centres(rows, cols))
    # In a process of its own, as extraction does it: connections must not be taken along.
    read = call_within(60.0, product_id, extract_product, remote, *GRID.centres(rows, cols))
    np.testing.assert_array_equal(read.flag, expected.flag)
    np.testing.assert_array_equal(read.reflectance, expected.reflectance)
    assert read.pixels_decoded == expected.pixels_decoded
    assert len(np.unique(read.flag)) > 1


def test_that_sizes_and_times_are_those_of_the_files(archive: Path, url: str) -> None:
    for product_id, candidate in found(str(archive)).items():
        local, remote = fingerprint(candidate), fingerprint(found(url)[product_id])
        assert remote[1] == local[1] > 0
        assert abs((remote[2] - local[2]).total_seconds()) < 1.0  # the header has whole seconds
        assert fingerprint(found(url)[product_id]) == remote


def test_that_a_file_that_changed_changes_the_fingerprint(archive: Path, url: str, tmp_path: Path) -> None:
    (file,) = (archive / "2018").glob(f"{NAME.product_id}.SAFE/INSPIRE.xml")
    before = fingerprint(found(url)[NAME.product_id])[0]
    content = file.read_text()
    try:
        file.write_text(content + "\n")
        assert fingerprint(found(url)[NAME.product_id])[0] != before
    finally:
        file.write_text(content)


def test_that_a_size_other_than_the_manifests_is_the_reason(archive: Path) -> None:
    file = archive / "2018" / f"{NAME.product_id}.SAFE" / NAME.image_file("B05")
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-10])
        with serve(archive) as url, pytest.raises(FormatError, match=r"B05\.jp2: manifest\.safe says"):
            scan_product(found(url)[NAME.product_id], ScanOptions())
    finally:
        file.write_bytes(content)


def test_that_an_archive_that_is_not_there_is_an_error(url: str) -> None:
    with pytest.raises(MissingError, match="must show an index page of each folder"):
        next(list_archive(f"{url}/nowhere"))


@pytest.mark.parametrize("fault", ["broken", "cut"])
@pytest.mark.parametrize("name", ["MSK_CLOUDS_B00.gml", "MTD_TL.xml"])
def test_that_a_server_that_fails_at_a_file_is_a_reason(archive: Path, fault: str, name: str) -> None:
    with serve(archive, **{fault: name}) as url:
        candidate = Candidate(NAME.product_id, f"{url}/2018/{NAME.product_id}.SAFE", "safe")
        with pytest.raises((FormatError, MissingError), match=name):
            scan_product(candidate, ScanOptions())


def test_that_a_server_that_fails_at_a_band_is_a_reason(archive: Path) -> None:
    with serve(archive, broken="_B05.jp2") as url, pytest.raises((FormatError, MissingError), match=r"_B05\.jp2"):
        scan_product(Candidate(NAME.product_id, f"{url}/2018/{NAME.product_id}.SAFE", "safe"), ScanOptions(check_sizes=False))


def test_that_a_server_that_fails_at_a_zip_is_a_reason(archive: Path) -> None:
    for fault in ("broken", "cut"):
        with serve(archive, **{fault: ".zip"}) as url, pytest.raises((FormatError, MissingError), match=ZIPPED):
            scan_product(Candidate(ZIPPED, f"{url}/{ZIPPED}.zip", "zip"), ScanOptions())


def test_that_a_server_that_falls_silent_is_given_up(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rasters._GDAL, "GDAL_HTTP_LOW_SPEED_TIME", 1)
    with serve(archive, silent="B04.tif") as url, pytest.raises(FormatError, match=r"B04\.tif: needed a readable raster"):
        rasters.read_window(gdal_path(f"{url}/cogs/B04.tif"))


def test_that_a_server_that_is_gone_is_a_reason(archive: Path) -> None:
    with serve(archive) as url:
        pass
    with pytest.raises((FormatError, MissingError)):
        read_bytes(f"{url}/cogs/{ITEM}.json")
    with pytest.raises((FormatError, MissingError)):
        next(list_archive(url))


def test_that_pages_that_link_ever_deeper_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<a href="deeper/">deeper/</a>')
    (tmp_path / "deeper").symlink_to(tmp_path)
    with serve(tmp_path) as url, pytest.raises(FormatError, match="needed folders at most 32 deep"):
        list(list_archive(url))


def test_that_links_that_sort_an_index_page_are_no_files(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / f"{NAME.product_id}.SAFE"
    folder.mkdir()
    (folder / "manifest.safe").write_text("<x/>")
    (folder / "index.html").write_text('<a href="?C=N;O=D">Name</a> <a href="../">up</a> <a href="manifest.safe">manifest.safe</a>')
    with serve(tmp_path) as url:
        assert fingerprint(Candidate(NAME.product_id, f"{url}/{folder.name}", "safe"))[1] == 4


@pytest.mark.parametrize("scheme", ["memory", "ftp"])
def test_that_a_scheme_that_gdal_cannot_read_says_what_to_do(scheme: str) -> None:
    with pytest.raises(
        FormatError, match=rf"GDAL reads .*http.*s3.* and local paths, found {scheme}://x/B02\.jp2; copy it to scratch first"
    ):
        gdal_path(f"{scheme}://x/B02.jp2")


def test_that_products_in_memory_are_listed_and_refused_with_what_to_do(archive: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(archive), "/held", recursive=True)
    try:
        candidates = found("memory://held")
        assert set(candidates) == {L2A.product_id, NAME.product_id, ZIPPED, ITEM}
        for candidate in candidates.values():
            with pytest.raises(FormatError, match=r"found memory://.*; copy it to scratch first"):
                scan_product(candidate, ScanOptions())
    finally:
        memory.rm("/held", recursive=True)


def test_that_a_mask_behind_the_server_gives_its_flags(url: str) -> None:
    for product_id in (NAME.product_id, ZIPPED):
        row = scan_product(found(url)[product_id], ScanOptions())
        flags = extract_product(row, *centres((0, 0), (18, 18), (100, 5), (100, 100))).flag
        assert [Flag(one).name for one in flags] == ["CLOUD", "CLEAR", "CLOUD", "CLEAR"]


def test_that_the_item_says_where_its_rasters_are(archive: Path, url: str) -> None:
    # The hrefs of the item are those of its origin: the rasters beside it are meant.
    assert json.loads((archive / "cogs" / f"{ITEM}.json").read_text())["assets"]["red"]["href"].startswith("https://example.invalid")
    assert scan_product(found(url)[ITEM], ScanOptions())["bands"]["B04"] == f"/vsicurl/{url}/cogs/B04.tif"
