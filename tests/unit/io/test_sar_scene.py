"""Synthetic EW scenes in all their forms, read as an archive and calibrated back to what was rendered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod

from eespark.errors import EESparkError, FormatError, MissingError
from eespark.io import safe_s1
from eespark.io.archive import ScanOptions, list_archive, scan_product
from eespark.io.members import Candidate
from eespark.io.sar_scene import open_scene
from eespark.kernels.sar_noise import noise_window
from eespark.kernels.sar_tables import Window, table_window
from eespark.synthetic.noise import subseed
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.instrument import instrument
from eespark.synthetic.polar.orbit import scene_geometry
from eespark.synthetic.polar.plan import plan_scenes, sea_of
from eespark.synthetic.polar.render import place_scene, see_ground, sigma_nought_of, surface_brightness
from eespark.synthetic.polar.settings import PolarSettings

SIZE = 256


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PolarSettings:
    root = tmp_path_factory.mktemp("polar")
    made = PolarSettings(output=str(root / "polar"), summary=str(root / "summary.json"), seed=3, size_px=SIZE, dates=6, workers=1)
    make_polar_archive(made)
    return made


@pytest.fixture(scope="module")
def candidates(settings: PolarSettings) -> dict[str, Candidate]:
    return {one.product_id: one for one in list_archive(f"{settings.output}/archive")}


@pytest.fixture(scope="module")
def record(settings: PolarSettings) -> dict[str, Any]:
    manifest = json.loads(Path(settings.output, "truth", "manifest.json").read_text())
    return {one["product_id"]: one for one in manifest["scenes"]}


def of_form(record: dict[str, Any], form: str) -> str:
    return next(name for name, one in record.items() if one["form"] == form and not one["fault"])


def of_fault(record: dict[str, Any], fault: str) -> str:
    return next(name for name, one in record.items() if one["fault"] == fault)


def test_that_all_scenes_are_found_in_their_forms(candidates: dict[str, Candidate], record: dict[str, Any]) -> None:
    assert candidates.keys() == record.keys()
    assert candidates[of_form(record, "zip")].kind == "zip"
    assert candidates[of_form(record, "cloud")].kind == "safe"


@pytest.mark.parametrize("form", ["safe", "zip", "cloud", "early"])
def test_that_a_whole_scene_is_a_row_of_the_catalog(candidates: dict[str, Candidate], record: dict[str, Any], form: str) -> None:
    name = of_form(record, form)
    row = scan_product(candidates[name], ScanOptions())
    assert (row["mission"], row["level"], row["shape"]) == (name[:3], "GRD", [SIZE, SIZE])
    assert row["baseline"] == ("02.72" if form == "early" else "03.52")
    assert row["relative_orbit"] == record[name]["relative_orbit"]
    assert list(row["bands"]) == ["HH", "HV"]
    outline = shapely.from_wkb(row["footprint"])
    assert outline.contains(shapely.Point(-18.7, 76.8))
    # Between the centres of 256 pixels of 40 m in range and 40.4 to 40.7 m along the flight.
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(outline)
    assert abs(area) == pytest.approx((SIZE - 1) ** 2 * 40.0 * 40.55, rel=0.006)


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        ("truncated", FormatError, "1 file.s. differ from the manifest: measurement/.*hh"),
        ("missing_noise", MissingError, "found no noise of HV"),
        ("missing_hv", MissingError, "found no measurement of HV"),
        ("no_grid", MissingError, "geolocationGridPoint"),
    ],
)
def test_that_a_broken_scene_says_what_it_lacks(
    candidates: dict[str, Candidate], record: dict[str, Any], fault: str, error: type[EESparkError], told: str
) -> None:
    with pytest.raises(error, match=told):
        scan_product(candidates[of_fault(record, fault)], ScanOptions())


def test_that_a_scene_cut_short_is_found_without_its_manifest(candidates: dict[str, Candidate], record: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="GDAL says"):
        scan_product(candidates[of_fault(record, "truncated")], ScanOptions(check_sizes=False))


def test_that_a_measurement_of_another_size_is_no_part_of_the_scene(
    candidates: dict[str, Candidate], record: dict[str, Any], tmp_path: Path
) -> None:
    name = of_form(record, "safe")
    copy = tmp_path / f"{name}.SAFE"
    shutil.copytree(candidates[name].url, copy)
    (path,) = copy.glob("measurement/*-hv-*")
    with rasterio.open(path, "w", driver="GTiff", height=SIZE, width=SIZE - 1, count=1, dtype="uint16", crs="EPSG:4326") as dataset:
        dataset.write(np.ones((SIZE, SIZE - 1), np.uint16), 1)
    with pytest.raises(FormatError, match="HV: needed one layer of uint16 with"):
        scan_product(Candidate(name, str(copy), "safe"), ScanOptions(check_sizes=False))


@pytest.mark.parametrize("form", ["safe", "zip", "cloud"])
@pytest.mark.parametrize(("number", "band"), [(1, "HH"), (2, "HV")])
def test_that_calibration_gives_back_the_backscatter_and_the_noise_that_was_not_annotated(
    settings: PolarSettings, candidates: dict[str, Candidate], record: dict[str, Any], form: str, number: int, band: str
) -> None:
    name, everything = of_form(record, form), Window(0, 0, SIZE, SIZE)
    scene, sea = next(one for one in plan_scenes(settings) if one.product_id == name), sea_of(settings)
    with open_scene(candidates[name]) as opened:
        power, valid = opened.sigma(band, everything)
        raw, _ = opened.sigma(band, everything, denoise=False)
        inner = opened.sigma(band, Window(40, 50, 60, 70))
    np.testing.assert_allclose(inner[0], power[40:100, 50:120], rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(inner[1], valid[40:100, 50:120])
    geometry = scene_geometry(scene.view)
    own = instrument(geometry, band, subseed(subseed(sea.seed, scene.day.toordinal(), 40), number))
    gain = table_window(own.calibration, everything) ** 2
    annotated, real = (noise_window(one, everything) / gain for one in (own.noise, own.true_noise))
    placement = place_scene(geometry)
    ground = see_ground(sea, scene.day, placement.bounds)
    sigma = sigma_nought_of(ground, surface_brightness(ground, band), placement, geometry.incidence_table(), band, everything)
    # Rounding of the digital numbers adds a twelfth, and 60,000 pixels of speckle of 10.7 looks leave 0.4 %.
    assert power[valid].mean() == pytest.approx((sigma + real - annotated)[valid].mean(), rel=5e-3)
    assert raw[valid].mean() == pytest.approx((sigma + real)[valid].mean(), rel=5e-3)
    # And place by place: means over 16 x 16 pixels, which have 1.9 % of speckle on signal and noise together.
    found, expected, level = (
        one.reshape(16, 16, 16, 16).mean(axis=(1, 3))[:, 1:-1] for one in (power, sigma + real - annotated, sigma + real)
    )
    assert np.quantile(np.abs(found - expected) / level, 0.95) < 0.05


def test_that_the_border_of_an_early_processor_is_no_data(candidates: dict[str, Candidate], record: dict[str, Any]) -> None:
    with open_scene(candidates[of_form(record, "early")]) as scene:
        assert float(scene.baseline) < 2.9
        dn = scene.bands["HH"].dataset.read(1)
        _, valid = scene.sigma("HH", Window(0, 0, SIZE, SIZE))
        _, part = scene.sigma("HH", Window(30, 0, 20, 40))
    assert ((dn > 0) & ~valid).any()
    assert not valid[:, 0].any()
    assert valid[:, 20:-20].all()
    np.testing.assert_array_equal(part, valid[30:50, :40])


def test_that_looks_are_means_and_their_angle_that_of_their_centre(candidates: dict[str, Candidate], record: dict[str, Any]) -> None:
    with open_scene(candidates[of_form(record, "safe")]) as scene:
        power, valid = scene.sigma("HH", Window(0, 0, SIZE, SIZE))
        looks = scene.looks(Window(10, 20, 8, 16), 4)
        angles = scene.incidence_looks(Window(0, 0, SIZE, SIZE), 1)
    block = power[40:72, 80:144].reshape(8, 4, 16, 4).mean(axis=(1, 3))
    assert valid[40:72, 80:144].all()
    np.testing.assert_allclose(looks.power["HH"], block, rtol=1e-5)
    np.testing.assert_allclose(looks.incidence, angles[40:72, 80:144].reshape(8, 4, 16, 4).mean(axis=(1, 3)), atol=1e-3)


def test_that_what_a_scene_does_not_hold_is_an_error(candidates: dict[str, Candidate], record: dict[str, Any]) -> None:
    with open_scene(candidates[of_form(record, "safe")]) as scene:
        with pytest.raises(MissingError, match="needed the polarisation VV, found HH, HV"):
            scene.sigma("VV", Window(0, 0, 1, 1))
        with pytest.raises(FormatError, match="needed a window within"):
            scene.sigma("HH", Window(SIZE - 1, 0, 2, 2))


def test_that_names_are_read_and_others_refused() -> None:
    name = safe_s1.parse_scene_name("S1A_EW_GRDM_1SDH_20221130T014342_20221130T014446_046117_058549_BB15")
    assert (name.mission, name.mode, name.bands, name.datatake) == ("S1A", "EW", ("HH", "HV"), "058549")
    assert (name.stop - name.start).total_seconds() == 64
    for other in ("S1A_IW_SLC__1SDV_20150222T170750_20150222T170815_004739_005DD8_3768", "S2A_MSIL1C_20180629T000241", ""):
        assert not safe_s1.is_scene_name(other)
        with pytest.raises(FormatError, match="GRD product"):
            safe_s1.parse_scene_name(other)


def test_that_equal_settings_make_no_second_archive(settings: PolarSettings) -> None:
    assert make_polar_archive(settings) == {"skipped": True, "output": str(settings.output)}
    assert sea_of(settings).extent_m == SIZE * 40.0
