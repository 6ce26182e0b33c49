"""A night: what is new comes into the catalog, then into every set that is kept up to date, then a page tells how it went."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from pyspark.sql import SparkSession

from eespark.errors import EESparkError, StorageFullError, TooManyFailuresError
from eespark.io.lease import held_lease
from eespark.io.storage import write_json, write_text
from eespark.job import JobSettings
from eespark.report.quality import quality_page
from eespark.settings import Url, load_settings
from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.observations import extract_series
from eespark.spark.patches import PatchSettings, extract_patches
from eespark.spark.quality import night_of

logger = logging.getLogger(__name__)


class NightlySettings(JobSettings):
    """Settings of `nightly`: the settings files of the jobs that it runs."""

    scan: Annotated[Url, Field(description="settings file of scan_archive")]
    series: Annotated[list[Url], Field(description="settings files of extract_series, one a sample set that is kept up to date")] = []
    patches: Annotated[list[Url], Field(description="settings files of extract_patches, the same")] = []
    lease: Annotated[Url, Field(description="file that says which night is at work; beside the tables")]
    lease_s: Annotated[float, Field(ge=3, description="s after which the lease of a night that died may be taken")] = 900.0
    wait_s: Annotated[float, Field(ge=0, description="s to wait for a night that is at work; 0: leave at once")] = 0.0
    page: Annotated[Url, Field(description="HTML file to write")]
    title: Annotated[str, Field(min_length=1, description="of the page")] = "Archive by night"
    days: Annotated[int, Field(ge=1, description="days up to the newest product that the page tells of")] = 400
    gap_days: Annotated[int, Field(ge=1, description="days without a usable product of a place that are a gap")] = 12


@dataclass(frozen=True)
class _Step:
    job: str
    file: str
    settings: Any
    work: Callable[[SparkSession, Any], dict[str, Any]]


def check_nightly(settings: NightlySettings) -> None:
    """Check that all settings files can be used.

    Raises:
        MissingError, SettingsError: One cannot.
    """
    _steps(settings)


def nightly(spark: SparkSession, settings: NightlySettings) -> dict[str, Any]:
    """Run the steps one after the other and write the page; a step that fails does not keep the others.

    Raises:
        BusyError: Another night is at work.
        TooManyFailuresError: More products failed than a step allows; everything else was done.
        EESparkError: What a step failed by, once the others were done and the page is written.
    """
    steps = _steps(settings)
    with held_lease(settings.lease, "nightly", settings.lease_s, settings.wait_s) as lease:
        told, errors = [], []
        for step in steps:
            lease.check()
            summary, error = _run(spark, step)
            told.append(summary)
            errors += [] if error is None else [error]
        scan, *rest = steps
        ledgers = [step.settings.extractions for step in rest]
        night = night_of(spark, settings.title, told, (scan.settings.products, ledgers), settings.days, settings.gap_days)
        write_text(settings.page, quality_page(night))
    counts = {
        "steps": {f"{one['job']} {one['settings']}": one["status"] for one in told},
        "set_aside": len(night.set_aside),
        "gaps": len(night.gaps),
        "page": settings.page,
    }
    _raise(errors, counts)
    return counts


def _steps(settings: NightlySettings) -> list[_Step]:
    steps = [_Step("scan_archive", settings.scan, load_settings(settings.scan, ScanSettings), scan_archive)]
    steps += [_Step("extract_series", file, load_settings(file, ExtractSettings), extract_series) for file in settings.series]
    steps += [_Step("extract_patches", file, load_settings(file, PatchSettings), extract_patches) for file in settings.patches]
    return steps


def _run(spark: SparkSession, step: _Step) -> tuple[dict[str, Any], EESparkError | None]:
    """Summary of a step, written where its settings say, and the error that it ended by."""
    logger.info("nightly: %s by %s", step.job, step.file)
    started, error = time.monotonic(), None
    summary: dict[str, Any] = {"job": step.job, "settings": step.file, "status": "failed"}
    try:
        summary |= {**step.work(spark, step.settings), "status": "done"}
    except StorageFullError:
        raise  # all that follows would fail too
    except EESparkError as failed:
        error = failed
        summary |= {**getattr(failed, "summary", {}), "error": str(failed)}
        logger.error("nightly: %s: %s", step.job, failed)
    summary["seconds"] = round(time.monotonic() - started, 2)
    write_json(step.settings.summary, summary)
    return summary, error


def _raise(errors: list[EESparkError], counts: dict[str, Any]) -> None:
    """Raise what tells most: an input that cannot be used before products that failed."""
    for error in errors:
        if not isinstance(error, TooManyFailuresError):
            raise error
    if errors:
        raise TooManyFailuresError("; ".join(str(error) for error in errors), counts)
