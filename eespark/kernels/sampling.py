"""Where to sample: allocation to classes, inclusion probabilities, draws by hash, parts by ground block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from eespark.errors import SettingsError
from eespark.schema import SPLITS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
UInts = npt.NDArray[np.uint64]

# Sen4CAP's rule by number of parcels of a crop (Sen4CAP ATBD L4A, via the facts of the field).
_SEN4CAP_LARGE: Final = 4_000
_SEN4CAP_MIDDLE: Final = 1_333


def hash_uint64(*keys: npt.ArrayLike) -> UInts:
    """A stable hash of integer keys, the same on every machine and in every version.

    Args:
        keys: Integers or arrays that broadcast against each other.

    Returns:
        uint64 of the broadcast shape.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64's finaliser).
    """
    state: UInts = np.array([0x243F6A8885A308D3], np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            word = np.asarray(key).astype(np.int64).view(np.uint64) if np.asarray(key).dtype != np.uint64 else np.asarray(key)
            state = _mix(np.bitwise_xor(state, _mix(word + np.uint64(0x9E3779B97F4A7C15))))
    return state


def hash_uniform(*keys: npt.ArrayLike) -> Floats:
    """The hash of the keys as a number in [0, 1), uniformly distributed."""
    return (hash_uint64(*keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def hash_text(text: str) -> int:
    """A stable 63-bit number for a text."""
    padded = text.encode() + b"\0" * (-len(text.encode()) % 8)
    words = np.frombuffer(padded, "<u8")
    state = np.uint64(len(text))
    for word in words:
        state = hash_uint64(state, word)[0]
    return int(state >> np.uint64(1))


def _mix(x: UInts) -> UInts:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def allocate(pixels: Mapping[int, int], parcels: Mapping[int, int], total: int, method: str) -> dict[int, int]:
    """How many pixels each class should give.

    Args:
        pixels: Pure pixels by class.
        parcels: Parcels with a pure pixel, by class (used by `capped`).
        total: Pixels wanted in all; fewer come out where classes run dry.
        method: `proportional` to the pure pixels; `equal`, what a poor class lacks going to the others; `capped` as Sen4CAP:
            crops of over 4,000 parcels give 25 %, of 1,333 to 4,000 the pixels of 1,000 parcels, fewer give 75 %, all scaled to `total`.

    Returns:
        Pixels by class, each no more than there are.

    Raises:
        SettingsError: The method is unknown.
    """
    classes = sorted(c for c in pixels if pixels[c] > 0)
    available = np.array([pixels[c] for c in classes], np.float64)
    if method == "proportional":
        wanted = available * min(1.0, total / max(available.sum(), 1.0))
    elif method == "equal":
        wanted = _fill_equally(available, float(total))
    elif method == "capped":
        share = np.array([_sen4cap_share(parcels[c]) for c in classes])
        wanted = available * share
        wanted *= min(1.0, total / max(wanted.sum(), 1.0))
    else:
        raise SettingsError(f"needed an allocation of proportional, equal or capped, found {method!r}")
    return {c: round(min(n, a)) for c, n, a in zip(classes, wanted, available, strict=True)}


def _sen4cap_share(parcels: int) -> float:
    if parcels > _SEN4CAP_LARGE:
        return 0.25
    return 1_000 / parcels if parcels >= _SEN4CAP_MIDDLE else 0.75


def _fill_equally(available: Floats, total: float) -> Floats:
    wanted = np.zeros_like(available)
    open_ = available > 0
    left = min(total, float(available.sum()))
    while left > 1e-9 and open_.any():
        step = min(left / open_.sum(), float((available - wanted)[open_].min()))
        wanted[open_] += step
        left -= step * open_.sum()
        open_ = available - wanted > 1e-9
    return wanted


def class_probability(parcel_pixels: Ints, parcel_counts: Ints, wanted: float, max_per_parcel: int | None) -> float:
    """The probability p of a class such that, on average, `wanted` of its pixels are drawn.

    A pixel of a parcel with n pure pixels is drawn with `min(p, max_per_parcel / n)`, so large parcels give no more than that.

    Args:
        parcel_pixels: (k,) distinct numbers of pure pixels of a parcel.
        parcel_counts: (k,) parcels of each such number.
        wanted: Expected draws.
        max_per_parcel: Expected draws of one parcel at most; None for no limit.

    Returns:
        p in [0, 1]; 1 where even all is not enough.
    """
    cap = np.full(len(parcel_pixels), np.inf) if max_per_parcel is None else max_per_parcel / parcel_pixels

    def expected(p: float) -> float:
        return float((parcel_counts * parcel_pixels * np.minimum(p, np.minimum(cap, 1.0))).sum())

    if expected(1.0) <= wanted:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(middle) < wanted else (low, middle)
    return high


def ground_blocks(x: Floats, y: Floats, block_m: float) -> tuple[Ints, Ints]:
    """Column and row of the square ground block (of a metric CRS) that holds each point."""
    return np.floor(x / block_m).astype(np.int64), np.floor(y / block_m).astype(np.int64)


def assign_blocks(counts: Ints, keys: UInts, shares: Mapping[str, float]) -> list[str]:
    """The part of each ground block, so that every class has its share in every part as nearly as blocks allow.

    Rare classes are placed first: of the blocks that hold the rarest class, in the order of their hashes, each goes to the part that
    lacks most of that class.

    Args:
        counts: (blocks, classes) parcels.
        keys: (blocks,) hashes that break ties and set the order.
        shares: Part -> share of the parcels; they sum to 1.

    Returns:
        Part of each block.

    Source: Sechidis et al. 2011, "On the stratification of multi-label data" (iterative stratification).
    """
    # Settings that list the same shares in another order say the same.
    parts = sorted(shares, key=lambda part: (SPLITS.index(part) if part in SPLITS else len(SPLITS), part))
    share = np.array([shares[p] for p in parts], np.float64)
    if abs(share.sum() - 1.0) > 1e-9 or (share < 0).any():
        raise SettingsError(f"needed shares of parts that sum to 1, found {dict(shares)}")
    lack = share[:, None] * counts.sum(axis=0)[None, :].astype(np.float64)
    part = np.full(len(counts), -1)
    order = np.argsort(keys, kind="stable")
    while (part < 0).any():
        left = counts[part < 0].sum(axis=0)
        if not left.any():
            part[part < 0] = int(np.argmax(share))
            break
        rare = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        for block in order:
            if part[block] < 0 and counts[block, rare] > 0:
                chosen = _most_lacking(lack, rare, share)
                part[block] = chosen
                lack[chosen] -= counts[block]
    _complete_parts(part, counts, order, share)
    return [parts[p] for p in part]


def _complete_parts(part: Ints, counts: Ints, order: Ints, share: Floats) -> None:
    """Give each part a block of each class that it lacks, from a part that keeps all its classes without that block."""
    held = (counts > 0).astype(np.int64)
    rare_first = np.argsort(held.sum(axis=0), kind="stable")
    for column in rare_first:
        for lacking in np.flatnonzero(share > 0):
            blocks = np.array([held[part == p].sum(axis=0) for p in range(len(share))])
            if blocks[lacking, column] or not held[:, column].any():
                continue
            spare = [b for b in order if held[b, column] and not ((blocks[part[b]] == 1) & (held[b] == 1)).any()]
            if spare:
                part[min(spare, key=lambda b: int(counts[b].sum()))] = lacking


def _most_lacking(lack: Floats, column: int, share: Floats) -> int:
    allowed = share > 0
    of_class = np.where(allowed, lack[:, column], -np.inf)
    best = of_class >= of_class.max() - 1e-9
    in_all = np.where(best, lack.sum(axis=1), -np.inf)
    return int(np.argmax(in_all))
