"""S3 as archive, as place of tables and of outputs, on a real server: files, leases, rasters, and the chain as its users run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from eespark.errors import FormatError, MissingError
from eespark.io import rasters, storage
from eespark.io.archive import ScanOptions, list_archive, scan_product
from eespark.io.extract import extract_product
from eespark.io.remote_names import gdal_path
from eespark.io.s3 import create_object, swap_object
from eespark.spark.catalog import ScanSettings
from eespark.spark.dataset import build_training_set
from eespark.spark.map_settings import MapSettings
from eespark.train.settings import FitSettings, ModelSettings, TrainSettings
from tests.cluster import leases
from tests.cluster.s3 import S3
from tests.faults.running import ROOT, Runner


@pytest.fixture
def place(s3: S3, tmp_path: Path) -> str:
    return f"{s3.url}/{tmp_path.name}"


def test_that_a_file_is_written_read_listed_and_replaced(place: str) -> None:
    url = f"{place}/grün und rot/a=1/b.txt"
    storage.write_text(url, "grün")
    storage.write_text(url, "rot")
    assert storage.read_text(url) == "rot"
    assert storage.list_files(place, "") == [url]
    with pytest.raises(MissingError, match="found nothing there"):
        storage.read_bytes(f"{place}/none")


def test_that_a_folder_takes_the_place_of_the_old_and_its_manifest_comes_last(place: str) -> None:
    storage.write_text(f"{place}/final/left", "over")
    with storage.new_folder(f"{place}/final") as building:
        storage.write_text(f"{building}/part/x", "new")
        storage.write_text(f"{building}/manifest.json", "{}")
    assert storage.list_files(place, "") == [f"{place}/final/manifest.json", f"{place}/final/part/x"]
    storage.write_text(f"{place}/other.building/y", "newer")
    storage.publish_folder(f"{place}/other.building", f"{place}/final")
    assert storage.list_files(place, "") == [f"{place}/final/y"]
    storage.remove_tree(f"{place}/final")
    assert not storage.url_exists(f"{place}/final")


def test_that_an_object_is_made_once_and_changed_only_as_it_was_read(place: str) -> None:
    filesystem, path = storage.open_filesystem(f"{place}/a")
    assert not swap_object(filesystem, path, b"", b"one")
    assert create_object(filesystem, path, b"one")
    assert not create_object(filesystem, path, b"two")
    assert not swap_object(filesystem, path, b"two", b"three")
    assert swap_object(filesystem, path, b"one", b"two")
    assert filesystem.cat_file(path) == b"two"


@pytest.mark.parametrize("check", [name for name in vars(leases) if name.startswith("check_that")])
def test_that_leases_hold(check: str, place: str) -> None:
    getattr(leases, check)(f"{place}/{check}/night.lease")


@pytest.fixture(scope="module")
def archive(s3: S3, synthetic: Path) -> str:
    """The tiny archive on S3."""
    filesystem, path = storage.open_filesystem(f"{s3.url}/archive")
    filesystem.put(f"{synthetic / 'archive'}/", path, recursive=True)
    return f"{s3.url}/archive"


def test_that_products_are_read_where_they_lie_as_local_ones(archive: str, synthetic: Path) -> None:
    here = {one.product_id: one for one in list_archive(str(synthetic / "archive"))}
    there = {one.product_id: one for one in list_archive(archive)}
    assert there.keys() == here.keys()
    read: set[str] = set()
    for name, candidate in there.items():
        try:
            row, local = (scan_product(one, ScanOptions()) for one in (candidate, here[name]))
        except (FormatError, MissingError):
            continue
        points = np.arange(40.0)
        x, y = row["transform"][2] + 30 + 40 * points, row["transform"][5] - 50 - 30 * points
        found, expected = (extract_product(one, x, y) for one in (row, local))
        np.testing.assert_array_equal(found.reflectance, expected.reflectance)
        np.testing.assert_array_equal(found.flag, expected.flag)
        read.add(candidate.kind)
    assert read == {"safe", "zip"}


def test_that_the_chain_gives_on_s3_what_it_gives_here_and_no_log_tells_the_secret(
    s3: S3, archive: str, extracted: Any, tmp_path: Path, content: Any
) -> None:
    """Each job a process with a session of its own: tables and sets by S3A, everything else by s3fs and GDAL."""
    root, local = f"{s3.url}/chain", extracted
    lines = [line for line in (ROOT / "deploy" / "conf" / "spark-s3.conf").read_text().splitlines() if line.startswith("spark.")]
    runner = Runner(tmp_path / "runs", tuple(lines))

    def moved(step: str, *arguments: Any, **changes: Any) -> Any:
        made = getattr(local, step)(*arguments, **changes)
        return type(made).model_validate(json.loads(json.dumps(made.model_dump(mode="json")).replace(str(local.root), root)) | here(step))

    def here(step: str) -> dict[str, str]:
        return {"summary": str(tmp_path / f"{step}.json")}

    tables = f"{root}/tables"
    scan = ScanSettings(archive=archive, products=f"{tables}/products", summary=str(tmp_path / "scan.json"))
    trained = {"training_set": f"{root}/set", "bundle": f"{root}/bundle", "summary": str(tmp_path / "train.json")}
    fit = FitSettings(model=ModelSettings(name="lstm", units=8, layers=1, features=8), epochs=1, batch=16)
    mapped = {"products": f"{tables}/products", "bundle": f"{root}/bundle", "maps": f"{root}/maps", "tiles": ["33TUN"], "min_clear": 2}
    mapped |= {"first_day": "2017-09-01", "last_day": "2018-08-31", "block_px": 96, "summary": str(tmp_path / "map.json")}
    jobs = [
        ("scan_archive", scan), ("import_labels", moved("importing", scratch=str(tmp_path / "scratch"))),
        ("draw_samples", moved("drawing")),
        ("extract_series", moved("extracting", products_per_commit=6)), ("build_training_set", moved("building", "set")),
        ("train", TrainSettings(**trained, fit=fit, threads_per_process=1)), ("predict_map", MapSettings.model_validate(mapped)),
    ]  # fmt: skip
    try:
        logs = [runner.run(job, settings).log() for job, settings in jobs]
    finally:
        runner.end()
    expected = local.building("set-here")
    build_training_set(local.spark, expected)
    found = [storage.read_manifest(url, "training_set")["content_hash"] for url in (f"{root}/set", expected.training_set)]
    assert found[0] == found[1]
    assert json.loads((tmp_path / "map.json").read_text())["tiles"]["33TUN"]["pixels"] > 0
    with rasterio.Env(**rasters.remote_options("/vsis3/")), rasterio.open(gdal_path(f"{root}/maps/33TUN/class.tif")) as dataset:
        assert dataset.shape == (192, 192)
        assert (dataset.read(1) != 255).any()
    filesystem, path = storage.open_filesystem(root)
    kept = [filesystem.cat_file(name) for name in filesystem.find(path)]
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(kept) > 30
    assert len(written) > 14
    assert not [text for text in (*kept, *written, *(log.encode() for log in logs)) if s3.secret.encode() in text]
