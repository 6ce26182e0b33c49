"""Upkeep of tables: small files joined and old versions removed, tables set back to a time, dates read again."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, model_validator
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from eespark.errors import MissingError
from eespark.io.storage import is_local, list_files, local_path, read_manifest
from eespark.job import JobSettings
from eespark.schema import OBSERVATIONS, PRODUCTS
from eespark.settings import Url, load_settings
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.ledger import Ledger
from eespark.spark.observations import extract_series
from eespark.spark.tables import current_version, delta_table, open_table, table_exists

logger = logging.getLogger(__name__)


class CompactSettings(JobSettings):
    """Settings of `compact_tables`."""

    tables: Annotated[list[Url], Field(min_length=1, description="Delta tables")]
    training_sets: Annotated[list[Url], Field(description="training sets whose table versions must stay readable")] = []
    retain_h: Annotated[float, Field(ge=168, description="h; files that no version of so many hours needs are removed")] = 720.0


class RestoreSettings(JobSettings):
    """Settings of `restore_tables`."""

    tables: Annotated[list[Url], Field(min_length=1, description="Delta tables, all of a set: contents and ledger together")]
    as_of: Annotated[datetime | None, Field(description="UTC; the time whose versions come back")] = None
    hours_ago: Annotated[float | None, Field(gt=0, description="h; the same, back from now; 24 for yesterday")] = None

    @model_validator(mode="after")
    def _check_time(self) -> RestoreSettings:
        if (self.as_of is None) == (self.hours_ago is None):
            raise ValueError("needs one of as_of and hours_ago")
        return self

    @property
    def when(self) -> datetime:
        """The time whose versions come back, UTC."""
        if self.as_of is None:
            return datetime.now(UTC) - timedelta(hours=float(self.hours_ago or 0))
        return self.as_of.replace(tzinfo=UTC) if self.as_of.tzinfo is None else self.as_of.astimezone(UTC)


class BackfillSettings(JobSettings):
    """Settings of `backfill`."""

    series: Annotated[Url, Field(description="settings file of extract_series")]
    first_day: Annotated[date, Field(description="first day of sensing that is read again")]
    last_day: Annotated[date, Field(description="last day")]

    @model_validator(mode="after")
    def _check_days(self) -> BackfillSettings:
        if self.last_day < self.first_day:
            raise ValueError(f"needs first_day before last_day, found {self.first_day} and {self.last_day}")
        return self


def compact_tables(spark: SparkSession, settings: CompactSettings) -> dict[str, Any]:
    """Join small files of each table, then remove files that nothing needs any more; counts by table.

    Files of a version that a training set was built from stay, however old it is.

    Raises:
        MissingError: There is no such table or training set.
    """
    pins = pinned_versions(settings.training_sets)
    told = {}
    for url in settings.tables:
        _need_table(spark, url)
        before = len(list_files(url, ".parquet"))
        spark.sparkContext.setJobDescription(f"compact_tables: {url}")
        delta_table(spark, url).optimize().executeCompaction()
        pinned = sorted(pins.get(_place(url), ()))
        hours = max(settings.retain_h, _hours_needed(spark, url, pinned, datetime.now(UTC)))
        delta_table(spark, url).vacuum(hours)
        told[url] = {"files_before": before, "files": len(list_files(url, ".parquet")), "retained_h": hours, "pinned_versions": pinned}
        logger.info("compact_tables: %s: %d files became %d", url, before, told[url]["files"])
    return {"tables": told}


def pinned_versions(training_sets: Iterable[str]) -> dict[str, set[int]]:
    """Table -> versions that training sets were built from, as their manifests tell."""
    pins: dict[str, set[int]] = {}
    for one in training_sets:
        manifest = read_manifest(one, "training_set")
        for name, version in manifest["tables"].items():
            url = manifest["settings"].get(name)
            if url is not None:
                pins.setdefault(_place(str(url)), set()).add(int(version))
    return pins


def restore_tables(spark: SparkSession, settings: RestoreSettings) -> dict[str, Any]:
    """Set tables back to what they were at a time, as a new version of each; versions by table.

    Raises:
        MissingError: There is no such table, or it has no version of that time.
    """
    when, told = settings.when, {}
    for url in settings.tables:
        _need_table(spark, url)
        told[url] = {"from_version": current_version(spark, url), "to_version": _version_at(spark, url, when)}
    # All are known to exist before the first is changed.
    for url, versions in told.items():
        if versions["to_version"] != versions["from_version"]:
            try:
                delta_table(spark, url).restoreToVersion(versions["to_version"])
            except PySparkException as error:
                raise MissingError(f"{url}: needed the files of version {versions['to_version']}, found some removed ({error})") from error
        logger.info("restore_tables: %s: version %d again", url, versions["to_version"])
    return {"as_of": when.isoformat(), "tables": told}


def backfill(spark: SparkSession, settings: BackfillSettings) -> dict[str, Any]:
    """Read the products of some days again, in the place of what was read from them; the counts of extraction.

    Raises:
        MissingError, TooManyFailuresError: As `extract_series`.
    """
    extract = load_settings(settings.series, ExtractSettings)
    ledger = Ledger(spark, "backfill", extract.extractions, extract.observations, OBSERVATIONS, "sample_id", extract.sample_set, True)
    ledger.open()
    day = F.to_date("sensing_time")
    products = open_table(spark, extract.products, PRODUCTS).where((day >= settings.first_day) & (day <= settings.last_day))
    forgotten = ledger.forget(products)
    logger.info("backfill: %d products of %s to %s are read again", forgotten, settings.first_day, settings.last_day)
    return {**extract_series(spark, extract), "products_forgotten": forgotten}


def _need_table(spark: SparkSession, url: str) -> None:
    if not table_exists(spark, url):
        raise MissingError(f"needed a Delta table at {url}, found none; correct tables")


def _hours_needed(spark: SparkSession, url: str, pinned: Iterable[int], now: datetime) -> float:
    """Hours that files must stay for the pinned versions: back to when the oldest of them stopped being the newest."""
    times = _commit_times(spark, url)
    ended = [times[version + 1] for version in pinned if version + 1 in times]
    return float(math.ceil((now.timestamp() - min(ended)) / 3600) + 1) if ended else 0.0


def _version_at(spark: SparkSession, url: str, when: datetime) -> int:
    before = [version for version, at in _commit_times(spark, url).items() if at <= when.timestamp()]
    if not before:
        raise MissingError(f"{url}: needed a version of {when:%Y-%m-%d %H:%M} UTC, found none so old; choose a later time")
    return max(before)


def _commit_times(spark: SparkSession, url: str) -> dict[int, float]:
    """Version -> seconds since 1970 of its commit."""
    history = delta_table(spark, url).history().select("version", F.col("timestamp").cast("double").alias("at"))
    return {int(row["version"]): float(row["at"]) for row in history.collect()}


def _place(url: str) -> str:
    return str(local_path(url)) if is_local(url) else url.rstrip("/")
