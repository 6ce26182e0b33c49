"""The demo's own run, held against what was planted."""

import json

import numpy as np
import pytest
import rasterio

from tests.e2e.conftest import read_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def products(demo):
    return read_table(demo / "tables" / "products").set_index("product_id")


@pytest.fixture(scope="module")
def samples(demo):
    return read_table(demo / "tables" / "samples")


@pytest.fixture(scope="module")
def observations(demo):
    return read_table(demo / "tables" / "observations")


def planted(truth, fault):
    return {name for name, told in truth["faults"].items() if told["fault"] == fault}


def test_that_exactly_the_broken_products_are_quarantined_with_their_reasons(products, truth):
    quarantined = products[products["status"] == "quarantined"]
    assert set(quarantined.index) == planted(truth, "truncated") | planted(truth, "missing_band")
    assert all("differ from the manifest" in quarantined.loc[name, "reason"] for name in planted(truth, "truncated"))
    assert all("found no file of B11" in quarantined.loc[name, "reason"] for name in planted(truth, "missing_band"))


def test_that_both_halves_of_a_tile_date_are_current(products, truth):
    assert set(products.loc[sorted(planted(truth, "half")), "status"]) == {"current"}


def test_that_the_reprocessed_product_took_the_place_of_its_original(products, truth):
    for name in planted(truth, "reprocessed"):
        assert products.loc[name, "status"] == "current"
        originals = products[products["reason"] == f"newer: {name}"]
        assert list(originals["status"]) == ["superseded"]
        assert originals["tile"].iloc[0] == products.loc[name, "tile"]


def test_that_offsets_follow_the_baseline(products):
    readable = products[products["status"] != "quarantined"]
    offsets = {baseline: {dict(o)["B04"] for o in group["offsets"]} for baseline, group in readable.groupby("baseline")}
    assert offsets["02.14"] == {0.0}
    assert offsets["04.00"] == {-1000.0}


def test_that_a_zip_and_an_l1c_product_are_in_the_catalog(products, truth):
    assert [products.loc[name, "kind"] for name in planted(truth, "zip")] == ["zip"]
    assert [products.loc[name, "level"] for name in planted(truth, "l1c")] == ["L1C"]


def test_that_every_sample_lies_in_the_square_of_its_tile(samples):
    # 33TUN and 33TVN meet at easting 400 km, and both crops reach beyond it.
    assert samples.loc[samples["tile"] == "33TUN", "x"].max() < 400_000
    assert samples.loc[samples["tile"] == "33TVN", "x"].min() >= 400_000


def test_that_declared_classes_are_the_true_ones_but_for_the_planted_share(demo, samples):
    drawn = samples[samples["split"] != "points"]
    agree = np.zeros(len(drawn), bool)
    for tile, rows in drawn.groupby("tile"):
        with rasterio.open(demo / "input" / "truth" / f"class_{tile}.tif") as dataset:
            true = dataset.read(1)
        agree[drawn.index.get_indexer(rows.index)] = true[rows["row"], rows["col"]] == rows["class_id"]
    assert 0.90 < agree.mean() < 0.985  # 5 % of the parcels are declared wrongly, large and small


def test_that_no_parcel_or_pixel_is_in_two_parts(samples):
    assert samples.groupby("label_id")["split"].nunique().max() == 1
    assert samples.groupby(["tile", "row", "col"])["split"].nunique().max() == 1


def test_that_every_product_that_could_be_read_was_extracted_once(demo, products, samples):
    ledger = read_table(demo / "tables" / "extractions")
    tiles = set(samples["tile"])
    wanted = products[(products["status"] == "current") & (products["level"] == "L2A") & products["tile"].isin(tiles)]
    assert sorted(ledger["product_id"]) == sorted(wanted.index)
    assert set(ledger["status"]) == {"done"}


def test_that_observations_equal_the_rasters_read_by_hand(products, samples, observations):
    place = samples.set_index("sample_id")
    clear = observations[observations["flag"] == 0].sample(60, random_state=3)
    for row in clear.itertuples():
        product, sample = products.loc[row.product_id], place.loc[row.sample_id]
        for index, (band, ratio) in {0: ("B02", 1), 6: ("B8A", 2)}.items():
            with rasterio.open(dict(product["bands"])[band]) as dataset:
                dn = int(dataset.read(1)[sample["row"] // ratio, sample["col"] // ratio])
            assert row.reflectance[index] == dn + dict(product["offsets"])[band]


def test_that_the_empty_date_gave_no_data_and_was_done(observations, truth, products):
    for name in planted(truth, "empty"):
        if products.loc[name, "status"] == "current" and (observations["product_id"] == name).any():
            assert set(observations.loc[observations["product_id"] == name, "flag"]) == {4}


def test_that_the_audit_found_no_leak(demo):
    audit = json.loads((demo / "sample_sets" / "demo@1" / "manifest.json").read_text())["audit"]
    assert audit["shared_labels"] == audit["shared_pixels"] == 0
    assert all(found["distance_m"] >= audit["guard_m"] and found["overlapping"] == 0 for found in audit["nearest"].values())


def test_that_the_map_covers_the_tile_with_classes_of_the_bundle(demo):
    folder = demo / "maps" / "32TQT"
    bundle = json.loads((demo / "bundle" / "manifest.json").read_text())
    with rasterio.open(folder / "class.tif") as dataset:
        classes = dataset.read(1)
        assert dataset.shape == (768, 768)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert set(np.unique(classes)) <= {one["id"] for one in bundle["classes"]} | {255}
    assert (classes != 255).mean() > 0.95
    for name in ("probability", "novelty", "clear_dates"):
        with rasterio.open(folder / f"{name}.tif") as dataset:
            assert dataset.shape == (768, 768)
            assert np.array_equal(dataset.read(1) == 255, classes == 255) or name == "clear_dates"


def test_that_accuracy_is_told_by_three_protocols_for_the_network_and_the_forest(demo, summary):
    protocols = json.loads((demo / "validation" / "manifest.json").read_text())["protocols"]
    assert set(protocols) == {"disjoint_areas", "unseen_tiles", "lucas"}
    for name, models in protocols.items():
        assert "random_forest" in models
        assert len(models) == 2
        told = summary["validation"][name]
        assert 0.0 < told["macro_f1"] < 1.0
        assert 0.0 < told["overall_accuracy"] < 1.0


def test_that_the_network_learnt_more_than_the_majority(demo):
    models = json.loads((demo / "validation" / "manifest.json").read_text())["protocols"]["unseen_tiles"]
    network = next(found for name, found in models.items() if name != "random_forest")
    reference = np.array(network["confusion_estimated"]).sum(axis=1)
    assert network["overall_accuracy"]["lower"] > reference.max()


def test_that_every_stage_tells_its_seconds_and_counts(summary):
    assert set(summary["stages"]) >= {"scan_archive", "draw_samples", "extract_series", "train", "predict_map", "validate", "report"}
    assert all(stage["status"] == "done" and stage["seconds"] > 0 for stage in summary["stages"].values())


def test_that_the_report_page_holds_everything_and_asks_for_nothing(demo):
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    for words in ("unseen", "random", "33TVN", "demo@1"):
        assert words in page
