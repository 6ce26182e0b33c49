"""Writes one synthetic Sentinel-1 product: measurements with their points, annotation, manifest; then in its form, and with its fault."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.control import GroundControlPoint

from eespark.io.storage import write_json, write_text
from eespark.kernels.sar import LEGACY_NOISE_BEFORE, LEGACY_NOISE_SCALE
from eespark.kernels.sar_tables import Window
from eespark.sar_geometry import SceneGeometry
from eespark.synthetic.noise import subseed, uniform
from eespark.synthetic.polar.annotation import Header, annotation_xml, calibration_xml, early_noise_xml, manifest_xml, noise_xml
from eespark.synthetic.polar.backscatter import KINDS
from eespark.synthetic.polar.ice import Sea
from eespark.synthetic.polar.instrument import BETA_NOUGHT, Instrument, instrument
from eespark.synthetic.polar.orbit import scene_geometry
from eespark.synthetic.polar.plan import Scene
from eespark.synthetic.polar.render import Ground, Placement, place_scene, render_band, see_ground, true_kinds

BANDS: Final = ("HH", "HV")
BORDER_PX: Final = (6, 14)
"""Samples without data at both ends of a line, least and most: they differ from burst to burst."""


@dataclass(frozen=True)
class Seen:
    """What a scene sees, for its labels.

    Attributes:
        record: For the truth.
        ground: On its date.
        footprint: In `CRS`.
    """

    record: dict[str, Any]
    ground: Ground
    footprint: shapely.Polygon


def make_scene(scene: Scene, sea: Sea, archive: Path, truth: Path) -> Seen:
    """Render and write one product and its truth."""
    geometry = scene_geometry(scene.view)
    placement = place_scene(geometry)
    ground = see_ground(sea, scene.day, placement.bounds)
    seed = subseed(sea.seed, scene.day.toordinal(), 40)
    root = archive / f"{scene.product_id}.SAFE"
    for number, band in enumerate(BANDS, start=1):
        own = instrument(geometry, band, subseed(seed, number))
        image = render_band(ground, placement, geometry, own, band, subseed(seed, number, 1))
        _border(image, scene, seed)
        _write_band(root, scene, band, number, geometry, own, image)
    _finish(root, scene)
    kinds = true_kinds(ground, placement, Window(0, 0, *geometry.shape))
    write_image(truth / f"{scene.product_id}.tif", kinds, geometry, compress="DEFLATE")
    return Seen(_record(scene, ground, placement, kinds), ground, _footprint(placement))


def write_image(path: Path, image: npt.NDArray[Any], geometry: SceneGeometry, **options: Any) -> None:
    """A GeoTIFF in image geometry, with the points of the geolocation grid."""
    grid = geometry.grid
    points = [
        GroundControlPoint(row=line + 0.5, col=sample + 0.5, x=grid.longitude[i, j], y=grid.latitude[i, j], z=grid.height[i, j])
        for i, line in enumerate(grid.lines)
        for j, sample in enumerate(grid.samples)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "height": image.shape[0], "width": image.shape[1], "count": 1, "dtype": image.dtype.name, **options}
    with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **profile) as dataset:
        dataset.write(image, 1)


def _footprint(placement: Placement) -> shapely.Polygon:
    x, y = placement.x.values + placement.origin[0], placement.y.values + placement.origin[1]
    place = np.stack([x, y], axis=-1)
    return shapely.Polygon(np.concatenate([place[:, 0], place[-1], place[::-1, -1], place[0, ::-1]]))


def _border(image: npt.NDArray[np.uint16], scene: Scene, seed: int) -> None:
    """Zeros at both ends of the lines; of an early processor low numbers among them."""
    lines, samples = image.shape
    bursts = np.arange(lines) // 250
    for side in (0, 1):
        width = np.interp(uniform(seed, side, bursts), [0, 1], BORDER_PX).astype(np.int64)
        outside = np.arange(samples)[None, :] < width[:, None]
        outside = outside if side == 0 else outside[:, ::-1]
        low = (
            (uniform(seed, side, np.arange(lines)[:, None], np.arange(samples)[None, :]) * 4).astype(np.uint16)
            if scene.form == "early"
            else 0
        )
        image[...] = np.where(outside, low, image)


def _write_band(root: Path, scene: Scene, band: str, number: int, geometry: SceneGeometry, own: Instrument, image: Any) -> None:
    header = Header(scene.mission, band, scene.first, scene.last, scene.orbit, scene.datatake, number, scene.view.ascending)
    name = f"{scene.mission}-ew-grd-{band}-{scene.stem.replace('_', '-')}-{number:03d}".lower()
    write_image(root / "measurement" / f"{name}.tiff", image, geometry)
    annotation = annotation_xml(header, geometry, own)
    if scene.fault == "no_grid":
        annotation = annotation[: annotation.index("<geolocationGrid>")] + annotation[annotation.index("<coordinateConversion>") :]
    write_text(str(root / "annotation" / f"{name}.xml"), annotation)
    table = geometry.incidence_table()
    incidence = np.interp(own.calibration.samples, table.samples, table.values.mean(axis=0))
    folder = root / "annotation" / "calibration"
    write_text(str(folder / f"calibration-{name}.xml"), calibration_xml(header, own.calibration, incidence))
    # A processor before 2.50 would also have written it in other units.
    early = LEGACY_NOISE_SCALE["EW"] * BETA_NOUGHT if float(scene.version) < LEGACY_NOISE_BEFORE else 1.0
    noise = early_noise_xml(header, own, early) if scene.form == "early" else noise_xml(header, own)
    write_text(str(folder / f"noise-{name}.xml"), noise)


def _finish(root: Path, scene: Scene) -> None:
    """The manifest, which knows of no fault, then the fault, then the form."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    write_text(
        str(root / "manifest.safe"), manifest_xml(scene.version, scene.relative_orbit, {n: (root / n).stat().st_size for n in files})
    )
    spoiled = {
        "truncated": "measurement/*-hh-*",
        "missing_noise": "annotation/calibration/noise-*-hv-*",
        "missing_hv": "measurement/*-hv-*",
    }
    if scene.fault in spoiled:
        (path,) = root.glob(spoiled[scene.fault])
        if scene.fault == "truncated":
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        else:
            path.unlink()
    if scene.form == "zip":
        with zipfile.ZipFile(root.parent / f"{scene.product_id}.zip", "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(p for p in root.rglob("*") if p.is_file()):
                archive.write(path, path.relative_to(root.parent).as_posix())
        shutil.rmtree(root)
    elif scene.form == "cloud":
        _rename(root, scene)


def _rename(root: Path, scene: Scene) -> None:
    """The short names of the cloud copies, and the table that tells them."""
    short = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        folder, _, file = name.rpartition("/")
        kept = file
        for band in BANDS:
            if f"-ew-grd-{band.lower()}-" in file:
                lead = file.split(f"{scene.mission.lower()}-ew-grd-")[0]
                kept = f"{lead}ew-{band.lower()}{path.suffix}"
        short[name] = f"{folder}/{kept}".lstrip("/")
        path.rename(root / short[name])
    write_json(str(root / "productInfo.json"), {"id": scene.product_id, "filenameMap": short})
    root.rename(root.parent / scene.product_id)


def _record(scene: Scene, ground: Ground, placement: Placement, kinds: npt.NDArray[np.uint8]) -> dict[str, Any]:
    shares = np.bincount(kinds.ravel(), minlength=len(KINDS)) / kinds.size
    return {
        "product_id": scene.product_id,
        "date": scene.day.isoformat(),
        "form": scene.form,
        "fault": scene.fault,
        "relative_orbit": scene.relative_orbit,
        "incidence_deg": scene.view.incidence,
        "icebergs": len(ground.bergs.x),
        "bounds": [round(one, 1) for one in placement.bounds],
        "shares": {name: round(float(share), 4) for name, share in zip(KINDS, shares, strict=True)},
    }
