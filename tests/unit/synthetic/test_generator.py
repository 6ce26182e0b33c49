"""The generator's parts: noise, tiles, seasons, rendering in strips, footprints, datum."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import box

from eespark.synthetic import render as rendering
from eespark.synthetic.crops import COVERS, CROPS, KINDS
from eespark.synthetic.footprint import data_outline
from eespark.synthetic.frozen import constants_of, parameters_hash
from eespark.synthetic.labels import accurate_transformer, to_lambert
from eespark.synthetic.landscape import block_outline, build_landscape
from eespark.synthetic.noise import normal, rough_field, smooth_field, uniform
from eespark.synthetic.phenology import draw_traits, reflectance, shares
from eespark.synthetic.plan import halve, plan_products, rerun
from eespark.synthetic.region import TILES, crop_grid, passes
from eespark.synthetic.settings import ArchiveSettings
from eespark.synthetic.weather import Weather, draw_weather, has_data


def _settings(**changes: object) -> ArchiveSettings:
    return ArchiveSettings.model_validate({"output": "o", "summary": "s", "seed": 3, "size_px": 64, "dates_per_tile": 6} | changes)


def test_that_a_smooth_field_is_the_same_in_any_window() -> None:
    x, y = np.arange(120) * 10.0 + 399_960, 5_250_000 - np.arange(90) * 10.0
    whole = rough_field(7, x, y, 600.0, 4)
    part = rough_field(7, x[40:80], y[30:60], 600.0, 4)
    assert np.abs(whole[30:60, 40:80] - part).max() < 1e-5


def test_that_a_smooth_field_has_mean_0_and_variance_1() -> None:
    x = np.arange(1_500) * 10.0
    field = smooth_field(11, x, x, 50.0)
    assert abs(float(field.mean())) < 0.02
    assert float(field.var()) == pytest.approx(1.0, abs=0.03)


def test_that_keyed_numbers_are_uniform_and_normal() -> None:
    keys = np.arange(200_000)
    u, z = uniform(5, keys), normal(5, keys)
    assert np.histogram(u, bins=10, range=(0, 1))[0].min() > 19_500
    assert (z.mean(), z.std()) == pytest.approx((0.0, 1.0), abs=0.01)
    assert abs(np.corrcoef(normal(5, keys), normal(6, keys))[0, 1]) < 0.01


def test_that_whole_tiles_start_where_the_true_tiles_start() -> None:
    # Geoposition ULX, ULY of real products: 60 m grid, at or west of the square, at or north of it.
    origins = {tile: (crop_grid(tile, 10_980).x_min, crop_grid(tile, 10_980).y_max) for tile in TILES}
    assert origins == {"33TUN": (300_000.0, 5_300_040.0), "33TVN": (399_960.0, 5_300_040.0), "32TQT": (699_960.0, 5_300_040.0)}


@pytest.mark.parametrize("size", [64, 128, 768, 3_000, 10_980])
def test_that_crops_lie_on_the_20_m_grid_within_their_tile_and_two_overlap(size: int) -> None:
    for tile in TILES:
        crop, whole = crop_grid(tile, size), crop_grid(tile, 10_980)
        assert (crop.x_min - whole.x_min) % 20 == (whole.y_max - crop.y_max) % 20 == 0
        assert box(*whole.bounds).covers(box(*crop.bounds))
    a, b = crop_grid("33TUN", size).bounds, crop_grid("33TVN", size).bounds
    assert a[0] < 400_000 < a[2]
    assert b[0] < a[2] <= b[2]
    assert a[1] == b[1]


def test_that_each_satellite_passes_every_ten_days_with_the_orbit_number_of_a_real_product() -> None:
    # S2A, relative orbit 51, 2018-01-01 is absolute orbit 13204; relative orbit 22 flew 29 orbits and about 2 days before.
    found = {(p.mission, p.sensing): p.absolute_orbit for p in passes("33TUN", date(2017, 9, 1), date(2018, 8, 31))}
    assert found["S2A", datetime(2017, 12, 30, 10, 10, 21)] == 13_175
    assert len(found) == 73
    days = sorted(p[1].date() for p in found)
    assert {(b - a).days for a, b in pairwise(days)} == {5}


def test_that_neighbouring_blocks_share_their_edge_without_gap_or_overlap() -> None:
    blocks = [block_outline(4, i, j) for i in range(3) for j in range(3)]
    assert all(block.is_valid for block in blocks)
    assert shapely.union_all(blocks).area == pytest.approx(sum(b.area for b in blocks), rel=1e-9)


def test_that_a_landscape_has_no_overlaps_and_the_same_parcels_from_any_side() -> None:
    west, east = box(400_000, 5_240_000, 402_000, 5_242_000), box(401_000, 5_240_000, 403_000, 5_242_000)
    one, other = (build_landscape(9, [extent], 1.0) for extent in (west, east))
    common = set(one["key"]) & set(other["key"])
    assert len(common) > 20
    pair = [t.set_index("key").loc[sorted(common)] for t in (one, other)]
    assert (pair[0]["kind"] == pair[1]["kind"]).all()
    assert pair[0].geometry.geom_equals(pair[1].geometry).all()
    assert one.geometry.union_all().area == pytest.approx(one.area.sum(), rel=1e-9)


def test_that_median_parcel_size_follows_the_setting() -> None:
    extent = box(400_000, 5_240_000, 405_000, 5_245_000)
    for wanted in (0.7, 1.5):
        table = build_landscape(2, [extent], wanted)
        sizes = table.area[table["kind"] < len(CROPS)] / 1e4
        assert sizes.median() == pytest.approx(wanted, rel=0.25)


def test_that_shares_stay_between_0_and_1_and_maize_greens_after_wheat() -> None:
    kinds = np.repeat(np.arange(len(CROPS) + len(COVERS)), 50).astype(np.int16)
    traits = draw_traits(1, np.arange(len(kinds)).astype(np.uint64), kinds)
    for day in (0.0, 100.0, 230.0, 320.0, 364.0):
        green, dry = shares(traits, day)
        assert (green >= 0).all()
        assert (dry >= 0).all()
        assert (green + dry <= 1 + 1e-12).all()
    wheat, maize = (kinds == KINDS.index(name) for name in ("winter_wheat", "grain_maize"))
    may, august = shares(traits, 250.0)[0], shares(traits, 335.0)[0]
    assert may[wheat].mean() > 2 * may[maize].mean()
    assert august[maize].mean() > 2 * august[wheat].mean()


def test_that_the_derivative_is_the_change_of_reflectance_with_the_green_share() -> None:
    kinds = np.full(30, KINDS.index("soy"), np.int16)
    traits = draw_traits(2, np.arange(30).astype(np.uint64), kinds)
    calm = replace(traits, wobble=np.zeros((30, 4)), dry=np.tile([0.0, 900.0, 1.0], (30, 1)), stubble=np.tile([0.0, 1.0], (30, 1)))
    greener = replace(calm, base=calm.base + 1e-4)
    (low, slope), (high, _) = reflectance(calm, 200.0, 8), reflectance(greener, 200.0, 8)
    inside = (shares(calm, 200.0)[0] > 0) & (shares(greener, 200.0)[0] < 1)
    assert inside.sum() > 20
    assert np.allclose((high - low)[inside] / 1e-4, slope[inside], rtol=1e-6)


def _scene(size: int = 64) -> rendering.Scene:
    weather = Weather(1, 0.3, 0.1, 0.3, 0.0, (-300.0, 600.0), None, (1.0,) * 9)
    return rendering.Scene(replace(crop_grid("33TVN", 128), rows=size, cols=size), 200.0, 5, 6, weather, 1000)


def test_that_strips_meet_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = np.array([len(CROPS), *range(len(CROPS))], np.int16)
    traits = draw_traits(3, np.arange(len(kinds)).astype(np.uint64), kinds)
    patches = (np.arange(64)[:, None] // 9 * 3 + np.arange(64)[None, :] // 11).astype(np.int32) % len(kinds)
    monkeypatch.setattr(rendering, "SENSOR_NOISE", 0.0)
    whole, clear = rendering.render(_scene(), traits, patches)
    monkeypatch.setattr(rendering, "STRIP_ROWS", 16)
    strips, clear_too = rendering.render(_scene(), traits, patches)
    for band in ("B02", "B04", "B05", "B12"):
        assert np.abs(whole[band].astype(int) - strips[band].astype(int)).max() <= 1
    assert clear == pytest.approx(clear_too, abs=1e-3)


def test_that_the_offset_is_added_to_data_only() -> None:
    traits = draw_traits(3, np.arange(2).astype(np.uint64), np.array([1, 2], np.int16))
    patches = np.ones((64, 64), np.int32)
    half = replace(_scene(), rows_with_data=(0.0, 0.5))
    new, _ = rendering.render(half, traits, patches)
    old, _ = rendering.render(replace(half, dn_offset=0), traits, patches)
    assert (new["B03"][:32].astype(int) - old["B03"][:32] == 1000).all()
    assert not new["B03"][32:].any()
    assert not new["SCL"][16:].any()


def test_that_clouds_cover_about_the_share_that_was_drawn() -> None:
    traits = draw_traits(3, np.arange(2).astype(np.uint64), np.array([1, 2], np.int16))
    for share in (0.0, 0.995):
        scene = replace(_scene(128), weather=replace(_scene().weather, cloud_share=share, cirrus=0.0))
        scl = rendering.render(scene, traits, np.ones((128, 128), np.int32))[0]["SCL"]
        assert np.isin(scl, [8, 9]).mean() == pytest.approx(share, abs=0.12)


def test_that_the_footprint_is_the_ground_with_data() -> None:
    size = 64
    scene = replace(_scene(size), weather=replace(_scene().weather, edge=(1.0, 0.2, 0.45)))
    where = (np.arange(size) + 0.5) / size
    share = has_data(scene.weather.edge, where, where).mean()
    outline = data_outline(scene)
    assert outline.area / (size * 10.0) ** 2 == pytest.approx(share, abs=0.01)
    x, y = scene.grid.centres(np.array([0, 32]), np.array([63, 32]))
    assert shapely.contains_xy(outline, x, y).all()


def test_that_the_half_metre_operation_is_taken_in_styria() -> None:
    assert accurate_transformer("EPSG:31287", "EPSG:4326", (13.6, 47.3, 13.8, 47.4)).accuracy == 0.5


def test_that_lambert_coordinates_come_back_to_the_millimetre() -> None:
    square = np.array([box(400_000, 5_245_000, 400_100, 5_245_100)])
    back = accurate_transformer("EPSG:31287", "EPSG:4326", (13.6, 47.3, 13.8, 47.4))
    lon, lat = back.transform(*shapely.get_coordinates(to_lambert(square)).T)
    x, y = Transformer.from_crs(4326, 32633, always_xy=True).transform(lon, lat)
    assert np.abs(np.column_stack([x, y]) - shapely.get_coordinates(square)).max() < 2e-3


def test_that_a_plan_is_the_same_whatever_the_number_of_workers() -> None:
    assert plan_products(_settings(workers=1)) == plan_products(_settings(workers=4))


def test_that_the_baseline_changes_at_its_date() -> None:
    for product in plan_products(_settings(faults=False, baseline_change="2018-02-01")):
        assert product.name.baseline == ("02.14" if product.name.start.date() < date(2018, 2, 1) else "04.00")
        assert product.scene.dn_offset == {"02.14": 0, "04.00": 1000}[product.name.baseline]


def test_that_a_rerun_keeps_the_sensing_and_halves_share_all_rows() -> None:
    product = plan_products(_settings(faults=False))[0]
    again = rerun(product, "04.00")
    assert again.name.sensing_time == product.name.sensing_time
    assert again.scene.date_seed == product.scene.date_seed
    north, south = halve(product)
    assert north.scene.rows_with_data[1] == south.scene.rows_with_data[0]
    assert north.name.product_id != south.name.product_id


def test_that_cloud_shares_have_two_humps() -> None:
    shares_drawn = np.array([draw_weather(1, 0, date.fromordinal(736_000 + k)).cloud_share for k in range(2_000)])
    low, middle, high = ((shares_drawn < 0.2).mean(), ((shares_drawn > 0.4) & (shares_drawn < 0.6)).mean(), (shares_drawn > 0.8).mean())
    assert low > 0.3
    assert high > 0.25
    assert middle < 0.1


def test_that_the_hash_covers_the_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parameters_hash()
    assert before == parameters_hash()
    assert "SENSOR_NOISE" in constants_of(rendering)
    monkeypatch.setattr(rendering, "SENSOR_NOISE", 0.5)
    assert parameters_hash() != before
