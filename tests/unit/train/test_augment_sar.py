"""Random changes of patches: what a radar allows, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.train.augment import Batch
from eespark.train.augment_sar import add_speckle, augment_patches, change_gain, flip_lines, mix_patches, move_noise_floor, shift_incidence
from eespark.train.settings import SarAugmentSettings

SLOPE = np.float32([-0.25, -0.15])
EVERYTHING = SarAugmentSettings(flip_azimuth=True, speckle_looks=10, noise_floor=1e-3, gain_db=1, incidence_deg=2, mixup=0.4)


def _batch(rows: int = 40, size: int = 6) -> Batch:
    rng = np.random.default_rng(1)
    inputs = {
        "sigma": rng.uniform(0.01, 0.2, (rows, size, size, 2)).astype(np.float32),
        "incidence": np.tile(np.linspace(25, 26, size, dtype=np.float32), (rows, 1)),
    }
    return Batch(inputs, np.eye(3, dtype=np.float32)[rng.integers(0, 3, rows)], np.ones(rows, np.float32))


def _same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(one.inputs[n], other.inputs[n]) for n in one.inputs) and np.array_equal(one.target, other.target)


def test_that_nothing_changes_by_default() -> None:
    assert _same(augment_patches(_batch(), SarAugmentSettings(), SLOPE, np.random.default_rng(0)), _batch())


def test_that_the_same_generator_gives_the_same_batch_and_leaves_its_input() -> None:
    batch = _batch()
    one, other = (augment_patches(batch, EVERYTHING, SLOPE, np.random.default_rng(3)) for _ in range(2))
    assert _same(one, other)
    assert not _same(one, batch)
    assert _same(batch, _batch())
    assert {values.dtype for values in one.inputs.values()} == {np.dtype(np.float32)}


def test_that_only_the_order_of_lines_is_turned() -> None:
    batch = _batch(200)
    sigma, told = batch.inputs["sigma"], flip_lines(batch, np.random.default_rng(0))
    found = told.inputs["sigma"]
    np.testing.assert_array_equal(told.target, batch.target)
    turned = (found == sigma[:, ::-1]).all(axis=(1, 2, 3))
    same = (found == sigma).all(axis=(1, 2, 3))
    assert (turned ^ same).all()
    assert 70 < turned.sum() < 130


def test_that_labels_of_looks_turn_with_the_looks() -> None:
    batch, rng = _batch(50), np.random.default_rng(1)
    label = rng.integers(0, 3, batch.inputs["sigma"].shape[:3])
    by_look = Batch(batch.inputs, np.eye(3, dtype=np.float32)[label], label.astype(np.float32))
    told = flip_lines(by_look, np.random.default_rng(0))
    turned = (told.inputs["sigma"] == batch.inputs["sigma"][:, ::-1]).all(axis=(1, 2, 3))
    assert 15 < turned.sum() < 35
    expected = np.where(turned[:, None, None], label[:, ::-1], label)
    np.testing.assert_array_equal(told.target.argmax(axis=-1), expected)
    np.testing.assert_array_equal(told.weight, expected)
    mixed = mix_patches(by_look, 1.0, np.random.default_rng(2))
    np.testing.assert_allclose(mixed.target.sum(axis=-1), 1, atol=1e-5)
    assert mixed.weight.shape == label.shape


def test_that_power_falls_by_the_slope_when_the_angle_is_moved() -> None:
    batch = _batch(500)
    sigma, incidence = shift_incidence(*batch.inputs.values(), 2.0, SLOPE, np.random.default_rng(0))
    moved = incidence - batch.inputs["incidence"]
    assert np.ptp(moved, axis=1).max() < 1e-4  # one offset a patch
    assert moved[:, 0].std() == pytest.approx(2.0, rel=0.1)
    change = 10 * np.log10(sigma / batch.inputs["sigma"])
    np.testing.assert_allclose(change, np.broadcast_to((moved[:, :1] * SLOPE)[:, None, None, :], change.shape), atol=1e-3)


def test_that_the_gain_is_one_factor_for_a_band_of_a_patch() -> None:
    sigma = _batch(3_000).inputs["sigma"]
    change = 10 * np.log10(change_gain(sigma, 1.5, np.random.default_rng(0)) / sigma)
    assert np.ptp(change, axis=(1, 2)).max() < 1e-4
    assert change[:, 0, 0].std(axis=0) == pytest.approx([1.5, 1.5], rel=0.06)
    assert np.corrcoef(change[:, 0, 0].T)[0, 1] == pytest.approx(0, abs=0.08)


def test_that_the_noise_floor_moves_as_one() -> None:
    sigma = np.zeros((2_000, 3, 3, 2), np.float32)
    found = move_noise_floor(sigma, 1e-3, np.random.default_rng(0))
    assert np.ptp(found, axis=(1, 2)).max() == 0
    assert found[:, 0, 0].std(axis=0) == pytest.approx([1e-3, 1e-3], rel=0.1)
    assert np.corrcoef(found[:, 0, 0].T)[0, 1] == pytest.approx(0, abs=0.1)


def test_that_speckle_keeps_the_mean_and_has_the_variance_of_its_looks() -> None:
    found = add_speckle(np.full((100, 20, 20, 2), 0.1, np.float32), 8.0, np.random.default_rng(0))
    assert found.mean() == pytest.approx(0.1, rel=0.01)
    assert (found.std() / found.mean()) ** 2 == pytest.approx(1 / 8, rel=0.03)


def test_that_patches_targets_and_angles_are_mixed_by_the_same_share() -> None:
    inputs = {
        "sigma": np.float32([0.1, 0.3])[:, None, None, None] * np.ones((1, 2, 2, 2), np.float32),
        "incidence": np.float32([[20, 20], [40, 40]]),
    }
    batch = Batch(inputs, np.eye(2, dtype=np.float32), np.float32([1, 3]))
    seed = next(s for s in range(20) if np.random.default_rng(s).permutation(2)[0] == 1)
    mixed = mix_patches(batch, 1.0, np.random.default_rng(seed))
    share = mixed.target[0, 1]
    assert 0.05 < share < 0.95
    assert mixed.inputs["sigma"][0, 0, 0] == pytest.approx([0.1 + 0.2 * share] * 2, rel=1e-4)
    assert mixed.inputs["incidence"][0, 0] == pytest.approx(20 + 20 * share, rel=1e-4)
    assert mixed.weight[0] == pytest.approx(1 + 2 * share, rel=1e-4)
