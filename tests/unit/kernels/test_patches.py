"""Patches inside polygons, against every square of small images looked at one by one."""

from __future__ import annotations

import numpy as np
import pytest

from eespark.kernels.patches import patch_places, window_sums


def scene(seed: int, shape: tuple[int, int] = (37, 45)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for number in range(1, 7):
        row, col = rng.integers(0, shape[0] - 5), rng.integers(0, shape[1] - 5)
        labels[row : row + rng.integers(4, 20), col : col + rng.integers(4, 20)] = number
    return labels, rng.random(shape) > 0.002


def by_eye(
    labels: np.ndarray, valid: np.ndarray, size: int, stride: int, purity: float, first_row: int = 0
) -> list[tuple[int, int, int, float]]:
    found = []
    for row in range(labels.shape[0] - size + 1):
        for col in range(0, labels.shape[1] - size + 1, stride):
            if (row + first_row) % stride or not valid[row : row + size, col : col + size].all():
                continue
            square = labels[row : row + size, col : col + size]
            for label in np.unique(square[square > 0]):
                share = float((square == label).mean())
                if share >= purity:
                    found.append((row + first_row, col, int(label), share))
    return found


def told(*args: object) -> list[tuple[int, int, int, float]]:
    places = patch_places(*args)  # type: ignore[arg-type]
    return list(zip(places.rows.tolist(), places.cols.tolist(), places.label.tolist(), places.purity.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("size", "stride", "purity"), [(4, 1, 1.0), (5, 3, 1.0), (6, 2, 0.7), (3, 5, 0.3)])
def test_that_patches_are_those_of_looking_at_every_square(seed: int, size: int, stride: int, purity: float) -> None:
    labels, valid = scene(seed)
    expected = by_eye(labels, valid, size, stride, purity)
    assert expected
    assert told(labels, valid, size, stride, purity) == expected


def test_that_strips_give_each_patch_once() -> None:
    labels, valid = scene(9, (60, 40))
    size, stride = 6, 4
    whole = told(labels, valid, size, stride, 0.8)
    strips = []
    for first in range(0, 60, 17):
        # A strip ends with the patches that begin in it.
        last = min(first + 17 + size - 1, 60)
        strips += [one for one in told(labels[first:last], valid[first:last], size, stride, 0.8, first) if one[0] < first + 17]
    assert strips == whole


def test_that_an_image_smaller_than_a_patch_has_none() -> None:
    labels, valid = np.ones((5, 9), np.int32), np.ones((5, 9), bool)
    assert told(labels, valid, 6, 1, 1.0) == []
    assert told(np.zeros((9, 9), np.int32), np.ones((9, 9), bool), 3, 1, 0.5) == []


def test_that_sums_are_those_of_the_squares() -> None:
    mask = np.random.default_rng(3).random((12, 15)) > 0.5
    rows, cols = np.array([0, 2, 8]), np.array([0, 5, 11])
    expected = [[mask[r : r + 4, c : c + 4].sum() for c in cols] for r in rows]
    np.testing.assert_array_equal(window_sums(mask, 4, rows, cols), expected)
