"""A year of nights on the demo's archive, one date a night, beside one run over all of it: `make test-nights`."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.spark.catalog import ScanSettings, scan_archive
from eespark.spark.contents import sum_of_hashes
from eespark.spark.draw_settings import DrawSettings
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.label_settings import ImportSettings
from eespark.spark.labels import import_labels
from eespark.spark.nightly import NightlySettings, nightly
from eespark.spark.observations import extract_series
from eespark.spark.samples import draw_samples
from eespark.spark.session import make_session
from eespark.synthetic.archive import make_archive
from eespark.synthetic.settings import ArchiveSettings
from tests.chain import PLACES
from tests.nights.demo import settings_of

_DAY = re.compile(r"_(\d{8})T\d{6}_")


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = make_session("nights")
    yield session
    session.stop()


def _content(rows: DataFrame, *without: str) -> tuple[int, int]:
    """Number of rows, and a hash of all of them whatever their order."""
    names = sorted(set(rows.columns) - set(without))
    told = rows.agg(F.count("*"), sum_of_hashes(F.xxhash64(*(F.to_json(F.struct(name)) for name in names)))).head()
    return int(told[0]), int(told[1])


def test_that_a_year_of_nights_gives_what_one_run_gives(spark: SparkSession, tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    make_archive(settings_of("make_demo_archive", one, ArchiveSettings))
    archive = one / "input" / "archive"
    scan_archive(spark, settings_of("scan_archive", one, ScanSettings))
    import_labels(spark, settings_of("import_labels", one, ImportSettings))
    draw_samples(spark, settings_of("draw_samples", one, DrawSettings))
    extract_series(spark, settings_of("extract_series", one, ExtractSettings))

    shutil.copytree(one / "tables" / "samples", many / "tables" / "samples")
    (many / "input" / "archive").mkdir(parents=True)
    settings_of("scan_archive", many, ScanSettings, max_failed_share=1.0)
    settings_of("extract_series", many, ExtractSettings, max_failed_share=1.0)
    files = {"scan": str(many / "conf" / "scan_archive.yaml"), "series": [str(many / "conf" / "extract_series.yaml")], "patches": []}
    settings = settings_of("nightly", many, NightlySettings, **files)
    by_day: dict[str, list[Path]] = defaultdict(list)
    for path in archive.iterdir():
        day = _DAY.search(path.name)
        by_day[day.group(1) if day else ""].append(path)
    assert len(by_day) > 20
    for day in sorted(by_day):
        for path in by_day[day]:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, many / "input" / "archive" / path.name)
        told = nightly(spark, settings)
        assert set(told["steps"].values()) == {"done"}, (day, told)
    observations = [spark.read.format("delta").load(str(folder / "tables" / "observations")) for folder in (one, many)]
    contents = [_content(rows, "fingerprint") for rows in observations]
    assert contents[0] == contents[1]
    assert contents[0][0] > 100_000
    products = [spark.read.format("delta").load(str(folder / "tables" / "products")) for folder in (one, many)]
    assert _content(products[0], *PLACES) == _content(products[1], *PLACES)
