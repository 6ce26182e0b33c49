"""What lies between the ground and the sensor on one date: clouds and their shadows, cirrus, haze, snow, the edge of the swath."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from eespark.synthetic.noise import generator, rough_field, smooth_field, subseed

Image = npt.NDArray[np.float32]

CLOUD: Final = (0.62, 0.60, 0.60, 0.61, 0.62, 0.63, 0.65, 0.47, 0.36)
SNOW: Final = (0.80, 0.79, 0.78, 0.77, 0.76, 0.74, 0.71, 0.12, 0.09)
HAZE: Final = (
    0.030,
    0.020,
    0.013,
    0.010,
    0.008,
    0.007,
    0.005,
    0.002,
    0.001,
)  # added reflectance of one unit of haze; falls with wavelength
PATH_TOA: Final = (0.085, 0.055, 0.034, 0.028, 0.024, 0.020, 0.016, 0.004, 0.002)  # of the atmosphere over a dark ground, for L1C
CLOUD_M: Final = 2_400.0
CIRRUS_M: Final = 5_000.0
CLOUD_EDGE: Final = 0.5  # in units of the cloud field: how softly a cloud begins
SWATH_EDGE_SHARE: Final = 0.12  # of the dates on which the swath ends within the tile
SNOW_MONTHS: Final = {12: 0.30, 1: 0.45, 2: 0.40, 3: 0.12}  # share of the dates with snow on the ground
CALIBRATION_SD: Final = 0.012  # of the logarithm of a band on a date: atmospheric correction and calibration


@dataclass(frozen=True)
class Weather:
    """State of one date over one tile.

    Attributes:
        seed: Of its fields.
        cloud_share: Wanted share of opaque cloud.
        cirrus: Greatest opacity of cirrus, 0 without.
        haze: Mean amount of haze.
        snow: Share of the ground under snow.
        shadow_m: East and north displacement of shadows, metres.
        edge: (a, b, c): data where a x + b y >= c, with x and y from 0 in the north-west to 1; None without an edge.
        gain: (9,) factor on reflectance.
    """

    seed: int
    cloud_share: float
    cirrus: float
    haze: float
    snow: float
    shadow_m: tuple[float, float]
    edge: tuple[float, float, float] | None
    gain: tuple[float, ...]


@dataclass(frozen=True)
class Veil:
    """Opacities on a grid, each (rows, cols) float32 in 0..1; haze in units of `HAZE`; brightness of cloud tops around 1."""

    cloud: Image
    shadow: Image
    cirrus: Image
    snow: Image
    haze: Image
    tops: Image


def draw_weather(seed: int, tile_number: int, day: date) -> Weather:
    """The weather of a tile on a day; follows from the three alone."""
    rng = generator(seed, 70, tile_number, day.toordinal())
    kind = rng.random()
    # Two humps, as in the cloud shares of real tiles: nearly clear or nearly overcast, little between.
    share = rng.beta(0.5, 8.0) if kind < 0.45 else rng.beta(7.0, 0.9) if kind < 0.80 else rng.uniform(0.1, 0.9)
    elevation = np.deg2rad(43.0 + 23.4 * np.sin(2 * np.pi * (day.timetuple().tm_yday - 80) / 365.25))
    height = rng.uniform(800.0, 3_500.0)
    azimuth = np.deg2rad(rng.uniform(150.0, 170.0))
    away = height / np.tan(elevation)
    edge = None
    if rng.random() < SWATH_EDGE_SHARE:
        side, slant, reach = rng.choice([-1.0, 1.0]), rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.5)
        edge = (side, side * slant, side * (reach if side > 0 else 1 - reach) + side * slant / 2)
    return Weather(
        seed=subseed(seed, 71, tile_number, day.toordinal()),
        cloud_share=float(np.clip(share, 0.0, 0.995)),
        cirrus=float(rng.uniform(0.05, 0.35)) if rng.random() < 0.3 else 0.0,
        haze=float(rng.gamma(1.5, 0.35)),
        snow=float(rng.beta(2.0, 0.7)) if rng.random() < SNOW_MONTHS.get(day.month, 0.0) else 0.0,
        shadow_m=(float(-np.sin(azimuth) * away), float(-np.cos(azimuth) * away)),
        edge=edge,
        gain=tuple(float(g) for g in np.exp(rng.normal(0, CALIBRATION_SD, 9))),
    )


def veil_of(weather: Weather, x_m: npt.NDArray[np.float64], y_m: npt.NDArray[np.float64]) -> Veil:
    """Opacities on a grid of coordinates; equal wherever two windows meet.

    Args:
        weather: Of the date.
        x_m: (cols,) metres.
        y_m: (rows,) metres.
    """

    def cloud(dx: float, dy: float) -> Image:
        field = rough_field(subseed(weather.seed, 1), x_m - dx, y_m - dy, CLOUD_M, 5)
        limit = -float(ndtri(np.clip(weather.cloud_share, 1e-4, 1 - 1e-4)))
        return np.clip((field - limit) / CLOUD_EDGE + 0.5, 0, 1).astype(np.float32)

    cirrus = smooth_field(subseed(weather.seed, 2), x_m, y_m, CIRRUS_M) + 0.4 * smooth_field(subseed(weather.seed, 3), x_m, y_m, 900.0)
    snow_limit = -float(ndtri(np.clip(weather.snow, 1e-6, 1 - 1e-4)))
    snow = np.clip((rough_field(subseed(weather.seed, 4), x_m, y_m, 700.0, 4) - snow_limit) / 0.5 + 0.5, 0, 1) if weather.snow > 0 else 0.0
    opaque = cloud(0.0, 0.0)
    return Veil(
        cloud=opaque,
        shadow=cloud(*weather.shadow_m) * (1 - opaque),
        cirrus=np.asarray(weather.cirrus * np.clip(0.5 + 0.5 * cirrus, 0, 1), np.float32),
        snow=np.broadcast_to(np.asarray(snow, np.float32), opaque.shape),
        haze=np.asarray(weather.haze * np.clip(1 + 0.35 * smooth_field(subseed(weather.seed, 5), x_m, y_m, 4_000.0), 0, 3), np.float32),
        tops=np.asarray(1 + 0.16 * rough_field(subseed(weather.seed, 6), x_m, y_m, 900.0, 3), np.float32),
    )


def has_data(
    edge: tuple[float, float, float] | None, across: npt.NDArray[np.float64], down: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """(rows, cols): whether the swath reaches the pixel; positions run from 0 to 1 over the whole tile's crop."""
    if edge is None:
        return np.ones((len(down), len(across)), bool)
    a, b, c = edge
    return np.asarray(a * across[None, :] + b * down[:, None] >= c)
