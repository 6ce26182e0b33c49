"""The real annotation of an EW scene of the Kara Sea and of an early IW scene: geometry, calibration, noise."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import pytest
import rasterio
from pyproj import Geod

from eespark.io import s1_annotation, safe_s1, safe_xml
from eespark.kernels.sar_noise import noise_window
from eespark.kernels.sar_tables import Window, table_window
from eespark.sar_geometry import SceneGeometry

EW = "S1A_EW_GRDM_1SDH_20221130T014342_20221130T014446_046117_058549_BB15"
IW = "S1A_IW_GRDH_1SDV_20150222T170750_20150222T170815_004739_005DD8_3768"


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "sentinel1" / EW


def xml(file: Path) -> Element:
    return safe_xml.parse_xml(file.read_bytes(), file.name)


@pytest.fixture(scope="module")
def geometry(folder: Path) -> SceneGeometry:
    return s1_annotation.read_geometry(xml(folder / "annotation" / "ew-hh.xml"), EW)


def test_that_the_annotation_tells_what_is_known_of_the_scene(folder: Path, geometry: SceneGeometry) -> None:
    assert geometry.shape == (10_708, 10_487)
    assert geometry.grid.incidence.shape == (23, 21)
    assert (round(geometry.grid.incidence.min(), 3), round(geometry.grid.incidence.max(), 3)) == (18.883, 46.417)
    assert len(geometry.orbit.times) == 20
    for band in ("hh", "hv"):
        table = s1_annotation.read_calibration(xml(folder / "annotation" / "calibration" / f"calibration-ew-{band}.xml"), EW)
        assert (table.values.shape, table.values.min(), table.values.max()) == ((67, 264), 1277.254, 1908.928)
        noise = s1_annotation.read_noise(xml(folder / "annotation" / "calibration" / f"noise-ew-{band}.xml"), EW)
        assert (len(noise.in_range.lines), len(noise.in_azimuth)) == (67, 17)


def test_that_range_and_doppler_lead_to_the_annotated_points_and_back(geometry: SceneGeometry) -> None:
    grid = geometry.grid
    lines, samples = np.meshgrid(grid.lines, grid.samples, indexing="ij")
    longitude, latitude = geometry.to_ground(lines, samples)
    _, _, metres = Geod(ellps="WGS84").inv(longitude, latitude, grid.longitude, grid.latitude)
    # Over terrain of up to 670 m as over the sea; a hundredth of a pixel is 0.4 m.
    assert grid.height.max() > 600
    assert metres.max() < 0.1
    row, col = geometry.to_image(grid.longitude, grid.latitude)
    assert np.abs(row - lines).max() < 0.01
    assert np.abs(col - samples).max() < 0.01


def test_that_height_moves_a_place_towards_the_satellite(geometry: SceneGeometry) -> None:
    longitude, latitude = geometry.to_ground(np.array([5_000.0]), np.array([2_000.0]), 0.0)
    _, flat = geometry.to_image(longitude, latitude, 0.0)
    _, high = geometry.to_image(longitude, latitude, 670.0)
    # A mountain leans towards the radar by its height over the tangent of the incidence: here some 25 degrees.
    angle = np.radians(table_window(geometry.incidence_table(), Window(5_000, 2_000, 1, 1))[0, 0])
    assert flat[0] - high[0] == pytest.approx(670.0 / np.tan(angle) / 40, rel=0.02)


@pytest.mark.parametrize("height", [None, 0.0, 300.0])
def test_that_places_come_back_to_where_they_were(geometry: SceneGeometry, height: float | None) -> None:
    rng = np.random.default_rng(0)
    lines, samples = rng.uniform(0, 10_707, 3_000), rng.uniform(0, 10_486, 3_000)
    row, col = geometry.to_image(*geometry.to_ground(lines, samples, height), height)
    np.testing.assert_allclose(row, lines, atol=1e-4)
    np.testing.assert_allclose(col, samples, atol=1e-4)


def test_that_a_point_left_out_of_the_grid_is_found_from_the_others(folder: Path, geometry: SceneGeometry) -> None:
    """Each point of the sea from the geometry of a grid without its column: what is interpolated of the grid must not matter there."""
    grid, missed = geometry.grid, []
    for left_out in range(1, 20):
        kept = np.delete(np.arange(21), left_out)
        less = {name: values[:, kept] for name, values in vars(grid).items() if name not in ("lines", "samples")}
        other = SceneGeometry(
            geometry.shape, type(grid)(lines=grid.lines, samples=grid.samples[kept], **less), geometry.orbit, geometry.ground_range,
            geometry.line_interval_s, geometry.sample_spacing_m,
        )  # fmt: skip
        sea = grid.height[:, left_out] < 5
        lines = grid.lines[sea]
        longitude, latitude = other.to_ground(lines, np.full(len(lines), grid.samples[left_out]), 0.0)
        row, col = geometry.to_image(longitude, latitude, grid.height[sea, left_out])
        missed += [np.hypot(row - lines, col - grid.samples[left_out])]
    everything = np.concatenate(missed)
    assert len(everything) > 300
    assert everything.max() < 0.1


def test_that_a_place_on_the_other_side_of_the_track_is_not_in_the_image(geometry: SceneGeometry) -> None:
    position = geometry.orbit.path(np.array([32.0]))[0]
    below = np.degrees([np.arctan2(position[1], position[0]), np.arcsin(position[2] / np.linalg.norm(position))])
    middle = geometry.to_ground(np.array([5_300.0]), np.array([5_000.0]), 0.0)
    azimuth, _, distance = Geod(ellps="WGS84").inv(below[0], below[1], middle[0][0], middle[1][0])
    mirrored = Geod(ellps="WGS84").fwd(below[0], below[1], azimuth + 180, distance)
    row, col = geometry.to_image(np.array([mirrored[0]]), np.array([mirrored[1]]), 0.0)
    assert np.isnan(row).all()
    assert np.isnan(col).all()


def test_that_sigma_nought_follows_from_the_incidence_angle(folder: Path, geometry: SceneGeometry) -> None:
    table = s1_annotation.read_calibration(xml(folder / "annotation" / "calibration" / "calibration-ew-hh.xml"), EW)
    assert table.lines[-1] == 10_991 > geometry.shape[0]
    grid = geometry.grid
    values = np.array([[table_window(table, Window(int(line), int(sample), 1, 1))[0, 0] for sample in grid.samples] for line in grid.lines])
    ratio = values / (1_087.0 / np.sqrt(np.sin(np.radians(grid.incidence))))
    sea = grid.height < 5
    assert np.abs(ratio[sea] - 1).max() < 1.1e-3
    assert np.quantile(np.abs(ratio[sea] - 1), 0.95) < 1e-3


def test_that_noise_covers_the_scene_once_and_lies_where_it_is_known_to_lie(folder: Path, geometry: SceneGeometry) -> None:
    noise = s1_annotation.read_noise(xml(folder / "annotation" / "calibration" / "noise-ew-hv.xml"), EW)
    times = np.zeros(geometry.shape, np.int8)
    for block in noise.in_azimuth:
        place = block.window
        times[place.row : place.row + place.rows, place.col : place.col + place.cols] += 1
    # Sub-swaths begin up to 422 lines one after the other; from there on each pixel lies in one block.
    assert times.max() == 1
    assert (times[422:] == 1).all()
    window = Window(5_000, 100, 400, 10_200)
    table = s1_annotation.read_calibration(xml(folder / "annotation" / "calibration" / "calibration-ew-hv.xml"), EW)
    level = 10 * np.log10(noise_window(noise, window) / table_window(table, window) ** 2)
    assert -35 < level.min() < -30
    assert -22 < level.max() < -19


def test_that_the_cloud_layout_is_checked_by_the_agencys_names(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    sizes = {name: (folder / name).stat().st_size for name in names}

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    agency = safe_s1.agency_names(names, read)
    expected = safe_xml.manifest_sizes(names, read)
    told = {agency[name]: sizes[name] for name in names if name.startswith("annotation/") and "rfi" not in name}
    assert len(told) == 6
    assert all(expected[name] == size for name, size in told.items())
    # The measurements are not here: with names of files that are, all the rest is read.
    whole = [*names, "measurement/ew-hh.tiff", "measurement/ew-hv.tiff"]
    files = safe_s1.scene_files(EW, whole)
    assert files["HV"].noise == "annotation/calibration/noise-ew-hv.xml"
    row = safe_s1.read_scene_metadata(EW, whole, read)
    assert (row.mission, row.relative_orbit, row.baseline, row.shape) == ("S1A", 20, "03.52", (10_708, 10_487))


def test_that_an_early_product_has_its_noise_by_range_alone(real_data: Path) -> None:
    with zipfile.ZipFile(real_data / "sentinel1" / f"{IW}.zip") as archive:
        names = {name.split("/", 1)[1]: name for name in archive.namelist() if not name.endswith("/")}

        def read(name: str) -> Any:
            return safe_xml.parse_xml(archive.read(names[name]), name)

        pattern = "annotation/calibration/{}-s1a-iw-grd-vv-20150222t170750-20150222t170815-004739-005dd8-001.xml"
        assert safe_s1.processor_version(read("manifest.safe"), IW) == "02.36"
        constant = s1_annotation.calibration_constant(read(pattern.format("calibration")), IW)
        scale = s1_annotation.legacy_scale("02.36", "IW", constant)
        noise = s1_annotation.read_noise(read(pattern.format("noise")), IW, scale)
    assert scale == pytest.approx(75_088.7 * 474.0)
    assert s1_annotation.legacy_scale("02.50", "IW", constant) == 1.0
    assert (noise.in_range.values.shape, noise.in_azimuth) == ((27, 636), ())


@pytest.mark.parametrize("band", ["vv", "vh"])
def test_that_a_real_measurement_carries_its_points(real_data: Path, band: str) -> None:
    (path,) = (real_data / "sentinel1" / "iw-decimated").rglob(f"iw-{band}.tiff")
    with rasterio.open(path) as dataset:
        points, crs = dataset.gcps
        assert dataset.shape == (837, 1_280)
    assert crs.to_epsg() == 4326
    assert len(points) == 210
    assert (len({one.row for one in points}), len({one.col for one in points})) == (10, 21)
