"""The polar generator: what it freezes, and that what it makes is what it says."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from eespark.sigrid import codes_of, parts_of, surface
from eespark.synthetic.noise import subseed
from eespark.synthetic.polar import labels
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.backscatter import DEFORMED, FIRST_YEAR, KINDS, LAND, OPEN_WATER, SURFACES
from eespark.synthetic.polar.frozen import parameters_hash
from eespark.synthetic.polar.ice import CRS, Sea, bergs_of, state_of
from eespark.synthetic.polar.orbit import View, scene_geometry
from eespark.synthetic.polar.plan import FAULTS, plan_scenes
from eespark.synthetic.polar.render import place_scene
from eespark.synthetic.polar.settings import PolarSettings

SEA = Sea(-18.7, 76.8, 40_000.0, 11)
WINTER, LATER, AUTUMN = date(2018, 1, 10), date(2018, 2, 3), date(2018, 10, 5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("polar") / "input"
    make_polar_archive(PolarSettings(output=str(root), summary="unused", seed=7, size_px=384, dates=4, faults=False, workers=1))
    return root


@pytest.fixture(scope="module")
def grid() -> tuple[np.ndarray, np.ndarray]:
    x, y = SEA.middle
    step = np.arange(-20_000, 20_000, 160.0)
    return x + step, y + step


def test_that_the_generator_is_the_one_that_was_frozen_before_any_model() -> None:
    # Accuracies are of this generator. Whoever changes it after looking at them must say so, and start anew with other seeds.
    assert parameters_hash() == "ca501ff41cb286b99a58b26ca5099a987172fa68a7a080b72a20d347807071b9"


def test_that_the_hash_tells_of_any_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parameters_hash()
    assert before == parameters_hash()
    monkeypatch.setattr("eespark.synthetic.polar.ice.LEAD_M", 171.0)
    changed = parameters_hash()
    monkeypatch.setattr("eespark.synthetic.polar.instrument.SWATH_ERROR", 0.07)
    assert len({before, changed, parameters_hash()}) == 3


@pytest.mark.parametrize(
    "view",
    [
        View(-18.7, 76.8, False, 26.0, 400, 300),
        View(-18.7, 76.8, True, 40.5, 300, 400),
        View(20.0, 78.5, False, 34.5, 9_000, 10_400),
    ],
)
def test_that_a_site_is_seen_in_the_middle_at_its_angle(view: View) -> None:
    geometry = scene_geometry(view)
    line, sample = geometry.to_image(np.array([view.longitude]), np.array([view.latitude]), 0.0)
    # The middle of the samples is found on a chord; a whole swath of 416 km leaves half a pixel.
    assert line[0] == pytest.approx((view.lines - 1) / 2, abs=0.01)
    assert sample[0] == pytest.approx(view.samples / 2, abs=0.6)
    table = geometry.incidence_table()
    angle = np.interp(sample[0], table.samples, table.values[len(table.lines) // 2])
    assert angle == pytest.approx(view.incidence, abs=0.02)
    north = geometry.to_ground(np.array([0.0, view.lines - 1.0]), np.array([10.0, 10.0]), 0.0)[1]
    assert (north[1] > north[0]) == view.ascending


@pytest.mark.parametrize("incidence", [26.0, 29.5, 40.5])
def test_that_a_whole_scene_has_the_swath_of_the_real_one_at_any_angle_of_its_site(incidence: float) -> None:
    """The near range of EW is at 18.9 degrees; half of 416 km from a steep site would lie behind the satellite."""
    table = scene_geometry(View(-18.7, 76.8, False, incidence, 2_000, 10_400)).incidence_table()
    assert np.isfinite(table.values).all()
    near, far = table.values[:, 0].mean(), table.values[:, -1].mean()
    assert near > 18.5
    if incidence < 30:
        assert (near, far) == (pytest.approx(18.9, abs=0.3), pytest.approx(46.4, abs=0.5))


def test_that_annotated_points_appear_where_the_annotation_has_them() -> None:
    geometry = scene_geometry(View(-18.7, 76.8, False, 26.0, 900, 700))
    grid = geometry.grid
    lines, samples = np.meshgrid(grid.lines, grid.samples, indexing="ij")
    line, sample = geometry.to_image(grid.longitude, grid.latitude, 0.0)
    np.testing.assert_allclose(line, lines, atol=1e-3)
    np.testing.assert_allclose(sample, samples, atol=1e-3)
    longitude, latitude = geometry.to_ground(lines, samples, 0.0)
    np.testing.assert_allclose(longitude, grid.longitude, atol=1e-7)
    np.testing.assert_allclose(latitude, grid.latitude, atol=1e-8)
    # A line is one time, and its far samples are seen later by half of their echo's delay: some hundredths of a line, and no less.
    assert np.ptp(grid.azimuth_time[0]) > 0.005 * geometry.line_interval_s


def test_that_samples_are_forty_metres_of_sea_apart() -> None:
    geometry = scene_geometry(View(-18.7, 76.8, False, 30.0, 300, 900))
    placement = place_scene(geometry)
    # Polar stereographic stretches by a known factor: compare along the flight and across, whose spacings are 40.6 and 40 m.
    across = np.hypot(*(np.diff(one.values, axis=1) for one in (placement.x, placement.y))) / np.diff(placement.x.samples)
    along = np.hypot(*(np.diff(one.values, axis=0) for one in (placement.x, placement.y))) / np.diff(placement.x.lines)[:, None]
    assert np.ptp(across) / across.mean() < 2e-3
    assert along.mean() / across.mean() == pytest.approx(40.6 / 40.0, rel=2e-3)


def test_that_fast_ice_and_land_stay_and_the_pack_does_not(grid: tuple[np.ndarray, np.ndarray]) -> None:
    first, second, autumn = (state_of(SEA, day, *grid) for day in (WINTER, LATER, AUTUMN))
    land = first.kind == LAND
    np.testing.assert_array_equal(land, second.kind == LAND)
    np.testing.assert_array_equal(land, autumn.kind == LAND)
    np.testing.assert_array_equal(first.fast, second.fast)
    inner = first.fast & second.fast & np.isin(first.kind, (FIRST_YEAR, DEFORMED)) & np.isin(second.kind, (FIRST_YEAR, DEFORMED))
    assert inner.mean() > 0.05
    np.testing.assert_array_equal(first.kind[inner], second.kind[inner])
    assert autumn.fast.mean() < 0.7 * first.fast.mean()
    pack = ~first.fast & (first.floe > 0) & (second.floe > 0) & ~second.fast
    assert (first.floe[pack] == second.floe[pack]).mean() < 0.1


def test_that_the_truth_of_a_place_is_that_of_any_window(grid: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = grid
    whole, part = state_of(SEA, WINTER, x, y), state_of(SEA, WINTER, x[40:90], y[30:70])
    np.testing.assert_array_equal(whole.kind[30:70, 40:90], part.kind)
    np.testing.assert_array_equal(whole.floe[30:70, 40:90], part.floe)


def test_that_icebergs_aground_stay_and_lie_in_the_sea() -> None:
    x, y = SEA.middle
    bounds = (x - 20_000, y - 20_000, x + 20_000, y + 20_000)
    first, second = (bergs_of(SEA, day, bounds) for day in (WINTER, LATER))
    same = set(zip(first.x.round(3), first.y.round(3), strict=True)) & set(zip(second.x.round(3), second.y.round(3), strict=True))
    assert 3 < len(same) < len(first.x)


def test_that_scenes_are_spread_over_seasons_tracks_and_forms() -> None:
    scenes = plan_scenes(PolarSettings(output="unused", summary="unused", seed=1))
    good = [scene for scene in scenes if not scene.fault]
    assert (len(good), [scene.fault for scene in scenes if scene.fault]) == (12, list(FAULTS))
    assert {scene.form for scene in good} == {"safe", "zip", "cloud", "early"}
    assert len({scene.relative_orbit for scene in good}) == 4
    assert len({scene.product_id for scene in scenes}) == len(scenes)
    for scene in scenes:
        # The number of the track follows from that of the orbit: S1A crosses the equator on orbit 73 of a cycle first.
        assert (scene.orbit - 73) % 175 + 1 == scene.relative_orbit
    assert {scene.day.month <= 6 for scene in good} == {True, False}


def test_that_digital_numbers_are_about_those_of_a_real_scene(archive: Path) -> None:
    means = {}
    for band in ("hh", "hv"):
        values = []
        for path in sorted(archive.glob(f"archive/*/measurement/*{band}*.tiff")):
            with rasterio.open(path) as dataset:
                values.append(dataset.read(1).ravel())
        means[band] = (np.concatenate(values).mean(), np.concatenate(values).std())
    # Kara Sea, November: 364.6 and 257.9 in HH, 105.8 and 102.9 in HV; other seas and seasons are darker or brighter by some decibels.
    assert 200 < means["hh"][0] < 600
    assert 60 < means["hv"][0] < 200
    assert means["hh"][1] > 100


def test_that_drawn_polygons_lie_mostly_on_their_kind(archive: Path) -> None:
    drawn = geopandas.read_file(archive / "truth" / "uit.gpkg")
    shown = geopandas.read_file(archive / "labels" / "uit.gpkg")
    assert list(shown.columns) == ["scene", "class", "geometry"]
    assert shown.crs.to_epsg() == 4326
    right = drawn[drawn["class"] == drawn["true_class"]]
    assert len(drawn) > 60
    assert 0.9 < len(right) / len(drawn) <= 1
    assert right["class"].nunique() >= 5  # on 15 km a polynya may take the room of one kind
    planned, shares = plan_scenes(PolarSettings(output="unused", summary="unused", seed=7, size_px=384, dates=4)), []
    for name, group in right.to_crs(CRS).groupby("scene"):
        day = next(scene.day for scene in planned if scene.product_id == name)
        sea = Sea(-18.7, 76.8, 384 * 40.0, subseed(7, 500))
        for row in group.itertuples():
            west, south, east, north = row.geometry.bounds
            x, y = np.arange(west, east, 40.0), np.arange(south, north, 40.0)
            inside = shapely.contains_xy(row.geometry, *np.meshgrid(x, y))
            shares.append(float((state_of(sea, day, x, y).kind[inside] == row.true_class - 1).mean()))
    assert np.median(shares) > 0.9
    assert np.mean(shares) < 1


def test_that_charts_cover_their_scene_in_codes_that_can_be_read(archive: Path) -> None:
    manifest = json.loads((archive / "truth" / "manifest.json").read_text())
    for path in sorted((archive / "labels" / "metno_v2").glob("*.shp")):
        frame = geopandas.read_file(path)
        kinds = [surface(codes_of(dict(row))) for _, row in frame.drop(columns="geometry").iterrows()]
        assert {"land", "ice"} <= set(kinds) <= {"land", "ice", "water"}
        for kind, (_, row) in zip(kinds, frame.iterrows(), strict=True):
            parts = parts_of(codes_of(dict(row)))
            assert (len(parts) > 0) == (kind == "ice")
            assert not parts or abs(sum(part.share or 0 for part in parts) - 1) < 1e-9
        west, south, east, north = next(s["bounds"] for s in manifest["scenes"] if s["date"].replace("-", "") in path.stem)
        assert frame.geometry.area.sum() > 0.45 * (east - west) * (north - south)
        assert not frame.geometry.is_empty.any()


def test_that_shares_become_codes() -> None:
    kinds = np.repeat(np.array([FIRST_YEAR, DEFORMED, OPEN_WATER], np.uint8), [60, 20, 20])
    assert labels.codes(kinds, fast=True) == {
        "CT": 80, "CA": 20, "SA": 95, "FA": 8, "CB": 60, "SB": 86, "FB": 8, "poly_type": "I",
    }  # fmt: skip
    assert labels.codes(np.full(50, FIRST_YEAR, np.uint8), fast=False)["CA"] == -9
    assert labels.codes(np.full(50, LAND, np.uint8), fast=False)["poly_type"] == "L"
    assert labels.codes(np.full(50, OPEN_WATER, np.uint8), fast=False)["CT"] is None
    assert [labels.tenths(share) for share in (0.03, 0.55, 0.9, 0.94, 0.99)] == [10, 60, 90, 91, 92]


def test_that_kinds_overlap_in_brightness_and_differ_in_slope() -> None:
    assert len(SURFACES) == len(KINDS) == 7
    water, ice = SURFACES[OPEN_WATER], SURFACES[FIRST_YEAR]
    assert water.hh_slope < 2 * ice.hh_slope
    # Wind and floes move water and level ice by more than they are apart.
    assert abs(water.hh - ice.hh) < 2.2 + ice.floe
