"""Patches of a set of polygons, or tiles of whole scenes: one scene is one task, opened once; what is committed is committed once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import shapely
from pydantic import Field, model_validator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from eespark.errors import EESparkError, MissingError
from eespark.io.guard import iterate_within
from eespark.io.members import Candidate
from eespark.io.patches import Patches, PatchOptions, cut_patches
from eespark.io.sar_scene import open_scene
from eespark.io.tiles import TileOptions, Tiles, cut_tiles
from eespark.job import JobSettings
from eespark.polar_geometry import POLAR_CRS, to_polar
from eespark.schema_polar import ICE_LABELS, PATCHES
from eespark.settings import Share, Url
from eespark.spark.ledger import Ledger, Planned, limit_failures, summarise
from eespark.spark.patch_rows import ARROW, OUTPUT, patch_batches, tile_batches
from eespark.spark.scenes import current_scenes
from eespark.spark.tables import open_table
from eespark.spark.tasks import one_task_each

logger = logging.getLogger(__name__)

_KEYS: Final = ("sample_set", "product_id", "fingerprint", "tile", "sensing_time")


class PatchSettings(JobSettings):
    """Settings of `extract_patches`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    labels: Annotated[Url | None, Field(description="Delta table of the labels of ice; tiles need none")] = None
    patches: Annotated[Url, Field(description="Delta table to write")]
    extractions: Annotated[Url, Field(description="Delta table of what was read: the ledger")]
    patch_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version")]
    mode: Annotated[Literal["polygons", "tiles"], Field(description="patches inside polygons, or whole scenes cut into tiles")] = "polygons"
    sources: Annotated[list[str], Field(description="sources of labels, all of one legend; tiles may have none")] = []
    size: Annotated[int, Field(ge=2, le=512, description="looks; side of a patch or tile")] = 32
    stride: Annotated[int | None, Field(ge=1, description="looks from patch to patch; null: 10, of tiles their size")] = None
    looks: Annotated[int, Field(ge=1, le=64, description="px of the scene in a look's side")] = 1
    purity: Annotated[float, Field(gt=0.0, le=1.0, description="least share of a patch that its polygon covers")] = 1.0
    cell: Annotated[int, Field(ge=1, description="looks; side of the cells of a tile")] = 4
    least_labelled: Annotated[Share, Field(description="share of a tile's looks that must have a class")] = 0.0
    digital: Annotated[bool, Field(description="keep the digital numbers of tiles too; looks must be 1")] = False
    most_per_label: Annotated[int, Field(ge=0, description="patches of a polygon at most; 0: no limit")] = 0
    strip: Annotated[int, Field(ge=16, description="looks of the rows that a task holds at once")] = 512
    land: Annotated[Url | None, Field(description="vector file of land, which patches must not touch")] = None
    products_per_commit: Annotated[int, Field(ge=1, description="scenes in one transaction")] = 16
    product_seconds: Annotated[float, Field(gt=0, description="s after which a scene is given up")] = 1800.0
    retry_failed: Annotated[bool, Field(description="read again scenes that failed and did not change")] = True
    max_failed_share: Annotated[Share, Field(description="share of failed scenes above which the job fails")] = 0.1

    @model_validator(mode="after")
    def _check_mode(self) -> PatchSettings:
        if (self.mode == "polygons" or self.least_labelled > 0 or self.sources) and not (self.sources and self.labels):
            raise ValueError("patches inside polygons, and labelled tiles, need labels and sources")
        if self.mode == "tiles" and self.size % self.cell:
            raise ValueError(f"cell must divide size, found {self.cell} and {self.size}")
        if self.digital and (self.mode != "tiles" or self.looks != 1):
            raise ValueError("digital numbers are kept of tiles whose looks are 1 pixel")
        return self

    @property
    def step(self) -> int:
        """Looks from patch to patch."""
        return self.stride or (self.size if self.mode == "tiles" else 10)


