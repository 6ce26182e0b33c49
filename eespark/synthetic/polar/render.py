"""Digital numbers of a synthetic scene: surfaces seen at their incidence angle, with texture, speckle and noise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.special import ndtri

from eespark.kernels.sar_noise import noise_window
from eespark.kernels.sar_tables import Floats, LookUpTable, Window, table_window
from eespark.sar_geometry import SceneGeometry
from eespark.synthetic.noise import generator, normal, rough_field, smooth_field, subseed
from eespark.synthetic.polar import backscatter
from eespark.synthetic.polar.backscatter import DEFORMED, ICEBERG_DB, LOOKS, OPEN_WATER, REFERENCE_DEG, SURFACES
from eespark.synthetic.polar.ice import CRS, Bergs, Sea, Truth, bergs_of, state_of
from eespark.synthetic.polar.instrument import Instrument

GROUND_M: Final = 40.0
_NODES_PX: Final = 64
_STRIP: Final = 512
_MARGIN_M: Final = 400.0
GRAIN_M, PATCH_M, RIDGE_M, WIND_M = 100.0, 600.0, 900.0, 9_000.0
Decibels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """What a scene sees on its date, on a grid of ground coordinates, brightness at the reference angle without slope.

    Attributes:
        x: (cols,) metres in `CRS`.
        y: (rows,) metres in `CRS`.
        truth: Kinds and floes.
        decibels: By band, (rows, cols).
        bergs: Icebergs.
    """

    x: Floats
    y: Floats
    truth: Truth
    decibels: dict[str, Decibels]
    bergs: Bergs


@dataclass(frozen=True)
class Placement:
    """Ground coordinates of the pixels of a scene: x and y (metres in `CRS`, from an origin) by line and sample."""

    origin: tuple[float, float]
    x: LookUpTable
    y: LookUpTable

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least and largest x and y, metres."""
        x, y = self.x.values + self.origin[0], self.y.values + self.origin[1]
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def place_scene(geometry: SceneGeometry) -> Placement:
    """Where the pixels lie, from points every few dozen of them; between them the ground is straight to a hundredth of a pixel."""
    lines, samples = (np.append(np.arange(0, count - 1, _NODES_PX), count - 1).astype(np.float64) for count in geometry.shape)
    rows, cols = np.meshgrid(lines, samples, indexing="ij")
    longitude, latitude = geometry.to_ground(rows, cols, 0.0)
    x, y = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(longitude, latitude)
    origin = float(np.mean(x)), float(np.mean(y))
    return Placement(origin, LookUpTable(lines, samples, np.asarray(x) - origin[0]), LookUpTable(lines, samples, np.asarray(y) - origin[1]))


def see_ground(sea: Sea, day: date, bounds: tuple[float, float, float, float]) -> Ground:
    """The ground within bounds (metres in `CRS`) on a date."""
    x, y = (
        np.arange(np.floor((low - _MARGIN_M) / GROUND_M), np.ceil((high + _MARGIN_M) / GROUND_M) + 1) * GROUND_M
        for low, high in ((bounds[0], bounds[2]), (bounds[1], bounds[3]))
    )
    truth = state_of(sea, day, x, y)
    decibels = {band: _brightness(sea, day, x, y, truth, band) for band in ("HH", "HV")}
    return Ground(x, y, truth, decibels, bergs_of(sea, day, bounds))


def render_band(
    ground: Ground, placement: Placement, geometry: SceneGeometry, instrument: Instrument, band: str, seed: int
) -> npt.NDArray[np.uint16]:
    """(lines, samples) digital numbers of a band."""
    lines, samples = geometry.shape
    image = np.empty((lines, samples), np.uint16)
    seen = surface_brightness(ground, band)
    incidence = geometry.incidence_table()
    for start in range(0, lines, _STRIP):
        window = Window(start, 0, min(_STRIP, lines - start), samples)
        sigma = sigma_nought_of(ground, seen, placement, incidence, band, window)
        power = sigma * table_window(instrument.calibration, window) ** 2 + noise_window(instrument.true_noise, window)
        # Speckle acts on signal and noise together, for the two are one voltage.
        speckle = generator(seed, start).gamma(LOOKS, 1 / LOOKS, power.shape)
        image[start : start + window.rows] = np.clip(np.rint(np.sqrt(power * speckle)), 1, 65_535)
    return image


def surface_brightness(ground: Ground, band: str) -> Decibels:
    """(rows, cols) of the ground, icebergs on it."""
    return ground.decibels[band] + _berg_brightness(ground, band)


