"""Orbits of synthetic scenes: circular, as high and as steep as Sentinel-1's, placed so that a site is seen as wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from pyproj import Transformer
from scipy.optimize import fsolve

from eespark.sar_geometry import SPEED_OF_LIGHT, Floats, GeolocationGrid, GroundRange, Orbit, SceneGeometry
from eespark.synthetic.polar import swath

# S1-RS-MDA-52-7440, Sentinel-1 Product Definition: 693 km above the equator, 98.18 degrees.
RADIUS_M: Final = 7_070_981.0
INCLINATION_DEG: Final = 98.18
GRAVITY: Final = 3.986004418e14  # m3/s2
EARTH_RATE: Final = 7.2921150e-5  # rad/s
LINE_INTERVAL_S: Final = 6.0047e-3
SPACING_M: Final = 40.0
_STATE_STEP_S: Final = 10.0
_DEGREE: Final = 8
_POLYNOMIAL_STEP_S: Final = 1.0


@dataclass(frozen=True)
class View:
    """How a scene sees its site, which lies in the middle of the image.

    Attributes:
        longitude: Degrees.
        latitude: Degrees.
        ascending: Northwards, or southwards.
        incidence: Degrees, at the site.
        lines: Of the image.
        samples: Of the image.
    """

    longitude: float
    latitude: float
    ascending: bool
    incidence: float
    lines: int
    samples: int


def scene_geometry(view: View) -> SceneGeometry:
    """The geometry of a scene of sea, all at height 0: orbit, polynomials and a grid of points as the agency annotates them."""
    duration = (view.lines - 1) * LINE_INTERVAL_S
    site = _earth_fixed(np.array([view.longitude]), np.array([view.latitude]))
    orbit = _orbit(view, site, duration)
    near = _near_slant(view, orbit, site, duration / 2)
    ground_range = _ground_range(view, orbit, site, near, duration)
    lines = np.unique(np.append(np.arange(0, view.lines - 1, max(view.lines // 21, 1)), view.lines - 1)).astype(np.float64)
    samples = np.unique(np.append(np.arange(0, view.samples - 1, max(view.samples // 20, 1)), view.samples - 1)).astype(np.float64)
    rows, cols = (one.ravel() for one in np.meshgrid(lines, samples, indexing="ij"))
    slant = _polynomial(ground_range, rows * LINE_INTERVAL_S, cols * SPACING_M)
    middle = _polynomial(ground_range, np.zeros(1), np.array([view.samples / 2 * SPACING_M]))
    # The time of a point is that of its line, and sooner or later by half the difference of its echo's.
    times = rows * LINE_INTERVAL_S + (slant - middle) / SPEED_OF_LIGHT
    place = orbit.ground_at(times, slant, np.zeros(rows.shape), np.repeat(site, len(rows), axis=0))
    longitude, latitude = _geodetic().transform(place[:, 0], place[:, 1], place[:, 2])[:2]
    columns = (longitude, latitude, np.zeros(rows.shape), _incidence(orbit, times, place), times, slant)
    shape = (len(lines), len(samples))
    grid = GeolocationGrid(lines, samples, *(np.reshape(one, shape) for one in columns))
    return SceneGeometry((view.lines, view.samples), grid, orbit, ground_range, LINE_INTERVAL_S, SPACING_M)


def _orbit(view: View, site: Floats, duration: float) -> Orbit:
    """State vectors from a minute before the first line to a minute after the last, the site square to the flight in the middle."""
    times = np.arange(-60.0, duration + 60.0 + _STATE_STEP_S, _STATE_STEP_S)
    latitude = math.radians(view.latitude)
    inclination = math.radians(INCLINATION_DEG)
    # Where the satellite stands above the latitude of the site, or at its turning point.
    along = math.asin(min(1.0, math.sin(latitude) / math.sin(inclination)))
    first = along if view.ascending else math.pi - along
    middle = duration / 2

    def misses(unknown: Floats) -> Floats:
        position, speed = _state(np.array([middle]), float(unknown[0]), float(unknown[1]), middle)
        away = site - position
        angle = _incidence_of(position, site)[0]
        right = np.sign((np.cross(speed, position) * away).sum())
        return np.array([(away * speed).sum() / 1e9, right * angle - view.incidence])

    node = math.radians(view.longitude) - math.atan2(math.cos(inclination) * math.sin(first), math.cos(first))
    away_m = RADIUS_M - 6_371_000.0
    offset = math.tan(math.radians(view.incidence * 0.87)) * away_m / 6_371_000.0
    best = None
    # The track passes the site on its left: of some starts, the one that a solution is found from.
    for turn in np.linspace(-3, 3, 13) * offset:
        for shift in (-offset, 0.0, offset):
            solution, _, ended, _ = fsolve(misses, [first + shift, node + turn / max(math.cos(latitude), 0.1)], full_output=True)
            rising = math.cos(solution[0]) > 0
            if ended == 1 and rising == view.ascending and np.abs(misses(solution)).max() < 1e-8:
                best = solution
                break
        if best is not None:
            break
    if best is None:
        raise ValueError(f"needed an orbit that sees {view}, found none; choose a site between 80 S and 80 N")
    position, speed = _state(times, float(best[0]), float(best[1]), middle)
    return Orbit(times, position, speed)


def _state(times: Floats, argument: float, node: float, middle: float) -> tuple[Floats, Floats]:
    """Earth-fixed positions and velocities (n, 3) on a circle: argument of latitude and longitude of the node at the middle time."""
    rate = math.sqrt(GRAVITY / RADIUS_M**3)
    inclination = math.radians(INCLINATION_DEG)
    u, turn = argument + rate * (times - middle), node - EARTH_RATE * (times - middle)
    flat = np.stack([np.cos(u), np.sin(u) * math.cos(inclination), np.sin(u) * math.sin(inclination)], axis=-1) * RADIUS_M
    moved = np.stack([-np.sin(u), np.cos(u) * math.cos(inclination), np.cos(u) * math.sin(inclination)], axis=-1) * RADIUS_M * rate
    position, speed = _turned(flat, turn), _turned(moved, turn)
    speed += EARTH_RATE * np.stack([position[:, 1], -position[:, 0], np.zeros(len(times))], axis=-1)
    return position, speed


def _turned(vectors: Floats, angle: Floats) -> Floats:
    x, y, z = vectors.T
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z], axis=-1)


def _near_slant(view: View, orbit: Orbit, site: Floats, time: float) -> float:
    """Slant range (m) of the first sample: so that the site lies in the middle of the samples, but not nearer than the swath begins."""
    middle = view.samples / 2 * SPACING_M
    position = orbit.path(time)
    at = float(np.linalg.norm(site[0] - position))
    # Nearer than the site the range falls by less than the sine of its incidence for a metre on the ground; no ground is nearer than
    # that below the satellite, which half the width of a whole scene would reach.
    height = float(_geodetic().transform(*np.ravel(position))[2])
    fall = min(math.sin(math.radians(view.incidence)), (at - 1.002 * height) / middle)
    slants = at + np.linspace(-fall, 0.0, 65) * middle
    ground = _ground_distance(orbit, site, time, slants)
    near = float(np.interp(ground[-1] - middle, ground, slants))
    times, heights, sites = np.full(len(slants), time), np.zeros(len(slants)), np.repeat(site, len(slants), axis=0)
    steepness = _incidence(orbit, times, orbit.ground_at(times, slants, heights, sites))
    return max(near, float(np.interp(swath.NEAREST_DEG, steepness, slants)))


def _ground_range(view: View, orbit: Orbit, site: Floats, near: float, duration: float) -> GroundRange:
    """A polynomial each second, fitted to the distance on the ground from the first sample outwards."""
    times = np.arange(-_POLYNOMIAL_STEP_S, duration + 2 * _POLYNOMIAL_STEP_S, _POLYNOMIAL_STEP_S)
    far = view.samples * SPACING_M
    slants = near + np.linspace(0.0, 0.8, 129) * far
    rows = []
    for time in times:
        ground = _ground_distance(orbit, site, float(time), slants)
        kept = ground <= 1.02 * far
        fit = np.linalg.lstsq(np.vander(ground[kept] / far, _DEGREE + 1, increasing=True), slants[kept] - near, rcond=None)[0]
        rows.append(fit / far ** np.arange(_DEGREE + 1))
    coefficients = np.array(rows)
    coefficients[:, 0] = near
    return GroundRange(times, np.zeros(len(times)), coefficients)


def _ground_distance(orbit: Orbit, site: Floats, time: float, slants: Floats) -> Floats:
    """(n,) metres along the sea from the first slant range to each."""
    count = len(slants)
    place = orbit.ground_at(np.full(count, time), slants, np.zeros(count), np.repeat(site, count, axis=0))
    chords = np.linalg.norm(np.diff(place, axis=0), axis=1)
    # From chord to arc on a sphere as large as the Earth.
    arcs = 2 * 6_371_000.0 * np.arcsin(chords / (2 * 6_371_000.0))
    return np.concatenate([[0.0], np.cumsum(arcs)])


def _polynomial(ground_range: GroundRange, times: Floats, ground: Floats) -> Floats:
    number = np.abs(times[:, None] - ground_range.times).argmin(axis=1)
    powers = ground[:, None] ** np.arange(ground_range.coefficients.shape[1])
    return np.asarray((ground_range.coefficients[number] * powers).sum(axis=1))


def _incidence(orbit: Orbit, times: Floats, place: Floats) -> Floats:
    return _incidence_of(orbit.path(times), place)


def _incidence_of(position: Floats, place: Floats) -> Floats:
    """(n,) degrees between the look and the normal of the ellipsoid."""
    axes = np.array([6_378_137.0, 6_378_137.0, 6_356_752.314245])
    normal = place / axes**2
    away = position - place
    cosine = (normal * away).sum(axis=-1) / np.linalg.norm(normal, axis=-1) / np.linalg.norm(away, axis=-1)
    return np.asarray(np.degrees(np.arccos(cosine)))


def _earth_fixed(longitude: Floats, latitude: Floats) -> Floats:
    x, y, z = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(longitude, latitude, np.zeros(len(longitude)))
    return np.stack([x, y, z], axis=-1)


def _geodetic() -> Transformer:
    return Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
