"""HDFS as archive, as place of tables and of outputs: files, folders, rasters, leases, Delta tables, two nights at once."""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eespark.errors import FormatError, MissingError
from eespark.io import storage
from eespark.io.archive import ScanOptions, fingerprint, list_archive, scan_product
from eespark.io.extract import extract_product
from eespark.io.members import Candidate
from eespark.schema import EXTRACTIONS
from eespark.spark import tables
from eespark.spark.nightly import NightlySettings
from tests.cluster import leases
from tests.cluster.hadoop import Hadoop
from tests.faults.running import Runner


@pytest.fixture(scope="module")
def archive(hdfs: Hadoop, synthetic: Path) -> str:
    """The tiny archive on HDFS."""
    url = f"{hdfs.hdfs}/archive"
    filesystem, path = storage.open_filesystem(url)
    filesystem.put(f"{synthetic / 'archive'}/", path, recursive=True)
    return url


@pytest.fixture
def place(hdfs: Hadoop, tmp_path: Path) -> str:
    return f"{hdfs.hdfs}/{tmp_path.name}"


def test_that_a_file_is_written_whole_read_listed_and_replaced(place: str) -> None:
    url = f"{place}/grün und rot/a=1/b.txt"
    storage.write_text(url, "grün")
    storage.write_text(url, "rot" * 9)
    assert storage.read_text(url) == "rot" * 9
    assert storage.list_files(place, "") == [url]
    filesystem, path = storage.open_filesystem(url)
    with filesystem.open(path, "rb") as stream:
        stream.seek(-4, 2)
        assert stream.read() == b"trot"
    assert (filesystem.cat_file(path, 3, 6), filesystem.cat_file(path, -2)) == (b"rot", b"ot")
    with pytest.raises(MissingError, match=rf"needed the file {place}/none, found nothing there"):
        storage.read_bytes(f"{place}/none")


def test_that_what_is_streamed_appears_when_it_is_closed(place: str) -> None:
    filesystem, path = storage.open_filesystem(f"{place}/big.bin")
    content = np.random.default_rng(1).bytes(12_000_000)
    with filesystem.open(path, "wb") as stream:
        stream.write(content[:7_000_000])
        assert not filesystem.exists(path)
        stream.write(content[7_000_000:])
    assert filesystem.cat_file(path) == content


def test_that_a_folder_appears_in_one_step_in_the_place_of_the_old(place: str) -> None:
    storage.write_text(f"{place}/final/left", "over")
    with storage.new_folder(f"{place}/final") as building:
        storage.write_text(f"{building}/part/x", "new")
        (Path(building) / "empty").touch()
    assert storage.list_files(place, "") == [f"{place}/final/empty", f"{place}/final/part/x"]
    assert storage.read_bytes(f"{place}/final/empty") == b""
    storage.write_text(f"{place}/final/other/y", "stays")
    filesystem, path = storage.open_filesystem(f"{place}/final")
    with pytest.raises(FileExistsError):
        filesystem.mv(f"{path}/part", f"{path}/other")
    assert storage.read_text(f"{place}/final/other/y") == "stays"


def test_that_a_name_node_that_does_not_answer_is_no_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EESPARK_WEBHDFS", "http://127.0.0.1:9")
    with pytest.raises(FormatError, match="needed an answer of its server, found ConnectionError"):
        storage.read_bytes("hdfs://gone:8020/x")


@pytest.mark.parametrize("check", [name for name in vars(leases) if name.startswith("check_that")])
def test_that_leases_hold(check: str, place: str) -> None:
    getattr(leases, check)(f"{place}/{check}/night.lease")


