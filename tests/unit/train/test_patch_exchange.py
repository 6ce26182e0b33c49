"""Patches as NumPy and CSV files: what goes out comes in again, and what cannot be is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eespark.errors import FormatError, MissingError
from eespark.io.storage import read_manifest
from eespark.train.data import read_part, shape_of
from eespark.train.patch_exchange import ExportPatchesSettings, ImportPatchesSettings, export_patches, import_patches
from tests.unit.train.patch_sets import SIZE, make_crop_set, make_patch_set


@pytest.fixture(scope="module")
def patch_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_patch_set(tmp_path_factory.mktemp("patches") / "set")


def _export(patch_set: Path, output: Path, **changes: Any) -> dict[str, Any]:
    told = {"training_set": str(patch_set), "output": str(output), "summary": "unused"}
    return export_patches(ExportPatchesSettings.model_validate(told | changes))


def _import(folder: Path, target: Path, **changes: Any) -> dict[str, Any]:
    told = {"folder": str(folder), "training_set": str(target), "legend": "seaice_uit", "name": "back@1", "summary": "unused"}
    return import_patches(ImportPatchesSettings.model_validate(told | {"rows_per_group": 100} | changes))


def test_that_files_hold_what_the_set_holds(patch_set: Path, tmp_path: Path) -> None:
    assert _export(patch_set, tmp_path / "out")["rows"] == {"train": 384, "validation": 64, "test": 64, "unseen": 64}
    rows = read_part(str(patch_set), "train", shape_of(read_manifest(str(patch_set), "training_set")))
    array, table = np.load(tmp_path / "out" / "train.npy"), pd.read_csv(tmp_path / "out" / "train.csv")
    np.testing.assert_allclose(array[..., :2], 10 * np.log10(np.maximum(rows["sigma"], 1e-4)), atol=1e-4)
    np.testing.assert_array_equal(array[:, 3, :, 2], rows["incidence"])
    assert table["class_id"].tolist() == rows["class_id"].tolist()
    assert pd.read_csv(tmp_path / "out" / "classes.csv")["name"].tolist() == ["Open water", "First-year ice", "Thick ice"]


@pytest.mark.parametrize("unit", ["db", "linear"])
def test_that_what_goes_out_comes_in_again(patch_set: Path, tmp_path: Path, unit: str) -> None:
    _export(patch_set, tmp_path / "out", unit=unit)
    assert _import(tmp_path / "out", tmp_path / "back", unit=unit)["rows"]["train"] == 384
    old, new = (read_manifest(str(one), "training_set") for one in (patch_set, tmp_path / "back"))
    assert new["parts"]["train"]["row_group_rows"] == [100, 100, 100, 84]
    assert {part: told["rows_by_class"] for part, told in new["parts"].items()} == {
        p: told["rows_by_class"] for p, told in old["parts"].items()
    }
    for name, values in old["statistics"].items():
        np.testing.assert_allclose(new["statistics"][name], values, rtol=1e-3, atol=1e-3)
    before, after = (read_part(str(one), "unseen", shape_of(manifest)) for one, manifest in ((patch_set, old), (tmp_path / "back", new)))
    np.testing.assert_allclose(after["sigma"], np.maximum(before["sigma"], 1e-4) if unit == "db" else before["sigma"], rtol=1e-4)
    np.testing.assert_allclose(after["incidence"], before["incidence"], rtol=1e-6)
    np.testing.assert_array_equal(after["label"], before["label"])


def test_that_labels_of_looks_go_out_and_come_in(tmp_path: Path) -> None:
    crops = make_crop_set(tmp_path / "crops")
    _export(crops, tmp_path / "out", unit="linear")
    old = read_manifest(str(crops), "training_set")
    rows = read_part(str(crops), "test", shape_of(old))
    classes = np.load(tmp_path / "out" / "test_classes.npy")
    np.testing.assert_array_equal(classes, rows["classes"])
    _import(tmp_path / "out", tmp_path / "back", unit="linear")
    new = read_manifest(str(tmp_path / "back"), "training_set")
    assert new["labels"] == "looks"
    told = [{part: one["parts"][part]["looks_by_class"] for part in one["parts"]} for one in (old, new)]
    assert told[0] == told[1]
    for name, values in old["statistics"].items():
        np.testing.assert_allclose(new["statistics"][name], values, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(read_part(str(tmp_path / "back"), "test", shape_of(new))["classes"], classes)
    np.save(tmp_path / "out" / "test_classes.npy", classes[:, 1:])
    with pytest.raises(FormatError, match=r"needed uint8 \(16, 16, 16\)"):
        _import(tmp_path / "out", tmp_path / "again", unit="linear")


def _files(folder: Path, array: Any, **columns: Any) -> Path:
    folder.mkdir()
    np.save(folder / "train.npy", array, allow_pickle=True)
    pd.DataFrame(columns or {"class_id": [0] * len(array)}).to_csv(folder / "train.csv", index=False)
    return folder


GOOD = np.full((3, SIZE, SIZE, 3), -10.0, np.float32)


@pytest.mark.parametrize(
    ("array", "columns", "error", "told"),
    [
        (np.array([{"a": 1}], dtype=object), {}, FormatError, "needed an array of numbers"),
        (GOOD[..., :2], {}, FormatError, r"needed floats \(n, size, size, 3\), found float32 \(3, 8, 8, 2\)"),
        (GOOD[:, :5], {}, FormatError, "needed floats"),
        (GOOD.astype(np.int16), {}, FormatError, "found int16"),
        (GOOD, {"class_id": [0, 1]}, FormatError, "needed a line for each of 3 patches, found 2"),
        (GOOD, {"class_id": [0, 1, 77]}, FormatError, r"found \[77\]; set legend"),
        (GOOD, {"label": [0, 1, 2]}, MissingError, "needed the column class_id, found label; set class_column"),
        (np.where(np.arange(3)[:, None, None, None] == 1, np.nan, GOOD), {}, FormatError, "needed finite numbers"),
    ],
)
def test_that_files_that_cannot_be_used_are_told(tmp_path: Path, array: Any, columns: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        _import(_files(tmp_path / "in", array, **columns), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_that_absent_files_are_told(patch_set: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"needed train.npy"):
        _import(tmp_path, tmp_path / "set")
    _files(tmp_path / "in", GOOD)
    (tmp_path / "in" / "train.csv").unlink()
    with pytest.raises(MissingError, match="beside its array"):
        _import(tmp_path / "in", tmp_path / "set")
    with pytest.raises(MissingError, match="needed a training_set"):
        _export(tmp_path / "in", tmp_path / "out")


def test_that_a_class_column_of_another_name_is_found(tmp_path: Path) -> None:
    _import(_files(tmp_path / "in", GOOD, ice=[1, 1, 4]), tmp_path / "set", class_column="ice")
    assert read_manifest(str(tmp_path / "set"), "training_set")["parts"]["train"]["rows_by_class"] == {"1": 2, "4": 1}
