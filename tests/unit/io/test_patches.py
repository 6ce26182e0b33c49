"""Patches of a synthetic scene, against every look of every place asked on the ground."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import shapely
from pyproj import Transformer

from eespark.errors import FormatError
from eespark.io.archive import list_archive
from eespark.io.patches import Patches, PatchOptions, burn_once, cut_patches, find_places, place_in_image, thin_out
from eespark.io.sar_scene import SarScene, open_scene
from eespark.kernels.sar_tables import Window
from eespark.polar_geometry import POLAR_CRS
from eespark.synthetic.polar.archive import make_polar_archive
from eespark.synthetic.polar.settings import PolarSettings

SIZE = 256
NOTHING = np.zeros(0, dtype=object)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SarScene]:
    root = tmp_path_factory.mktemp("patches") / "input"
    make_polar_archive(PolarSettings(output=str(root), summary="unused", seed=3, size_px=SIZE, dates=2, faults=False, workers=1))
    candidate = next(iter(list_archive(str(root / "archive"))))
    with open_scene(candidate) as opened:
        yield opened


def on_ground(scene: SarScene, rows: np.ndarray, cols: np.ndarray, looks: int) -> tuple[np.ndarray, np.ndarray]:
    """Polar coordinates of the centres of looks."""
    longitude, latitude = scene.geometry.to_ground((rows + 0.5) * looks - 0.5, (cols + 0.5) * looks - 0.5, 0.0)
    x, y = Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(longitude, latitude)
    return np.asarray(x), np.asarray(y)


@pytest.fixture(scope="module")
def polygons(scene: SarScene) -> np.ndarray:
    """A wide one, a crooked one beside it that overlaps it, one at the edge of the image, one outside."""
    x, y = on_ground(scene, np.array([90, 110, 2, 128]), np.array([80, 130, 200, 128]), 1)
    return np.array(
        [
            shapely.Point(x[0], y[0]).buffer(1_700),
            shapely.Polygon([(x[1] - 1_500, y[1]), (x[1] + 2_000, y[1] - 900), (x[1] + 300, y[1] + 300), (x[1] + 1_400, y[1] + 2_100)]),
            shapely.Point(x[2], y[2]).buffer(1_100),
            shapely.Point(x[3] + 60_000, y[3]).buffer(900),
        ],
        dtype=object,
    )


def joined(scene: SarScene, polygons: np.ndarray, land: np.ndarray, options: PatchOptions) -> Patches:
    parts = list(cut_patches(scene, polygons, land, POLAR_CRS, options))
    columns = {name: np.concatenate([getattr(one, name) for one in parts]) for name in Patches.__dataclass_fields__ if name != "pixels"}
    return Patches(**columns, pixels=sum(one.pixels for one in parts))


@pytest.mark.parametrize(("looks", "size", "stride", "strip"), [(1, 10, 5, 512), (1, 16, 10, 32), (2, 8, 3, 24)])
def test_that_patches_are_those_whose_every_look_lies_in_one_polygon(
    scene: SarScene, polygons: np.ndarray, looks: int, size: int, stride: int, strip: int
) -> None:
    found = joined(scene, polygons, NOTHING, PatchOptions(size, stride, looks, 1.0, 0, strip))
    height = SIZE // looks
    rows, cols = np.meshgrid(np.arange(height), np.arange(height), indexing="ij")
    x, y = on_ground(scene, rows, cols, looks)
    inside = np.array([shapely.contains_xy(one, x, y) for one in polygons])
    alone = inside & (inside.sum(axis=0) == 1)
    _, valid = scene.sigma("HH", Window(0, 0, SIZE, SIZE))
    whole = valid[: height * looks, : height * looks].reshape(height, looks, height, looks).mean(axis=(1, 3)) >= 0.5
    expected = {
        (row, col, label)
        for label in range(len(polygons))
        for row in range(0, height - size + 1, stride)
        for col in range(0, height - size + 1, stride)
        if (alone[label] & whole)[row : row + size, col : col + size].all()
    }
    told = set(zip(found.rows.tolist(), found.cols.tolist(), found.label.tolist(), strict=True))
    assert {label for _, _, label in expected} == {0, 1, 2}
    # The burn goes by polygons moved to the image, the oracle by looks moved to the ground: they part at a hair's breadth of an edge only.
    assert len(told ^ expected) <= 0.01 * len(expected)
    assert len(told) == len(found.rows)


def test_that_a_patch_holds_the_looks_of_its_place(scene: SarScene, polygons: np.ndarray) -> None:
    found = joined(scene, polygons, NOTHING, PatchOptions(12, 7, 1, 1.0, 0, 40))
    for k in (0, len(found.rows) // 2, len(found.rows) - 1):
        looks = scene.looks(Window(int(found.rows[k]), int(found.cols[k]), 12, 12), 1)
        np.testing.assert_allclose(found.sigma[k], [looks.power["HH"], looks.power["HV"]], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(found.incidence[k], looks.incidence, atol=1e-4)
    x, y = on_ground(scene, found.rows + 5.5, found.cols + 5.5, 1)
    np.testing.assert_allclose(found.x, x, atol=0.01)
    np.testing.assert_allclose(found.y, y, atol=0.01)
    # Less than twice the ground that the polygons need.
    assert 0 < found.pixels < 2 * 2 * SIZE * SIZE


def test_that_a_share_of_a_patch_may_lie_outside(scene: SarScene, polygons: np.ndarray) -> None:
    pure, mostly = (joined(scene, polygons, NOTHING, PatchOptions(16, 4, 1, purity, 0, 64)) for purity in (1.0, 0.7))
    assert pure.purity.min() == 1
    assert 0.7 <= mostly.purity.min() < 0.75
    assert len(mostly.rows) > len(pure.rows)


def test_that_land_is_left_out(scene: SarScene, polygons: np.ndarray) -> None:
    options = PatchOptions(10, 5, 1, 1.0, 0, 512)
    without = joined(scene, polygons[:1], NOTHING, options)
    x, y = on_ground(scene, np.array([90]), np.array([80]), 1)
    shore = np.array([shapely.box(x[0], y[0] - 5_000, x[0] + 5_000, y[0] + 5_000)], dtype=object)
    withal = joined(scene, polygons[:1], shore, options)
    assert 0 < len(withal.rows) < 0.7 * len(without.rows)
    corners = [on_ground(scene, withal.rows + r, withal.cols + c, 1) for r in (0, 9) for c in (0, 9)]
    assert not any(shapely.contains_xy(shore[0], *corner).any() for corner in corners)


def test_that_a_polygon_gives_no_more_than_its_limit_and_the_same_ones_from_any_strips(scene: SarScene, polygons: np.ndarray) -> None:
    first, second = (joined(scene, polygons, NOTHING, PatchOptions(10, 4, 1, 1.0, 9, strip)) for strip in (16, 512))
    assert np.bincount(first.label).max() == 9
    assert set(zip(first.rows, first.cols, strict=True)) == set(zip(second.rows, second.cols, strict=True))


@pytest.mark.parametrize("reach", [3.0, 20.0])
def test_that_looks_bear_the_only_polygon_over_their_centre(reach: float) -> None:
    rng, window = np.random.default_rng(4), Window(100, 50, 80, 90)
    middles = rng.uniform((40, 90), (150, 190), (25, 2))
    shapes = np.array([shapely.Point(*one).buffer(rng.uniform(0.3, 1) * reach) for one in middles], dtype=object)
    members = np.flatnonzero(rng.random(25) < 0.8)
    found = burn_once(shapes, members, window)
    col, row = np.meshgrid(np.arange(90) + 50.5, np.arange(80) + 100.5)
    inside = np.array([shapely.contains_xy(shapes[k], col, row) for k in members])
    expected = np.where(inside.sum(axis=0) == 1, members[inside.argmax(axis=0)] + 1, 0)
    np.testing.assert_array_equal(found, expected)
    assert (inside.sum(axis=0) > 1).any()
    assert (found > 0).any()


def test_that_limits_keep_the_least_hashes() -> None:
    label, rows = np.repeat([3, 1, 2], [5, 2, 9]), np.arange(16)
    kept = thin_out(label, rows, rows, 3)
    assert np.bincount(label[kept]).tolist() == [0, 2, 3, 3]
    assert thin_out(label, rows, rows, 0).all()
    assert len(thin_out(label[:0], rows[:0], rows[:0], 3)) == 0


def test_that_nothing_comes_of_nothing(scene: SarScene) -> None:
    options = PatchOptions(10, 5, 1, 1.0, 0, 512)
    assert list(cut_patches(scene, NOTHING, NOTHING, POLAR_CRS, options)) == []
    assert len(find_places(NOTHING, NOTHING, (5, 5), options).rows) == 0


def test_that_a_polygon_on_the_other_side_of_the_track_is_an_error(scene: SarScene) -> None:
    position = scene.geometry.orbit.path(np.array([0.8]))[0]
    below = np.degrees([np.arctan2(position[1], position[0]), np.arcsin(position[2] / np.linalg.norm(position))])
    nadir = Transformer.from_crs("EPSG:4326", POLAR_CRS, always_xy=True).transform(*below)
    x, y = on_ground(scene, np.array([128]), np.array([128]), 1)
    mirrored = shapely.Point(2 * nadir[0] - x[0], 2 * nadir[1] - y[0]).buffer(1_000)
    with pytest.raises(FormatError, match="on the side that the instrument looks to"):
        place_in_image(scene.geometry, [mirrored], POLAR_CRS, 1)
