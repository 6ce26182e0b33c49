"""Airflow in an environment of its own, called as one calls it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATES = """
import json
from airflow.models import TaskInstance
from airflow.utils.session import create_session
with create_session() as session:
    found = {one.task_id: [str(one.state), one.try_number] for one in session.query(TaskInstance).all()}
print("TOLD" + json.dumps(found))
"""


@dataclass(frozen=True)
class Airflow:
    """Airflow with its own home; `night.yaml` and `dags/` lie beside that."""

    python: Path
    folder: Path

    def call(self, *arguments: str, check: bool = True) -> str:
        # No PYTHONPATH: Airflow itself puts the folder of DAGs there.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIRFLOW"))}
        environment |= {
            "AIRFLOW_HOME": str(self.folder / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.folder / "dags"), "EESPARK_AIRFLOW": str(self.folder / "night.yaml"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }  # fmt: skip
        done = subprocess.run([str(self.python), *arguments], env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
        return done.stdout

    def ask(self, code: str, *arguments: str) -> dict[str, Any]:
        (line,) = [line for line in self.call("-c", code, *arguments).splitlines() if line.startswith("TOLD")]
        return dict(json.loads(line.removeprefix("TOLD")))

    def night(self, day: str) -> dict[str, list[Any]]:
        """Run the night of a day; state and number of the last try by task. Of a run by hand the interval ends at the time before it."""
        self.call("-m", "airflow", "dags", "test", "eespark_nightly", f"{day}T03:00:00", check=False)
        return self.ask(STATES)

    @property
    def told(self) -> list[str]:
        """What the alarm's command got."""
        file = self.folder / "alarm.txt"
        return file.read_text().splitlines() if file.exists() else []

    def with_home_of(self, other: Path) -> Airflow:
        """Copy a home whose database is made, which takes a second of what making one takes."""
        home = self.folder / "home"
        shutil.copytree(other, home)
        (home / "airflow.cfg").write_text((home / "airflow.cfg").read_text().replace(str(other), str(home)))
        return self
