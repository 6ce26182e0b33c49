"""Patches in the table: one scene a task, each committed once, a broken one costs only itself."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely

from eespark.errors import MissingError, TooManyFailuresError
from eespark.schema import EXTRACTIONS
from eespark.spark.patches import extract_patches
from eespark.spark.tables import open_table, update_rows
from tests.ice.chain import Ice

WITHOUT = ("fingerprint",)


@pytest.fixture(scope="module")
def cut(labelled_ice: Ice) -> tuple[Ice, dict[str, Any]]:
    """The patches of an undisturbed run."""
    return labelled_ice, extract_patches(labelled_ice.spark, labelled_ice.cutting())


@pytest.fixture
def copied(labelled_ice: Ice, tmp_path: Path) -> Ice:
    """The same catalog and labels in another folder, without patches."""
    for name in ("products", "ice_labels"):
        shutil.copytree(labelled_ice.root / name, tmp_path / name)
    return dataclasses.replace(labelled_ice, root=tmp_path)


def ledger(ice: Ice) -> pd.DataFrame:
    return open_table(ice.spark, str(ice.root / "patch_extractions"), EXTRACTIONS).toPandas()


def test_that_every_scene_gives_patches_of_its_own_polygons(cut: tuple[Ice, dict[str, Any]]) -> None:
    ice, summary = cut
    patches, labels = ice.table("patches").toPandas(), ice.table("ice_labels").toPandas().set_index("label_id")
    assert summary["products_read"] == 6
    assert summary["patches"] == len(patches) > 300
    assert summary["patches_by_class"] == {str(k): int(n) for k, n in patches["class_id"].value_counts().sort_index().items()}
    drawn = labels.loc[patches["label_id"]]
    np.testing.assert_array_equal(drawn["scene"].to_numpy(), patches["product_id"].to_numpy())
    np.testing.assert_array_equal(drawn["class_id"].to_numpy(), patches["class_id"].to_numpy())
    inside = shapely.contains_xy(shapely.from_wkb(drawn["geometry"].to_numpy()), patches["x"].to_numpy(), patches["y"].to_numpy())
    assert inside.all()
    assert patches["patch_id"].is_unique
    assert ((patches["row"] % 4 == 0) & (patches["col"] % 4 == 0)).all()


def test_that_patches_come_as_plain_numbers(cut: tuple[Ice, dict[str, Any]]) -> None:
    row = cut[0].table("patches").orderBy("patch_id").head()
    sigma = np.frombuffer(row["sigma"], "<f4").reshape(2, row["size"], row["size"])
    angle = np.frombuffer(row["incidence"], "<f4").reshape(row["size"], row["size"])
    assert 1e-4 < sigma[0].mean() < 2
    assert sigma[1].mean() < sigma[0].mean()
    assert 20 < angle.min() <= angle.max() < 45
    # The angle grows along the samples and hardly along the lines.
    assert (np.diff(angle, axis=1) > 0).all()


def test_that_a_second_run_reads_nothing(cut: tuple[Ice, dict[str, Any]]) -> None:
    ice, first = cut
    before = ledger(ice)
    again = extract_patches(ice.spark, ice.cutting())
    assert (again["products_read"], again["products_wanted"]) == (0, 6)
    assert again["patches_by_class"] == first["patches_by_class"]
    assert len(ledger(ice)) == len(before) == 6


def test_that_a_broken_scene_costs_only_itself_and_is_read_once_mended(cut: tuple[Ice, dict[str, Any]], copied: Ice, content: Any) -> None:
    undisturbed, victim = cut[0].table("patches").toPandas(), cut[0].scenes[0].product_id
    products = str(copied.root / "products")
    (url,) = [row["url"] for row in copied.table("products").where(f"product_id = '{victim}'").collect()]
    broken = copied.root / f"{victim}.SAFE"
    shutil.copytree(url, broken)
    (path,) = broken.glob("measurement/*-hv-*")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    update_rows(copied.spark, products, f"product_id = '{victim}'", {"url": f"'{broken}'"})
    with pytest.raises(TooManyFailuresError, match="1 of 6 products failed"):
        extract_patches(copied.spark, copied.cutting(max_failed_share=0.1))
    assert content(copied.table("patches").toPandas(), *WITHOUT) == content(undisturbed[undisturbed["product_id"] != victim], *WITHOUT)
    (reason,) = ledger(copied).query("status == 'failed'")["reason"]
    assert "needed a readable raster" in reason
    update_rows(copied.spark, products, f"product_id = '{victim}'", {"url": f"'{url}'"})
    assert extract_patches(copied.spark, copied.cutting())["products_read"] == 1
    assert content(copied.table("patches").toPandas(), *WITHOUT) == content(undisturbed, *WITHOUT)


def test_that_a_scene_that_is_no_longer_current_takes_its_patches_along(cut: tuple[Ice, dict[str, Any]], copied: Ice) -> None:
    gone = cut[0].scenes[1].product_id
    extract_patches(copied.spark, copied.cutting())
    update_rows(copied.spark, str(copied.root / "products"), f"product_id = '{gone}'", {"status": "'superseded'"})
    assert extract_patches(copied.spark, copied.cutting())["products_retracted"] == 1
    left = copied.table("patches").toPandas()
    assert gone not in set(left["product_id"])
    assert left["product_id"].nunique() == 5


def test_that_land_keeps_patches_off_the_shore(cut: tuple[Ice, dict[str, Any]], copied: Ice) -> None:
    coast = str(cut[0].drawn / "coastline.gpkg")
    with_land = extract_patches(copied.spark, copied.cutting(land=coast, patch_set="dry@1", most_per_label=4))
    assert 0 < with_land["patches"] < cut[1]["patches"]
    by_label = copied.table("patches").toPandas().groupby("label_id").size()
    assert by_label.max() == 4


def test_that_sources_without_usable_labels_are_missing(copied: Ice) -> None:
    with pytest.raises(MissingError, match="needed usable labels of one legend from uit, v2, found seaice_types@1, seaice_uit@1"):
        extract_patches(copied.spark, copied.cutting(sources=["uit", "v2"]))
    with pytest.raises(MissingError, match="found none"):
        extract_patches(copied.spark, copied.cutting(sources=["nobody"]))
