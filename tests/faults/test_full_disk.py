"""A disk that is full: what was written is whole or not there, the error says so in a line, and a run with room ends well."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio

from eespark.endings import as_ours
from eespark.errors import CapacityError, StorageFullError
from eespark.io.rasters import write_cog
from eespark.predict import load_bundle
from eespark.spark import map_tasks
from eespark.spark.dataset import build_training_set
from eespark.spark.failures import plain_errors
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.spark.observations import extract_series
from eespark.train.fit import fit
from tests.faults.test_killed_training import curves, weights

FULL = "needed room to write, found none: .*No space left on device.*; make room"


@dataclass(frozen=True)
class Disk:
    """A small disk of its own, filled but for what a test leaves."""

    path: Path

    def leave(self, free: int) -> None:
        """Fill it but for so many bytes (in whole pages)."""
        with (self.path / "filler").open("wb") as stream:
            stream.write(bytes(shutil.disk_usage(self.path).free - free))

    def make_room(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({made.stderr.strip()}); run as root")
    yield Disk(path)
    # Lazily: Spark may still hold a file open.
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("free", [0, 4096, 8192, 16_384, 32_768])
def test_that_a_raster_is_never_cut_short(disk, free):
    # 40,000 random bytes, which nothing compresses.
    values = np.random.default_rng(1).integers(0, 255, (200, 200)).astype(np.uint8)
    file = disk.path / "map.tif"
    profile = {"crs": "EPSG:32633", "transform": (10, 0, 500_000, 0, -10, 5_300_000), "nodata": 255}
    disk.leave(free)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_cog(str(file), values, profile)
    assert isinstance(as_ours(caught.value), StorageFullError)
    assert [one.name for one in disk.path.iterdir()] == ["filler"]
    disk.make_room()
    write_cog(str(file), values, profile)
    with rasterio.open(file) as dataset:
        assert (dataset.read(1) == values).all()


def test_that_extraction_ends_in_one_line_and_goes_on_where_it_stopped(extracted, disk, jobs, tmp_path, digest):
    chain = extracted.copied(tmp_path, "products", "samples")
    tables = {name: str(disk.path / name) for name in ("observations", "extractions")}
    settings = chain.extracting(products_per_commit=6, **tables)
    disk.leave(200_000)
    run = jobs.run("extract_series", settings, code=4)
    summary, log = run.summary(), run.log()
    assert (summary["status"], summary["exit_code"]) == ("failed", 4)
    assert f"writing file:{disk.path}/" in summary["error"]
    assert f"(free now: {tmp_path}" in summary["error"]
    assert log.splitlines()[-1].endswith(f"extract_series: {summary['error']}")
    assert "Traceback" not in log
    assert "\tat " not in log
    assert "stack" not in summary

    def rows(name):
        return chain.spark.read.format("delta").load(tables[name]).toPandas()

    whole = extracted.read("observations")
    there = set(rows("observations")["product_id"])
    assert 0 < len(there) < whole["product_id"].nunique()
    assert digest(rows("observations")) == digest(whole[whole["product_id"].isin(there)])
    disk.make_room()
    told = extract_series(chain.spark, settings)
    assert told["products_read"] == whole["product_id"].nunique() - len(there)
    assert digest(rows("observations")) == digest(whole)


def test_that_a_training_set_without_room_leaves_the_older_one(extracted, training_set, disk):
    older = disk.path / "set"
    shutil.copytree(training_set, older)
    (older / "older").touch()
    settings = extracted.building("set").model_copy(update={"training_set": str(older)})
    disk.leave(200_000)
    with pytest.raises(StorageFullError, match=FULL), plain_errors():
        build_training_set(extracted.spark, settings)
    assert (older / "older").exists()
    disk.make_room()
    told = build_training_set(extracted.spark, settings)
    assert not (older / "older").exists()
    assert told["content_hash"] == json.loads((training_set / "manifest.json").read_text())["content_hash"]
    assert sorted(one.name for one in disk.path.iterdir()) == ["set"]


def test_that_a_block_without_room_is_no_hole_as_one_that_hangs_is(monkeypatch, tmp_path):
    names = {"products": "p", "bundle": "b", "maps": str(tmp_path), "summary": "s", "first_day": "2017-09-01", "last_day": "2018-08-31"}
    settings, row = MapSettings.model_validate(names), {"tile": "33TUN", "block_row": 0, "block_col": 64}
    error: list[Exception] = [CapacityError("gave up after 3 s")]

    def fail(*_):
        raise error[-1]

    monkeypatch.setattr(map_tasks, "call_within", fail)
    told = map_tasks.predict_row(row, settings, "part", None)
    assert (told["status"], told["reason"]) == ("failed", "CapacityError: gave up after 3 s")
    error.append(StorageFullError("no room"))
    with pytest.raises(StorageFullError, match="no room"):
        map_tasks.predict_row(row, settings, "part", None)


@pytest.mark.parametrize(("free", "parts"), [(12_288, False), (131_072, True)])
def test_that_a_map_without_room_is_not_there_and_its_parts_are_kept(extracted, mapping, undisturbed_map, disk, free, parts):
    settings = mapping(disk.path / "maps")
    disk.leave(free)
    with pytest.raises(StorageFullError, match=FULL), plain_errors():
        predict_map(extracted.spark, settings)
    assert not (disk.path / "maps" / "33TUN").exists()
    kept = len(list((disk.path / "maps" / "_parts").glob("*/*/*.part")))
    assert (kept == 9) is parts
    disk.make_room()
    told = predict_map(extracted.spark, settings)
    # The task beside the one that failed may have found room for its part since.
    assert told["blocks"] <= 9 - kept
    assert told["tiles"] == undisturbed_map.told["tiles"]
    assert sorted(one.name for one in (disk.path / "maps").iterdir()) == ["33TUN", "_parts"]


def test_that_a_bundle_without_room_is_not_there_and_training_need_not_begin_again(reference, disk):
    settings = reference.settings
    bundle = disk.path / "bundle"
    disk.leave(200_000)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fit(settings.fit, settings.training_set, str(bundle))
    assert isinstance(as_ours(caught.value), StorageFullError)
    assert not bundle.exists()
    disk.make_room()
    epochs: list[int] = []
    fit(settings.fit, settings.training_set, str(bundle), after_epoch=epochs.append)
    assert epochs == []
    assert load_bundle(str(bundle)).manifest["model"] == "lstm"
    assert len(weights(bundle)) == len(weights(reference.bundle))
    assert len(curves(bundle)) == len(curves(reference.bundle))
    assert [one.name for one in disk.path.iterdir()] == ["bundle"]
