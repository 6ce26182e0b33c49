"""Tables that the first eespark wrote (made by its own code, in tests/data/first_release) are read by today's once they are migrated."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eespark.errors import FormatError, MissingError, SettingsError
from eespark.schema import PRODUCTS, SAMPLES, Column, Table
from eespark.schema_polar import PATCHES
from eespark.spark import migration
from eespark.spark.migration import MigrateSettings, check_migration, migrate_tables
from eespark.spark.tables import VERSION_PROPERTY, conform, current_version, delta_table, ensure_table, open_table, sql_name, table_version

FIRST = Path(__file__).parents[1] / "data" / "first_release"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the first tables."""
    shutil.copytree(FIRST, tmp_path / "tables")
    return tmp_path / "tables"


def _settings(**tables: list[Path]) -> MigrateSettings:
    return MigrateSettings(tables={name: [str(url) for url in urls] for name, urls in tables.items()}, summary="unused")


def test_that_an_old_table_is_refused_and_what_to_do_is_told(spark: Any, old: Path) -> None:
    with pytest.raises(FormatError, match=r"needed patches of schema version 2, found version 1; run migrate_tables"):
        open_table(spark, str(old / "patches"), PATCHES)
    with pytest.raises(FormatError, match="run migrate_tables"):
        ensure_table(spark, str(old / "products"), PRODUCTS)


def test_that_old_tables_are_read_after_it_and_their_rows_stay(spark: Any, old: Path) -> None:
    told = migrate_tables(spark, _settings(patches=[old / "patches"], products=[old / "products"]))
    assert told["migrated"] == 2
    assert told["tables"][str(old / "patches")] == {"table": "patches", "from_version": 1, "to_version": 2}
    rows = sorted(open_table(spark, str(old / "patches"), PATCHES).collect(), key=lambda row: row["patch_id"])
    assert [(row["patch_id"], row["class_id"], row["label_id"], row["fast"]) for row in rows] == [
        (100, 1, "uit:polygons:0", False), (101, 2, "uit:polygons:1", False), (102, 3, "uit:polygons:2", True),
    ]  # fmt: skip
    assert np.frombuffer(rows[1]["sigma"], "<f4").tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert {rows[0][name] for name in ("label_roots", "classes", "cells", "digital")} == {None}
    (product,) = open_table(spark, str(old / "products"), PRODUCTS).collect()
    assert (product["tile"], product["sensing_time"], product["cloud_share"]) == ("33TVN", datetime(2018, 7, 15, 10, 0, 31), 0.25)
    assert product["dark_reflectance"] is None


def test_that_versions_of_before_the_migration_are_still_read(spark: Any, old: Path) -> None:
    """Training sets pin versions of their tables."""
    pinned = current_version(spark, str(old / "products"))
    migrate_tables(spark, _settings(products=[old / "products"]))
    (product,) = open_table(spark, str(old / "products"), PRODUCTS, pinned).collect()
    assert (product["tile"], product["dark_reflectance"]) == ("33TVN", None)


def test_that_what_today_writes_fits_in(spark: Any, old: Path) -> None:
    """Tiles have no label of their own: columns that might not be null, may."""
    migrate_tables(spark, _settings(patches=[old / "patches"]))
    rows = open_table(spark, str(old / "patches"), PATCHES).limit(1).collect()[0].asDict()
    tile = rows | {"patch_id": 7, "label_id": None, "label_root": None, "class_id": None, "label_roots": ["a", "b"], "classes": b"\x01"}
    schema = ", ".join(f"{c.name} {c.dtype}" for c in PATCHES.columns)
    frame = spark.createDataFrame([tuple(tile[name] for name in PATCHES.names)], schema)
    conform(frame, PATCHES).write.format("delta").mode("append").save(str(old / "patches"))
    (found,) = open_table(spark, str(old / "patches"), PATCHES).where("patch_id = 7").collect()
    assert (found["label_id"], found["label_roots"], bytes(found["classes"])) == (None, ["a", "b"], b"\x01")


def test_that_a_table_of_today_stays_as_it_is(spark: Any, old: Path, tmp_path: Path) -> None:
    ensure_table(spark, str(tmp_path / "samples"), SAMPLES)
    migrate_tables(spark, _settings(patches=[old / "patches"], samples=[tmp_path / "samples"]))
    versions = [current_version(spark, str(url)) for url in (old / "patches", tmp_path / "samples")]
    assert migrate_tables(spark, _settings(patches=[old / "patches"], samples=[tmp_path / "samples"]))["migrated"] == 0
    assert [current_version(spark, str(url)) for url in (old / "patches", tmp_path / "samples")] == versions


def test_that_one_that_was_broken_off_is_finished_by_the_next(spark: Any, old: Path) -> None:
    """Broken off before any of its steps, it leaves rows that the old code reads, and the next run does what is missing."""
    steps = []

    class Breaking:
        def __init__(self, after: int) -> None:
            self.left = after

        def sql(self, text: str) -> Any:
            if text.startswith("ALTER"):
                steps.append(text.split(" ")[3:6])
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
            return spark.sql(text)

        def __getattr__(self, name: str) -> Any:
            return getattr(spark, name)

    for after in (0, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            migration.migrate(Breaking(after), str(old / "patches"), PATCHES)
        assert table_version(spark, str(old / "patches")) == 1
        assert spark.read.format("delta").load(str(old / "patches")).where("label_id IS NOT NULL").count() == 3
    migrate_tables(spark, _settings(patches=[old / "patches"]))
    assert open_table(spark, str(old / "patches"), PATCHES).count() == 3
    assert len(steps) >= 4


def test_that_newer_and_strange_tables_are_left_alone(spark: Any, old: Path, tmp_path: Path) -> None:
    spark.sql(f"ALTER TABLE {sql_name(str(old / 'products'))} SET TBLPROPERTIES ('{VERSION_PROPERTY}' = '99')")
    with pytest.raises(FormatError, match="needed products of version 2 or older, found version 99; use the eespark that wrote it"):
        migrate_tables(spark, _settings(patches=[old / "patches"], products=[old / "products"]))
    assert table_version(spark, str(old / "patches")) == 1
    spark.range(3).write.format("delta").save(str(tmp_path / "other"))
    with pytest.raises(FormatError, match="found a table that is not of eespark"):
        migrate_tables(spark, _settings(products=[tmp_path / "other"]))
    with pytest.raises(MissingError, match="found none"):
        migrate_tables(spark, _settings(products=[tmp_path / "nowhere"]))
    with pytest.raises(SettingsError, match=r"needed names among .*, found tiles"):
        check_migration(_settings(tiles=[old / "patches"]))


def test_that_a_change_that_no_migration_makes_is_told_and_nothing_done(spark: Any, old: Path) -> None:
    columns = (*PATCHES.columns, Column("must", "int", "", nullable=False))
    before = delta_table(spark, str(old / "patches")).history().count()
    with pytest.raises(FormatError, match="no migration gives the columns must of patches; make the table anew"):
        migration.migrate(spark, str(old / "patches"), Table("patches", PATCHES.key, columns, version=3))
    assert delta_table(spark, str(old / "patches")).history().count() == before
