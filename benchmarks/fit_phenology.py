"""Fit the parameters of the synthetic archive to real French parcels and write `eespark/synthetic/phenology.yaml`.

    python benchmarks/fit_phenology.py FOLDER_OF_TIMESERIES

The folder holds `2022_FRA_LPIS_POLY_110.geoparquet` (500 parcels, 17 monthly Sentinel-2 composites, reflectance x 10,000) and
`class_mappings.json`. All parcels lie on Corsica: few arable crops, Mediterranean seasons. Fitted are therefore: end-member
spectra, canopy spectra by group, amplitudes and widths of the seasons, and every between-parcel scatter. Calendars (days of
green-up and ripening) are those of Central Europe and are marked `assumed`. Run once; the result is frozen and hashed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml
from scipy.optimize import least_squares, nnls

FILE = "2022_FRA_LPIS_POLY_110.geoparquet"
SOURCE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
CEREALS = ("wheat", "barley", "spring_barley", "oats", "spring_oats")
SUMMER = ("maize", "sorghum", "sunflower", "sugarbeet")
OUT = Path(__file__).parents[1] / "eespark" / "synthetic" / "phenology.yaml"

# kind: (class id, canopy, scatter group, seasons (green-up day, ripening day, share of the group's amplitude), dry share, borrowed from)
# Days count from 1 September. Green-up is the day of half rise, ripening that of half fall.
KINDS: dict[str, tuple[int, str, str, list[tuple[int, int, float]], float, str]] = {
    "pea": (0, "herb", "cereal", [(244, 304, 0.95)], 0.5, "cereals (8 parcels), canopy of legumes and vegetables"),
    "meadow": (1, "grass", "grass", [(205, 440, 0.55)], 0.15, "grasslands (level and scatter; calendar and swing assumed)"),
    "pasture": (1, "grass", "grass", [(215, 430, 0.40)], 0.25, "grasslands (level and scatter; calendar and swing assumed)"),
    "grain_maize": (2, "tall", "summer", [(281, 384, 1.0)], 0.5, "maize and sorghum"),
    "silage_maize": (2, "tall", "summer", [(284, 371, 1.0)], 0.15, "maize and sorghum"),
    "potato": (3, "herb", "summer", [(274, 337, 0.92)], 0.3, "maize, sorghum, sunflower, beet; canopy of vegetables"),
    "sunflower": (4, "tall", "summer", [(273, 349, 0.95)], 0.5, "maize, sorghum, sunflower (1), beet"),
    "soy": (5, "herb", "summer", [(286, 366, 1.0)], 0.4, "maize, sorghum, sunflower, beet; canopy of legumes"),
    "winter_barley": (6, "cereal", "cereal", [(45, 281, 0.30), (208, 281, 0.70)], 0.6, "barley (4) and all cereals (8)"),
    "rye": (8, "cereal", "cereal", [(38, 297, 0.30), (210, 297, 0.70)], 0.6, "all cereals (8)"),
    "rapeseed": (9, "herb", "cereal", [(25, 296, 0.60), (208, 296, 0.40)], 0.5, "cereals; canopy of vegetables; flower assumed"),
    "beet": (10, "herb", "summer", [(276, 430, 1.0)], 0.1, "beet (1), maize, sorghum, sunflower"),
    "spring_barley": (11, "cereal", "cereal", [(237, 303, 1.0)], 0.6, "spring barley (2), spring oats (2), all cereals (8)"),
    "oat": (11, "cereal", "cereal", [(241, 308, 1.0)], 0.6, "oats (3), all cereals (8)"),
    "winter_wheat": (12, "cereal", "cereal", [(65, 303, 0.20), (217, 303, 0.80)], 0.6, "wheat (1), all cereals (8)"),
    "durum": (12, "cereal", "cereal", [(70, 299, 0.15), (219, 299, 0.85)], 0.6, "wheat (1), all cereals (8)"),
    "triticale": (13, "cereal", "cereal", [(50, 301, 0.25), (213, 301, 0.75)], 0.6, "all cereals (8)"),
    "vineyard": (14, "woody", "vine", [(256, 410, 0.25)], 0.1, "grapes (level and scatter; calendar and swing assumed)"),
    "orchard": (14, "woody", "orchard", [(222, 425, 0.35)], 0.1,
    "permanent crops and nuts (level and scatter; calendar and swing assumed)"),
    "oil_pumpkin": (15, "herb", "summer", [(290, 352, 0.90)], 0.3, "maize, sorghum, sunflower, beet; canopy of vegetables"),
    "vegetables": (15, "herb", "summer", [(262, 330, 0.80)], 0.1, "summer crops; canopy of vegetables"),
    "poppy": (15, "herb", "cereal", [(228, 300, 0.80)], 0.5, "cereals; canopy of vegetables"),
}  # fmt: skip


def load(folder: Path) -> pd.DataFrame:
    """Samples with reflectance 0..1, crop names and NDVI; no-data rows are out."""
    table = pd.read_parquet(folder / FILE)
    maps = json.loads((folder / "class_mappings.json").read_text())
    code = table["ewoc_code"].astype(str)
    out = table[["sample_id", "timestamp", "slope"]].copy()
    for band in SOURCE_BANDS:
        out[band] = table[f"S2-L2A-{band}"].astype(float).where(table[f"S2-L2A-{band}"] != 65535) / 1e4
    out["crop"], out["land"] = code.map(maps["CROPTYPE28"]), code.map(maps["LANDCOVER10"])
    out["detail"] = code.map(maps["CROPTYPE_INSEASON_FRANCE"])
    out = out.dropna(subset=list(SOURCE_BANDS))
    out = out[(out[list(SOURCE_BANDS)] > 0.001).all(axis=1)]
    out["ndvi"] = (out["B08"] - out["B04"]) / (out["B08"] + out["B04"])
    return out[~out["land"].isin(["wetlands", "built_up"])].reset_index(drop=True)


def groups(table: pd.DataFrame) -> pd.Series:
    """Group of each sample: cereal, summer, grass, woody, herb or none."""
    group = pd.Series("none", index=table.index)
    group[table["land"].isin(["grasslands", "temporary_grasses"])] = "grass"
    group[table["land"].isin(["permanent_crops", "trees"])] = "woody"
    group[table["detail"] == "grapes"] = "vine"
    group[table["detail"].isin(["permanent_crops", "nuts"])] = "orchard"
    group[table["detail"].isin(["vegetables_fruits"]) & (table["land"] != "permanent_crops")] = "herb"
    group[table["crop"].isin(["dry_pulses_legumes", "vegetables_fruits"])] = "herb"
    group[table["crop"].isin(CEREALS)] = "cereal"
    group[table["crop"].isin(SUMMER)] = "summer"
    return group


def endmembers(table: pd.DataFrame) -> np.ndarray:
    """(3, 9) soil, dry and green spectra: the purest samples of the cloud."""
    bands, month = list(SOURCE_BANDS), table["timestamp"].dt.month
    bare = table[(table["land"] == "temporary_crops") | table["detail"].isin(["vegetables_fruits", "grapes"])]
    soil = bare[bare["ndvi"] < 0.2][bands].mean()
    dry = table[(table["group"] == "grass") & month.isin([7, 8, 9]) & (table["ndvi"] < 0.35)][bands].mean()
    tall = table[(table["group"].isin(["summer", "cereal", "grass", "herb"])) & (table["ndvi"] > 0.88)][bands].mean()
    return np.stack([soil, dry, tall])


def unmix(table: pd.DataFrame, ends: np.ndarray) -> pd.DataFrame:
    """Adds fractions soil, dry, green (sum 1), log brightness, and the log residual of each band."""
    values = table[list(SOURCE_BANDS)].to_numpy()
    weight = 1.0 / ends.mean(axis=0)
    shares = np.stack([nnls((ends * weight).T, row * weight)[0] for row in values])
    total = shares.sum(axis=1, keepdims=True)
    fit = shares @ ends
    out = table.assign(soil=shares[:, 0] / total[:, 0], dry=shares[:, 1] / total[:, 0], green=shares[:, 2] / total[:, 0])
    out["bright"] = np.log(total[:, 0])
    residual = np.log(values / fit)
    return out.join(pd.DataFrame(residual, index=out.index, columns=[f"r_{b}" for b in SOURCE_BANDS]))


def season(day: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Double logistic: base, amplitude, green-up, its width, ripening, its width."""
    return p[0] + p[1] * (1 / (1 + np.exp(-(day - p[2]) / p[3])) - 1 / (1 + np.exp(-(day - p[4]) / p[5])))


