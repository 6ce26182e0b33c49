"""Series of other projects as a training set, from a table that can be checked by eye."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from eespark.bands import BANDS
from eespark.errors import FormatError, MissingError
from eespark.io.series_import import SCHEMA, Series, SeriesLayout, read_series, training_table, write_training_set
from eespark.io.storage import read_manifest
from eespark.legend import LegendClass
from eespark.schema import TRAINING

LAYOUT = SeriesLayout("id", "when", "crop", "tile", "lon", "lat", {band: f"band {band}" for band in BANDS}, 65_535, 15)
YEAR = date(2021, 9, 1)


def table(**changes: Any) -> pd.DataFrame:
    """Sample b in three months of the crop year, one before and one after it, sample a in one; band k of row r is 100 r + k."""
    when = pd.to_datetime(["2021-11-01", "2021-09-01", "2021-08-01", "2022-08-01", "2021-09-01", "2022-09-01"])
    frame = pd.DataFrame(
        {
            "id": ["b", "b", "b", "b", "a", "b"], "when": when, "crop": [7, 7, 7, 7, 3, 7],
            "tile": ["33UXP"] * 6, "lon": [16.0] * 4 + [15.0, 16.0], "lat": [48.0] * 6,
        }
    )  # fmt: skip
    for number, band in enumerate(BANDS):
        frame[f"band {band}"] = np.arange(6) * 100 + number
    return frame.assign(**changes)


def read(tmp_path: Path, **changes: Any) -> Series:
    table(**changes).to_parquet(tmp_path / "series.parquet")
    return read_series(str(tmp_path / "series.parquet"), LAYOUT, YEAR)


def test_that_series_are_cut_to_the_crop_year_and_sorted_by_date(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.keys.tolist(), found.codes.tolist(), found.lon.tolist()) == (["a", "b"], ["3", "7"], [15.0, 16.0])
    # Days of 16 September, 16 November and 16 August; the months before and after the year are out, and sample a is padded.
    assert found.day.tolist() == [[15, 0, 0], [15, 76, 349]]
    assert found.valid.tolist() == [[True, False, False], [True, True, True]]
    assert found.reflectance[1, :, 2].tolist() == [102, 2, 302]
    assert found.reflectance[0].tolist() == [list(range(400, 409)), [0] * 9, [0] * 9]


def test_that_a_date_with_one_band_without_data_is_not_valid(tmp_path: Path) -> None:
    for empty in (65_535, None):
        found = read(tmp_path, **{"band B11": [7, empty, 7, 7, 7, 7]})
        assert found.valid[1].tolist() == [False, True, True]
        assert found.reflectance[1, 0].tolist() == [0] * 9


def test_that_reflectance_beyond_int16_is_cut_and_not_wrapped(tmp_path: Path) -> None:
    assert read(tmp_path, **{"band B02": [40_000, 1, 1, 1, 1, 1]}).reflectance[1, 1, 0] == 32_767


FAULTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"when": pd.to_datetime(["2021-09-01"] * 6)}, FormatError, "needed one row a sample and date, found 4 more"),
    ({"crop": [7, 8, 7, 7, 3, 7]}, FormatError, "needed one code and one place a sample, found 1"),
    ({"when": pd.to_datetime(["2019-09-01"] * 6)}, MissingError, "found none; is it the right year"),
]


@pytest.mark.parametrize(("changes", "kind", "reason"), FAULTS)
def test_that_tables_that_cannot_be_series_are_refused(tmp_path: Path, changes: dict[str, Any], kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        read(tmp_path, **changes)


def test_that_absent_columns_and_other_files_are_named(tmp_path: Path) -> None:
    table().drop(columns=["band B12", "lat"]).to_parquet(tmp_path / "less.parquet")
    with pytest.raises(MissingError, match="needed the columns lat, band B12"):
        read_series(str(tmp_path / "less.parquet"), LAYOUT, YEAR)
    with pytest.raises(MissingError, match="found nothing there"):
        read_series(str(tmp_path / "nowhere.parquet"), LAYOUT, YEAR)
    (tmp_path / "text.parquet").write_text("id,when")
    with pytest.raises(FormatError, match="needed Parquet"):
        read_series(str(tmp_path / "text.parquet"), LAYOUT, YEAR)


def test_that_rows_have_the_columns_of_a_training_set(tmp_path: Path) -> None:
    rows = training_table(read(tmp_path), [4, 9], "corsica")
    assert rows.schema == SCHEMA
    assert rows.schema.names == list(TRAINING.names)
    by_label = {row["label_id"]: row for row in rows.to_pylist()}
    row = by_label["corsica:b"]
    assert (row["class_id"], row["clear"], row["tile"], row["row"], row["inclusion_probability"]) == (9, 3, "33UXP", None, 1.0)
    # 16 E 48 N in UTM 33 (central meridian 15 E) by Krueger's series to the third order.
    np.testing.assert_allclose([row["x"], row["y"]], [574_595.112, 5_316_784.009], atol=0.002)
    assert row["reflectance"][:9] == list(range(100, 109))
    assert (len(row["reflectance"]), row["valid"], row["day"]) == (27, [1, 1, 1], [15, 76, 349])


def parts(tmp_path: Path, samples: int = 20) -> dict[str, pa.Table]:
    frame = pd.concat([table().assign(id=lambda f, i=i: f["id"] + str(i)) for i in range(samples)], ignore_index=True)
    frame.to_parquet(tmp_path / "many.parquet")
    rows = training_table(read_series(str(tmp_path / "many.parquet"), LAYOUT, YEAR), [4] * samples + [9] * samples, "many")
    return {"train": rows.slice(0, 30), "validation": rows.slice(30, 5), "test": rows.slice(35)}


CLASSES = [LegendClass(9, "nine", "#000000"), LegendClass(4, "four", "#ffffff"), LegendClass(5, "none", "#808080")]


def test_that_a_set_is_written_with_its_manifest_and_read_by_training(tmp_path: Path) -> None:
    from eespark.train.data import read_part, shape_of

    tables, url = parts(tmp_path), str(tmp_path / "set")
    written = write_training_set(url, tables, CLASSES, "fake@1", "many@1", rows_per_group=8)
    manifest = read_manifest(url, "training_set")
    assert manifest == written
    assert [one["id"] for one in manifest["classes"]] == [4, 9]
    assert manifest["parts"]["train"]["row_group_rows"] == [8, 8, 8, 6]
    assert manifest["parts"]["train"]["rows_by_class"] == {
        str(k): v for k, v in pd.Series(tables["train"]["class_id"].to_pylist()).value_counts().items()
    }
    found = read_part(url, "train", shape_of(manifest))
    assert found["reflectance"].shape == (30, 3, 9)
    values = found["reflectance"][found["valid"] > 0] / 10_000
    np.testing.assert_allclose(manifest["statistics"]["mean"], values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(manifest["statistics"]["std"], values.std(axis=0), rtol=1e-9)


def test_that_petastorm_gives_each_row_once(tmp_path: Path) -> None:
    from eespark.train.data import petastorm_chunks, shape_of

    url = str(tmp_path / "set")
    manifest = write_training_set(url, parts(tmp_path), CLASSES, "fake@1", "many@1", rows_per_group=8)
    chunks = list(petastorm_chunks(f"{url}/train", shape_of(manifest), 0, 1, seed=3))
    assert sorted(len(chunk["label"]) for chunk in chunks) == [6, 8, 8, 8]


def test_that_a_parcel_in_two_parts_is_refused(tmp_path: Path) -> None:
    tables = parts(tmp_path)
    with pytest.raises(FormatError, match="is in train and in test; a parcel must be in one part"):
        write_training_set(str(tmp_path / "set"), tables | {"test": tables["train"].slice(3, 2)}, CLASSES, "fake@1", "many@1")
    with pytest.raises(MissingError, match="needed training rows"):
        write_training_set(str(tmp_path / "set"), {"test": tables["test"]}, CLASSES, "fake@1", "many@1")
    assert not (tmp_path / "set").exists()
