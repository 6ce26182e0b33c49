"""Makes the polar archive: scenes, labels, truth; whole under its final name or not at all."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd

from eespark import __version__
from eespark.io.storage import local_path, publish_folder, write_json
from eespark.synthetic.noise import subseed
from eespark.synthetic.polar import labels
from eespark.synthetic.polar.frozen import parameters_hash
from eespark.synthetic.polar.ice import Sea
from eespark.synthetic.polar.plan import Scene, plan_scenes, sea_of
from eespark.synthetic.polar.product import Seen, make_scene
from eespark.synthetic.polar.settings import PolarSettings
from eespark.synthetic.workers import run_in_processes

logger = logging.getLogger(__name__)

MANIFEST = "truth/manifest.json"


@dataclass(frozen=True)
class Work:
    """One scene and where it goes: what a worker gets."""

    scene: Scene
    sea: Sea
    polygons_a_kind: int
    folder: str


def make_polar_archive(settings: PolarSettings) -> dict[str, Any]:
    """Make the archive at `settings.output`, or leave it when an equal one is there.

    Returns:
        Counts for the job's summary.
    """
    final = Path(local_path(settings.output))
    kept = settings.model_dump(mode="json", exclude={"output", "summary", "log_level", "workers"})
    key = {"settings": kept, "parameters_hash": parameters_hash(), "eespark_version": __version__}
    manifest = final / MANIFEST
    if manifest.is_file() and key.items() <= json.loads(manifest.read_text(encoding="utf-8")).items():
        logger.info("%s holds the archive of these settings already", final)
        return {"skipped": True, "output": str(settings.output)}
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as scratch:
        whole = Path(scratch) / "whole"
        for name in ("archive", "labels", "truth"):
            (whole / name).mkdir(parents=True)
        summary = _fill(settings, whole, key)
        publish_folder(str(whole), str(final))
    return summary


def _fill(settings: PolarSettings, whole: Path, key: dict[str, Any]) -> dict[str, Any]:
    scenes, sea = plan_scenes(settings), sea_of(settings)
    made: list[dict[str, Any]] = []
    for record in run_in_processes(_make, [Work(scene, sea, settings.polygons_a_kind, str(whole)) for scene in scenes], settings.workers):
        made.append(record)
        logger.info("scenes: %d of %d", len(made), len(scenes))
    _gather(whole / "labels")
    faults = {one["product_id"]: one["fault"] for one in made if one["fault"]}
    write_json(str(whole / MANIFEST), {**key, "scenes": made, "faults": faults})
    return {
        "scenes": len(made),
        "faults": faults,
        "polygons": sum(one["polygons"] for one in made),
        "icebergs": sum(one["icebergs"] for one in made),
        "parameters_hash": key["parameters_hash"],
    }


def _make(work: Work) -> dict[str, Any]:
    folder, scene = Path(work.folder), work.scene
    seen = make_scene(scene, work.sea, folder / "archive", folder / "truth")
    if scene.fault:
        return {**seen.record, "polygons": 0}
    return {**seen.record, "polygons": _draw(folder / "labels", work, seen)}


def _draw(folder: Path, work: Work, seen: Seen) -> int:
    """The labels of a scene; how many polygons of one kind were drawn."""
    scene, sea = work.scene, work.sea
    seed, name = subseed(sea.seed, scene.day.toordinal(), 60), labels.file_name(scene.first)
    zones = labels.chart(seen.ground, seen.footprint, subseed(seed, 1))
    labels.write_shapefile(zones, folder / "metno_v2" / f"{name}.shp")
    labels.write_shapefile(zones[["id", "poly_type", "area", "perimeter", "geometry"]], folder / "metno_v1" / f"{name}.shp")
    points, outlines = labels.iceberg_frames(seen.ground, seen.footprint, subseed(seed, 2))
    labels.write_shapefile(points, folder / "icebergs" / f"{name}_points.shp")
    labels.write_shapefile(outlines, folder / "icebergs" / f"{name}_outlines.shp")
    drawn = labels.drawn_polygons(seen.ground, seen.footprint, scene.product_id, work.polygons_a_kind, subseed(seed, 3))
    drawn.to_parquet(folder / f".drawn-{name}.parquet")
    labels.coastline(seen.ground).to_parquet(folder / f".coast-{name}.parquet")
    return len(drawn)


def _gather(folder: Path) -> None:
    """One file of the polygons of all scenes, without the truth, and one of the land that any of them saw."""
    drawn = _read(folder, ".drawn-*.parquet")
    drawn.drop(columns="true_class").to_file(folder / "uit.gpkg", layer="polygons", driver="GPKG", engine="pyogrio")
    drawn.to_file(folder.parent / "truth" / "uit.gpkg", layer="polygons", driver="GPKG", engine="pyogrio")
    coast = _read(folder, ".coast-*.parquet")
    land = geopandas.GeoDataFrame({"name": ["land"]}, geometry=[coast.geometry.union_all()], crs=coast.crs).explode(index_parts=False)
    land.to_file(folder / "coastline.gpkg", layer="land", driver="GPKG", engine="pyogrio")


def _read(folder: Path, pattern: str) -> geopandas.GeoDataFrame:
    files = sorted(folder.glob(pattern))
    frames = [geopandas.read_parquet(file) for file in files]
    for file in files:
        file.unlink()
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=frames[0].crs)
