"""One Spark session for all Spark tests, and one tiny archive that goes through the stages once."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from eespark.schema import Table
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.dataset import BuildSettings
from eespark.spark.draw_settings import DrawSettings
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.label_settings import ImportSettings
from eespark.spark.labels import import_labels
from eespark.spark.observations import extract_series
from eespark.spark.samples import draw_samples
from eespark.spark.session import make_session
from eespark.spark.tables import conform, ensure_table, jvm_url
from eespark.synthetic.archive import make_archive
from eespark.synthetic.settings import ArchiveSettings

PLACES = ("url", "bands", "ingested_at", "modified", "fingerprint")
"""Columns of `products` that tell where and when an archive was scanned, not what it holds."""


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    session = make_session("tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def add_rows(spark: SparkSession) -> Callable[[Path | str, Table, list[dict[str, Any]]], None]:
    """Appends rows, given as dicts, to a table that is made where it is absent; columns that a row lacks are null."""

    def add(url: Path | str, table: Table, rows: list[dict[str, Any]]) -> None:
        ensure_table(spark, str(url), table)
        schema = ", ".join(f"{c.name} {c.dtype}" for c in table.columns)
        frame = spark.createDataFrame([tuple(row.get(name) for name in table.names) for row in rows], schema)
        conform(frame, table).write.format("delta").mode("append").save(jvm_url(str(url)))

    return add


@dataclasses.dataclass(frozen=True)
class Chain:
    """Where the stages of one run lie, and the settings of each."""

    spark: SparkSession
    input: Path
    root: Path

    def table(self, name: str) -> str:
        return str(self.root / "tables" / name)

    def read(self, name: str) -> pd.DataFrame:
        return self.spark.read.format("delta").load(jvm_url(self.table(name))).toPandas()

    def copied(self, target: Path, *names: str) -> Chain:
        """The same chain in another folder, with some of its tables (and the manifests of its sample sets)."""
        for name in names:
            shutil.copytree(self.table(name), target / "tables" / name)
        if (self.root / "sets").is_dir():
            shutil.copytree(self.root / "sets", target / "sets")
        return dataclasses.replace(self, root=target)

    def _settings(self, *tables: str) -> dict[str, Any]:
        return {"summary": str(self.root / "summary.json"), **{name: self.table(name) for name in tables}}

    def importing(self, **changes: Any) -> ImportSettings:
        invekos = {"name": "invekos_2018", "url": str(self.input / "labels" / "invekos_2018.gpkg"), "year": 2018, "codes": "snar"}
        invekos |= {"key": "GEO_ID", "code": "SNAR_CODE", "label": "SNAR_BEZEICHNUNG", "attributes": ["FS_KENNUNG"]}
        lucas = {"name": "lucas_2018", "url": str(self.input / "labels" / "lucas_2018.csv"), "weight": "WGT_LUCAS"}
        base = {"polygons": [invekos], "points": [lucas], "scratch": str(self.root / "scratch"), "rows_per_task": 400}
        return ImportSettings.model_validate(self._settings("labels", "products") | base | changes)

    def drawing(self, **changes: Any) -> DrawSettings:
        base = {"sample_set": "tiny@1", "sets": str(self.root / "sets"), "sources": ["invekos_2018"], "point_sources": ["lucas_2018"]}
        base |= {"holdout_tiles": ["33TVN"], "total": 1200, "max_per_parcel": 12, "block_px": 96, "split_block_m": 250.0, "guard_m": 15.0}
        return DrawSettings.model_validate(self._settings("products", "labels", "samples") | base | changes)

    def extracting(self, **changes: Any) -> ExtractSettings:
        base = {"packs": str(self.root / "packs"), "sample_set": "tiny@1"}
        return ExtractSettings.model_validate(self._settings("products", "samples", "observations", "extractions") | base | changes)

    def building(self, name: str, **changes: Any) -> BuildSettings:
        base = {"sets": str(self.root / "sets"), "sample_set": "tiny@1", "training_set": str(self.root / name), "min_clear": 3}
        return BuildSettings.model_validate(self._settings("products", "samples", "observations") | base | changes)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny archive: archive/, labels/, truth/."""
    folder = tmp_path_factory.mktemp("tiny") / "input"
    settings = {"size_px": 192, "jp2_block_px": (64, 32), "dates_per_tile": 5, "parcel_median_ha": 0.7, "lucas_spacing_m": 500.0}
    make_archive(ArchiveSettings.model_validate({"output": str(folder), "summary": "unused", "seed": 5, "workers": 1} | settings))
    return folder


@pytest.fixture(scope="session")
def scanned(spark: SparkSession, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The archive in a catalog."""
    chain = Chain(spark, synthetic, tmp_path_factory.mktemp("chain"))
    scan_archive(spark, ScanSettings(archive=str(synthetic / "archive"), products=chain.table("products"), summary="unused"))
    return chain


@pytest.fixture(scope="session")
def labelled(scanned: Chain) -> Chain:
    """And its labels imported."""
    import_labels(scanned.spark, scanned.importing())
    return scanned


@pytest.fixture(scope="session")
def drawn(labelled: Chain) -> Chain:
    """And the sample set tiny@1 drawn."""
    draw_samples(labelled.spark, labelled.drawing())
    return labelled


@pytest.fixture(scope="session")
def extracted(drawn: Chain) -> Chain:
    """And its series extracted."""
    extract_series(drawn.spark, drawn.extracting(products_per_commit=6))
    return drawn


@pytest.fixture(scope="session")
def content() -> Callable[..., list[tuple[Any, ...]]]:
    """The rows of a frame as sorted tuples, without some columns: two tables are equal when these are."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return tuple(sorted(value.items()))
        if isinstance(value, list | tuple | np.ndarray):
            return tuple(plain(one) for one in value)
        return None if value is None or value is pd.NaT or value != value else value

    def rows(frame: pd.DataFrame, *without: str) -> list[tuple[Any, ...]]:
        kept = frame.drop(columns=list(without))
        kept = kept[sorted(kept.columns)]
        return sorted((tuple(plain(v) for v in row) for row in kept.itertuples(index=False, name=None)), key=repr)

    return rows
