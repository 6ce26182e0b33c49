"""The annotation of Sentinel-1 GRD products: geometry, calibration and thermal noise.

Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441.
"""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

import numpy as np

from eespark.errors import FormatError, MissingError
from eespark.io.safe_xml import find_text, number, utc_time
from eespark.kernels.sar import LEGACY_NOISE_BEFORE, LEGACY_NOISE_SCALE
from eespark.kernels.sar_noise import AzimuthBlock, Noise
from eespark.kernels.sar_tables import Floats, LookUpTable, Window
from eespark.sar_geometry import SPEED_OF_LIGHT, GeolocationGrid, GroundRange, Orbit, SceneGeometry


def read_geometry(annotation: Element, product_id: str) -> SceneGeometry:
    """Geometry of a scene from the annotation of one band.

    Raises:
        MissingError: An entry is absent.
        FormatError: An entry is no number, or the points are no grid.
    """

    def value(tag: str) -> float:
        return number(find_text(annotation, tag, product_id), tag, product_id)

    first = utc_time(find_text(annotation, "productFirstLineUtcTime", product_id), "productFirstLineUtcTime", product_id)

    def seconds(element: Element, tag: str) -> float:
        return (utc_time(find_text(element, tag, product_id), tag, product_id) - first).total_seconds()

    shape = (int(value("numberOfLines")), int(value("numberOfSamples")))
    orbit = _entries(annotation, "orbitList/orbit", product_id)
    conversions = _entries(annotation, "coordinateConversionList/coordinateConversion", product_id)
    return SceneGeometry(
        shape=shape,
        grid=_grid(annotation, seconds, product_id),
        orbit=Orbit(
            np.array([seconds(one, "time") for one in orbit]),
            np.array([_vector(one, "position", product_id) for one in orbit]),
            np.array([_vector(one, "velocity", product_id) for one in orbit]),
        ),
        ground_range=GroundRange(
            np.array([seconds(one, "azimuthTime") for one in conversions]),
            np.array([number(find_text(one, "gr0", product_id), "gr0", product_id) for one in conversions]),
            np.array([_numbers(one, "grsrCoefficients", product_id) for one in conversions]),
        ),
        line_interval_s=value("azimuthTimeInterval"),
        sample_spacing_m=value("rangePixelSpacing"),
    )


def read_calibration(calibration: Element, product_id: str) -> LookUpTable:
    """The table sigmaNought of a calibration file.

    Raises:
        MissingError: It has none.
        FormatError: It is no table.
    """
    vectors = _entries(calibration, "calibrationVectorList/calibrationVector", product_id)
    return _table(vectors, "sigmaNought", product_id)


def calibration_constant(calibration: Element, product_id: str) -> float:
    """The constant `dn`, first of its vector, which early noise tables must be multiplied with."""
    vectors = _entries(calibration, "calibrationVectorList/calibrationVector", product_id)
    return float(_numbers(vectors[0], "dn", product_id)[0])


def read_noise(noise: Element, product_id: str, scale: float = 1.0) -> Noise:
    """Thermal noise, as blocks of range and azimuth (processor 2.90 and later) or by range alone.

    Args:
        noise: Root of the file.
        product_id: For errors.
        scale: Factor to the table of an early processor, of `legacy_scale`.

    Raises:
        MissingError: It holds no vectors.
        FormatError: They are no table.
    """
    early = noise.find("noiseVectorList")
    if early is not None:
        table = _table(_entries(noise, "noiseVectorList/noiseVector", product_id), "noiseLut", product_id)
        return Noise(LookUpTable(table.lines, table.samples, table.values * scale))
    table = _table(_entries(noise, "noiseRangeVectorList/noiseRangeVector", product_id), "noiseRangeLut", product_id)
    return Noise(table, tuple(_block(one, product_id) for one in _entries(noise, "noiseAzimuthVectorList/noiseAzimuthVector", product_id)))


def legacy_scale(baseline: str, mode: str, constant: float) -> float:
    """Factor that brings a noise table to units of DN^2: 1 since processor 2.50.

    Args:
        baseline: Version of the processor.
        mode: EW or IW.
        constant: Of `calibration_constant`.
    """
    return LEGACY_NOISE_SCALE[mode] * constant if float(baseline) < LEGACY_NOISE_BEFORE else 1.0


def _grid(annotation: Element, seconds: Callable[[Element, str], float], product_id: str) -> GeolocationGrid:
    points = _entries(annotation, "geolocationGridPointList/geolocationGridPoint", product_id)

    def column(tag: str) -> Floats:
        return np.array([number(find_text(one, tag, product_id), tag, product_id) for one in points])

    lines, samples = column("line"), column("pixel")
    rows, cols = np.unique(lines), np.unique(samples)
    if len(rows) < 2 or len(cols) < 4 or len(rows) * len(cols) != len(points):
        raise FormatError(f"{product_id}: needed a geolocation grid of lines x samples, found {len(points)} points on {len(rows)} lines")
    order = np.lexsort((samples, lines))
    shape = (len(rows), len(cols))
    names = ("longitude", "latitude", "height", "incidenceAngle")
    longitude, latitude, height, incidence = (column(name)[order].reshape(shape) for name in names)
    times = np.array([seconds(one, "azimuthTime") for one in points])[order].reshape(shape)
    slant = column("slantRangeTime")[order].reshape(shape) * SPEED_OF_LIGHT / 2
    return GeolocationGrid(rows, cols, longitude, latitude, height, incidence, times, slant)


def _block(element: Element, product_id: str) -> AzimuthBlock:
    first_line, last_line, first_sample, last_sample = (
        int(number(find_text(element, tag, product_id), tag, product_id))
        for tag in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    )
    window = Window(first_line, first_sample, last_line - first_line + 1, last_sample - first_sample + 1)
    lines, values = _numbers(element, "line", product_id), _numbers(element, "noiseAzimuthLut", product_id)
    if len(lines) != len(values) or (np.diff(lines) <= 0).any():
        raise FormatError(f"{product_id}: needed ascending lines with a value each in noiseAzimuthVector, found others")
    return AzimuthBlock(window, lines, values)


def _table(vectors: list[Element], tag: str, product_id: str) -> LookUpTable:
    lines = [number(find_text(one, "line", product_id), "line", product_id) for one in vectors]
    samples, values = ([_numbers(one, name, product_id) for one in vectors] for name in ("pixel", tag))
    return LookUpTable.from_vectors(lines, samples, values)


def _entries(root: Element, path: str, product_id: str) -> list[Element]:
    found = root.findall(f".//{path}")
    if not found:
        raise MissingError(f"{product_id}: needed <{path}> in the annotation, found none; fetch the product again")
    return found


def _vector(element: Element, tag: str, product_id: str) -> list[float]:
    inner = element.find(tag)
    if inner is None:
        raise MissingError(f"{product_id}: needed <{tag}> of a state vector, found none; fetch the product again")
    return [number(find_text(inner, axis, product_id), axis, product_id) for axis in "xyz"]


def _numbers(element: Element, tag: str, product_id: str) -> Floats:
    text = find_text(element, tag, product_id)
    try:
        values = np.array(text.split(), np.float64)
    except ValueError as error:
        raise FormatError(f"{product_id}: needed numbers in <{tag}>, found {text[:40]!r}; fetch the product again") from error
    if not np.isfinite(values).all():
        raise FormatError(f"{product_id}: needed finite numbers in <{tag}>, found others; fetch the product again")
    return values
