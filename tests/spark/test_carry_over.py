"""A new version of a sample set has what the older one observed without reading it again, and reads the rest."""

from __future__ import annotations

from typing import Any

import pytest

from eespark.spark.observations import extract_series
from eespark.spark.plans import plan_series
from eespark.spark.samples import draw_samples
from eespark.spark.tables import delete_rows, update_rows
from eespark.spark.upkeep import BackfillSettings, backfill

NEW = "tiny@2"


@pytest.fixture(scope="module")
def second(extracted: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny chain, read for tiny@1, with tiny@2 drawn from labels of which one has another class and one is gone."""
    chain = extracted.copied(tmp_path_factory.mktemp("second"), "products", "labels", "samples", "observations", "extractions")
    samples = chain.read("samples").query("split == 'train' and tile == '33TUN'")
    labels = list(samples["label_id"].value_counts().index)
    other = int(samples["class_id"].value_counts().index[1])
    update_rows(chain.spark, chain.table("labels"), f"label_id = '{labels[0]}'", {"class_id": str(other)})
    update_rows(chain.spark, chain.table("labels"), f"label_id = '{labels[1]}'", {"usable": "false"})
    draw_samples(chain.spark, chain.drawing(sample_set=NEW))
    return chain


@pytest.fixture(scope="module")
def whole(second: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Observations of tiny@2 with nothing copied, and the summary."""
    chain = _copied(second, tmp_path_factory.mktemp("whole"))
    told = extract_series(chain.spark, chain.extracting(sample_set=NEW, carry_over=False))
    return chain.read("observations").query("sample_set == @NEW"), told


def _copied(chain: Any, folder: Any) -> Any:
    return chain.copied(folder, "products", "labels", "samples", "observations", "extractions")


def _old_and_new(chain: Any) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """Tile and sample of both versions."""
    rows = chain.read("samples")
    one, two = (
        set(zip(rows["tile"][of], rows["sample_id"][of], strict=True)) for of in (rows["sample_set"] != NEW, rows["sample_set"] == NEW)
    )
    return one, two


def _reflectance(chain: Any, product: str) -> Any:
    """By sample, of one product for the new version."""
    rows = chain.read("observations")
    return rows[(rows["product_id"] == product) & (rows["sample_set"] == NEW)].set_index("sample_id")["reflectance"]


def test_that_only_samples_that_are_new_are_read_and_the_table_is_that_of_reading_all(
    second: Any, whole: Any, tmp_path: Any, content: Any
) -> None:
    carried, (rows, alone) = _copied(second, tmp_path), whole
    old, new = _old_and_new(second)
    fresh = {tile: sum(of == tile for of, _ in new - old) for tile, _ in new}
    assert 0 < len(new - old) < 0.2 * len(new), "else nothing is shown"
    products = second.read("products").query("status == 'current' and level == 'L2A'").groupby("tile").size()
    plans = [plan_series(second.spark, carried.extracting(sample_set=NEW, carry_over=carry)) for carry in (True, False)]
    told = extract_series(carried.spark, carried.extracting(sample_set=NEW, products_per_commit=4))
    assert content(carried.read("observations").query("sample_set == @NEW")) == content(rows)
    assert told["observations"] == alone["observations"] == sum(n * sum(of == tile for of, _ in new) for tile, n in products.items())
    assert told["observations_copied"] == sum(n * sum(of == tile for of, _ in new & old) for tile, n in products.items())
    assert told["products_copied"] == sum(n for tile, n in products.items() if not fresh.get(tile))
    assert told["products_read"] + told["products_copied"] == alone["products_read"] == products.sum()
    assert (alone["products_copied"], alone["observations_copied"]) == (0, 0)
    assert 0 < told["pixels_decoded"] < alone["pixels_decoded"]
    assert (plans[0].tasks, plans[1].tasks) == (told["products_read"], alone["products_read"])
    assert plans[0].more["observations"] == told["observations"] - told["observations_copied"]
    assert told["pixels_decoded"] / 1e6 <= plans[0].work < plans[1].work
    again = extract_series(carried.spark, carried.extracting(sample_set=NEW))
    assert (again["observations"], again["observations_copied"]) == (0, 0)


def test_that_what_the_older_version_lost_or_read_from_other_files_is_read(second: Any, whole: Any, tmp_path: Any, content: Any) -> None:
    chain = _copied(second, tmp_path)
    names = sorted(chain.read("products").query("status == 'current' and level == 'L2A' and tile == '33TUN'")["product_id"])
    observations = chain.read("observations")
    lost = observations[observations["product_id"] == names[0]]["sample_id"].iloc[0]
    delete_rows(chain.spark, chain.table("observations"), f"product_id = '{names[0]}' AND sample_id = {lost}")
    update_rows(chain.spark, chain.table("products"), f"product_id = '{names[1]}'", {"fingerprint": "'0123456789abcdef'"})
    told = extract_series(chain.spark, chain.extracting(sample_set=NEW))
    expected = whole[0].assign(fingerprint=whole[0]["fingerprint"].mask(whole[0]["product_id"] == names[1], "0123456789abcdef"))
    assert content(chain.read("observations").query("sample_set == @NEW")) == content(expected)
    old, new = _old_and_new(chain)
    products = chain.read("products").query("status == 'current' and level == 'L2A'")
    left = products[~products["product_id"].isin(names[:2])].groupby("tile").size()
    assert told["observations_copied"] == sum(n * sum(of == tile for of, _ in new & old) for tile, n in left.items())


def test_that_days_that_are_read_again_are_not_copied(second: Any, tmp_path: Any) -> None:
    chain = _copied(second, tmp_path)
    extract_series(chain.spark, chain.extracting(sample_set=NEW))
    products = chain.read("products").query("status == 'current' and level == 'L2A' and tile == '33TUN'").sort_values("product_id")
    one = products.iloc[0]
    # Its files hold something else now, which nobody noticed: that is what a backfill is for.
    other = dict(products.iloc[1]["bands"])["B04"]
    bands = {"bands": f"transform_values(bands, (name, path) -> IF(name = 'B04', '{other}', path))"}
    update_rows(chain.spark, chain.table("products"), f"product_id = '{one['product_id']}'", bands)
    (tmp_path / "series.yaml").write_text(chain.extracting(sample_set=NEW).model_dump_json())
    day = one["sensing_time"].date()
    before = _reflectance(chain, one["product_id"])
    backfill(chain.spark, BackfillSettings(series=str(tmp_path / "series.yaml"), first_day=day, last_day=day, summary="unused"))
    after = _reflectance(chain, one["product_id"])
    assert sorted(after.index) == sorted(before.index)
    changed = [tuple(before[name]) != tuple(after[name]) for name in before.index]
    assert sum(changed) > 0.3 * len(changed)


def test_that_without_an_older_version_nothing_is_looked_for(extracted: Any, tmp_path: Any) -> None:
    chain = extracted.copied(tmp_path, "products", "samples", "observations", "extractions")
    told = extract_series(chain.spark, chain.extracting())
    assert (told["products_read"], told["products_copied"], told["observations_copied"]) == (0, 0, 0)
