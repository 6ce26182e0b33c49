"""What the tests of faults share: a runner of jobs, one training set and one trained bundle of the chain in `tests/chain.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eespark.spark.dataset import build_training_set
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map
from eespark.train.settings import AugmentSettings, FitSettings, ModelSettings, TrainSettings
from tests.faults.running import Runner


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("tests.chain")
    config.pluginmanager.import_plugin("tests.faults.fixtures")


@pytest.fixture(scope="session")
def training_set(extracted: Any) -> Path:
    """The training set that an undisturbed run builds."""
    settings = extracted.building("set")
    build_training_set(extracted.spark, settings)
    return Path(settings.training_set)


@dataclass(frozen=True)
class Reference:
    """What an undisturbed training run in one process left, and settings of the same training elsewhere."""

    settings: TrainSettings

    @property
    def bundle(self) -> Path:
        return Path(self.settings.bundle)

    def at(self, folder: Path, **changes: Any) -> TrainSettings:
        return self.settings.model_copy(update={"bundle": str(folder / "bundle"), "summary": str(folder / "summary.json"), **changes})


@pytest.fixture(scope="session")
def reference(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    model = ModelSettings(name="lstm", units=8, layers=1, features=8, dropout=0.2)
    fit = FitSettings(model=model, augment=AugmentSettings(temporal_dropout=0.1, mixup=0.2), epochs=8, batch=8, learning_rate=0.01)
    names = {"training_set": str(training_set), "bundle": str(folder / "bundle"), "summary": str(folder / "summary.json")}
    settings = TrainSettings(**names, fit=fit, threads_per_process=1)
    Runner(folder / "jobs").run("train", settings)
    return Reference(settings)


@pytest.fixture(scope="session")
def mapping(extracted: Any, reference: Reference) -> Callable[[Path], MapSettings]:
    """Settings of a map of one tile, in nine blocks, in a folder."""
    names = {"products": extracted.table("products"), "bundle": str(reference.bundle), "tiles": ["33TUN"]}
    names |= {"first_day": "2017-09-01", "last_day": "2018-08-31", "block_px": 64, "min_clear": 2}

    def settings(folder: Path) -> MapSettings:
        return MapSettings.model_validate(names | {"maps": str(folder), "summary": f"{folder}.json"})

    return settings


@dataclass(frozen=True)
class Mapped:
    """An undisturbed map, and what was told of it."""

    folder: Path
    told: dict[str, Any]


@pytest.fixture(scope="session")
def undisturbed_map(extracted: Any, mapping: Callable[[Path], MapSettings], tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    folder = tmp_path_factory.mktemp("map") / "undisturbed"
    return Mapped(folder, predict_map(extracted.spark, mapping(folder)))
