"""Constant false alarms: rings by hand, the rate on speckle, targets that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.kernels.cfar import CfarOptions, find_targets, match_points, surroundings

OPTIONS = CfarOptions(guard=4, ring=10, false_alarms=1e-4, looks=10.0, least_power=1e-4, least_px=1)


def _speckle(seed: int, shape: tuple[int, int] = (400, 400), mean: float = 0.01, looks: float = 10.0) -> np.ndarray:
    return mean * np.random.default_rng(seed).gamma(looks, 1 / looks, shape)


def test_that_surroundings_are_the_ring_without_its_middle() -> None:
    rng = np.random.default_rng(0)
    power, valid = rng.uniform(0, 1, (30, 25)), rng.random((30, 25)) < 0.8
    mean, variance = surroundings(power, valid, 2, 5)
    for row, col in ((0, 0), (15, 12), (29, 24), (3, 20)):
        ring = np.zeros((30, 25), bool)
        ring[max(row - 5, 0) : row + 6, max(col - 5, 0) : col + 6] = True
        ring[max(row - 2, 0) : row + 3, max(col - 2, 0) : col + 3] = False
        values = power[ring & valid]
        if len(values) < 0.25 * (121 - 25):
            assert np.isnan(mean[row, col])
        else:
            assert (mean[row, col], variance[row, col]) == (pytest.approx(values.mean()), pytest.approx(values.var()))


def test_that_speckle_alone_gives_about_the_promised_false_alarms() -> None:
    rates = []
    for seed in range(4):
        found = find_targets(_speckle(seed), np.ones((400, 400), bool), OPTIONS)
        rates.append(found.pixels.sum() / 400**2)
    # The surroundings' mean and variance are estimated from 360 pixels: that doubles a rate this small at most.
    assert 0.5e-4 < np.mean(rates) < 3e-4


def test_that_rough_surroundings_need_brighter_targets() -> None:
    smooth, rough = _speckle(1), _speckle(1) * np.random.default_rng(2).gamma(1.5, 1 / 1.5, (400, 400))
    for image in (smooth, rough):
        image[200, 200] = 0.05
    told = [find_targets(one, np.ones((400, 400), bool), OPTIONS) for one in (smooth, rough)]
    near = [bool(((np.abs(one.rows - 200) < 1) & (np.abs(one.cols - 200) < 1)).any()) for one in told]
    assert near == [True, False]


def test_that_planted_targets_are_found_where_they_are_with_their_contrast() -> None:
    image, valid = _speckle(3), np.ones((400, 400), bool)
    places = [(50, 60), (120, 300), (333, 41)]
    for row, col in places:
        image[row - 1 : row + 2, col - 1 : col + 2] = 0.1
    image[250:253, 250:253] = 0.1
    valid[250:253, 250:253] = False
    found = find_targets(image, valid, CfarOptions(4, 10, 1e-7, 10.0, 1e-4, 5))
    assert sorted((round(r), round(c)) for r, c in zip(found.rows, found.cols, strict=True)) == sorted(places)
    assert found.contrast_db == pytest.approx([10.0] * 3, abs=0.3)
    assert found.pixels.tolist() == [9, 9, 9]


def test_that_the_noise_floor_is_no_field_of_targets() -> None:
    # Noise removed leaves a mean of nothing, around which half of the power is below zero.
    image = np.random.default_rng(0).normal(0, 3e-4, (200, 200))
    assert len(find_targets(image, np.ones((200, 200), bool), CfarOptions(4, 10, 1e-6, 10.0, 2e-3, 1)).rows) == 0


def test_that_an_image_without_targets_gives_none() -> None:
    found = find_targets(np.zeros((5, 5)), np.zeros((5, 5), bool), OPTIONS)
    assert len(found.rows) == len(found.pixels) == len(found.contrast_db) == 0


def test_that_pairs_are_made_from_the_nearest_on() -> None:
    found, known = np.array([[0.0, 0], [1, 0], [50, 50]]), np.array([[0.9, 0], [0.2, 0], [80, 80]])
    assert match_points(found, known, 5.0).tolist() == [1, 0, -1]
    assert match_points(found[:2], known[:1], 5.0).tolist() == [-1, 0]
    assert match_points(np.zeros((0, 2)), known, 5.0).tolist() == []
