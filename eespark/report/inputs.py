"""What the report is made of, read from where the jobs left it; what is absent is told, never fatal."""

from __future__ import annotations

import fnmatch
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

from eespark.errors import EESparkError, FormatError, MissingError
from eespark.io.quicklook import Quicklook, read_columns, read_like, read_quicklook
from eespark.io.storage import join_url, list_files, read_manifest, read_text, url_exists
from eespark.manifest import FILE_NAME
from eespark.report.series import SeriesBand, class_bands, ndvi
from eespark.report.settings import ReportSettings
from eespark.schema import SPLITS

logger = logging.getLogger(__name__)
LAYERS: Final = ("class", "probability", "novelty", "clear_dates")
_POINTS: Final = ["tile", "class_id", "point_x", "point_y"]
T = TypeVar("T")
Content = Mapping[str, Any]


@dataclass(frozen=True)
class TileMap:
    """The maps of one tile, and the truth on the same grid where there is one."""

    tile: str
    manifest: Content
    layers: Mapping[str, Quicklook]
    truth: Quicklook | None


@dataclass(frozen=True)
class Inputs:
    """All that the page tells of; None or empty where it is absent, and then `missing` says why."""

    title: str
    summaries: Mapping[str, Content] = field(default_factory=dict)
    sample_set: Content | None = None
    training: Content | None = None
    bundle: Content | None = None
    metrics: Content | None = None
    validation: Content | None = None
    samples: pd.DataFrame | None = None
    series: Mapping[int, SeriesBand] | None = None
    maps: tuple[TileMap, ...] = ()
    tiles_left_out: int = 0
    outlines: Mapping[str, Quicklook] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    first_day: date | None = None
    remarks: tuple[str, ...] = ()

    @property
    def classes(self) -> list[Content]:
        """Classes of the legend that the model knows, from whatever tells of them."""
        source = self.bundle or self.training or (self.maps[0].manifest if self.maps else None)
        return list(source["classes"]) if source else []

    @property
    def protocols(self) -> Mapping[str, Mapping[str, Content]]:
        """{protocol: {model: summary}}."""
        return dict(self.validation["protocols"]) if self.validation else {}

    @property
    def main_model(self) -> str | None:
        """Name of the bundle's model."""
        model = self.bundle["model"] if self.bundle else None
        return str(model["name"]) if isinstance(model, dict) else None if model is None else str(model)


