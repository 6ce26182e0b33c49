"""Curves in MLflow, for those who watch; the bundle's own metrics.json is the record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Where parameters and figures of a run are shown."""

    @property
    def run_id(self) -> str:
        """By which a resumed run goes on; empty for none."""

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Show the figures of an epoch."""

    def end(self, status: str) -> None:
        """Mark the run FINISHED or FAILED."""


class NoTracker:
    """Shows nothing."""

    run_id = ""

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Do nothing."""

    def end(self, status: str) -> None:
        """Do nothing."""


class MlflowTracker:
    """A run in an MLflow store: a folder, or a server's URI."""

    def __init__(self, uri: str, experiment: str, parameters: Mapping[str, Any], run_id: str = "") -> None:
        """Start a run, or go on with `run_id`."""
        # MLflow 3 refuses a folder unless told, and would report its own use to its makers.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(uri if "://" in uri else Path(uri).resolve().as_uri())
        self.run_id = run_id or self._start(experiment, parameters)

    def _start(self, experiment: str, parameters: Mapping[str, Any]) -> str:
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        run_id = str(self._client.create_run(experiment_id).info.run_id)
        for name, value in parameters.items():
            self._client.log_param(run_id, name, value)
        return run_id

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Add the figures of an epoch."""
        for name, value in metrics.items():
            self._client.log_metric(self.run_id, name, value, step=epoch)

    def end(self, status: str) -> None:
        """Mark the run FINISHED or FAILED."""
        self._client.set_terminated(self.run_id, status)