def test_that_products_are_read_where_they_lie_as_local_ones(archive: str, synthetic: Path) -> None:
    """Folders and zips: rows of the catalog, fingerprints as long as the files stay, values at points."""
    here = {one.product_id: one for one in list_archive(str(synthetic / "archive"))}
    there = {one.product_id: one for one in list_archive(archive)}
    assert there.keys() == here.keys()
    read: set[str] = set()
    for name, candidate in there.items():
        try:
            row, local = (scan_product(one, ScanOptions()) for one in (candidate, here[name]))
        except (FormatError, MissingError):
            continue
        assert {**row, "bands": None} == {**local, "bands": None}
        points = np.arange(40.0)
        x, y = row["transform"][2] + 30 + 40 * points, row["transform"][5] - 50 - 30 * points
        found, expected = (extract_product(one, x, y) for one in (row, local))
        np.testing.assert_array_equal(found.reflectance, expected.reflectance)
        np.testing.assert_array_equal(found.flag, expected.flag)
        assert fingerprint(candidate) == fingerprint(candidate)
        read.add(candidate.kind)
    assert read == {"safe", "zip"}


def test_that_a_broken_zip_on_hdfs_costs_only_itself(place: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../x", "y")
    storage.write_bytes(f"{place}/S2A.zip", (tmp_path / "a.zip").read_bytes()[:-9])
    with pytest.raises(FormatError, match="needed a whole zip, found a broken one"):
        scan_product(Candidate("S2A_MSIL2A_x", f"{place}/S2A.zip", "zip"), ScanOptions())


def test_that_appends_of_drivers_at_once_all_land_and_a_repeat_does_not(spark: Any, place: str) -> None:
    url = f"{place}/extractions"
    tables.ensure_table(spark, url, EXTRACTIONS)
    row = ("s@1", "p", "f", 1, "t", "done", 5, None, 1.0, 9, "c")
    schema = ", ".join(f"{c.name} {c.dtype}" for c in EXTRACTIONS.columns)

    def write(name: str) -> None:
        rows = spark.createDataFrame([(row[0], name, *row[2:])], schema)
        tables.append_once(rows, url, f"chunk-{name}", {"sample_set": "s@1"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, ("a", "b", "c", "a")))
    found = tables.open_table(spark, url, EXTRACTIONS)
    assert sorted(row["product_id"] for row in found.collect()) == ["a", "b", "c"]


@pytest.mark.parametrize("where", ["local", "hdfs"])
def test_that_of_two_nights_at_once_one_works_and_the_tables_are_right(
    where: str, drawn: Any, extracted: Any, archive: str, hdfs: Hadoop, tmp_path: Path, content: Any
) -> None:
    """Two drivers, each a process with a session of its own, that begin together."""
    root = str(tmp_path) if where == "local" else f"{hdfs.hdfs}/{tmp_path.name}"
    source = str(drawn.input / "archive") if where == "local" else archive
    storage.put_folder(drawn.table("samples"), f"{root}/samples")
    names = {"products": f"{root}/products", "samples": f"{root}/samples", "observations": f"{root}/observations"}
    names |= {"extractions": f"{root}/extractions", "packs": f"{root}/packs", "sample_set": "tiny@1", "max_failed_share": 1.0}
    told = {
        "scan": {"archive": source, "products": names["products"], "max_failed_share": 1.0, "summary": f"{root}/scan.json"},
        "series": {**names, "summary": f"{root}/series.json"},
    }
    for name, settings in told.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    runner = Runner(tmp_path / "runs")
    night = {"scan": str(tmp_path / "scan.yaml"), "series": [str(tmp_path / "series.yaml")], "lease": f"{root}/night.lease"}
    try:
        runs = [
            runner.start("nightly", NightlySettings(**night, page=f"{root}/night.html", summary=str(tmp_path / f"{name}.json")))
            for name in ("one", "other")
        ]
        codes = sorted(run.wait() for run in runs)
    finally:
        runner.end()
    assert codes == [0, 5], "\n".join(run.log()[-2_000:] for run in runs)
    assert storage.url_exists(f"{root}/night.html")
    assert not storage.url_exists(f"{root}/night.lease")
    found = drawn.spark.read.format("delta").load(tables.jvm_url(names["observations"])).toPandas()
    assert content(found, "fingerprint") == content(extracted.read("observations"), "fingerprint")
    assert json.loads(storage.read_text(f"{root}/series.json"))["status"] == "done"