def sigma_nought_of(
    ground: Ground, brightness: Decibels, placement: Placement, incidence: LookUpTable, band: str, window: Window
) -> npt.NDArray[np.float32]:
    """(rows, cols) backscatter, linear, of a window of a scene, without speckle and noise."""
    row, col = _ground_pixels(ground, placement, window)
    slopes = np.array([surface.hh_slope if band == "HH" else surface.hv_slope for surface in SURFACES], np.float32)
    angle = table_window(incidence, window)
    told = brightness[row, col] + slopes[ground.truth.kind[row, col]] * (angle - np.float32(REFERENCE_DEG))
    return np.asarray(10 ** (told / 10))


def true_kinds(ground: Ground, placement: Placement, window: Window) -> npt.NDArray[np.uint8]:
    """(rows, cols) index into `KINDS` of the pixels of a window."""
    return ground.truth.kind[_ground_pixels(ground, placement, window)]


def _ground_pixels(ground: Ground, placement: Placement, window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    x, y = table_window(placement.x, window) + placement.origin[0], table_window(placement.y, window) + placement.origin[1]
    col = np.clip(np.rint((x - ground.x[0]) / GROUND_M), 0, len(ground.x) - 1).astype(np.int64)
    row = np.clip(np.rint((y - ground.y[0]) / GROUND_M), 0, len(ground.y) - 1).astype(np.int64)
    return row, col


def _brightness(sea: Sea, day: date, x: Floats, y: Floats, truth: Truth, band: str) -> Decibels:
    number, first = day.toordinal(), band == "HH"
    means, floes, grains, patches, ridges, shares = (
        np.array([getattr(surface, name) for surface in SURFACES], np.float32)
        for name in ("hh" if first else "hv", "floe", "grain", "patch", "ridge", "ridge_share")
    )
    kind = truth.kind
    between = normal(truth.floe, subseed(sea.seed, 20)).reshape(kind.shape).astype(np.float32)
    own = normal(truth.floe, subseed(sea.seed, 20, 1 + first)).reshape(kind.shape).astype(np.float32)
    told = means[kind] + floes[kind] * (0.85 * between + 0.53 * own)
    told += grains[kind] * _texture(sea, x, y, truth, 21 + first, GRAIN_M) + patches[kind] * _texture(sea, x, y, truth, 23 + first, PATCH_M)
    # A ridge is where a smooth field crosses zero; as narrow as its share says.
    ridged = np.abs(_texture(sea, x, y, truth, 25, RIDGE_M)) < ndtri(0.5 + shares[kind] / 2)
    told += np.where(ridged, ridges[kind] * (1.0 if first else 1.5), 0)
    wind = backscatter.WIND_DATE_DB * normal(sea.seed, number, 30)[0]
    wind = wind + backscatter.WIND_PLACE_DB * rough_field(subseed(sea.seed, 31, number), x, y, WIND_M, 5)
    return np.asarray(told + np.where(kind == OPEN_WATER, wind * (1.0 if first else backscatter.WIND_IN_HV), 0), np.float32)


def _texture(sea: Sea, x: Floats, y: Floats, truth: Truth, key: int, scale_m: float) -> Decibels:
    """A smooth field that stays on land and in fast ice, and drifts with the pack."""
    seed = subseed(sea.seed, key)
    moved = smooth_field(seed, x - truth.drift[0], y - truth.drift[1], scale_m)
    still = truth.fast | (truth.kind == backscatter.LAND)
    return np.where(still, smooth_field(subseed(seed, 1), x, y, scale_m), moved) if still.any() else moved


def _berg_brightness(ground: Ground, band: str) -> Decibels:
    """Decibels that icebergs add, 0 elsewhere: up to what deformed ice and more would be."""
    added = np.zeros(ground.truth.kind.shape, np.float32)
    surface = SURFACES[DEFORMED]
    goal = (surface.hh + ICEBERG_DB[0]) if band == "HH" else (surface.hv + ICEBERG_DB[1])
    for x, y, radius in zip(ground.bergs.x, ground.bergs.y, ground.bergs.radius_m, strict=True):
        reach = int(np.ceil(radius / GROUND_M)) + 1
        col, row = round((x - ground.x[0]) / GROUND_M), round((y - ground.y[0]) / GROUND_M)
        part = (slice(max(row - reach, 0), row + reach + 1), slice(max(col - reach, 0), col + reach + 1))
        away = np.hypot(ground.x[None, part[1]] - x, ground.y[part[0], None] - y)
        inside = away <= max(radius, 0.6 * GROUND_M)
        added[part] = np.where(inside, goal - ground.decibels[band][part], added[part])
    return added
