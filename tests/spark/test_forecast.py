"""The forecast of an extraction beside what the extraction then did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from eespark.spark.forecast import ForecastSettings, forecast
from eespark.spark.plans import pixels_by_tile, plan_series
from eespark.spark.tables import delete_rows, update_rows

JP2 = (64, 32)
ROOT = Path(__file__).resolve().parents[2]


def _settings(chain: Any, folder: Path) -> ForecastSettings:
    (folder / "series.yaml").write_text(yaml.safe_dump(chain.extracting().model_dump(mode="json")))
    told = {"series": str(folder / "series.yaml"), "cores": 4, "jp2_px": JP2, "summary": "unused", "mpx_per_core_s": 5.0, "fixed_s": 3.0}
    return ForecastSettings.model_validate(told)


def test_that_what_is_foretold_is_what_is_decoded_but_for_cloud(extracted: Any, tmp_path: Path) -> None:
    chain = extracted.copied(tmp_path, "products", "samples")
    told = forecast(chain.spark, _settings(chain, tmp_path))
    ledger = extracted.read("extractions").query("status == 'done'")
    assert told["tasks"] == len(ledger)
    assert told["by_place"] == ledger.groupby("tile").size().to_dict()
    assert told["observations"] == ledger["rows"].sum()
    decoded = ledger["pixels_decoded"].sum() / 1e6
    assert decoded <= told["work"] + 0.05
    assert told["work"] < 1.5 * decoded
    assert told["rate_from"] == "the settings"
    assert told["core_hours"] == pytest.approx(told["work"] / 5 / 3600, abs=1e-3)
    assert told["seconds"] == pytest.approx(3 + told["work"] / 5 / 4, abs=0.1)
    size = extracted.read("products").set_index("product_id").loc[ledger["product_id"], "size_bytes"].sum() / 1e9
    assert 0 < told["gb_to_read"] <= size + 1e-3


def test_that_a_product_without_cloud_is_foretold_to_the_pixel(extracted: Any) -> None:
    samples, products = (extracted.spark.read.format("delta").load(extracted.table(name)) for name in ("samples", "products"))
    shaped = products.where("status = 'current' AND level = 'L2A'").selectExpr("tile", "shape[0] AS _rows", "shape[1] AS _cols")
    told = {row["tile"]: int(row["pixels"]) for row in pixels_by_tile(samples, shaped, JP2).collect()}
    most = extracted.read("extractions").groupby("tile")["pixels_decoded"].max().to_dict()
    assert all(most[tile] <= pixels for tile, pixels in told.items())
    assert any(most[tile] == pixels for tile, pixels in told.items())


def test_that_only_what_is_missing_is_counted_and_the_ledger_tells_the_rate(extracted: Any, tmp_path: Path) -> None:
    chain = extracted.copied(tmp_path, "products", "samples", "extractions", "observations")
    settings = _settings(chain, tmp_path)
    assert forecast(chain.spark, settings) == forecast(chain.spark, settings)
    nothing = forecast(chain.spark, settings)
    assert (nothing["tasks"], nothing["core_hours"], nothing["seconds"]) == (0, 0.0, 0.0)
    ledger = chain.read("extractions")
    gone = sorted(ledger["product_id"])[:2]
    delete_rows(chain.spark, chain.table("extractions"), f"product_id IN ('{gone[0]}', '{gone[1]}')")
    told = forecast(chain.spark, settings)
    assert told["tasks"] == 2
    left = ledger[~ledger["product_id"].isin(gone) & (ledger["status"] == "done") & (ledger["pixels_decoded"] > 0)]
    assert told["rate_per_core_s"] == pytest.approx(left["pixels_decoded"].sum() / 1e6 / left["seconds"].sum(), abs=0.01)
    assert told["rate_from"] == f"{len(left)} products of the ledger"


def test_that_the_size_of_the_tiles_is_read_from_the_archive(extracted: Any, tmp_path: Path) -> None:
    chain = extracted.copied(tmp_path, "products", "samples")
    plan = plan_series(chain.spark, chain.extracting())
    assert plan.more["jp2_px"] == list(JP2)
    told = forecast(chain.spark, _settings(chain, tmp_path).model_copy(update={"jp2_px": None}))
    assert told == forecast(chain.spark, _settings(chain, tmp_path))
    update_rows(chain.spark, chain.table("products"), "true", {"bands": "map('B02', '/nowhere/a.jp2', 'B05', '/nowhere/b.jp2')"})
    assert plan_series(chain.spark, chain.extracting()).more["jp2_px"] == [1024, 640]


def test_that_the_job_tells_its_plan_and_touches_nothing(extracted: Any, tmp_path: Path) -> None:
    chain = extracted.copied(tmp_path / "chain", "products", "samples")
    (tmp_path / "series.yaml").write_text(yaml.safe_dump(chain.extracting().model_dump(mode="json")))
    before = sorted(str(path) for path in (tmp_path / "chain").rglob("*"))
    done = subprocess.run(
        [sys.executable, "jobs/extract_series.py", str(tmp_path / "series.yaml"), "--plan"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["tasks"] == len(extracted.read("extractions").query("status == 'done'"))
    assert told["seconds"] > 20
    assert sorted(str(path) for path in (tmp_path / "chain").rglob("*")) == before
