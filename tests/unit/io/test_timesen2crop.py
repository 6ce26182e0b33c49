"""The published layout of TimeSen2Crop, against a real row and files written by hand."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eespark.errors import FormatError, MissingError, SettingsError
from eespark.io.timesen2crop import (
    HEADER,
    SAMPLE_COLUMNS,
    ClassFolder,
    Series,
    list_timesen2crop,
    parse_dates,
    parse_series,
    read_samples,
    read_timesen2crop,
    series_text,
    write_class,
    write_tile_files,
)
from eespark.io.timesen2crop_set import timesen2crop_to_training_set
from eespark.schema import TRAINING

REAL_ROW = "254,440,356,914,2588,3314,3678,1623,862,0"
DATES = [date(2017, 9, 3), date(2017, 9, 13), date(2018, 6, 30)]


def test_that_a_row_of_the_published_set_is_read() -> None:
    found = parse_series(f"B1,B2,B3,B4,B5,B6,B7,B8,B9,Flag\n{REAL_ROW}\n", "0.csv")
    assert found.reflectance.tolist() == [[[254, 440, 356, 914, 2588, 3314, 3678, 1623, 862]]]
    assert (found.flag.tolist(), found.reflectance.dtype, found.flag.dtype) == ([[0]], np.int16, np.uint8)


def test_that_a_row_is_written_as_the_published_set_has_it() -> None:
    values = np.array([[254, 440, 356, 914, 2588, 3314, 3678, 1623, 862]], np.int16)
    assert series_text(values, np.array([0], np.uint8)) == f"B1,B2,B3,B4,B5,B6,B7,B8,B9,Flag\n{REAL_ROW}\n"


def test_that_no_data_and_unclassified_are_written_as_cloud_and_missing_values_as_zero() -> None:
    values = np.full((6, 9), -32_768, np.int16)
    values[0] = -20
    lines = series_text(values, np.array([0, 1, 2, 3, 4, 5], np.uint8)).splitlines()[1:]
    assert lines[0] == ",".join(["-20"] * 9 + ["0"])
    assert [line.split(",")[-1] for line in lines] == ["0", "1", "2", "3", "1", "1"]
    assert lines[4] == "0,0,0,0,0,0,0,0,0,1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "an empty file"),
        ("B1,B2\n1,2\n", "needed the header"),
        (f"{HEADER}\n1,2,3\n", "needed 10 integers"),
        (f"{HEADER}\n{REAL_ROW}\n1,2\n", "needed 10 integers"),
        (f"{HEADER}\n{REAL_ROW.replace('254', '25.4')}\n", "25.4"),
        (f"{HEADER}\n{REAL_ROW[:-1]}4\n", "needed flags 0 to 3"),
    ],
)
def test_that_what_is_not_such_a_file_is_refused_with_its_name(text: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason) as caught:
        parse_series(text, "33UVP/2/7.csv")
    assert "33UVP/2/7.csv" in str(caught.value)


def test_that_dates_must_ascend() -> None:
    assert parse_dates("acquisition_date\n20170903\n20180630\n", "dates.csv") == [date(2017, 9, 3), date(2018, 6, 30)]
    with pytest.raises(FormatError, match="ascend"):
        parse_dates("acquisition_date\n20180630\n20170903\n", "dates.csv")


def write(root: Path, tile: str, class_id: int, values: np.ndarray, flag: np.ndarray, with_places: bool = False) -> None:
    numbers = tuple(range(len(values)))
    write_class(str(root), ClassFolder(tile, class_id, numbers), Series(values.astype(np.int16), flag.astype(np.uint8)))
    if with_places:
        rows = {name: [0] * len(numbers) for name in SAMPLE_COLUMNS}
        rows |= {"tile": [tile] * len(numbers), "class_id": [class_id] * len(numbers), "number": list(numbers)}
        rows |= {"row": [5 + n for n in numbers], "col": [7] * len(numbers), "x": [600_005.5] * len(numbers), "y": [5.1e6] * len(numbers)}
        rows |= {"crs": ["EPSG:32633"] * len(numbers), "label_id": [f"parcel {n}" for n in numbers], "split": ["train"] * len(numbers)}
        rows |= {"sample_id": [2**60 + n for n in numbers], "inclusion_probability": [0.1 + 0.2] * len(numbers)}
        write_tile_files(str(root), tile, DATES, pd.DataFrame(rows))
    else:
        (root / tile / "dates.csv").write_text("acquisition_date\n20170903\n20170913\n20180630\n")


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_that_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = tmp_path_factory.mktemp("set")
    values, flag = rng.integers(-500, 20_000, (count, 3, 9)), rng.integers(0, 4, (count, 3))
    write(root, "33UVP", 12, values, flag, with_places=True)
    ((folder, dates, series),) = read_timesen2crop(str(root))
    assert (folder, dates) == (ClassFolder("33UVP", 12, tuple(range(count))), DATES)
    np.testing.assert_array_equal(series.reflectance, values)
    np.testing.assert_array_equal(series.flag, flag)


def test_that_files_are_sorted_by_number_and_not_by_name(tmp_path: Path) -> None:
    write(tmp_path, "33UVP", 2, np.arange(11)[:, None, None] * np.ones((11, 3, 9)), np.zeros((11, 3)))
    ((folder, _, series),) = read_timesen2crop(str(tmp_path))
    assert folder.numbers == tuple(range(11))
    assert series.reflectance[:, 0, 0].tolist() == list(range(11))


def test_that_places_keep_every_digit(tmp_path: Path) -> None:
    write(tmp_path, "33UVP", 2, np.ones((2, 3, 9)), np.zeros((2, 3)), with_places=True)
    found = read_samples(str(tmp_path), "33UVP")
    assert found is not None
    assert (found["sample_id"][1], found["x"][1], found["inclusion_probability"][1]) == (2**60 + 1, 600_005.5, 0.1 + 0.2)
    assert read_samples(str(tmp_path), "33TWN") is None


def test_that_a_sample_with_other_dates_than_its_tile_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "33UVP", 2, np.ones((2, 2, 9)), np.zeros((2, 2)))
    with pytest.raises(FormatError, match=r"0\.csv: needed 3 rows"):
        list(read_timesen2crop(str(tmp_path)))


def test_that_a_folder_without_tiles_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"dates\.csv"):
        list_timesen2crop(str(tmp_path))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two tiles of one year and one of the next, without places, as the published set is."""
    root = tmp_path / "published"
    rng = np.random.default_rng(0)
    for tile in ("33TWN", "33UVP", "33UWP"):
        for class_id in (1, 12):
            flag = np.zeros((6, 3))
            flag[0] = [0, 1, 1]
            write(root, tile, class_id, rng.integers(100, 4000, (6, 3, 9)) * (flag[..., None] == 0), flag)
    return root


