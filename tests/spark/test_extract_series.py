"""Extraction on Spark: one bad product costs only itself, what is no longer current goes, and nothing lands twice."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from delta.tables import DeltaTable

from eespark.errors import MissingError, TooManyFailuresError
from eespark.spark.ledger import Ledger
from eespark.spark.observations import extract_series

TILE = "33TUN"


@pytest.fixture(scope="module")
def undisturbed(extracted):
    """Observations and ledger of a run over all products, in chunks of six, that nothing disturbed."""
    return extracted.read("observations"), extracted.read("extractions")


@pytest.fixture
def four(drawn, tmp_path):
    """A chain whose catalog holds four readable products of one tile, and their names."""
    chain = drawn.copied(tmp_path, "products", "samples")
    products = chain.read("products").query("status == 'current' and level == 'L2A' and tile == @TILE")
    names = sorted(products["product_id"])[:4]
    kept = ", ".join(f"'{name}'" for name in names)
    DeltaTable.forPath(chain.spark, chain.table("products")).delete(f"product_id NOT IN ({kept})")
    return chain, names


def change(chain, product, **values):
    """Set columns of a product in the catalog, each to a SQL expression."""
    DeltaTable.forPath(chain.spark, chain.table("products")).update(f"product_id = '{product}'", values)


def band_at(band, path):
    return {"bands": f"transform_values(bands, (name, old) -> IF(name = '{band}', '{path}', old))"}


def of(products, frame):
    return frame[frame["product_id"].isin(products)]


def test_that_each_sample_of_a_tile_is_observed_once_in_each_of_its_current_products(undisturbed, drawn):
    rows, ledger = undisturbed
    samples = drawn.read("samples")
    products = drawn.read("products").query("status == 'current' and level == 'L2A'")
    expected = {(p.product_id, s) for p in products.itertuples() for s in samples.loc[samples["tile"] == p.tile, "sample_id"]}
    found = list(rows[["product_id", "sample_id"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == expected
    assert ledger.groupby("product_id")["rows"].sum().to_dict() == rows.groupby("product_id").size().to_dict()


def test_that_a_product_that_cannot_be_read_costs_only_itself_and_is_read_once_mended(four, undisturbed, content):
    chain, names = four
    good = dict(chain.read("products").set_index("product_id").loc[names[1], "bands"])["B04"]
    change(chain, names[1], **band_at("B04", "/nowhere/B04.jp2"))
    told = extract_series(chain.spark, chain.extracting(max_failed_share=0.25))
    assert (told["products_read"], told["products_failed"], told["products_wanted"]) == (3, 1, 4)
    assert told["failed_reasons"] == {names[1]: "MissingError: needed a raster, found no file /nowhere/B04.jp2"}
    rest = [name for name in names if name != names[1]]
    assert content(chain.read("observations")) == content(of(rest, undisturbed[0]))

    change(chain, names[1], **band_at("B04", good))
    told = extract_series(chain.spark, chain.extracting())
    assert (told["products_read"], told["products_failed"]) == (1, 0)
    assert content(chain.read("observations")) == content(of(names, undisturbed[0]))
    tries = of([names[1]], chain.read("extractions")).set_index("attempt")["status"].to_dict()
    assert tries == {1: "failed", 2: "done"}


def test_that_a_failed_product_is_left_alone_where_that_is_asked(four):
    chain, names = four
    change(chain, names[0], **band_at("SCL", "/nowhere/SCL.jp2"))
    extract_series(chain.spark, chain.extracting(max_failed_share=0.5))
    told = extract_series(chain.spark, chain.extracting(retry_failed=False))
    assert (told["products_read"], told["products_failed"]) == (0, 0)


def test_that_more_failures_than_allowed_end_the_job_after_everything_else_is_written(four, undisturbed, content):
    chain, names = four
    change(chain, names[3], **band_at("B12", "/nowhere/B12.jp2"))
    with pytest.raises(TooManyFailuresError, match=r"1 of 4 products failed, more than max_failed_share=0\.2") as caught:
        extract_series(chain.spark, chain.extracting(max_failed_share=0.2))
    assert list(caught.value.summary["failed_reasons"]) == [names[3]]
    assert content(chain.read("observations")) == content(of(names[:3], undisturbed[0]))


def test_that_a_product_that_hangs_is_given_up_after_its_time(four, undisturbed, content, tmp_path):
    chain, names = four
    # Who opens a pipe that nobody writes to waits for ever.
    pipe = tmp_path / "B8A.jp2"
    os.mkfifo(pipe)
    change(chain, names[2], **band_at("B8A", pipe))
    told = extract_series(chain.spark, chain.extracting(product_seconds=6, max_failed_share=0.25))
    assert (told["products_read"], told["products_failed"]) == (3, 1)
    assert told["failed_reasons"][names[2]].startswith(f"CapacityError: {names[2]}: gave up after 6 s")
    rest = [name for name in names if name != names[2]]
    assert content(chain.read("observations")) == content(of(rest, undisturbed[0]))


@pytest.mark.parametrize(("column", "value"), [("status", "'superseded'"), ("fingerprint", "'changed'")])
def test_that_what_was_read_from_a_product_no_longer_current_goes_and_comes_back_with_it(four, undisturbed, content, column, value):
    chain, names = four
    before = chain.read("products").set_index("product_id").loc[names[0], column]
    extract_series(chain.spark, chain.extracting())
    change(chain, names[0], **{column: value})
    told = extract_series(chain.spark, chain.extracting())
    assert told["products_retracted"] == 1
    assert told["products_read"] == (1 if column == "fingerprint" else 0)
    left = chain.read("observations")
    if column == "fingerprint":
        assert set(of([names[0]], left)["fingerprint"]) == {"changed"}
    else:
        assert content(left) == content(of(names[1:], undisturbed[0]))
    assert set(of([names[0]], chain.read("extractions")).query("fingerprint != 'changed'")["status"]) == {"retracted"}

    change(chain, names[0], **{column: f"'{before}'"})
    told = extract_series(chain.spark, chain.extracting())
    assert told["products_read"] == 1
    assert content(chain.read("observations")) == content(of(names, undisturbed[0]))


def test_that_a_lost_ledger_is_rebuilt_from_the_observations_and_nothing_is_read_again(four, undisturbed, content):
    chain, names = four
    change(chain, names[1], **band_at("B02", "/nowhere/B02.jp2"))
    extract_series(chain.spark, chain.extracting(products_per_commit=3, max_failed_share=0.25))
    ledger = content(chain.read("extractions"))
    shutil.rmtree(chain.table("extractions"))
    told = extract_series(chain.spark, chain.extracting(retry_failed=False))
    assert told["products_read"] == 0
    assert content(chain.read("extractions")) == ledger
    rest = [name for name in names if name != names[1]]
    assert content(chain.read("observations")) == content(of(rest, undisturbed[0]))


def test_that_a_rebuilt_ledger_does_not_tell_what_was_retracted_as_done(four):
    chain, names = four
    extract_series(chain.spark, chain.extracting())
    change(chain, names[0], status="'superseded'")
    extract_series(chain.spark, chain.extracting())
    shutil.rmtree(chain.table("extractions"))
    change(chain, names[0], status="'current'")
    told = extract_series(chain.spark, chain.extracting())
    assert told["products_read"] == 1
    assert len(of([names[0]], chain.read("observations"))) > 0


def test_that_two_drivers_at_once_write_each_observation_once(four, undisturbed, content):
    chain, names = four
    with ThreadPoolExecutor(2) as pool:
        drivers = [pool.submit(extract_series, chain.spark, chain.extracting(products_per_commit=2)) for _ in range(2)]
        assert [driver.result()["products_failed"] for driver in drivers] == [0, 0]
    assert content(chain.read("observations")) == content(of(names, undisturbed[0]))


def test_that_a_driver_that_planned_before_another_wrote_repeats_nothing(four, undisturbed, content, monkeypatch):
    chain, names = four
    change(chain, names[0], **band_at("B02", "/nowhere/B02.jp2"))
    extract_series(chain.spark, chain.extracting(max_failed_share=0.25))
    fingerprints = chain.read("products").set_index("product_id")["fingerprint"]
    # The late driver planned the other three, in chunks that the first never had.
    monkeypatch.setattr(Ledger, "missing", lambda *_: [(name, fingerprints[name], 1) for name in names[1:]])
    told = extract_series(chain.spark, chain.extracting(products_per_commit=2))
    assert told["products_read"] == 0
    assert content(chain.read("observations")) == content(of(names[1:], undisturbed[0]))


def test_that_samples_never_drawn_are_missing(four):
    chain, _ = four
    with pytest.raises(MissingError, match="needed samples of the set other@1"):
        extract_series(chain.spark, chain.extracting(sample_set="other@1"))
