"""What a training is going to cost: rows to show a network, at the rate at which it saw them before."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from eespark.errors import EESparkError
from eespark.io.storage import join_url, read_manifest, read_text, url_exists
from eespark.plan import Plan
from eespark.train.checkpoint import checkpoint_url, load_state, run_key
from eespark.train.settings import TrainSettings
from eespark.train.shards import steps_an_epoch

# Of the demo's BiLSTM; others are known once they were trained.
_ROWS_A_CORE_S: Final = 500.0


def plan_training(settings: TrainSettings) -> dict[str, Any]:
    """What `train` would do now: rows of all epochs that are left; early stopping may end it before.

    Raises:
        ManifestError, MissingError: The training set is not what it must be.
        CapacityError: More processes than row groups.
    """
    manifest = read_manifest(settings.training_set, "training_set")
    steps, batch = steps_an_epoch(manifest, settings.processes, settings.fit.batch)
    left = settings.fit.epochs - _epochs_done(settings, manifest)
    cores = settings.processes * (settings.threads_per_process or os.cpu_count() or 1)
    shown = steps * batch * settings.processes
    rate, source = _rate(settings, cores)
    rows = manifest["parts"]["train"]["rows"] + manifest["parts"].get("validation", {}).get("rows", 0)
    plan = Plan(
        tasks=settings.processes if left else 0, by_place={"train": settings.processes} if left else {}, work=float(shown * left),
        largest=float(shown * left) / settings.processes / max(cores // settings.processes, 1), unit="rows shown", rate=rate,
        rate_from=source, gb_to_read=left * _bytes(manifest) * rows / 1e9, gb_to_write=0.0,
        more={"epochs": left, "steps_an_epoch": steps, "rows_an_epoch": shown},
    )  # fmt: skip
    return plan.told(cores)


def _epochs_done(settings: TrainSettings, manifest: Mapping[str, Any]) -> int:
    if not settings.fit.resume:
        return 0
    state = load_state(checkpoint_url(settings.bundle), run_key(settings.fit, manifest, settings.processes))
    return 0 if state is None else state.epoch


def _bytes(manifest: Mapping[str, Any]) -> float:
    """Bytes of a row as it is fed, before compression."""
    if manifest.get("inputs", "series") == "patches":
        return float(manifest["size"] ** 2 * (4 * len(manifest["bands"])) + 4 * manifest["size"])
    return float(manifest["times"] * 2 * (len(manifest["bands"]) + 2))


def _rate(settings: TrainSettings, cores: int) -> tuple[float, str]:
    """Rows a second and core, and where that is from: curves of a bundle of the same network, or a default."""
    where = join_url(settings.bundle, "metrics.json")
    try:
        same = url_exists(where) and read_manifest(settings.bundle, "bundle")["model"] == settings.fit.model.name
        curves = json.loads(read_text(where))["curves"] if same else []
    except (EESparkError, ValueError, KeyError):
        curves = []
    rates = sorted(float(one["rows_per_s"]) for one in curves if one.get("rows_per_s"))
    if not rates:
        return _ROWS_A_CORE_S, "a default: no bundle of this network there yet"
    return rates[len(rates) // 2] / cores, f"{len(rates)} epochs of {where}"
