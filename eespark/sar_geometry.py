"""Where the pixels of a Sentinel-1 GRD scene lie on the ground, and back: range and Doppler from the orbit, both ways.

Lines and samples are those of the annotation: whole numbers are centres of pixels, the first is 0.

The annotated geolocation grid is what this must agree with. Its ground ranges come from the polynomial nearest in time, as they stand, not
from one between two (docs/decisions/0011): the nearest gives the slant ranges of the grid to 2e-5 pixels, one between misses by 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.interpolate import CubicHermiteSpline, CubicSpline

from eespark.errors import FormatError
from eespark.kernels.sar_tables import LookUpTable

Floats = npt.NDArray[np.float64]

SPEED_OF_LIGHT: Final = 299_792_458.0  # m/s
_A, _B = 6_378_137.0, 6_356_752.314245  # m; WGS 84
_ITERATIONS: Final = 30
_CLOSE_S: Final = 1e-9
_CLOSE_M: Final = 1e-4
_CLOSE_PX: Final = 1e-5
_INCIDENCE_STEP_PX: Final = 40


@dataclass(frozen=True)
class GeolocationGrid:
    """Annotated points: n lines x m samples.

    Attributes:
        lines: (n,) line numbers.
        samples: (m,) sample numbers.
        longitude: (n, m) degrees.
        latitude: (n, m) degrees.
        height: (n, m) metres above the ellipsoid.
        incidence: (n, m) degrees.
        azimuth_time: (n, m) zero-Doppler time, seconds since the first line.
        slant_range: (n, m) metres.
    """

    lines: Floats
    samples: Floats
    longitude: Floats
    latitude: Floats
    height: Floats
    incidence: Floats
    azimuth_time: Floats
    slant_range: Floats


@dataclass(frozen=True)
class Orbit:
    """State vectors, earth-fixed.

    Attributes:
        times: (n,) seconds since the first line.
        positions: (n, 3) metres.
        velocities: (n, 3) metres a second.
    """

    times: Floats
    positions: Floats
    velocities: Floats

    @cached_property
    def path(self) -> CubicHermiteSpline:
        """(n,) seconds -> (n, 3) metres; state vectors ten seconds apart give it to 0.3 mm."""
        return CubicHermiteSpline(self.times, self.positions, self.velocities)

    def side(self, times: Floats, place: Floats) -> Floats:
        """(n,) on which side of the track places (n, 3) lie: 1 to the right, -1 to the left."""
        position = self.path(times)
        return np.asarray(np.sign((np.cross(self.path(times, 1), position) * (place - position)).sum(axis=-1)))

    def zero_doppler(self, place: Floats) -> Floats:
        """(n,) seconds at which places (n, 3), earth-fixed metres, stand square to the flight."""
        times = np.full(len(place), (self.times[0] + self.times[-1]) / 2)
        for _ in range(_ITERATIONS):
            away, speed = place - self.path(times), self.path(times, 1)
            bend = (away * self.path(times, 2)).sum(axis=-1) - (speed**2).sum(axis=-1)
            step = (away * speed).sum(axis=-1) / bend
            times = times - step
            if not len(step) or np.abs(step).max() < _CLOSE_S:
                break
        return times

    def ground_at(self, times: Floats, slant: Floats, height: Floats, guess: Floats) -> Floats:
        """(n, 3) places at a range, square to the flight, at a height: Newton on the three equations.

        Args:
            times: (n,) seconds.
            slant: (n,) metres of slant range.
            height: (n,) metres above the ellipsoid.
            guess: (n, 3) earth-fixed metres, on the side that the instrument looks to.

        Raises:
            FormatError: There is no such ground.
        """
        position, speed = self.path(times), self.path(times, 1)
        speed /= np.linalg.norm(speed, axis=-1, keepdims=True)
        axes = np.stack([_A + height, _A + height, _B + height], axis=-1)
        place = guess
        for _ in range(_ITERATIONS):
            away = place - position
            misses = [(away**2).sum(axis=-1) - slant**2, (away * speed).sum(axis=-1), ((place / axes) ** 2).sum(axis=-1) - 1]
            slopes = np.stack([2 * away, speed, 2 * place / axes**2], axis=1)
            try:
                step = np.linalg.solve(slopes, np.stack(misses, axis=-1)[..., None])[..., 0]
            except np.linalg.LinAlgError as error:
                raise FormatError("needed ground that the orbit sees at this range, found none; fetch the product again") from error
            place = np.asarray(place - step)
            if not len(step) or np.abs(step).max() < _CLOSE_M:
                return place
        raise FormatError(f"needed ground at slant ranges {slant.min():.0f} to {slant.max():.0f} m, found none; fetch the product again")


@dataclass(frozen=True)
class GroundRange:
    """Polynomials from ground range to slant range.

    Attributes:
        times: (n,) seconds since the first line.
        origins: (n,) metres, ground range at which a polynomial begins.
        coefficients: (n, k) of rising powers of (ground range - origin), metres.
    """

    times: Floats
    origins: Floats
    coefficients: Floats


@dataclass(frozen=True)
class SceneGeometry:
    """Geometry of one scene.

    Attributes:
        shape: Lines, samples.
        grid: Annotated points.
        orbit: State vectors; they span the scene.
        ground_range: Polynomials.
        line_interval_s: Seconds from line to line.
        sample_spacing_m: Metres of ground range from sample to sample.
    """

    shape: tuple[int, int]
    grid: GeolocationGrid
    orbit: Orbit
    ground_range: GroundRange
    line_interval_s: float
    sample_spacing_m: float

    def __post_init__(self) -> None:
        last = (self.shape[0] - 1) * self.line_interval_s
        if self.orbit.times[0] > 0 or self.orbit.times[-1] < last:
            raise FormatError(
                f"needed state vectors from 0 to {last:.1f} s after the first line, found {self.orbit.times[0]:.1f} to "
                f"{self.orbit.times[-1]:.1f} s; fetch the product again"
            )

    def height_at(self, lines: Floats, samples: Floats) -> Floats:
        """Annotated height of the ground (metres), bilinear between the points of the grid."""
        return _bilinear(self.grid, self.grid.height, lines, samples)

    def to_ground(self, lines: Floats, samples: Floats, height: Floats | float | None = None) -> tuple[Floats, Floats]:
        """Longitude and latitude (degrees, WGS 84) of places in the image.

        Args:
            lines: Line numbers, any shape.
            samples: Sample numbers, of that shape.
            height: Metres above the ellipsoid; the annotated one by default. The sea lies at 0.

        Raises:
            FormatError: The orbit does not see such ground at such a range.
        """
        shape = np.broadcast_shapes(np.shape(lines), np.shape(samples))
        rows, cols = (np.broadcast_to(np.asarray(one, np.float64), shape).ravel() for one in (lines, samples))
        heights = self.height_at(rows, cols) if height is None else np.broadcast_to(np.asarray(height, np.float64), shape).ravel()
        times = rows * self.line_interval_s + self._bistatic(cols)
        slant = self._slant_range(times, cols * self.sample_spacing_m)
        place = self.orbit.ground_at(times, slant, heights, self._first_guess(rows, cols))
        longitude, latitude = _geodetic().transform(place[:, 0], place[:, 1], place[:, 2])[:2]
        return np.reshape(longitude, shape), np.reshape(latitude, shape)

    def to_image(self, longitude: Floats, latitude: Floats, height: Floats | float | None = None) -> tuple[Floats, Floats]:
        """Lines and samples at which places on the ground appear: also outside the image, NaN on the other side of the track.

        Args:
            longitude: Degrees, any shape.
            latitude: Degrees, of that shape.
            height: Metres above the ellipsoid; the annotated one by default, which is asked where the place appears.
        """
        shape = np.broadcast_shapes(np.shape(longitude), np.shape(latitude))
        lon, lat = (np.broadcast_to(np.asarray(one, np.float64), shape).ravel() for one in (longitude, latitude))
        if height is not None:
            rows, cols = self._appears(lon, lat, np.broadcast_to(np.asarray(height, np.float64), shape).ravel())
            return rows.reshape(shape), cols.reshape(shape)
        rows, cols = self._appears(lon, lat, np.zeros(lon.shape))
        for _ in range(_ITERATIONS):
            before = cols
            rows, cols = self._appears(lon, lat, self.height_at(rows, cols))
            if not np.nanmax(np.abs(cols - before), initial=0) >= _CLOSE_PX:
                break
        return rows.reshape(shape), cols.reshape(shape)

    def incidence_table(self) -> LookUpTable:
        """Incidence angle (degrees) by line and sample: cubic along range, as it bends there, linear along the flight."""
        last = self.grid.samples[-1]
        nodes = np.append(np.arange(self.grid.samples[0], last, _INCIDENCE_STEP_PX), last)
        return LookUpTable(self.grid.lines, nodes, CubicSpline(self.grid.samples, self.grid.incidence, axis=1)(nodes))

    @cached_property
    def _delay(self) -> CubicSpline:
        # A line is one time of the product, and its samples are seen up to half a millisecond sooner or later, by their range.
        delays = self.grid.azimuth_time - self.grid.lines[:, None] * self.line_interval_s
        return CubicSpline(self.grid.samples, delays.mean(axis=0))

    @cached_property
    def _side(self) -> float:
        middle = self._first_guess(np.array([self.shape[0] / 2]), np.array([self.shape[1] / 2]))
        return float(self.orbit.side(self.orbit.zero_doppler(middle), middle)[0])

    def _bistatic(self, samples: Floats) -> Floats:
        return np.asarray(self._delay(np.clip(samples, self.grid.samples[0], self.grid.samples[-1])))

    def _first_guess(self, lines: Floats, samples: Floats) -> Floats:
        """(n, 3) earth-fixed metres, linear between the points of the grid."""
        return np.stack([_bilinear(self.grid, self._corners[..., axis], lines, samples) for axis in range(3)], axis=-1)

    @cached_property
    def _corners(self) -> Floats:
        """(n, m, 3) earth-fixed metres of the annotated points."""
        return np.stack(_earth_fixed().transform(self.grid.longitude, self.grid.latitude, self.grid.height), axis=-1)

    def _slant_range(self, times: Floats, ground: Floats) -> Floats:
        number = _nearest(self.ground_range.times, times)
        powers = ground - self.ground_range.origins[number]
        total = np.zeros(ground.shape)
        for column in self.ground_range.coefficients.T[::-1]:
            total = total * powers + column[number]
        return total

    def _samples(self, times: Floats, slant: Floats) -> Floats:
        """Sample numbers at slant ranges: the polynomials turned round by secants."""
        low, high = np.zeros(slant.shape), np.full(slant.shape, self.shape[1] * self.sample_spacing_m)
        miss_low, miss_high = (self._slant_range(times, ground) - slant for ground in (low, high))
        for _ in range(_ITERATIONS):
            step = miss_high * (high - low) / np.where(miss_high == miss_low, np.inf, miss_high - miss_low)
            low, miss_low, high = high, miss_high, high - step
            if not np.nanmax(np.abs(step), initial=0) >= _CLOSE_M:
                break
            miss_high = self._slant_range(times, high) - slant
        return high / self.sample_spacing_m

    def _appears(self, longitude: Floats, latitude: Floats, height: Floats) -> tuple[Floats, Floats]:
        place = np.stack(_earth_fixed().transform(longitude, latitude, height), axis=-1)
        times = self.orbit.zero_doppler(place)
        times = np.where(self.orbit.side(times, place) == self._side, times, np.nan)
        samples = self._samples(times, np.linalg.norm(place - self.orbit.path(times), axis=-1))
        return (times - self._bistatic(samples)) / self.line_interval_s, samples


def _nearest(nodes: Floats, at: Floats) -> npt.NDArray[np.intp]:
    right = np.clip(np.searchsorted(nodes, at), 1, max(len(nodes) - 1, 1))
    if len(nodes) == 1:
        return np.zeros(at.shape, np.intp)
    return np.where(at - nodes[right - 1] < nodes[right] - at, right - 1, right)


def _bilinear(grid: GeolocationGrid, values: Floats, lines: Floats, samples: Floats) -> Floats:
    row, down = _cell(grid.lines, lines)
    col, right = _cell(grid.samples, samples)
    upper = values[row, col] * (1 - right) + values[row, col + 1] * right
    lower = values[row + 1, col] * (1 - right) + values[row + 1, col + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def _cell(nodes: Floats, at: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    place = np.clip(at, nodes[0], nodes[-1])
    left = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, len(nodes) - 2)
    return left, np.asarray((place - nodes[left]) / (nodes[left + 1] - nodes[left]))


@lru_cache(maxsize=1)
def _earth_fixed() -> Transformer:
    return Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


@lru_cache(maxsize=1)
def _geodetic() -> Transformer:
    return Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