def test_that_the_published_layout_becomes_a_training_set(published: Path, tmp_path: Path) -> None:
    told = timesen2crop_to_training_set(str(published), str(tmp_path / "set"), {"33UVP": "test", "33TWN": "validation"}, min_clear=2)
    assert told == {"train": 10, "validation": 10, "test": 10}
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert (manifest["times"], [c["id"] for c in manifest["classes"]], manifest["dropped"]) == (3, [1, 12], {"too_few_clear_dates": 6})
    assert manifest["parts"]["train"]["rows_by_class"] == {"1": 5, "12": 5}
    rows = pq.read_table(tmp_path / "set" / "train").to_pylist()
    assert set(rows[0]) == set(TRAINING.names)
    by_name = {row["label_id"]: row for row in rows}
    own = (published / "33UWP" / "12" / "3.csv").read_text().split()[1:]
    row = by_name["33UWP/12/3"]
    assert row["reflectance"] == [int(v) for line in own for v in line.split(",")[:9]]
    # 3 and 13 September and 30 June, counted from 1 September.
    assert (row["valid"], row["day"], row["clear"], row["row"], row["x"]) == ([1, 1, 1], [2, 12, 302], 3, None, None)
    values = np.array([row["reflectance"] for row in rows]).reshape(-1, 9) / 10_000
    np.testing.assert_allclose(manifest["statistics"]["mean"], values.mean(axis=0))
    np.testing.assert_allclose(manifest["statistics"]["std"], values.std(axis=0))


def test_that_rows_are_spread_over_row_groups_and_a_repeat_gives_the_same_set(published: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        timesen2crop_to_training_set(str(published), str(tmp_path / name), {}, min_clear=1, min_row_groups=4)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        hashes.append(manifest["content_hash"])
    assert manifest["parts"]["train"]["row_group_rows"] == [9, 9, 9, 9]
    assert hashes[0] == hashes[1]
    first = pq.read_table(tmp_path / "a" / "train" / "part-00000.parquet")
    assert len(set(first["tile"].to_pylist())) > 1


def test_that_unknown_tiles_and_parts_are_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="33XXX"):
        timesen2crop_to_training_set(str(published), str(tmp_path / "set"), {"33XXX": "test"})


def test_that_known_places_enter_the_training_set(tmp_path: Path) -> None:
    write(tmp_path / "own", "33UVP", 2, np.ones((2, 3, 9)), np.zeros((2, 3)), with_places=True)
    timesen2crop_to_training_set(str(tmp_path / "own"), str(tmp_path / "set"), {}, min_clear=1)
    rows = sorted(pq.read_table(tmp_path / "set" / "train").to_pylist(), key=lambda row: row["row"])
    assert [(r["row"], r["col"], r["x"], r["label_id"], r["sample_id"]) for r in rows][1] == (6, 7, 600_005.5, "parcel 1", 2**60 + 1)
