"""Random changes of series: what they may and may not do."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.train.augment import Batch, Floats, augment, disturb_bands, drop_dates, mix_up, warp_days
from eespark.train.resample import interpolate
from eespark.train.settings import AugmentSettings


def _of(reflectance: Floats, valid: Floats, day: Floats, target: Floats, weight: Floats) -> Batch:
    return Batch({"reflectance": reflectance, "valid": valid, "day": day}, target, weight)


def _same(one: Batch, other: Batch) -> bool:
    pairs = [(one.inputs[name], other.inputs[name]) for name in one.inputs] + [(one.target, other.target), (one.weight, other.weight)]
    return all(np.array_equal(a, b) for a, b in pairs)


def _batch(rows: int = 50, times: int = 12) -> Batch:
    rng = np.random.default_rng(1)
    return _of(
        rng.uniform(0, 5000, (rows, times, 9)).astype(np.float32),
        (rng.random((rows, times)) < 0.7).astype(np.float32),
        np.sort(rng.integers(0, 365, (rows, times)), axis=1).astype(np.float32),
        np.eye(4, dtype=np.float32)[rng.integers(0, 4, rows)],
        rng.uniform(0.5, 2, rows).astype(np.float32),
    )


def test_that_nothing_changes_by_default() -> None:
    batch = _batch()
    changed = augment(batch, AugmentSettings(), 10_000, np.random.default_rng(0))
    assert _same(batch, changed)


def test_that_the_same_generator_gives_the_same_batch() -> None:
    settings = AugmentSettings(temporal_dropout=0.2, time_warp_days=9, band_gain=0.1, band_noise=0.01, mixup=0.4)
    one, other = (augment(_batch(), settings, 10_000, np.random.default_rng(3)) for _ in range(2))
    assert _same(one, other)


def test_that_inputs_are_not_changed() -> None:
    batch, before = _batch(), _batch()
    settings = AugmentSettings(temporal_dropout=0.5, time_warp_days=30, band_gain=0.3, band_noise=0.1, mixup=1.0)
    augment(batch, settings, 10_000, np.random.default_rng(3))
    assert _same(batch, before)


def test_that_dropout_takes_its_share_of_dates_and_adds_none() -> None:
    valid = np.ones((400, 50), np.float32)
    valid[:, :10] = 0
    dropped = drop_dates(valid, 0.25, np.random.default_rng(0))
    assert np.all(dropped <= valid)
    assert dropped.sum() / valid.sum() == pytest.approx(0.75, abs=0.01)


def test_that_a_series_keeps_its_dates_when_fewer_than_three_would_stay() -> None:
    valid = np.tile(np.float32([1, 1, 1, 0]), (20, 1))
    assert np.array_equal(drop_dates(valid, 0.9, np.random.default_rng(0)), valid)


def test_that_warped_days_keep_their_order_and_their_bound() -> None:
    day = np.tile(np.arange(366, dtype=np.float32), (200, 1))
    warped = warp_days(day, 50, np.random.default_rng(0))
    assert np.all(np.diff(warped, axis=1) > 0)
    assert 40 < np.abs(warped - day).max() <= 50.001


def test_that_a_gain_is_one_factor_for_a_band_of_a_series() -> None:
    changed = disturb_bands(np.full((3, 5, 9), 1000, np.float32), 0.1, 0, np.random.default_rng(0))
    assert np.all(changed == changed[:, :1])
    assert len(np.unique(changed[:, 0])) == 27


def test_that_band_noise_has_its_standard_deviation() -> None:
    changed = disturb_bands(np.full((300, 20, 9), 1000, np.float32), 0, 50, np.random.default_rng(0))
    assert changed.std() == pytest.approx(50, rel=0.02)


def test_that_mixed_targets_and_series_have_the_same_share() -> None:
    # Two constant series: the mixed value tells the share.
    values = np.stack([np.full((4, 9), 1000), np.full((4, 9), 3000)]).astype(np.float32)
    days = np.tile(np.float32([0, 10, 20, 30]), (2, 1))
    batch = _of(values, np.ones((2, 4), np.float32), days, np.eye(2, dtype=np.float32), np.ones(2, np.float32))
    shares = []
    for seed in range(10):
        mixed = mix_up(batch, 1.0, np.random.default_rng(seed))
        share = (mixed.inputs["reflectance"][0, 0, 0] - 1000) / 2000
        assert mixed.target[0] == pytest.approx([1 - share, share], abs=1e-5)
        shares.append(share)
    assert max(shares) > 0.1


def test_that_the_partner_is_mixed_at_the_days_of_the_series() -> None:
    # The partner rises by 100 a day; at the days 5 and 15 it is 500 and 1500.
    values = np.stack([np.zeros((2, 9)), np.tile(np.float32([[0], [2000]]), 9)]).astype(np.float32)
    days = np.float32([[5, 15], [0, 20]])
    batch = _of(values, np.ones((2, 2), np.float32), days, np.eye(2, dtype=np.float32), np.ones(2, np.float32))
    seed = next(s for s in range(20) if np.random.default_rng(s).permutation(2)[0] == 1)
    mixed = mix_up(batch, 1.0, np.random.default_rng(seed))
    share = mixed.target[0, 1]
    assert mixed.inputs["reflectance"][0, :, 0] == pytest.approx([500 * share, 1500 * share], rel=1e-4)


def test_that_a_partner_without_dates_changes_nothing() -> None:
    batch = _batch(rows=4)
    empty = Batch(batch.inputs | {"valid": np.zeros_like(batch.inputs["valid"])}, batch.target, batch.weight)
    mixed = mix_up(empty, 1.0, np.random.default_rng(0))
    assert np.array_equal(mixed.target, empty.target)
    assert np.array_equal(mixed.inputs["reflectance"], empty.inputs["reflectance"])


def test_that_interpolation_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    days, values = np.sort(rng.choice(365, (30, 15)), axis=1), rng.uniform(0, 1, (30, 15, 2))
    valid, targets = rng.random((30, 15)) < 0.5, np.arange(-20, 400, 7)
    valid[:, 3] = True
    found = interpolate(days, valid, values, targets)
    for row in range(30):
        _, first = np.unique(days[row, valid[row]], return_index=True)
        if len(first) < valid[row].sum():
            continue  # numpy leaves open what happens where days repeat
        for band in range(2):
            expected = np.interp(targets, days[row, valid[row]], values[row, valid[row], band])
            np.testing.assert_allclose(found[row, :, band], expected, atol=1e-5)


def test_that_a_series_without_a_date_interpolates_to_nan() -> None:
    found = interpolate(np.zeros((2, 3)), np.array([[False] * 3, [False, True, False]]), np.ones((2, 3, 1)), np.array([0.0, 5.0]))
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [[1.0], [1.0]]
