"""What the DAG `eespark_nightly` decides, without Airflow: settings, what is new, how a job's end is taken, when to sound the alarm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import yaml

HISTORY = "quarantined.json"
SEEN = "seen.json"
_LOOK = Path(__file__).with_name("look.py")
_KEPT_NIGHTS = 400


@dataclass(frozen=True)
class Night:
    """Settings of the DAG.

    Attributes:
        repository: Folder that commands run in.
        python: Of eespark's environment.
        command: Words before `jobs/<job>.py`: that Python, or spark-submit with its options.
        state: Folder where the DAG keeps what it saw.
        scan: Settings file of scan_archive.
        imports: Settings files of import_labels.
        extracts: Of extract_series.
        builds: Of build_training_set.
        trains: Of train.
        validates: Of validate.
        reports: Of report.
        schedule: Cron expression.
        start: First day, YYYY-MM-DD.
        weekday: Day of the weekly steps, 0 is Monday.
        retries: Of a job that may succeed later.
        retry_delay_s: Between them.
        wait_s: How long to wait for new products; then the scan is left out.
        poke_s: From one look for new products to the next.
        lease: File that jobs hold while they run, beside tables on S3, which know one writer at a time; none: they take no lease.
        lease_wait_s: How long a job waits for another holder.
        alarm_above: More quarantined products than the night before by more than this sound the alarm.
        alarm_command: Words of a command that gets the text of an alarm or a failure on standard input; none: the failed task alone tells.
    """

    repository: str
    python: str
    command: tuple[str, ...]
    state: str
    scan: str
    extracts: tuple[str, ...]
    imports: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()
    trains: tuple[str, ...] = ()
    validates: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    schedule: str = "0 2 * * *"
    start: str = "2024-01-01"
    weekday: int = 6
    retries: int = 2
    retry_delay_s: float = 900.0
    wait_s: float = 14_400.0
    poke_s: float = 600.0
    lease: str = ""
    lease_wait_s: float = 3_600.0
    alarm_above: int = 5
    alarm_command: tuple[str, ...] = ()


class NightError(ValueError):
    """Settings of the DAG that cannot be used."""


def read_night(file: str | os.PathLike[str]) -> Night:
    """The settings in a YAML file.

    Raises:
        NightError: No such file, unknown or missing keys, values of another kind.
    """
    path = Path(file)
    if not path.is_file():
        raise NightError(
            f"needed the settings of the DAG, found no file {path}; name it in EESPARK_AIRFLOW, as deploy/airflow/nightly.yaml is"
        )
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict):
        raise NightError(f"{path}: needed keys and values, found {type(told).__name__}")
    known = {one.name: one for one in fields(Night)}
    unknown, missing = sorted(set(told) - set(known)), sorted({n for n, one in known.items() if _is_needed(one)} - set(told))
    if unknown or missing:
        raise NightError(f"{path}: unknown keys: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}")
    # YAML takes a day without quotation marks for a date.
    told = {name: value.isoformat() if isinstance(value, date) else value for name, value in told.items()}
    wrong = sorted(name for name, value in told.items() if not _fits(str(known[name].type), value))
    if wrong:
        raise NightError(f"{path}: needed other kinds of values for {', '.join(f'{name} ({known[name].type})' for name in wrong)}")
    night = Night(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})
    if not 0 <= night.weekday <= 6:
        raise NightError(f"{path}: needed a weekday from 0 (Monday) to 6, found {night.weekday}")
    _check_names(night, path)
    return night


def _check_names(night: Night, path: Path) -> None:
    """Tasks are named by settings files."""
    for key in ("imports", "extracts", "builds", "trains", "validates", "reports"):
        names = [task_name(file) for file in getattr(night, key)]
        twice = sorted({name for name in names if names.count(name) > 1})
        odd = sorted(name for name in names if not re.fullmatch(r"[\w.-]+", name))
        if twice or odd:
            raise NightError(
                f"{path}: {key}: needed files whose names differ and are of letters, digits, '_', '-', '.', found {', '.join(twice or odd)}"
            )


def _is_needed(one: Any) -> bool:
    return one.name in ("repository", "python", "command", "state", "scan", "extracts")


def _fits(kind: str, value: Any) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    accepted = {"str": (str,), "int": (int,), "float": (int, float)}[kind]
    return isinstance(value, accepted) and not isinstance(value, bool)


def run_job(night: Night, job: str, settings: str) -> int:
    """The exit code of a job, whose log goes to this process's own."""
    command = [*night.command, f"jobs/{job}.py", settings]
    if night.lease:
        command = [night.python, "deploy/leased.py", night.lease, "--wait", str(night.lease_wait_s), "--", *command]
    # A log in another encoding must not end the job.
    pipe: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, cwd=night.repository, **pipe) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
        return process.wait()


def ending(code: int) -> str:
    """How the exit code of a job is taken (docs/endings.md): done, retry or fail."""
    # All else may pass: too little room, another run at work, a signal, or the unexpected, as which clusters' faults appear.
    return {0: "done", 2: "fail", 3: "fail"}.get(code, "retry")


def is_counted(code: int) -> bool:
    """Whether a job that ended so wrote a summary with its counts: it is done, or all but what failed is."""
    return code in (0, 3)


def look(night: Night, what: str, settings: str) -> str:
    """What `look.py` tells of a settings file: fingerprints of `archive` and `labels`; `quarantined`, the number after the last scan."""
    command = [night.python, str(_LOOK), what, settings]
    done = subprocess.run(command, cwd=night.repository, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise RuntimeError(f"could not look at the {what} of {settings}: {last}")
    return done.stdout.strip()


def is_new(night: Night, what: str, settings: str) -> bool:
    """Whether it is another than when `remember` was called last."""
    return _state(night, SEEN).get(f"{what} {settings}") != look(night, what, settings)


def remember(night: Night, what: str, settings: str, fingerprint: str) -> None:
    """Keep what a job that is done had found."""
    _keep(night, SEEN, _state(night, SEEN) | {f"{what} {settings}": fingerprint})


def note_quarantined(night: Night, day: str, count: int) -> None:
    """Keep how many products were quarantined on a day."""
    nights = _state(night, HISTORY) | {day: count}
    _keep(night, HISTORY, dict(sorted(nights.items())[-_KEPT_NIGHTS:]))


def alarm(night: Night, day: str) -> str | None:
    """What to tell people of a day, where quarantined products grew by more than `alarm_above` since the night before."""
    nights = _state(night, HISTORY)
    before = [name for name in sorted(nights) if name < day]
    if day not in nights or not before:
        return None
    grown = nights[day] - nights[before[-1]]
    if grown <= night.alarm_above:
        return None
    return f"{grown} more products are quarantined than on {before[-1]}: {nights[day]}; the scan's summary has the reasons"


def tell(night: Night, text: str) -> None:
    """Hand a text to the command that reaches people, where one is set."""
    if night.alarm_command:
        subprocess.run(list(night.alarm_command), cwd=night.repository, input=text, text=True, check=True)


def task_name(file: str) -> str:
    """The part of a task's name that its settings file gives: the last part without its ending."""
    return Path(file).stem


def _state(night: Night, name: str) -> dict[str, Any]:
    file = Path(night.repository) / night.state / name
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _keep(night: Night, name: str, content: Mapping[str, Any]) -> None:
    file = Path(night.repository) / night.state / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True)
    os.replace(stream.name, file)
