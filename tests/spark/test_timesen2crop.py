"""Export in the layout of TimeSen2Crop from tables of a few rows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from eespark.errors import MissingError
from eespark.io.timesen2crop import read_samples
from eespark.schema import OBSERVATIONS, PRODUCTS, SAMPLES
from eespark.spark.timesen2crop import TimeSen2CropSettings, export_timesen2crop

LINE = "B1,B2,B3,B4,B5,B6,B7,B8,B9,Flag"
REAL = [254, 440, 356, 914, 2588, 3314, 3678, 1623, 862]
NONE = [-32_768] * 9


def product(name: str, day: date, **changes: Any) -> dict[str, Any]:
    when = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    row = {"product_id": name, "url": "u", "kind": "safe", "level": "L2A", "tile": "33UVP", "sensing_time": when, "cloud_share": 0.1}
    row |= {"status": "current", "size_bytes": 1, "modified": when, "ingested_at": when, "fingerprint": "f"}
    return row | changes


def sample(number: int, class_id: int | None, split: str = "train", year: int = 2018) -> dict[str, Any]:
    row = {"sample_set": "s@1", "sample_id": number, "tile": "33UVP", "row": 10 + number, "col": 3, "x": 600_005.0, "y": 5e6 + number / 3}
    row |= {"crs": "EPSG:32633", "label_id": f"p{number}", "source": "s", "class_id": class_id, "point_x": 4e6, "point_y": 2e6}
    row |= {"valid_from": date(year - 1, 9, 1), "valid_to": date(year, 8, 31), "split": split, "inclusion_probability": 0.5, "weight": 1.0}
    return row


@pytest.fixture(scope="module")
def tables(add_rows: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    products = [
        product("b", date(2018, 6, 30)),
        product("a", date(2017, 9, 3)),
        product("half", date(2017, 9, 3)),
        product("cloudy", date(2018, 5, 1), cloud_share=0.9),
        product("old", date(2018, 7, 1), status="superseded"),
        product("next", date(2018, 9, 20)),
    ]
    add_rows(folder / "products", PRODUCTS, products)
    samples = [sample(7, 12), sample(5, 12), sample(6, 2), sample(8, 12, split="points"), sample(9, 2, year=2019)]
    add_rows(folder / "samples", SAMPLES, samples)
    seen = [("a", 5, NONE, 1), ("half", 5, REAL, 0), ("b", 5, NONE, 4), ("b", 7, [9] * 9, 3), ("next", 9, REAL, 2), ("old", 7, REAL, 0)]
    when = {p["product_id"]: p["sensing_time"] for p in products}
    same = {"sample_set": "s@1", "fingerprint": "f", "tile": "33UVP"}
    rows = [same | {"product_id": p, "sample_id": i, "sensing_time": when[p], "reflectance": v, "flag": f} for p, i, v, f in seen]
    add_rows(folder / "observations", OBSERVATIONS, rows)
    return folder


def settings(tables: Path, output: Path, sample_set: str = "s@1") -> TimeSen2CropSettings:
    urls = {name: str(tables / name) for name in ("products", "samples", "observations")}
    return TimeSen2CropSettings(**urls, sample_set=sample_set, output=str(output), summary=str(output / "s.json"))


def test_that_samples_are_written_as_the_published_set_has_them(spark: Any, tables: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    summary = export_timesen2crop(spark, settings(tables, root))
    files = sorted(str(p.relative_to(root)) for p in root.rglob("*.csv") if not p.name.startswith("."))
    tile = ["33UVP/12/0.csv", "33UVP/12/1.csv", "33UVP/2/0.csv", "33UVP/dates.csv", "33UVP/samples.csv"]
    assert files == ["2019_33UVP/2/0.csv", "2019_33UVP/dates.csv", "2019_33UVP/samples.csv", *tile]
    text = {name: (root / name).read_text().split() for name in files if name != "33UVP/samples.csv"}
    assert text["33UVP/dates.csv"] == ["acquisition_date", "20170903", "20180630"]
    # The better half of the first day; no data on the second; files are numbered in the order of sample ids.
    assert text["33UVP/12/0.csv"] == [LINE, "254,440,356,914,2588,3314,3678,1623,862,0", "0,0,0,0,0,0,0,0,0,1"]
    assert text["33UVP/12/1.csv"] == [LINE, "0,0,0,0,0,0,0,0,0,1", "9,9,9,9,9,9,9,9,9,3"]
    assert text["33UVP/2/0.csv"] == [LINE, "0,0,0,0,0,0,0,0,0,1", "0,0,0,0,0,0,0,0,0,1"]
    assert text["2019_33UVP/2/0.csv"] == [LINE, "254,440,356,914,2588,3314,3678,1623,862,2"]
    assert summary["tiles"]["33UVP"] == {"samples": 3, "dates": 2, "empty_dates": 4}
    places = read_samples(str(root), "33UVP")
    assert places is not None
    assert places[["class_id", "number", "sample_id", "row", "col"]].to_numpy().tolist() == [
        [2, 0, 6, 16, 3],
        [12, 0, 5, 15, 3],
        [12, 1, 7, 17, 3],
    ]
    assert places["y"].tolist() == [5e6 + 6 / 3, 5e6 + 5 / 3, 5e6 + 7 / 3]


def test_that_an_unknown_sample_set_is_missing(spark: Any, tables: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="other@1"):
        export_timesen2crop(spark, settings(tables, tmp_path / "set", "other@1"))