def fit_seasons(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """Double logistic of the green fraction of each parcel of a group, over January to December 2022."""
    rows = []
    for name, part in table[table["group"] == group].groupby("sample_id"):
        day = (part["timestamp"] - pd.Timestamp("2021-09-01")).dt.days.to_numpy() + 15.0
        keep = (day > 122) & (day < 450)
        if keep.sum() < 8:
            continue
        green, day = part["green"].to_numpy()[keep], day[keep]
        peak = day[green.argmax()]
        start = np.array([max(green.min(), 0.01), np.ptp(green) + 0.05, peak - 40, 12.0, peak + 40, 12.0])
        lower = np.array([0.0, 0.05, peak - 130, 4, peak, 4])
        upper = np.array([0.6, 1.1, peak + 5, 30, peak + 130, 30])
        result = least_squares(
            lambda p, d=day, g=green: season(d, p) - g, np.clip(start, lower + 1e-3, upper - 1e-3), bounds=(lower, upper)
        )
        sos, eos, base = half_rise(day, green)
        rows.append([name, base, green.max(), sos, result.x[3], eos, result.x[5]])
    return pd.DataFrame(rows, columns=["sample_id", "base", "peak", "sos", "ws", "eos", "we"])


def half_rise(day: np.ndarray, green: np.ndarray) -> tuple[float, float, float]:
    """Days of half rise and half fall around the peak, and the lowest level of the half year before it.

    Read from the curve, not from the fit: with monthly composites the fit trades green-up against base and amplitude.
    """
    top = int(green.argmax())
    fine = np.arange(day[0], day[-1] + 1.0)
    curve = np.interp(fine, day, green)
    peak = int(np.searchsorted(fine, day[top]))
    before, after = curve[: peak + 1], curve[peak:]
    base = float(before[-180:].min())
    rising = np.flatnonzero(before < (base + green[top]) / 2)
    falling = np.flatnonzero(after < (after.min() + green[top]) / 2)
    return float(fine[rising[-1]] if rising.size else fine[0]), float(fine[peak + falling[0]] if falling.size else fine[-1]), base


def season_scatter(fits: pd.DataFrame, crops: pd.Series) -> dict[str, float]:
    """Medians, and standard deviations within crops, of the season parameters."""
    within = fits.assign(crop=fits["sample_id"].map(crops))
    many = within.groupby("crop").filter(lambda part: len(part) > 1)
    frame = many if len(many) >= 5 else within.assign(crop="all")
    out: dict[str, float] = {"parcels": len(fits)}
    for name in ("base", "peak", "sos", "ws", "eos", "we"):
        centred = frame[name] - frame.groupby("crop")[name].transform("mean")
        degrees = len(frame) - frame["crop"].nunique()
        out[name] = round(float(fits[name].median()), 3)
        out[f"{name}_sd"] = round(float(np.sqrt((centred**2).sum() / max(degrees, 1))), 3)
    return out


def level_scatter(table: pd.DataFrame, group: str) -> dict[str, float]:
    """Level, seasonal swing and scatter of a perennial group's green fraction around its monthly mean."""
    part = table[table["group"] == group]
    month = part["timestamp"].dt.month
    centred = part["green"] - part.groupby(month)["green"].transform("mean")
    parcel = centred.groupby(part["sample_id"]).mean()
    inner = centred - part["sample_id"].map(parcel)
    monthly = part.groupby(month)["green"].mean()
    return {
        "parcels": int(part["sample_id"].nunique()), "base": round(float(monthly.min()), 3), "amp": round(float(np.ptp(monthly)) * 2, 3),
        "base_sd": round(float(parcel.std()), 3), "amp_sd": round(float(inner.std()), 3),
    }  # fmt: skip


def main(folder: Path) -> None:
    table = load(folder)
    table["group"] = groups(table)
    table = unmix(table, ends := endmembers(table))
    bands = list(SOURCE_BANDS)
    residuals = table[[f"r_{b}" for b in bands]].to_numpy()
    # Flat parcels only: the archive's land is flat, and light on slopes is no property of a crop.
    cropland = (table["group"].isin(["cereal", "summer", "herb", "grass"]) & (table["slope"] <= 3)).to_numpy()
    group_mean = table.groupby("group")[[f"r_{b}" for b in bands]].transform("mean").to_numpy()
    parcel_mean = table.groupby("sample_id")[[f"r_{b}" for b in bands]].transform("mean").to_numpy()
    common = table.assign(**{f"r_{b}": residuals[:, i] - parcel_mean[:, i] for i, b in enumerate(bands)})
    residuals = residuals - common.groupby(["group", "timestamp"])[[f"r_{b}" for b in bands]].transform("mean").to_numpy()
    first = ~table["sample_id"].duplicated().to_numpy() & cropland
    canopy: dict[str, Any] = {}
    for name, source in {"cereal": "cereal", "tall": "summer", "grass": "grass", "woody": "orchard", "herb": "herb"}.items():
        part = table[table["group"] == source]
        best = part[part["green"] > part["green"].quantile(0.85)]
        canopy[name] = best[bands].mean() / (best[["soil", "dry", "green"]].to_numpy() @ ends * np.exp(best[["bright"]].to_numpy())).mean(
            axis=0
        )
    crops = table.drop_duplicates("sample_id").set_index("sample_id")["crop"]
    table["bright"] -= table.groupby(["group", "timestamp"])["bright"].transform("mean")
    bright_parcel = table.groupby("sample_id")["bright"].mean()
    scatter = {
        "residual_crop_cov": crop_cov(table),
        "within_field_ndvi_sd": field_scatter(folder),
        "residual_parcel_cov": np.cov((parcel_mean - group_mean)[first].T),
        "residual_date_cov": np.cov((residuals - parcel_mean)[cropland].T),
        "bright_parcel_sd": bright_parcel[table.loc[first, "sample_id"]].std(),
        "bright_date_sd": (table["bright"] - table["sample_id"].map(bright_parcel))[cropland].std(),
    }
    seasons = {g: season_scatter(fit_seasons(table, g), crops) for g in ("cereal", "summer")}
    seasons |= {g: level_scatter(table, g) for g in ("grass", "vine", "orchard")}
    write(table, ends, canopy, scatter, seasons)


def crop_cov(table: pd.DataFrame) -> np.ndarray:
    """Covariance between crops of the mean log residual of well vegetated samples, sampling error taken off."""
    part = table[(table["green"] > 0.5) & table["detail"].notna()]
    columns = [f"r_{b}" for b in SOURCE_BANDS]
    parcel = part.groupby(["detail", "sample_id"])[columns].mean()
    sizes = parcel.groupby("detail").size()
    crops = sizes[sizes >= 6].index
    chosen = parcel[parcel.index.get_level_values("detail").isin(crops)]
    inner = (chosen - chosen.groupby("detail").transform("mean")).to_numpy()
    error = inner.T @ inner / (len(chosen) - len(crops)) * float((1 / sizes[crops]).mean())
    values, vectors = np.linalg.eigh(np.cov(chosen.groupby("detail").mean().to_numpy().T) - error)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def field_scatter(folder: Path) -> float:
    """Median over clear dates of the standard deviation of NDVI within one real field (33 dates of 2019)."""
    with h5py.File(folder / "raw_s2_ndvi_field.nc") as file:
        ndvi, scl = file["NDVI"][:], file["SCL"][:]
    clear = np.isin(scl, [4, 5])
    return float(np.median([np.nanstd(n[c]) for n, c in zip(ndvi, clear, strict=True) if c.mean() > 0.7]))


def with_b8a(values: np.ndarray, *, log: bool = False) -> list[float]:
    """Nine values in the order of TimeSen2Crop: B08 gives B8A, extrapolated by the slope B07 -> B08 (783 -> 833 -> 865 nm)."""
    v = np.array(values, dtype=float)
    if not log:
        v[6] = v[6] + (v[6] - v[5]) * (865 - 833) / (833 - 783)
    return [round(float(x), 4) for x in v]


def write(table: pd.DataFrame, ends: np.ndarray, canopy: dict[str, Any], scatter: dict[str, Any], seasons: dict[str, Any]) -> None:
    """The parameters as YAML."""
    content = {
        "source": "fitted by benchmarks/fit_phenology.py to 2022_FRA_LPIS_POLY_110 (WorldCereal reference data, Corsica, 500 parcels, "
        "contains modified Copernicus Sentinel data); B8A from B08; calendars assumed for Central Europe, see `borrowed`",
        "parcels": int(table["sample_id"].nunique()),
        "bands": ["B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12"],
        "endmembers": {name: with_b8a(row) for name, row in zip(("soil", "dry", "green"), ends, strict=True)},
        "canopy_ratio": {name: with_b8a(ratio, log=True) for name, ratio in canopy.items()},
        "bright_parcel_sd": round(float(scatter["bright_parcel_sd"]), 4),
        "bright_date_sd": round(float(scatter["bright_date_sd"]), 4),
        "within_field_ndvi_sd": round(scatter["within_field_ndvi_sd"], 4),
        "residual_crop_cov": [[round(float(x), 6) for x in row] for row in scatter["residual_crop_cov"]],
        "residual_parcel_cov": [[round(float(x), 6) for x in row] for row in scatter["residual_parcel_cov"]],
        "residual_date_cov": [[round(float(x), 6) for x in row] for row in scatter["residual_date_cov"]],
        "groups": seasons,
        "kinds": {
            name: {"class_id": k[0], "canopy": k[1], "group": k[2], "seasons": [list(s) for s in k[3]], "dry": k[4], "borrowed": k[5]}
            for name, k in KINDS.items()
        },
    }
    OUT.write_text(
        "# Parameters of the synthetic archive; frozen: a change is a new archive. Days count from 1 September.\n"
        + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=150, allow_unicode=True),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
