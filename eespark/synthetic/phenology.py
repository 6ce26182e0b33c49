"""Reflectance of each patch of ground on each day: seasons by crop, parcel and year, mixed from fitted spectra.

green(t) = base + sum of double logistics (Zhang et al. 2003, 10.1016/S0034-4257(02)00135-9); dry residue follows the harvest;
the rest is soil. reflectance = brightness x (soil, dry, canopy) . shares x exp(residual of crop + parcel + date).
The parameters stand in `phenology.yaml`, fitted by `benchmarks/fit_phenology.py`; constants below are assumptions, each with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from eespark.synthetic.crops import COVERS, CROPS, KINDS
from eespark.synthetic.noise import Keys, normal, subseed, uniform

Floats = npt.NDArray[np.float64]

YEAR_SHIFT_SD_DAYS: Final = 6.0  # whole region early or late; order of the year-to-year spread of heading dates
YEAR_SHIFT_KIND_SD_DAYS: Final = 3.0  # and by crop
CEREAL_LIKENESS: Final = 0.4  # cereals look alike: only this part of the fitted between-crop covariance is their own
COVER_CROP_SHARE: Final = 0.4  # of parcels before a summer crop: Austrian greening measures
REGROWTH_SHARE: Final = 0.35  # of parcels green again after harvest: volunteers or catch crop
RESIDUE_DAYS: Final = (25.0, 0.5)  # median and sigma of the logarithm: stubble until ploughed
CUT_DAYS: Final = (265.0, 308.0, 350.0)  # three cuts of a meadow; sd 12 days
FLOWER: Final = (
    238.0,
    6.0,
    8.0,
)  # rapeseed: day, its sd, width; d'Andrimont et al. 2020, 10.1016/j.rse.2020.111660, see yellow in B03 and B04
FLOWER_GAIN: Final = (0.02, 0.38, 0.45, 0.20, 0.05, 0.02, 0.0, 0.0, 0.0)  # logarithm, order of BANDS
PERENNIAL_WOBBLE: Final = 0.8  # part of the fitted within-parcel scatter that is slow; the rest is the date residual
SOIL_TONE_SD: Final = 0.12  # of the logarithm of a parcel's soil, beside its brightness
COVER_SCATTER: Final = 0.35  # of the parcels' scatter, for blocks of forest, settlement, water
WATER: Final = (0.035, 0.038, 0.028, 0.022, 0.018, 0.016, 0.014, 0.008, 0.006)
COVER_SEASONS: Final = {"verge": (0.45, 0.25), "forest": (0.45, 0.45), "settlement": (0.18, 0.12), "water": (0.0, 0.0)}  # base, amplitude


@dataclass(frozen=True)
class Traits:
    """What each patch is like through the year; every array has one row a patch.

    Attributes:
        key: (n,) uint64.
        kind: (n,) index of the kind.
        seasons: (n, k, 5) green-up day, its width, ripening day, its width, amplitude.
        base: (n,) green share out of season.
        dry: (n, 3) share of residue after the main season, its day, days it lasts.
        stubble: (n, 2) share of the former crop's residue on 1 September, days it lasts.
        cuts: (n, 3) days of cuts; far away where there are none.
        wobble: (n, 4) amplitude and phase of two slow waves.
        flower: (n,) day of flower; far away where there is none.
        log_bright: (n,) logarithm of brightness.
        log_soil: (n,) logarithm of the soil's tone.
        residual: (n, 9) logarithm by band.
    """

    key: Keys
    kind: npt.NDArray[np.int16]
    seasons: Floats
    base: Floats
    dry: Floats
    stubble: Floats
    cuts: Floats
    wobble: Floats
    flower: Floats
    log_bright: Floats
    log_soil: Floats
    residual: Floats


@cache
def parameters() -> dict[str, Any]:
    """The fitted parameters as committed."""
    text = resources.files("eespark.synthetic").joinpath("phenology.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def draw_traits(seed: int, key: Keys, kind: npt.NDArray[np.int16]) -> Traits:
    """Traits of patches; they follow from the seed and each patch's key alone.

    Args:
        seed: Of the archive.
        key: (n,) keys of the patches.
        kind: (n,) indices of their kinds.
    """
    n, p = len(key), parameters()
    z = [normal(subseed(seed, 50, column), key) for column in range(20)]
    u = [uniform(subseed(seed, 51, column), key) for column in range(6)]
    spec = [_kind_parameters(index) for index in range(len(CROPS) + len(COVERS))]
    group = {
        name: np.array([s[name] for s in spec])[kind] for name in ("sos_sd", "eos_sd", "peak", "peak_sd", "base", "base_sd", "ws", "we")
    }
    perennial, summer = (np.array([s[name] for s in spec])[kind] for name in ("perennial", "summer"))
    mean_seasons = np.stack([s["seasons"] for s in spec])[kind]
    shift = (normal(seed, 52) * YEAR_SHIFT_SD_DAYS + normal(seed, 53, np.arange(len(spec))) * YEAR_SHIFT_KIND_SD_DAYS)[kind]
    amplitude = np.clip(group["peak"] + group["peak_sd"] * z[0], 0.15, 1.05)
    seasons = np.zeros((n, 5, 5))
    seasons[:, :2] = np.stack([
        mean_seasons[:, :, 0] + (shift + group["sos_sd"] * z[1])[:, None],
        np.broadcast_to(group["ws"] * np.exp(0.3 * z[2]), (2, n)).T,
        mean_seasons[:, :, 1] + (shift + group["eos_sd"] * z[3])[:, None],
        np.broadcast_to(group["we"] * np.exp(0.3 * z[4]), (2, n)).T,
        mean_seasons[:, :, 2] * amplitude[:, None],
    ], axis=2)  # fmt: skip
    # A season ripens no sooner than three weeks after its green-up.
    seasons[:, :2, 2] = np.maximum(seasons[:, :2, 2], seasons[:, :2, 0] + 21)
    # Before a summer crop: a catch crop in autumn, killed by frost or plough. After an early harvest: green again.
    # Perennials: last year's season.
    seasons[:, 2] = np.stack(
        [18 + 12 * z[5], np.full(n, 8.0), 150 + 35 * z[6], np.full(n, 9.0), np.where(summer & (u[0] < COVER_CROP_SHARE), 0.5, 0)], 1
    )
    end = seasons[:, :2, 2].max(axis=1)
    seasons[:, 3] = np.stack(
        [end + 38 + 12 * z[7], np.full(n, 8.0), np.full(n, 500.0), np.full(n, 9.0), np.where(u[1] < REGROWTH_SHARE, 0.4, 0)], 1
    )
    seasons[:, 4] = seasons[:, 0] - [365, 0, 365, 0, 0]
    seasons[perennial, 2:4, 4] = 0.0
    seasons[~perennial, 4, 4] = 0.0
    dry_share = np.array([s["dry"] for s in spec])[kind]
    meadow, rape = kind == KINDS.index("meadow"), kind == KINDS.index("rapeseed")
    cover = kind >= len(CROPS)
    wobble_sd = np.where(perennial & ~cover, p["groups"]["grass"]["amp_sd"] * PERENNIAL_WOBBLE, 0.03)
    # A block of forest is many stands: its mean scatters less than a parcel's.
    calm = np.where(cover, COVER_SCATTER, 1.0)
    return Traits(
        key=key, kind=kind, seasons=seasons, base=np.clip(group["base"] + group["base_sd"] * z[8], 0, 0.85),
        dry=np.stack([dry_share * np.exp(0.3 * z[9]), end, RESIDUE_DAYS[0] * np.exp(RESIDUE_DAYS[1] * z[10])], axis=1),
        stubble=np.stack([np.where(perennial, 0, 0.45 * u[2]), RESIDUE_DAYS[0] * np.exp(RESIDUE_DAYS[1] * z[11])], axis=1),
        cuts=np.where(meadow[:, None], np.stack([d + 12 * z[12 + i] for i, d in enumerate(CUT_DAYS)], axis=1) + shift[:, None], 9e3),
        wobble=np.stack([wobble_sd * z[15], 6.28 * u[3], wobble_sd * z[16], 6.28 * u[4]], axis=1),
        flower=np.where(rape, FLOWER[0] + FLOWER[1] * z[17] + shift, -9e3),
        log_bright=np.asarray(p["bright_parcel_sd"] * z[18] * calm), log_soil=SOIL_TONE_SD * z[19],
        residual=_residuals(seed, key, kind) * calm[:, None],
    )  # fmt: skip


def _kind_parameters(index: int) -> dict[str, Any]:
    p = parameters()
    if index >= len(CROPS):
        base, amplitude = COVER_SEASONS[COVERS[index - len(CROPS)]]
        seasons = np.array([[232.0, 412.0, 1.0], [0, 0, 0]])
        scatter = {"sos_sd": 8.0, "eos_sd": 10.0, "peak": amplitude, "peak_sd": 0.06, "base": base, "base_sd": 0.08, "ws": 8.0, "we": 12.0}
        return {"seasons": seasons, "perennial": True, "summer": False, "dry": 0.05, **scatter}
    kind = p["kinds"][KINDS[index]]
    group, seasons = p["groups"][kind["group"]], np.zeros((2, 3))
    seasons[: len(kind["seasons"])] = kind["seasons"]
    out = {
        "seasons": seasons,
        "perennial": kind["group"] in ("grass", "vine", "orchard"),
        "summer": kind["group"] == "summer",
        "dry": kind["dry"],
    }
    if out["perennial"]:
        # Their French calendar is Mediterranean; timing scatter is borrowed from the cereals' ripening, the best determined.
        sd = p["groups"]["cereal"]["eos_sd"]
        return out | {
            "sos_sd": sd,
            "eos_sd": sd,
            "peak": 1.0,
            "peak_sd": 0.2,
            "base": group["base"],
            "base_sd": group["base_sd"],
            "ws": 14.0,
            "we": 14.0,
        }
    scatter = {name: group[name] for name in ("sos_sd", "eos_sd", "peak", "peak_sd")}
    # Weeds and catch crops are modelled apart: out of season an arable parcel is bare but for the summer crops' fitted rest.
    return out | scatter | {"base": 0.02, "base_sd": p["groups"]["summer"]["base_sd"] / 2, "ws": min(group["ws"], 14.0), "we": group["we"]}


def _residuals(seed: int, key: Keys, kind: npt.NDArray[np.int16]) -> Floats:
    p = parameters()
    crop_root, parcel_root = _root(p["residual_crop_cov"]), _root(p["residual_parcel_cov"])
    # Of the kind, not of the seed: wheat has one spectrum in all archives.
    of_kind = normal(20_180_831, np.arange(len(CROPS) + len(COVERS))[:, None], np.arange(9)[None, :]) @ crop_root.T
    cereal = np.array([name in p["kinds"] and p["kinds"][name]["canopy"] == "cereal" for name in (*KINDS, *COVERS)])
    shared = of_kind[cereal].mean(axis=0)
    of_kind[cereal] = np.sqrt(1 - CEREAL_LIKENESS**2) * shared + CEREAL_LIKENESS * of_kind[cereal]
    of_parcel = normal(subseed(seed, 60), key[:, None], np.arange(9)[None, :]) @ parcel_root.T
    return np.asarray(of_kind[kind] + of_parcel)


def _root(covariance: list[list[float]]) -> Floats:
    values, vectors = np.linalg.eigh(np.array(covariance))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def shares(traits: Traits, day: float) -> tuple[Floats, Floats]:
    """Green and dry share of each patch on a day.

    Args:
        traits: Of n patches.
        day: Days since the first day of the crop year.

    Returns:
        (n,) green share, (n,) dry share; the rest is soil.
    """
    s = traits.seasons
    rise, fall = (1 / (1 + np.exp(-np.clip((day - s[:, :, a]) / np.maximum(s[:, :, a + 1], 1.0), -40, 40))) for a in (0, 2))
    season = (s[:, :, 4] * (rise - fall)).sum(axis=1)
    since = day - traits.cuts
    mown = np.where(since >= 0, 0.55 * np.exp(-since / 18.0), 0.0).max(axis=1)
    waves = traits.wobble[:, 0] * np.sin(day / 365 * 6.28 * 2 + traits.wobble[:, 1]) + traits.wobble[:, 2] * np.sin(
        day / 365 * 6.28 * 5 + traits.wobble[:, 3]
    )
    green = np.clip((traits.base + np.maximum(season, 0)) * (1 - mown) + waves, 0.0, 1.0)
    after = day - traits.dry[:, 1]
    # Leaves dry from two weeks before the half fall on; residue goes with the plough.
    residue = traits.dry[:, 0] / (1 + np.exp(-(after + 5) / 5)) * np.exp(-np.maximum(after, 0) / traits.dry[:, 2])
    residue = residue + traits.stubble[:, 0] * np.exp(-day / traits.stubble[:, 1])
    return green, np.minimum(residue, 1 - green)


def reflectance(traits: Traits, day: float, date_seed: int) -> tuple[Floats, Floats]:
    """Reflectance of each patch, and what a little more green would change.

    Args:
        traits: Of n patches.
        day: Days since the first day of the crop year.
        date_seed: Of this date's residuals.

    Returns:
        (n, 9) reflectance in the order of BANDS, and (n, 9) its derivative with respect to the green share.
    """
    p = parameters()
    soil, dry, leaf = (np.array(p["endmembers"][name]) for name in ("soil", "dry", "green"))
    canopies = np.stack(
        [np.array(p["canopy_ratio"][p["kinds"][k]["canopy"]]) for k in KINDS] + [np.array(p["canopy_ratio"]["woody"])] * len(COVERS)
    )
    leaves = leaf * canopies[traits.kind]
    flower = np.exp(-(((day - traits.flower) / FLOWER[2]) ** 2))
    leaves = leaves * np.exp(flower[:, None] * np.array(FLOWER_GAIN))
    green, residue = shares(traits, day)
    ground = soil * np.exp(traits.log_soil)[:, None]
    mixed = (1 - green - residue)[:, None] * ground + residue[:, None] * dry + green[:, None] * leaves
    of_date = normal(date_seed, traits.key[:, None], np.arange(9)[None, :]) @ _root(p["residual_date_cov"]).T
    bright = p["bright_date_sd"] * normal(date_seed, traits.key, 9)
    calm = np.where(traits.kind >= len(CROPS), COVER_SCATTER, 1.0)
    gain = np.exp((traits.log_bright + bright * calm)[:, None] + traits.residual + of_date * calm[:, None])
    water = traits.kind == len(CROPS) + COVERS.index("water")
    mixed, gain = np.where(water[:, None], np.array(WATER), mixed), np.where(water[:, None], np.sqrt(gain), gain)
    slope = np.where(water[:, None], 0.0, leaves - ground)
    return mixed * gain, slope * gain
