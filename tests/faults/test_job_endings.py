"""Jobs on Spark that cannot go on end with their code, one line and a summary, and leave no process behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from eespark.errors import FormatError
from eespark.spark.failures import plain_errors
from eespark.spark.labels import import_labels
from tests.faults.running import held
from tests.faults.test_killed_spark_jobs import band_of, scanning


def assert_told_in_a_line(run, told):
    """The log ends with the reason, holds no stack, and the summary has it too."""
    log, summary = run.log(), run.summary()
    assert log.splitlines()[-1].endswith(f": {summary['error']}") or "the summary holds the stack" in log.splitlines()[-1]
    assert told in summary["error"]
    assert "\n" not in summary["error"]
    assert "Traceback" not in log
    assert "\tat " not in log
    assert summary["status"] == "failed"
    return summary


def test_that_an_empty_archive_is_refused_before_spark_starts_and_no_table_is_made(scanned, jobs, tmp_path):
    chain = scanned.copied(tmp_path)
    (tmp_path / "archive").mkdir()
    run = jobs.run("scan_archive", scanning(chain, archive=str(tmp_path / "archive")), code=2)
    assert_told_in_a_line(
        run, f"needed Sentinel products (.SAFE folders, S1*.zip, S2*.zip, S2*.json) in {tmp_path}/archive, found none; check"
    )
    assert "Spark" not in run.log()
    assert not Path(chain.table("products")).exists()


def test_that_more_broken_products_than_allowed_end_a_scan_after_everything_is_written(scanned, jobs, tmp_path, digest):
    chain = scanned.copied(tmp_path)
    run = jobs.run("scan_archive", scanning(chain, max_failed_share=0.05), code=3)
    summary = assert_told_in_a_line(run, "2 of 18 products are quarantined, more than max_failed_share=0.05")
    assert (summary["exit_code"], summary["quarantined"], summary["current"]) == (3, 2, 15)
    assert len(summary["quarantined_reasons"]) == 2
    assert digest(chain.read("products"), "ingested_at") == digest(scanned.read("products"), "ingested_at")


def test_that_a_table_with_a_cut_file_is_told_in_a_line_and_the_stack_is_in_the_summary(drawn, jobs, tmp_path):
    chain = drawn.copied(tmp_path, "products", "samples")
    for file in Path(chain.table("samples")).glob("**/*.parquet"):
        file.write_bytes(file.read_bytes()[:-100])
        (file.parent / f".{file.name}.crc").unlink(missing_ok=True)
    run = jobs.run("extract_series", chain.extracting(), code=1)
    summary = assert_told_in_a_line(run, "is not a Parquet file")
    assert "\tat org.apache.spark" in summary["stack"]
    assert "observations.py" in summary["stack"]


def test_that_what_a_task_raises_comes_out_as_it_was(labelled, tmp_path):
    empty = tmp_path / "parcels.gpkg"
    empty.touch()
    polygons = [{**one.model_dump(), "url": str(empty)} for one in labelled.importing().polygons]
    chain = labelled.copied(tmp_path / "chain", "products")
    with pytest.raises(FormatError, match=str(empty)), plain_errors():
        import_labels(chain.spark, chain.importing(polygons=polygons, points=[]))


def stop(run):
    run.process.send_signal(signal.SIGTERM)


def interrupt(run):
    run.process.send_signal(signal.SIGINT)


def kill_jvm(run):
    os.kill(run.jvm(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        (stop, 143, "terminated from outside (SIGTERM); run it again, it does what is missing"),
        (interrupt, 130, "interrupted; run it again, it does what is missing"),
        (kill_jvm, 4, "needed the JVM of Spark, found it gone"),
    ],
)
def test_that_a_scan_that_is_ended_from_outside_tells_so_and_nothing_of_it_stays(scanned, jobs, tmp_path, end, code, told):
    chain = scanned.copied(tmp_path)
    products = scanned.read("products").query("kind == 'safe' and status == 'current'")
    with held(band_of(products, products["product_id"].min())) as is_read:
        run = jobs.start("scan_archive", scanning(chain, check_sizes=False))
        run.wait_until(is_read)
        end(run)
        # A process that waits for its own call to be answered would stay here for ever.
        assert run.wait(60) == code
        run.wait_until_nothing_is_left()
    assert_told_in_a_line(run, told)
