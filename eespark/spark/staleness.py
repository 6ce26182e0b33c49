"""What depends on a product that was reprocessed or a label that changed, by tables and manifests; and just that made anew, in order."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import EESparkError, MissingError, SettingsError
from eespark.io.storage import join_url, list_files, read_manifest, url_exists
from eespark.job import FLAG, JobSettings
from eespark.manifest import FILE_NAME, dump_manifest
from eespark.schema import EXTRACTIONS, PRODUCTS, SAMPLES
from eespark.settings import Settings, Url, load_settings
from eespark.spark.blocks import tile_grids
from eespark.spark.dataset import BuildSettings, build_training_set, contents_of_set
from eespark.spark.draw_settings import DrawSettings, check_same
from eespark.spark.extract_settings import ExtractSettings
from eespark.spark.ledger import left_to_read
from eespark.spark.map_settings import MapSettings
from eespark.spark.maps import predict_map, stale_tiles
from eespark.spark.observations import extract_series, wanted_products
from eespark.spark.sample_inputs import VERSION_GONE, changed_inputs
from eespark.spark.samples import draw_samples
from eespark.spark.tables import current_version, open_table, table_exists

logger = logging.getLogger(__name__)
_NAMED: Final = 100
_TRAIN: Final = Path(__file__).resolve().parents[2] / "jobs" / "train.py"
_UNTIED: Final = {"summary", "log_level", "training_set"}


class StalenessSettings(JobSettings):
    """Settings of `staleness`: the settings files of one sample set's chain."""

    options: ClassVar[Mapping[str, str]] = {"rebuild": FLAG}

    draw: Annotated[Url, Field(description="settings file of draw_samples")]
    series: Annotated[Url, Field(description="settings file of extract_series")]
    builds: Annotated[list[Url], Field(description="settings files of build_training_set")] = []
    trains: Annotated[list[Url], Field(description="settings files of train")] = []
    maps: Annotated[list[Url], Field(description="settings files of predict_map")] = []
    rebuild: Annotated[bool, Field(description="make anew what is stale, in order")] = False


class _Training(Settings):
    """What is read here of a settings file of train, whose own model knows TensorFlow's side."""

    training_set: Url
    bundle: Url
    summary: Url
    fit: dict[str, Any] = {}
    model_config = {**Settings.model_config, "extra": "ignore"}


@dataclass(frozen=True)
class _Chain:
    """The settings of all steps, with the newest version of the sample set."""

    draw: DrawSettings
    series: ExtractSettings
    builds: tuple[BuildSettings, ...]
    trains: tuple[tuple[str, _Training], ...]
    maps: tuple[MapSettings, ...]

    def of_version(self, name: str) -> _Chain:
        """The same, of another version of the set."""
        changed = {"sample_set": name}
        builds = tuple(one.model_copy(update=changed) for one in self.builds)
        return _Chain(
            self.draw.model_copy(update=changed), self.series.model_copy(update=changed), builds, self.trains, self.maps
        )  # fmt: skip


@dataclass
class _Found:
    """What is stale, by kind and place, and why; what is made anew."""

    stale: dict[str, dict[str, Any]] = field(default_factory=dict)
    rebuilt: list[str] = field(default_factory=list)

    def add(self, kind: str, place: str, why: Mapping[str, Any]) -> bool:
        """Note why something is stale; whether it is."""
        if why:
            self.stale[f"{kind} {place}"] = dict(why)
            logger.info("staleness: %s %s is stale: %s", kind, place, ", ".join(sorted(why)))
        return bool(why)


def check_staleness(settings: StalenessSettings) -> None:
    """Check that all settings files can be used, and belong together.

    Raises:
        MissingError, SettingsError: One cannot.
    """
    _chain(settings)


