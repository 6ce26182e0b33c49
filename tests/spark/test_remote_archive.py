"""The catalog of an archive behind a web server is that of the same archive in a folder; its STAC collection by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from eespark.spark.catalog import ScanSettings, scan_archive
from tests.unit.io.stac_rules import extension_faults
from tests.unit.io.test_http_archive import ITEM, L2A, NAME, ZIPPED, small_archive
from tests.unit.io.web_server import serve

REPOSITORY = Path(__file__).resolve().parents[2]
# What differs between the two by its nature: addresses, and the seconds that a header has.
OF_THE_PLACE = ("url", "bands", "fingerprint", "modified", "ingested_at")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_archive(tmp_path_factory.mktemp("remote") / "archive")


def catalog(spark: SparkSession, url: str, table: Path, **more: Any) -> dict[str, dict[str, Any]]:
    settings = ScanSettings.model_validate({"archive": url, "products": str(table), "summary": "unused", "max_failed_share": 1.0} | more)
    scan_archive(spark, settings)
    return rows(spark, table)


def rows(spark: SparkSession, table: Path) -> dict[str, dict[str, Any]]:
    return {row["product_id"]: row.asDict() for row in spark.read.format("delta").load(str(table)).collect()}


def test_that_the_command_makes_the_same_catalog_and_a_collection(spark: SparkSession, archive: Path, tmp_path: Path) -> None:
    local = catalog(spark, str(archive), tmp_path / "local")
    file = tmp_path / "settings.yaml"
    with serve(archive) as url:
        file.write_text(f"archive: {url}\nproducts: {tmp_path}/remote\nsummary: {tmp_path}/summary.json\n")
        command = [sys.executable, str(REPOSITORY / "jobs" / "scan_archive.py"), str(file), "--stac", str(tmp_path / "stac")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    remote = rows(spark, tmp_path / "remote")
    assert set(remote) == {L2A.product_id, NAME.product_id, ZIPPED, ITEM}
    for product_id, row in local.items():
        assert {k: v for k, v in remote[product_id].items() if k not in OF_THE_PLACE} == {
            k: v for k, v in row.items() if k not in OF_THE_PLACE
        }
        assert set(remote[product_id]["bands"]) == set(row["bands"])
        assert row["status"] == "current" or row["reason"].startswith("newer: ")
    current = {product_id for product_id, row in remote.items() if row["status"] == "current"}
    assert {path.stem for path in (tmp_path / "stac" / "items").iterdir()} == current
    assert json.loads((tmp_path / "summary.json").read_text())["stac_items"] == len(current)
    for path in (tmp_path / "stac" / "items").iterdir():
        item = json.loads(path.read_text())
        assert extension_faults(item) == []
        if path.stem != ZIPPED:
            assert item["assets"]["B02"]["href"].startswith(url)


def test_that_a_product_that_the_server_does_not_give_costs_only_itself(spark: SparkSession, archive: Path, tmp_path: Path) -> None:
    with serve(archive, broken=f"{NAME.product_id}.SAFE/") as url:
        found = catalog(spark, url, tmp_path / "products")
        assert (found[NAME.product_id]["status"], found[NAME.product_id]["fingerprint"]) == ("quarantined", "unread")
        assert "needed an answer of its server" in found[NAME.product_id]["reason"]
        assert {found[one]["status"] for one in (L2A.product_id, ZIPPED, ITEM)} <= {"current", "superseded"}
    # The server gives it again, at another port.
    with serve(archive) as url:
        assert catalog(spark, url, tmp_path / "products")[NAME.product_id]["status"] == "current"
