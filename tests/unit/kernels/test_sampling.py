import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eespark.errors import SettingsError
from eespark.kernels import sampling


def test_that_the_hash_of_a_key_never_changes():
    # Pinned: a sample set drawn by one release must be drawn again by the next.
    assert sampling.hash_uint64(0, 0)[0] != sampling.hash_uint64(0, 1)[0]
    assert [int(v) for v in sampling.hash_uint64(7, np.array([0, 1, -1]))] == PINNED


PINNED = [4355998506621591653, 8480498894185127579, 16421282618982451002]


def test_that_hashes_are_uniform_and_keys_are_independent():
    u = sampling.hash_uniform(1, np.arange(200)[:, None], np.arange(500)[None, :])
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(np.histogram(u, 10, (0, 1))[0] - 10_000).max() < 400
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.01
    other = sampling.hash_uniform(2, np.arange(200)[:, None], np.arange(500)[None, :])
    assert abs(np.corrcoef(u.ravel(), other.ravel())[0, 1]) < 0.01


def test_that_proportional_allocation_keeps_the_prior():
    assert sampling.allocate({1: 6_000, 2: 3_000, 3: 1_000}, {}, 1_000, "proportional") == {1: 600, 2: 300, 3: 100}


def test_that_no_class_gives_more_than_it_has():
    assert sampling.allocate({1: 60, 2: 30}, {}, 1_000, "proportional") == {1: 60, 2: 30}


def test_that_equal_allocation_gives_what_a_poor_class_lacks_to_the_others():
    assert sampling.allocate({1: 1_000, 2: 1_000, 3: 100}, {}, 900, "equal") == {1: 400, 2: 400, 3: 100}


def test_that_capped_allocation_follows_the_rule_of_sen4cap():
    # 8,000 parcels give a quarter, 2,000 parcels the pixels of 1,000, 100 parcels three quarters.
    wanted = sampling.allocate({1: 80_000, 2: 20_000, 3: 1_000}, {1: 8_000, 2: 2_000, 3: 100}, 10**9, "capped")
    assert wanted == {1: 20_000, 2: 10_000, 3: 750}


def test_that_an_unknown_allocation_is_refused():
    with pytest.raises(SettingsError, match="'best'"):
        sampling.allocate({1: 1}, {1: 1}, 1, "best")


def test_that_the_class_probability_draws_what_is_wanted_under_the_cap():
    # 10 parcels of 100 pixels and 10 of 10; at most 5 a parcel: the large give 5 each whatever p, so the small must give 30: p = 0.3.
    p = sampling.class_probability(np.array([100, 10]), np.array([10, 10]), 80.0, 5)
    assert p == pytest.approx(0.3)


def test_that_without_a_cap_the_class_probability_is_the_sampling_fraction():
    assert sampling.class_probability(np.array([100, 10]), np.array([10, 10]), 110.0, None) == pytest.approx(0.1)


def test_that_the_class_probability_is_one_where_all_is_not_enough():
    assert sampling.class_probability(np.array([10]), np.array([3]), 100.0, None) == 1.0


def test_that_ground_blocks_are_squares_also_west_of_the_origin():
    cols, rows = sampling.ground_blocks(np.array([-1.0, 0.0, 1999.0]), np.array([0.0, 2000.0, -2001.0]), 2000.0)
    assert cols.tolist() == [-1, 0, 0]
    assert rows.tolist() == [0, 1, -2]


@example(249, 12)  # the greedy pass alone leaves a class out
@given(st.integers(0, 1000), st.integers(12, 60))
def test_that_a_class_with_enough_blocks_is_in_every_part(seed, blocks):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(3, (blocks, 4)).astype(np.int64)
    counts[:, 3] = 0
    counts[rng.choice(blocks, 3, replace=False), 3] = 1  # as rare as can be: one block a part
    parts = np.array(
        sampling.assign_blocks(counts, sampling.hash_uint64(seed, np.arange(blocks)), {"train": 0.6, "validation": 0.2, "test": 0.2})
    )
    for name in ("train", "validation", "test"):
        assert (counts[parts == name].sum(axis=0) > 0)[:3].all()
    assert counts[parts == "train"][:, 3].sum() >= 1


def test_that_parts_have_their_shares_of_each_class():
    rng = np.random.default_rng(5)
    counts = rng.poisson(10, (400, 5)).astype(np.int64)
    parts = np.array(
        sampling.assign_blocks(counts, sampling.hash_uint64(1, np.arange(400)), {"train": 0.7, "validation": 0.1, "test": 0.2})
    )
    share = counts[parts == "test"].sum(axis=0) / counts.sum(axis=0)
    assert np.abs(share - 0.2).max() < 0.02


def test_that_the_order_in_which_shares_are_listed_changes_nothing():
    counts = np.random.default_rng(3).poisson(2, (60, 4)).astype(np.int64)
    keys = sampling.hash_uint64(1, np.arange(60))
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    found = sampling.assign_blocks(counts, keys, shares)
    assert sampling.assign_blocks(counts, keys, dict(sorted(shares.items()))) == found
    assert sampling.assign_blocks(counts, keys, dict(reversed(shares.items()))) == found


def test_that_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(SettingsError, match="sum to 1"):
        sampling.assign_blocks(np.ones((2, 1), np.int64), sampling.hash_uint64(0, np.arange(2)), {"train": 0.7, "test": 0.2})