def staleness(spark: SparkSession, settings: StalenessSettings) -> dict[str, Any]:
    """What is stale, and why; with `rebuild`, each step is looked at after those before it were made anew.

    Raises:
        MissingError: There is no sample set yet.
        SettingsError: It was drawn by other settings.
        EESparkError: As the job of a step that is made anew.
    """
    chain, found = _chain(settings), _Found()
    newest, following = _versions(chain.draw)
    asked, chain = chain.draw.sample_set, chain.of_version(newest)
    redraw = found.add("sample_set", newest, _why_samples(spark, chain.draw))
    if redraw and settings.rebuild:
        chain = chain.of_version(following)
        _make(found, f"sample_set {chain.draw.sample_set}", lambda: draw_samples(spark, chain.draw))
        redraw = False
    reread = found.add(
        "observations", chain.series.sample_set, {"sample_set": newest} if redraw else _why_observations(spark, chain.series)
    )
    if reread and settings.rebuild:
        _make(found, f"observations {chain.series.sample_set}", lambda: extract_series(spark, chain.series))
        reread = False
    sets: set[str] = set()
    for build in chain.builds:
        why = {"observations": build.sample_set} if redraw or reread else _why_set(spark, build)
        if found.add("training_set", build.training_set, why) and not _remade(found, settings, build.training_set, spark, build):
            sets.add(build.training_set)
    bundles = {url for file, train in chain.trains if (url := _train_if_stale(found, settings, file, train, sets))}
    for mapped in chain.maps:
        why = {"bundle": mapped.bundle} if mapped.bundle in bundles else stale_tiles(spark, mapped)
        if found.add("maps", mapped.maps, why) and settings.rebuild and mapped.bundle not in bundles:
            _make(found, f"maps {mapped.maps}", partial(predict_map, spark, mapped))
    told = {"stale": found.stale, "rebuilt": found.rebuilt, "sample_set": chain.draw.sample_set}
    if chain.draw.sample_set != asked:
        told["settings_to_change"] = (
            f"sample_set: {chain.draw.sample_set} in the settings of draw_samples, extract_series, build_training_set"
        )
    logger.info("staleness: %d stale, %d made anew", len(found.stale), len(found.rebuilt))
    return told


def _remade(found: _Found, settings: StalenessSettings, url: str, spark: SparkSession, build: BuildSettings) -> bool:
    if settings.rebuild:
        _make(found, f"training_set {url}", lambda: build_training_set(spark, build))
    return settings.rebuild


def _train_if_stale(found: _Found, settings: StalenessSettings, file: str, train: _Training, stale_sets: set[str]) -> str | None:
    """The bundle where it is stale and stays so."""
    why = {"training_set": train.training_set} if train.training_set in stale_sets else _why_bundle(train)
    if not found.add("bundle", train.bundle, why):
        return None
    if settings.rebuild and train.training_set not in stale_sets:
        _make(found, f"bundle {train.bundle}", lambda: _train(file))
        return None
    return train.bundle


def _chain(settings: StalenessSettings) -> _Chain:
    draw, series = load_settings(settings.draw, DrawSettings), load_settings(settings.series, ExtractSettings)
    builds = tuple(load_settings(file, BuildSettings) for file in settings.builds)
    trains = tuple((file, load_settings(file, _Training)) for file in settings.trains)
    maps = tuple(load_settings(file, MapSettings) for file in settings.maps)
    strange = sorted({series.sample_set, *(one.sample_set for one in builds)} - {draw.sample_set})
    if strange:
        raise MissingError(
            f"needed settings files of the sample set {draw.sample_set}, found others of {', '.join(strange)}; name one chain"
        )
    return _Chain(draw, series, builds, trains, maps)


def _versions(draw: DrawSettings) -> tuple[str, str]:
    """The newest whole version of the sample set that these settings drew, at least theirs, and the next free name.

    Versions by other settings are other sets, also those that extend this one.

    Raises:
        MissingError: There is none by the name in the settings.
        SettingsError: It was drawn by others.
    """
    check_same(draw, read_manifest(join_url(draw.sets, draw.sample_set), "sample_set")["settings"])
    name, _, asked = draw.sample_set.partition("@")
    folders = [file.rsplit("/", 2)[-2].partition("@") for file in list_files(draw.sets, f"/{FILE_NAME}")]
    numbers = sorted(int(number) for folder, _, number in folders if folder == name and number.isdigit())
    newest = int(asked)
    for number in (one for one in numbers if one > newest):
        version = draw.model_copy(update={"sample_set": f"{name}@{number}"})
        try:
            check_same(version, read_manifest(join_url(draw.sets, version.sample_set), "sample_set")["settings"])
        except SettingsError:
            continue
        newest = number
    return f"{name}@{newest}", f"{name}@{numbers[-1] + 1}"


