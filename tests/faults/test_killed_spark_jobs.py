"""Jobs on Spark are killed in the middle and run again: the tables are those of a run that nothing disturbed.

A kill comes when something can be seen (a pipe in the place of a band has its reader, a commit appears), never after some time.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import rasterio
from delta.tables import DeltaTable

from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.dataset import build_training_set
from eespark.spark.maps import predict_map
from eespark.spark.observations import extract_series
from tests.faults.running import held

LEDGER_ONLY = ("seconds", "chunk")  # of the ledger: how long it took, and what was written with it
NEW = "33TVN"


def band_of(products, product, band="B05"):
    return Path(dict(products.set_index("product_id").loc[product, "bands"])[band])


@pytest.fixture
def night(scanned, tmp_path):
    """A chain before its nightly scan: the products of one tile are not in the catalog yet. And the last of them."""
    chain = scanned.copied(tmp_path, "products")
    whole = chain.read("products")
    DeltaTable.forPath(chain.spark, chain.table("products")).delete(f"tile = '{NEW}' OR tile IS NULL")
    new = whole.query("tile == @NEW and kind == 'safe' and status == 'current'")
    return chain, whole, band_of(whole, new["product_id"].max())


def scanning(chain, **changes):
    names = {"archive": str(chain.input / "archive"), "products": chain.table("products"), "summary": str(chain.root / "summary.json")}
    return ScanSettings.model_validate(names | changes)


def test_that_a_killed_scan_changes_nothing_and_the_next_one_finds_all(night, jobs, digest):
    chain, whole, band = night
    before = digest(chain.read("products"))
    with held(band) as is_read:
        # The pipe has no size that the manifest could tell.
        run = jobs.start("scan_archive", scanning(chain, check_sizes=False))
        run.wait_until(is_read)
        run.kill()
    run.wait_until_nothing_is_left()
    assert f"{len(whole)} products in" in run.log()
    assert not run.summary_file.exists()
    assert 0 < len(chain.read("products")) < len(whole)
    assert digest(chain.read("products")) == before
    told = scan_archive(chain.spark, scanning(chain))
    assert told["read"] >= 5
    assert digest(chain.read("products"), "ingested_at") == digest(whole, "ingested_at")


@pytest.fixture
def order(extracted):
    """Products in the order in which they are read."""
    read = extracted.read("observations")[["tile", "sensing_time", "product_id"]].drop_duplicates()
    return list(read.sort_values(["tile", "sensing_time", "product_id"])["product_id"])


def test_that_extraction_whose_driver_is_killed_within_a_chunk_goes_on_with_that_chunk(extracted, order, jobs, tmp_path, digest):
    chain = extracted.copied(tmp_path, "products", "samples")
    products = chain.read("products")
    settings = chain.extracting(products_per_commit=6)
    with held(band_of(products, max(order[6:12]))) as is_read:
        run = jobs.start("extract_series", settings)
        run.wait_until(is_read)
        run.kill_driver()
        # Its JVM, the workers, and the reader that waits at the pipe.
        run.wait_until_nothing_is_left()
    assert set(chain.read("observations")["product_id"]) == set(order[:6])
    assert set(chain.read("extractions")["product_id"]) == set(order[:6])
    again = jobs.run("extract_series", settings)
    assert (again.summary()["status"], again.summary()["products_read"]) == ("done", len(order) - 6)
    assert digest(chain.read("observations")) == digest(extracted.read("observations"))
    assert digest(chain.read("extractions"), *LEDGER_ONLY) == digest(extracted.read("extractions"), *LEDGER_ONLY)


def test_that_extraction_killed_between_the_observations_and_their_ledger_reads_nothing_twice(extracted, order, jobs, tmp_path, digest):
    chain = extracted.copied(tmp_path, "products", "samples")
    settings = chain.extracting(products_per_commit=6)
    commit = Path(chain.table("observations")) / "_delta_log" / f"{1:020d}.json"
    run = jobs.start("extract_series", settings)
    run.wait_until(commit.exists)
    run.kill()
    run.wait_until_nothing_is_left()
    assert set(chain.read("observations")["product_id"]) == set(order[:6])
    assert len(chain.read("extractions")) == 0
    told = extract_series(chain.spark, settings)
    assert told["products_read"] == len(order) - 6
    assert digest(chain.read("observations")) == digest(extracted.read("observations"))
    assert digest(chain.read("extractions"), *LEDGER_ONLY) == digest(extracted.read("extractions"), *LEDGER_ONLY)


def test_that_a_map_whose_driver_died_before_it_could_tidy_up_is_tidied_up_by_the_next_run(extracted, mapping, undisturbed_map, tmp_path):
    # After the map was published, before its parts were removed.
    shutil.copytree(undisturbed_map.folder, tmp_path / "maps")
    left = tmp_path / "maps" / "_parts" / "33TUN" / "run" / "0_0.part"
    left.parent.mkdir(parents=True)
    left.touch()
    told = predict_map(extracted.spark, mapping(tmp_path / "maps"))
    assert (told["blocks"], told["tiles"]) == (0, {})
    assert not (tmp_path / "maps" / "_parts" / "33TUN").exists()
    assert layers(tmp_path / "maps" / "33TUN") == layers(undisturbed_map.folder / "33TUN")


def rows_of(training_set):
    parts = [file.parent for file in sorted(training_set.glob("*/_common_metadata"))]
    return {part.name: pd.read_parquet(part) for part in parts}


def test_that_a_killed_build_leaves_the_older_set_and_the_next_one_is_whole(extracted, training_set, jobs, tmp_path, digest):
    chain = replace(extracted, root=tmp_path)
    settings = extracted.building("set").model_copy(
        update={"training_set": str(tmp_path / "set"), "summary": str(tmp_path / "summary.json")}
    )
    older, building = tmp_path / "set", tmp_path / "set.building"
    shutil.copytree(training_set, older)
    (older / "manifest.json").write_text((older / "manifest.json").read_text().replace("tiny@1", "older@1"))
    run = jobs.start("build_training_set", settings)
    run.wait_until((building / "train" / "_common_metadata").exists)
    run.kill()
    run.wait_until_nothing_is_left()
    assert list((building / "train").glob("*.parquet"))
    assert not (building / "manifest.json").exists()
    assert json.loads((older / "manifest.json").read_text())["sample_set"] == "older@1"
    build_training_set(chain.spark, settings)
    assert not building.exists()
    found, expected = rows_of(tmp_path / "set"), rows_of(training_set)
    assert {part: digest(rows) for part, rows in found.items()} == {part: digest(rows) for part, rows in expected.items()}
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path / "set", training_set)]
    assert manifests[0]["content_hash"] == manifests[1]["content_hash"]
    assert manifests[0]["statistics"] == manifests[1]["statistics"]


def layers(folder):
    found = {}
    for file in sorted(folder.glob("*.tif")):
        with rasterio.open(file) as dataset:
            found[file.name] = dataset.read().tobytes()
    return found


def test_that_a_killed_map_keeps_its_parts_and_ends_with_the_same_pixels(extracted, mapping, undisturbed_map, jobs, tmp_path):
    undisturbed = undisturbed_map.told
    assert undisturbed["blocks"] == 9
    settings = mapping(tmp_path / "killed")
    parts = tmp_path / "killed" / "_parts"
    run = jobs.start("predict_map", settings)
    run.wait_until(lambda: len(list(parts.glob("*/*/*.part"))) >= 2)
    run.kill()
    run.wait_until_nothing_is_left()
    kept = len(list(parts.glob("*/*/*.part")))
    assert 2 <= kept < 9
    assert not (tmp_path / "killed" / "33TUN").exists()
    told = predict_map(extracted.spark, settings)
    assert told["blocks"] == 9 - kept
    assert told["tiles"] == undisturbed["tiles"]
    assert undisturbed["tiles"]["33TUN"]["pixels"] > 0
    found = layers(tmp_path / "killed" / "33TUN")
    assert list(found) == ["class.tif", "clear_dates.tif", "novelty.tif", "probability.tif"]
    assert found == layers(undisturbed_map.folder / "33TUN")
    assert not any(parts.glob("*"))
