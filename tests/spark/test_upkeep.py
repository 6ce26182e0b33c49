"""Upkeep: fewer files and the same rows, pinned versions kept, tables set back, days read again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from eespark.errors import MissingError
from eespark.spark.dataset import build_training_set
from eespark.spark.tables import current_version
from eespark.spark.upkeep import (
    BackfillSettings,
    CompactSettings,
    RestoreSettings,
    _commit_times,
    _hours_needed,
    backfill,
    compact_tables,
    pinned_versions,
    restore_tables,
)


@pytest.fixture
def chain(extracted: Any, tmp_path: Path) -> Any:
    return extracted.copied(tmp_path, "products", "samples", "observations", "extractions")


def test_that_compaction_keeps_rows_and_joins_files(chain: Any, content: Any) -> None:
    before, url = chain.read("observations"), chain.table("observations")
    told = compact_tables(chain.spark, CompactSettings.model_validate({"tables": [url], "summary": "unused"}))["tables"][url]
    assert content(chain.read("observations")) == content(before)
    files = chain.spark.read.format("delta").load(url).inputFiles()
    assert len(files) < told["files_before"]
    # What was joined stays for a month, for those who read older versions.
    assert told["files"] == told["files_before"] + len(files)
    old = chain.spark.read.format("delta").option("versionAsOf", 1).load(url).count()
    assert 0 < old < len(before)
    with pytest.raises(MissingError, match="needed a Delta table"):
        compact_tables(chain.spark, CompactSettings.model_validate({"tables": [url + "x"], "summary": "unused"}))


def test_that_files_of_versions_that_a_set_was_built_from_stay(chain: Any, tmp_path: Path) -> None:
    build_training_set(chain.spark, chain.building("set"))
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    pins = pinned_versions([str(tmp_path / "set")])
    url = chain.table("observations")
    assert pins[url] == {manifest["tables"]["observations"]}
    now = datetime.now(UTC)
    # The newest version needs no keeping; one that was followed by another needs files since then.
    assert _hours_needed(chain.spark, url, [current_version(chain.spark, url)], now) == 0
    assert _hours_needed(chain.spark, url, [0], now + timedelta(hours=100)) in (102, 101)
    assert _hours_needed(chain.spark, url, [0, 1], now + timedelta(days=365)) > 365 * 24


def test_that_tables_come_back_as_they_were(chain: Any, content: Any) -> None:
    before, urls = chain.read("observations"), [chain.table("observations"), chain.table("extractions")]
    versions = {url: current_version(chain.spark, url) for url in urls}
    as_it_was = max(_commit_times(chain.spark, url)[version] for url, version in versions.items())
    chain.spark.sql(f"DELETE FROM delta.`{urls[0]}` WHERE tile = '33TUN'")
    assert len(chain.read("observations")) < len(before)
    when = datetime.fromtimestamp(as_it_was, UTC).isoformat()
    told = restore_tables(chain.spark, RestoreSettings.model_validate({"tables": urls, "as_of": when, "summary": "unused"}))
    assert content(chain.read("observations")) == content(before)
    assert {url: one["to_version"] for url, one in told["tables"].items()} == versions
    with pytest.raises(MissingError, match="found none so old"):
        restore_tables(chain.spark, RestoreSettings.model_validate({"tables": urls, "hours_ago": 9_999, "summary": "unused"}))
    with pytest.raises(ValidationError, match="one of as_of and hours_ago"):
        RestoreSettings.model_validate({"tables": urls, "summary": "unused"})


def test_that_days_are_read_again_and_nothing_else(chain: Any, content: Any, tmp_path: Path) -> None:
    before = chain.read("observations")
    (tmp_path / "series.yaml").write_text(yaml.safe_dump(chain.extracting().model_dump(mode="json")))
    days = sorted(before["sensing_time"].dt.date.unique())[1:3]
    settings = {"series": str(tmp_path / "series.yaml"), "first_day": days[0], "last_day": days[1], "summary": "unused"}
    told = backfill(chain.spark, BackfillSettings.model_validate(settings))
    expected = before.loc[before["sensing_time"].dt.date.isin(days), "product_id"].nunique()
    assert told["products_read"] == told["products_forgotten"] == expected > 0
    assert content(chain.read("observations")) == content(before)
    assert chain.read("extractions")["status"].value_counts().to_dict()["retracted"] == expected
    with pytest.raises(ValidationError, match="first_day before last_day"):
        BackfillSettings.model_validate(settings | {"last_day": "2000-01-01"})