def _why_samples(spark: SparkSession, draw: DrawSettings) -> dict[str, Any]:
    manifest = read_manifest(join_url(draw.sets, draw.sample_set), "sample_set")
    if "inputs" not in manifest:
        return {"unknown": f"drawn by eespark {manifest['eespark_version']}, which did not keep what from; draw the next version"}
    tiles = [grid.tile for grid in tile_grids(open_table(spark, draw.products, PRODUCTS), draw.level, draw.tiles)]
    return changed_inputs(spark, draw, manifest["inputs"], tiles)


def _why_observations(spark: SparkSession, series: ExtractSettings) -> dict[str, Any]:
    """products_to_read, products_gone: names, the first hundred of each."""
    samples = open_table(spark, series.samples, SAMPLES).where(F.col("sample_set") == series.sample_set)
    wanted = wanted_products(spark, series, [row["tile"] for row in samples.select("tile").distinct().collect()])
    if not table_exists(spark, series.extractions):
        return {"products_to_read": _names(wanted)}
    ledger = open_table(spark, series.extractions, EXTRACTIONS).where(F.col("sample_set") == series.sample_set)
    keys = ["product_id", "fingerprint"]
    told = {
        # What failed and did not change would fail again: nothing depends on it.
        "products_to_read": _names(left_to_read(wanted, ledger, retry_failed=False)),
        "products_gone": _names(ledger.where("status = 'done'").join(wanted.select(*keys), keys, "left_anti")),
    }
    return {name: names for name, names in told.items() if names}


def _why_set(spark: SparkSession, build: BuildSettings) -> dict[str, Any]:
    if not url_exists(join_url(build.training_set, FILE_NAME)):
        return {"absent": True}
    manifest = read_manifest(build.training_set, "training_set")
    if manifest["sample_set"] != build.sample_set:
        return {"sample_set": manifest["sample_set"]}
    drop = {*_UNTIED, "sample_set"}
    was, now = ({k: v for k, v in one.items() if k not in drop} for one in (manifest["settings"], build.model_dump(mode="json")))
    told: dict[str, Any] = {}
    if was != now:
        told["settings"] = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    tables = {name: current_version(spark, getattr(build, name)) for name in ("products", "samples", "observations")}
    if not told and manifest["tables"] == tables:
        return told
    try:
        then = manifest.get("made_of") or contents_of_set(spark, build, manifest["tables"])
    except VERSION_GONE as error:
        logger.debug("this is why", exc_info=error)
        return told | {"unknown": f"built by eespark {manifest['eespark_version']}, which did not keep what from, and its tables moved on"}
    today = contents_of_set(spark, build, None)
    if then["samples"] != today["samples"]:
        told["samples"] = True
    was, now = then["products"], today["products"]
    names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))[:_NAMED]
    return told | ({"products": names} if names else {})


def _why_bundle(train: _Training) -> dict[str, Any]:
    if not url_exists(join_url(train.bundle, FILE_NAME)):
        return {"absent": True}
    manifest = read_manifest(train.bundle, "bundle")
    of_set = dump_manifest(read_manifest(train.training_set, "training_set"))
    if manifest["training_set"]["manifest_sha256"] != hashlib.sha256(of_set.encode()).hexdigest():
        return {"training_set": train.training_set}
    return {}


def _names(products: DataFrame) -> list[str]:
    rows = products.select("product_id").distinct().orderBy("product_id").limit(_NAMED).collect()
    return [row["product_id"] for row in rows]


def _make(found: _Found, what: str, work: Callable[[], Any]) -> None:
    logger.info("staleness: making anew %s", what)
    work()
    found.rebuilt.append(what)


def _train(file: str) -> None:
    """Run `train` in a process of its own: TensorFlow stays out of this one.

    Raises:
        EESparkError: It failed; its log says why.
    """
    if not _TRAIN.is_file():
        raise MissingError(f"needed {_TRAIN} to train, found none; run train by {file}, then this again")
    # The session of this process is not that one's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    done = subprocess.run([sys.executable, str(_TRAIN), file], env=environment, check=False)  # noqa: S603
    if done.returncode:
        summary = load_settings(file, _Training).summary
        told = json.loads(Path(summary).read_text(encoding="utf-8")).get("error", "") if Path(summary).is_file() else ""
        raise EESparkError(f"train by {file} ended with code {done.returncode}: {told}")
