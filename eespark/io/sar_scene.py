"""Sentinel-1 GRD scenes opened once and read in windows: calibrated power, its validity, the incidence angle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.windows

from eespark.errors import FormatError, MissingError
from eespark.io import rasters, s1_annotation, safe_s1
from eespark.io.members import Candidate, Members, open_members
from eespark.io.safe_xml import parse_member, parse_xml
from eespark.kernels.sar import border_mask, multilook, sigma_nought
from eespark.kernels.sar_noise import Noise, noise_window
from eespark.kernels.sar_tables import LookUpTable, Mask, Power, Window, table_window
from eespark.sar_geometry import SceneGeometry

# Before this version of the processor the border holds low values that are not 0 (ESA MPC-0243).
_CLEAN_BORDER = 2.9
_BORDER_PX = 500


@dataclass(frozen=True)
class SceneBand:
    """One polarisation of an open scene.

    Attributes:
        dataset: The open raster.
        calibration: sigmaNought.
        noise: As annotated, in units of DN^2.
    """

    dataset: Any
    calibration: LookUpTable
    noise: Noise


@dataclass(frozen=True)
class Looks:
    """A part of a scene in looks: squares of `factor` pixels.

    Attributes:
        power: Polarisation -> (rows, cols) sigma nought, linear, 0 where invalid.
        valid: Polarisation -> (rows, cols).
        incidence: (rows, cols) degrees at the centres.
    """

    power: dict[str, Power]
    valid: dict[str, Mask]
    incidence: Power


@dataclass(frozen=True)
class SarScene:
    """An open scene.

    Attributes:
        product_id: Name without .SAFE.
        baseline: Version of the processor.
        geometry: Of its pixels.
        incidence: Degrees by line and sample.
        bands: By polarisation.
    """

    product_id: str
    baseline: str
    geometry: SceneGeometry
    incidence: LookUpTable
    bands: dict[str, SceneBand]

    @property
    def shape(self) -> tuple[int, int]:
        """Lines, samples."""
        return self.geometry.shape

    def sigma(self, band: str, window: Window, *, denoise: bool = True) -> tuple[Power, Mask]:
        """Sigma nought (linear) of a window, and where it is valid: not in the border.

        Args:
            band: Polarisation.
            window: In the scene.
            denoise: Take the annotated noise off.

        Raises:
            MissingError: The scene has no such polarisation.
            FormatError: The window lies outside, or the raster cannot be decoded.
        """
        one, dn = self._band(band), self.digital(band, window)
        power = sigma_nought(dn, one.calibration, one.noise if denoise else None, window)
        valid = dn > 0
        if float(self.baseline) < _CLEAN_BORDER:
            valid &= ~self._border(one, window)
        return power, valid

    def digital(self, band: str, window: Window) -> npt.NDArray[np.uint16]:
        """Digital numbers of a window, as they are in the file; 0 in the border.

        Raises:
            MissingError: The scene has no such polarisation.
            FormatError: The window lies outside, or the raster cannot be decoded.
        """
        return self._read(self._band(band), window)

    def looks(self, window: Window, factor: int) -> Looks:
        """Means over squares of `factor` pixels of all polarisations.

        Args:
            window: In looks, not in pixels.
            factor: Pixels of a look's side.
        """
        pixels = Window(window.row * factor, window.col * factor, window.rows * factor, window.cols * factor)
        power, valid = {}, {}
        for band in self.bands:
            power[band], valid[band] = multilook(*self.sigma(band, pixels), factor)
        return Looks(power, valid, self.incidence_looks(window, factor))

    def incidence_looks(self, window: Window, factor: int) -> Power:
        """(rows, cols) incidence angle (degrees) at the centres of looks."""
        table = self.incidence
        shift = (factor - 1) / 2
        looked = LookUpTable((table.lines - shift) / factor, (table.samples - shift) / factor, table.values)
        return table_window(looked, window)

    def _band(self, band: str) -> SceneBand:
        if band not in self.bands:
            raise MissingError(f"{self.product_id}: needed the polarisation {band}, found {', '.join(self.bands)}")
        return self.bands[band]

    def _read(self, band: SceneBand, window: Window) -> npt.NDArray[np.uint16]:
        lines, samples = self.shape
        if min(window.row, window.col) < 0 or window.row + window.rows > lines or window.col + window.cols > samples:
            raise FormatError(f"{self.product_id}: needed a window within {self.shape}, found {window}")
        part = rasterio.windows.Window(window.col, window.row, window.cols, window.rows)
        with rasters.decoding(self.product_id):
            return np.asarray(band.dataset.read(1, window=part))

    def _border(self, band: SceneBand, window: Window) -> Mask:
        """The border of an early product, followed inwards from the edges of the scene that the window comes near to."""
        lines, samples = self.shape
        top, left = (0 if first <= _BORDER_PX else first for first in (window.row, window.col))
        bottom = lines if window.row + window.rows >= lines - _BORDER_PX else window.row + window.rows
        right = samples if window.col + window.cols >= samples - _BORDER_PX else window.col + window.cols
        wide = Window(top, left, bottom - top, right - left)
        mask = border_mask(self._read(band, wide), noise_window(band.noise, wide), wide, self.shape, _BORDER_PX)
        return mask[window.row - top :, window.col - left :][: window.rows, : window.cols]


@contextmanager
def open_scene(candidate: Candidate) -> Iterator[SarScene]:
    """A scene whose metadata is read and whose rasters are open as long as the context lasts.

    Raises:
        EESparkError: It cannot be used; the text is the reason.
    """
    with ExitStack() as stack:
        members = stack.enter_context(open_members(candidate))
        product_id = candidate.product_id
        mode = safe_s1.parse_scene_name(product_id).mode
        baseline = safe_s1.processor_version(parse_member("manifest.safe", members.names, members.read), product_id)
        files = safe_s1.scene_files(product_id, members.names)
        first = next(iter(files.values()))
        geometry = s1_annotation.read_geometry(parse_xml(members.read(first.annotation), first.annotation), product_id)
        bands = {}
        for name, one in files.items():
            calibration, noise = _tables(members, one, product_id, mode, baseline)
            dataset = stack.enter_context(rasters.open_raster(members.path(one.measurement)))
            if dataset.shape != geometry.shape:
                raise FormatError(f"{product_id}: {name} has {dataset.shape} lines and samples, annotated are {geometry.shape}")
            bands[name] = SceneBand(dataset, calibration, noise)
        yield SarScene(product_id, baseline, geometry, geometry.incidence_table(), bands)


def read_scene_geometry(candidate: Candidate) -> SceneGeometry:
    """Where the pixels of a scene lie; its rasters are not opened.

    Raises:
        EESparkError: It cannot be used; the text is the reason.
    """
    with open_members(candidate) as members:
        first = next(iter(safe_s1.scene_files(candidate.product_id, members.names).values()))
        return s1_annotation.read_geometry(parse_xml(members.read(first.annotation), first.annotation), candidate.product_id)


def _tables(members: Members, files: safe_s1.BandFiles, product_id: str, mode: str, baseline: str) -> tuple[LookUpTable, Noise]:
    calibration = parse_xml(members.read(files.calibration), files.calibration)
    constant = s1_annotation.calibration_constant(calibration, product_id)
    scale = s1_annotation.legacy_scale(baseline, mode, constant)
    noise = s1_annotation.read_noise(parse_xml(members.read(files.noise), files.noise), product_id, scale)
    return s1_annotation.read_calibration(calibration, product_id), noise