def read_inputs(settings: ReportSettings) -> Inputs:
    """Read all that there is."""
    missing: dict[str, str] = {}

    def attempt(name: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except EESparkError as error:
            logger.warning("report: %s is left out: %s", name, error)
            missing[name] = str(error)
            return otherwise

    training = attempt("training", lambda: read_manifest(settings.training_set, "training_set"), None)
    set_name = training["sample_set"] if training else _only_set(settings.sets)
    none: tuple[tuple[TileMap, ...], int] = ((), 0)
    maps, left_out = attempt("maps", lambda: _read_maps(settings), none)
    return Inputs(
        title=settings.title,
        summaries=attempt("summaries", lambda: read_summaries(settings.summaries), {}),
        sample_set=attempt("sample_set", lambda: read_manifest(join_url(settings.sets, set_name), "sample_set"), None),
        training=training,
        bundle=attempt("bundle", lambda: read_manifest(settings.bundle, "bundle"), None),
        metrics=attempt("metrics", lambda: _read_json(join_url(settings.bundle, "metrics.json")), None),
        validation=attempt("validation", lambda: read_manifest(settings.validation, "validation"), None),
        samples=attempt("samples", lambda: _read_samples(settings, training), None),
        series=attempt("series", lambda: _read_series(settings, training), None),
        maps=maps,
        tiles_left_out=left_out,
        outlines=attempt("outlines", lambda: _read_outlines(settings, maps), {}),
        missing=missing,
        first_day=settings.first_day,
        remarks=tuple(settings.remarks),
    )


def _only_set(sets: str) -> str:
    """The newest sample set where no training set names one; its name when there is none, for the error to tell."""
    names = sorted(f.split("/")[-2] for f in (list_files(sets, FILE_NAME) if url_exists(sets) else []))
    return names[-1] if names else "any@1"


def _read_json(url: str) -> Content:
    try:
        content = json.loads(read_text(url))
    except json.JSONDecodeError as error:
        raise FormatError(f"{url}: needed JSON, found text that breaks at line {error.lineno}; run its job again") from error
    if not isinstance(content, dict):
        raise FormatError(f"{url}: needed a JSON object, found {type(content).__name__}; run its job again")
    return content


def read_summaries(url: str) -> dict[str, Content]:
    """Job -> its summary, of all JSON files of a folder that are one.

    Raises:
        MissingError: There is none.
        FormatError: A file is no JSON.
    """
    if not url_exists(url):
        raise MissingError(f"needed the jobs' summaries in {url}, found no such folder; run the jobs first")
    found = {}
    for file in list_files(url, ".json"):
        content = _read_json(file)
        if isinstance(content.get("job"), str):
            found[content["job"]] = content
    if not found:
        raise MissingError(f"needed the jobs' summaries in {url}, found none; run the jobs first")
    return found


def _need(training: Content | None) -> Content:
    if training is None:
        raise MissingError("needs the training set, which is absent")
    return training


def _read_samples(settings: ReportSettings, training: Content | None) -> pd.DataFrame:
    frames = []
    for part in (one for one in SPLITS if one in _need(training)["parts"]):
        table = read_columns(join_url(settings.training_set, part), _POINTS, settings.most_rows)
        frames.append(table.slice(0, settings.most_rows).to_pandas().assign(split=part))
    if not frames:
        raise MissingError(f"needed a part in the training set {settings.training_set}, found none; build it again")
    together: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return together


def _read_series(settings: ReportSettings, training: Content | None) -> dict[int, SeriesBand]:
    times, bands = int(_need(training)["times"]), len(_need(training)["bands"])
    table = read_columns(join_url(settings.training_set, "train"), ["class_id", "reflectance", "valid", "day"], settings.most_rows)
    known = np.asarray(table.column("class_id").is_valid())
    lists = {name: table.column(name).combine_chunks().flatten().to_numpy() for name in ("reflectance", "valid", "day")}
    if len(lists["reflectance"]) != table.num_rows * times * bands or len(lists["day"]) != table.num_rows * times:
        raise FormatError(f"{settings.training_set}: needed series of {times} dates and {bands} bands, found other lengths; build it again")
    reflectance = lists["reflectance"].reshape(-1, times, bands)[known]
    valid, day = (lists[name].reshape(-1, times)[known] for name in ("valid", "day"))
    return class_bands(ndvi(reflectance), valid > 0, day, table.column("class_id").drop_null().to_numpy())


def _read_maps(settings: ReportSettings) -> tuple[tuple[TileMap, ...], int]:
    files = list_files(settings.maps, f"/{FILE_NAME}") if url_exists(settings.maps) else []
    folders = [f.rsplit("/", 1)[0] for f in files if not f.rsplit("/", 2)[-2].endswith(".building")]
    if not folders:
        raise MissingError(f"needed maps in {settings.maps}, found none; run predict_map")
    return tuple(_read_map(settings, folder) for folder in folders[: settings.most_tiles]), max(0, len(folders) - settings.most_tiles)


def _read_map(settings: ReportSettings, folder: str) -> TileMap:
    manifest = read_manifest(folder, "map")
    layers = {name: read_quicklook(f"{folder}/{name}.tif", settings.map_px) for name in LAYERS if url_exists(f"{folder}/{name}.tif")}
    if "class" not in layers:
        raise MissingError(f"needed class.tif in {folder}, found none; run predict_map again")
    truth = _truth_of(settings, str(manifest["tile"]))
    return TileMap(str(manifest["tile"]), manifest, layers, read_like(truth, layers["class"]) if truth else None)


def _truth_of(settings: ReportSettings, tile: str) -> str | None:
    if settings.truth is None or not url_exists(settings.truth):
        return None
    return next((f for f in list_files(settings.truth, ".tif") if fnmatch.fnmatchcase(f.rsplit("/", 1)[-1], f"*{tile}*.tif")), None)


def _read_outlines(settings: ReportSettings, maps: tuple[TileMap, ...]) -> dict[str, Quicklook]:
    """Where tiles lie, as far as a map or a truth tells; a few pixels are enough."""
    found = {one.tile: one.layers["class"] for one in maps}
    if settings.truth is not None and url_exists(settings.truth):
        for file in list_files(settings.truth, ".tif"):
            tile = next((p for p in file.rsplit("/", 1)[-1][:-4].split("_") if len(p) == 5 and p[:2].isdigit()), None)
            if tile is not None and tile not in found:
                found[tile] = read_quicklook(file, 8)
    return found
