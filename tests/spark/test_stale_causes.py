"""Why something is stale: by what it is made of, not by versions and times; also where older versions or manifests do not tell."""

from __future__ import annotations

from typing import Any

import pytest

from eespark.errors import MissingError, SettingsError
from eespark.io.storage import read_manifest, write_manifest
from eespark.spark import staleness as stale
from eespark.spark.dataset import build_training_set
from eespark.spark.sample_inputs import changed_inputs, inputs_of_set
from eespark.spark.tables import current_version, delta_table, update_rows


@pytest.fixture
def built(extracted: Any, tmp_path: Any) -> tuple[Any, Any]:
    """A chain with a training set, and the settings of that."""
    chain = extracted.copied(tmp_path / "one", "products", "labels", "samples", "observations", "extractions")
    settings = chain.building("set")
    build_training_set(chain.spark, settings)
    return chain, settings


def _vacuum(chain: Any, name: str) -> None:
    """Remove all files that today's version of a table does not need."""
    chain.spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    delta_table(chain.spark, chain.table(name)).vacuum(0)
    chain.spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")


def _two(chain: Any) -> list[str]:
    """Two products whose observations enter a set."""
    few_clouds = chain.read("products").query("status == 'current' and level == 'L2A' and cloud_share < 0.8")["product_id"]
    return sorted(set(few_clouds) & set(chain.read("observations")["product_id"]))[:2]


def test_that_a_set_is_stale_by_what_its_observations_are_not_by_when_they_were_read(built: Any) -> None:
    chain, settings = built
    touched, read_again = _two(chain)
    # The files of one have another time, and the same pixels: it was read anew.
    for table in ("products", "observations"):
        update_rows(chain.spark, chain.table(table), f"product_id = '{touched}'", {"fingerprint": "'0123456789abcdef'"})
    assert stale._why_set(chain.spark, settings) == {}
    # One was read again by `backfill` from files that were mended without a new time.
    darker = "transform(reflectance, value -> CAST(value - 1 AS SMALLINT))"
    update_rows(chain.spark, chain.table("observations"), f"product_id = '{read_again}'", {"reflectance": darker})
    assert stale._why_set(chain.spark, settings) == {"products": [read_again]}
    _vacuum(chain, "observations")
    assert stale._why_set(chain.spark, settings) == {"products": [read_again]}


def test_that_sets_of_before_manifests_kept_what_from_are_told_from_their_versions_while_these_are_there(built: Any) -> None:
    chain, settings = built
    manifest = read_manifest(settings.training_set, "training_set")
    manifest.pop("made_of", None)
    write_manifest(settings.training_set, manifest)
    changed = _two(chain)[0]
    another = {"flag": "CAST(pmod(flag + 1, 6) AS TINYINT)"}
    update_rows(chain.spark, chain.table("observations"), f"product_id = '{changed}'", another)
    assert stale._why_set(chain.spark, settings) == {"products": [changed]}
    _vacuum(chain, "observations")
    assert "which did not keep what from" in stale._why_set(chain.spark, settings)["unknown"]


def test_that_a_set_of_other_samples_is_stale(built: Any) -> None:
    chain, settings = built
    one = chain.read("samples")["sample_id"].iloc[0]
    update_rows(chain.spark, chain.table("samples"), f"sample_id = {one}", {"class_id": "class_id + 1"})
    assert stale._why_set(chain.spark, settings) == {"samples": True}


def test_that_changed_labels_are_told_without_names_where_their_version_is_gone(labelled: Any, tmp_path: Any) -> None:
    chain = labelled.copied(tmp_path, "products", "labels")
    settings = chain.drawing()
    tiles = sorted(chain.read("products").query("status == 'current' and level == 'L2A'")["tile"].unique())
    inputs = inputs_of_set(chain.spark, settings, current_version(chain.spark, chain.table("labels")), tiles)
    label = chain.read("labels").query("usable and source == 'invekos_2018'")["label_id"].iloc[0]
    assert changed_inputs(chain.spark, settings, inputs, tiles) == {}
    update_rows(chain.spark, chain.table("labels"), f"label_id = '{label}'", {"usable": "false"})
    assert changed_inputs(chain.spark, settings, inputs, tiles) == {"labels": [label], "labels_changed": 1}
    _vacuum(chain, "labels")
    assert changed_inputs(chain.spark, settings, inputs, tiles) == {"labels": [], "labels_changed": None}


def test_that_a_version_by_other_settings_is_another_set(extracted: Any, tmp_path: Any) -> None:
    draw = extracted.copied(tmp_path, "samples").drawing
    sets = draw().sets
    assert stale._versions(draw()) == ("tiny@1", "tiny@2")
    drawn = read_manifest(f"{sets}/tiny@1", "sample_set")
    for version, settings in {"tiny@2": {}, "tiny@10": {"extends": "tiny@1"}, "tinier@11": {}}.items():
        told = drawn | {"sample_set": version, "settings": drawn["settings"] | {"sample_set": version} | settings}
        write_manifest(f"{sets}/{version}", told)
    assert stale._versions(draw()) == ("tiny@2", "tiny@11")
    assert stale._versions(draw(sample_set="tiny@10", extends="tiny@1")) == ("tiny@10", "tiny@11")
    with pytest.raises(SettingsError, match=r"tiny@1 exists with other total"):
        stale._versions(draw(total=7))
    with pytest.raises(MissingError, match="needed a sample_set"):
        stale._versions(draw(sample_set="tiny@3"))