def extract_patches(spark: SparkSession, settings: PatchSettings) -> dict[str, Any]:
    """Cut the patches or tiles of every current scene with usable labels that was not read yet; the counts of the summary.

    Tiles without sources are cut of every current scene.

    Raises:
        MissingError: There are no usable labels of the sources.
        TooManyFailuresError: More than `max_failed_share` of the scenes failed; the others are written.
    """
    name, retry = settings.patch_set, settings.retry_failed
    books = Ledger(spark, "extract_patches", settings.extractions, settings.patches, PATCHES, "patch_id", name, retry)
    scenes, labels = wanted_scenes(spark, settings)
    scenes = scenes.persist()
    books.open()
    retracted = books.retract(scenes)
    missing, wanted = books.missing(scenes), scenes.count()
    logger.info("extract_patches: %d scenes to read of %d", len(missing), wanted)
    ledger = books.read_all(missing, settings.products_per_commit, lambda chunk: _read_chunk(spark, settings, scenes, labels, chunk))
    scenes.unpersist()
    summary = summarise(ledger)
    summary["patches"] = summary.pop("rows")
    summary |= {"table": settings.patches, "products_wanted": wanted, "products_retracted": retracted}
    summary["patches_by_class"] = _by_class(spark, settings)
    limit_failures(summary, settings.max_failed_share)
    return summary


def wanted_scenes(spark: SparkSession, settings: PatchSettings) -> tuple[DataFrame, DataFrame | None]:
    """The current scenes that patches are cut of, and their usable labels, where sources are named.

    Raises:
        MissingError: There are no usable labels of the sources.
    """
    labels = _wanted_labels(spark, settings) if settings.sources else None
    scenes = current_scenes(spark, settings.products).withColumn("tile", F.lit(""))
    if labels is not None:
        scenes = scenes.join(labels.select("product_id").distinct(), "product_id", "left_semi")
    return scenes, labels


def _wanted_labels(spark: SparkSession, settings: PatchSettings) -> DataFrame:
    """Usable labels of the sources: product_id, label_id, label_root, class_id, fast, geometry, crs."""
    assert settings.labels is not None, "the settings are checked"
    usable = open_table(spark, settings.labels, ICE_LABELS).where(F.col("source").isin(settings.sources) & F.col("usable"))
    legends = sorted(row["legend"] for row in usable.select("legend").distinct().collect())
    if len(legends) != 1:
        raise MissingError(
            f"needed usable labels of one legend from {', '.join(settings.sources)}, found {', '.join(legends) or 'none'}; "
            "run import_ice_labels first, and name sources of one legend"
        )
    root = F.coalesce("carried_from", "label_id").alias("label_root")
    return usable.select(F.col("scene").alias("product_id"), "label_id", root, "class_id", "fast", "geometry", "crs")


def _read_chunk(
    spark: SparkSession, settings: PatchSettings, scenes: DataFrame, labels: DataFrame | None, chunk: list[Planned]
) -> DataFrame:
    attempts = {product: attempt for product, _, attempt in chunk}
    names = list(attempts)
    columns = ("product_id", "url", "kind", "fingerprint", "tile", "sensing_time", "footprint")
    rows = one_task_each(scenes.where(F.col("product_id").isin(names)).select(*columns), "product_id")
    # The polygons of a chunk's scenes go along with its tasks: those of all scenes are never in one place.
    own = [] if labels is None else _drawn(labels.where(F.col("product_id").isin(names))).collect()
    return rows.mapInArrow(patch_reader(settings, attempts, {row["product_id"]: row["drawn"] for row in own}), OUTPUT)


def _drawn(labels: DataFrame) -> DataFrame:
    """product_id, drawn: its labels in the order of their names."""
    one = F.struct("label_id", "label_root", "class_id", "fast", "geometry", "crs")
    return labels.groupBy("product_id").agg(F.sort_array(F.collect_list(one)).alias("drawn"))


