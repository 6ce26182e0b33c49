"""The DAG `eespark_nightly`: what is new comes into catalog and observations each night; sets, networks and their report each week.

    new_products -> scan -> labels_changed -> import -> extract -> weekly -> build -> train -> validate -> report
    scan -> quarantine_alarm

EESPARK_AIRFLOW names its settings (deploy/airflow/nightly.yaml is an example). docs/airflow.md tells of each task.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import nights
from airflow.exceptions import AirflowException, AirflowFailException
from airflow.models.dag import DAG
from airflow.operators.empty import EmptyOperator
from airflow.operators.python import PythonOperator, ShortCircuitOperator
from airflow.sensors.python import PythonSensor

NIGHT = nights.read_night(os.environ.get("EESPARK_AIRFLOW") or Path(__file__).with_name("nightly.yaml"))


def do(job: str, settings: str) -> None:
    """Run a job; what cannot succeed by another try fails at once."""
    conclude(job, settings, nights.run_job(NIGHT, job, settings))


def conclude(job: str, settings: str, code: int) -> None:
    """Fail where a job ended otherwise than done: at once, or to be tried again."""
    taken = nights.ending(code)
    if taken == "fail":
        raise AirflowFailException(f"{job} by {settings} ended with code {code}: see docs/endings.md")
    if taken == "retry":
        raise AirflowException(f"{job} by {settings} ended with code {code}; it is tried again")


def scan(ds: str) -> None:
    """Scan the archive, and keep what it held and how much of it was quarantined."""
    # Before the scan: what arrives while it runs is new to the next night.
    seen = nights.look(NIGHT, "archive", NIGHT.scan)
    code = nights.run_job(NIGHT, "scan_archive", NIGHT.scan)
    if nights.is_counted(code):
        nights.note_quarantined(NIGHT, ds, int(nights.look(NIGHT, "quarantined", NIGHT.scan)))
    conclude("scan_archive", NIGHT.scan, code)
    nights.remember(NIGHT, "archive", NIGHT.scan, seen)


def import_labels(settings: str) -> None:
    """Import labels, and keep which files they were from."""
    seen = nights.look(NIGHT, "labels", settings)
    do("import_labels", settings)
    nights.remember(NIGHT, "labels", settings, seen)


def sound_alarm(ds: str) -> None:
    """Fail, and so be told of, where quarantined products grew."""
    text = nights.alarm(NIGHT, ds)
    if text:
        raise AirflowFailException(text)


def tell_failure(context: Any) -> None:
    """Hand what made a task fail for good to the command that reaches people."""
    task = context["task_instance"]
    nights.tell(NIGHT, f"{task.dag_id} of {context['ds']}: {task.task_id} failed: {context.get('exception') or 'its log tells why'}")


def is_the_day(data_interval_end: Any) -> bool:
    """Whether the night is that of the weekly steps."""
    return bool(data_interval_end.weekday() == NIGHT.weekday)


def each(job: str, files: tuple[str, ...], before: Any, rule: str = "none_failed") -> Any:
    """A task for each settings file of a job, one after the other, behind others; the last one."""
    for file in files:
        task = PythonOperator(task_id=f"{job}.{nights.task_name(file)}", python_callable=do, op_args=[job, file], trigger_rule=rule)
        before >> task
        before = task
    return before


with DAG(
    "eespark_nightly",
    description="new products and changed labels each night; training sets, networks and their report each week",
    schedule=NIGHT.schedule,
    start_date=datetime.fromisoformat(f"{NIGHT.start}T00:00:00+00:00"),
    catchup=False,
    # Nights that overlap would do the same work twice.
    max_active_runs=1,
    default_args={
        "retries": NIGHT.retries,
        "retry_delay": timedelta(seconds=NIGHT.retry_delay_s),
        "on_failure_callback": tell_failure,
    },
    tags=["eespark"],
) as dag:
    arrived = PythonSensor(
        task_id="new_products", python_callable=nights.is_new, op_args=[NIGHT, "archive", NIGHT.scan], mode="reschedule",
        poke_interval=NIGHT.poke_s, timeout=NIGHT.wait_s, soft_fail=True,
    )  # fmt: skip
    scanned = PythonOperator(task_id="scan", python_callable=scan)
    # Also behind a scan that failed: by more broken products than it allows, of all nights.
    alarmed = PythonOperator(task_id="quarantine_alarm", python_callable=sound_alarm, retries=0, trigger_rule="all_done")
    arrived >> scanned >> alarmed
    # A night without news still looks at labels, and reads what an earlier night left.
    imported: Any = EmptyOperator(task_id="scanned_or_nothing_new", trigger_rule="none_failed")
    scanned >> imported
    for file in NIGHT.imports:
        name = nights.task_name(file)
        changed = ShortCircuitOperator(
            task_id=f"labels_changed.{name}", python_callable=nights.is_new, op_args=[NIGHT, "labels", file],
            ignore_downstream_trigger_rules=False, trigger_rule="none_failed",
        )  # fmt: skip
        importing = PythonOperator(task_id=f"import_labels.{name}", python_callable=import_labels, op_args=[file])
        imported >> changed >> importing
        imported = importing
    extracted = each("extract_series", NIGHT.extracts, imported)
    weekly = ShortCircuitOperator(
        task_id="weekly", python_callable=is_the_day, ignore_downstream_trigger_rules=False, trigger_rule="none_failed"
    )
    extracted >> weekly
    last = weekly
    for job, files in (
        ("build_training_set", NIGHT.builds),
        ("train", NIGHT.trains),
        ("validate", NIGHT.validates),
        ("report", NIGHT.reports),
    ):
        last = each(job, files, last, "all_success")