def patch_reader(settings: PatchSettings, attempts: dict[str, int], drawn: dict[str, Any]) -> Any:
    """What `mapInArrow` runs on rows of the catalog: rows of patches, and behind them one row of the ledger a scene."""
    told = settings.model_dump_json()

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        chosen = PatchSettings.model_validate_json(told)
        for batch in batches:
            for scene in batch.to_pylist():
                labels = pd.DataFrame([row.asDict() for row in drawn.get(scene["product_id"], [])])
                yield from _read_scene(scene | {"attempt": attempts[scene["product_id"]]}, labels, chosen)

    return read


def _read_scene(scene: dict[str, Any], labels: pd.DataFrame, settings: PatchSettings) -> Iterator[pa.RecordBatch]:
    started = time.monotonic()
    told: dict[str, Any] = {"status": "failed", "rows": 0, "reason": None, "pixels_decoded": 0}
    try:
        for found in iterate_within(settings.product_seconds, scene["product_id"], _cut_scene, scene, labels, settings):
            yield from _to_rows(_same(scene, settings), labels, found, settings.looks)
            told |= {"rows": told["rows"] + len(found.rows), "pixels_decoded": told["pixels_decoded"] + found.pixels}
        told["status"] = "done"
    except EESparkError as error:
        told |= {"rows": 0, "reason": f"{type(error).__name__}: {error}"}
    told["seconds"] = time.monotonic() - started
    row = dict.fromkeys(ARROW.names) | _same(scene, settings) | {"attempt": scene["attempt"]} | told
    yield pa.RecordBatch.from_pylist([row], schema=ARROW)


def _to_rows(same: dict[str, Any], labels: pd.DataFrame, found: Patches | Tiles, looks: int) -> Iterator[pa.RecordBatch]:
    return tile_batches(same, labels, found, looks) if isinstance(found, Tiles) else patch_batches(same, labels, found, looks)


def _cut_scene(scene: dict[str, Any], labels: pd.DataFrame, settings: PatchSettings) -> Iterator[Patches | Tiles]:
    crs = str(labels["crs"].iloc[0]) if len(labels) else POLAR_CRS
    polygons = shapely.from_wkb(np.array([bytes(one) for one in labels["geometry"]] if len(labels) else [], dtype=object))
    with open_scene(Candidate(scene["product_id"], scene["url"], scene["kind"])) as opened:
        if settings.mode == "polygons":
            options = PatchOptions(settings.size, settings.step, settings.looks, settings.purity, settings.most_per_label, settings.strip)
            land = read_land(settings.land, crs, shapely.union_all(polygons).envelope)
            yield from cut_patches(opened, polygons, land, crs, options)
        else:
            whole = to_polar([shapely.from_wkb(bytes(scene["footprint"]))], "EPSG:4326", crs)[0]
            yield from cut_tiles(opened, polygons, read_land(settings.land, crs, whole), crs, _tile_options(settings))


def _tile_options(settings: PatchSettings) -> TileOptions:
    return TileOptions(settings.size, settings.step, settings.looks, settings.cell, settings.least_labelled, settings.digital)


def read_land(url: str | None, crs: str, near: Any) -> npt.NDArray[np.object_]:
    """Polygons of land near an area, in a CRS; none where no file is named.

    Args:
        url: Of a vector file.
        crs: To bring them to; polar.
        near: Area in that CRS.
    """
    if url is None:
        return np.zeros(0, dtype=object)
    frame = geopandas.read_file(url)
    moved = to_polar(frame.geometry.to_numpy(), str(frame.crs), crs)
    return np.asarray(moved[shapely.intersects(moved, shapely.buffer(near, 10_000.0))], dtype=object)


def _same(scene: dict[str, Any], settings: PatchSettings) -> dict[str, Any]:
    return {"sample_set": settings.patch_set, **{name: scene[name] for name in _KEYS[1:]}}


def _by_class(spark: SparkSession, settings: PatchSettings) -> dict[str, int]:
    rows = open_table(spark, settings.patches, PATCHES).where(F.col("sample_set") == settings.patch_set)
    counted = rows.where("class_id IS NOT NULL").groupBy("class_id").agg(F.count("*").alias("n")).orderBy("class_id").collect()
    return {str(row["class_id"]): int(row["n"]) for row in counted}
