"""The XML files of synthetic Sentinel-1 products, with the elements of the agency's that a reader needs.

Structure: Sentinel-1 Product Specification, S1-RS-MDA-52-7441; noise in blocks as since processor 2.90, or by range alone as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from eespark.kernels.sar_noise import AzimuthBlock
from eespark.kernels.sar_tables import Floats, LookUpTable
from eespark.sar_geometry import SPEED_OF_LIGHT, SceneGeometry
from eespark.synthetic.polar.instrument import BETA_NOUGHT, Instrument
from eespark.synthetic.polar.orbit import LINE_INTERVAL_S

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Header:
    """What stands at the head of each file of a polarisation.

    Attributes:
        mission: S1A or S1B.
        band: HH or HV.
        first: Time of the first line, UTC.
        last: Time of the last line.
        orbit: Absolute orbit number.
        datatake: Of the name, hexadecimal.
        number: Of the image, from 1.
        ascending: Northwards, or southwards.
    """

    mission: str
    band: str
    first: datetime
    last: datetime
    orbit: int
    datatake: str
    number: int
    ascending: bool


def annotation_xml(header: Header, geometry: SceneGeometry, instrument: Instrument) -> str:
    """The annotation of a polarisation."""
    return "".join(
        [
            _HEAD, "<product>\n", _header(header), _general(header, geometry), _image(header, geometry), _grid(header, geometry),
            _conversions(header, geometry), _merging(header, geometry, instrument), "</product>\n",
        ]
    )  # fmt: skip


def calibration_xml(header: Header, table: LookUpTable, incidence: Floats) -> str:
    """The calibration file of a polarisation.

    Args:
        header: Of the product.
        table: sigmaNought.
        incidence: (m,) degrees at the samples of the table.
    """
    flat = _vector("betaNought", np.full(len(table.samples), BETA_NOUGHT)), _vector("dn", np.full(len(table.samples), BETA_NOUGHT))
    vectors = [
        f"<calibrationVector>\n<azimuthTime>{_time(header, line)}</azimuthTime>\n<line>{line:.0f}</line>\n"
        + _vector("pixel", table.samples, ".0f")
        + _vector("sigmaNought", values)
        + flat[0]
        + _vector("gamma", values / np.sqrt(np.cos(np.radians(incidence))))
        + flat[1]
        + "</calibrationVector>\n"
        for line, values in zip(table.lines, table.values, strict=True)
    ]
    constant = (
        "<calibrationInformation>\n<absoluteCalibrationConstant>1.000000e+00</absoluteCalibrationConstant>\n</calibrationInformation>\n"
    )
    return f"{_HEAD}<calibration>\n{_header(header)}{constant}{_list('calibrationVectorList', vectors)}</calibration>\n"


def noise_xml(header: Header, instrument: Instrument) -> str:
    """The noise file of a polarisation, in blocks of range and azimuth."""
    ranges = _list("noiseRangeVectorList", _range_vectors(header, instrument.noise.in_range, "noiseRangeVector", "noiseRangeLut", 1.0))
    pairs = zip(instrument.swaths, instrument.noise.in_azimuth, strict=True)
    blocks = _list("noiseAzimuthVectorList", [_azimuth_vector(name, block) for (name, _), block in pairs])
    return f"{_HEAD}<noise>\n{_header(header)}{ranges}{blocks}</noise>\n"


def early_noise_xml(header: Header, instrument: Instrument, scale: float) -> str:
    """The noise file of a processor before 2.90: by range alone.

    Args:
        header: Of the product.
        instrument: Whose noise it is.
        scale: That a reader multiplies with; 1 since 2.50.
    """
    vectors = _range_vectors(header, instrument.noise.in_range, "noiseVector", "noiseLut", scale)
    return f"{_HEAD}<noise>\n{_header(header)}{_list('noiseVectorList', vectors)}</noise>\n"


def manifest_xml(version: str, relative_orbit: int, sizes: Mapping[str, int]) -> str:
    """manifest.safe with the processor, the orbit, and the size of each file below the product's folder."""
    objects = "".join(
        f'<dataObject ID="{number}"><byteStream size="{size}"><fileLocation locatorType="URL" href="./{name}"/></byteStream></dataObject>\n'
        for number, (name, size) in enumerate(sizes.items())
    )
    names = 'xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:safe="http://www.esa.int/safe/sentinel-1.0"'
    orbit = "".join(f'<safe:relativeOrbitNumber type="{end}">{relative_orbit}</safe:relativeOrbitNumber>\n' for end in ("start", "stop"))
    software = (
        f'<safe:processing name="GRD Post Processing">\n<safe:software name="Sentinel-1 IPF" version="{version}"/>\n</safe:processing>\n'
    )
    section = f"<metadataSection>\n{software}<safe:orbitReference>\n{orbit}</safe:orbitReference>\n</metadataSection>\n"
    return f"{_HEAD}<xfdu:XFDU {names}>\n{section}<dataObjectSection>\n{objects}</dataObjectSection>\n</xfdu:XFDU>\n"


def _header(header: Header) -> str:
    return (
        f"<adsHeader>\n<missionId>{header.mission}</missionId>\n<productType>GRD</productType>\n<polarisation>{header.band}</polarisation>\n"
        f"<mode>EW</mode>\n<swath>EW</swath>\n<startTime>{_iso(header.first)}</startTime>\n<stopTime>{_iso(header.last)}</stopTime>\n"
        f"<absoluteOrbitNumber>{header.orbit}</absoluteOrbitNumber>\n<missionDataTakeId>{int(header.datatake, 16)}</missionDataTakeId>\n"
        f"<imageNumber>{header.number:03d}</imageNumber>\n</adsHeader>\n"
    )


def _general(header: Header, geometry: SceneGeometry) -> str:
    orbit = geometry.orbit
    states = [
        f"<orbit>\n<time>{_moment(header, seconds)}</time>\n<frame>Earth Fixed</frame>\n"
        f"{_axes('position', at)}{_axes('velocity', speed)}</orbit>\n"
        for seconds, at, speed in zip(orbit.times, orbit.positions, orbit.velocities, strict=True)
    ]
    passes = "Ascending" if header.ascending else "Descending"
    information = f"<productInformation>\n<pass>{passes}</pass>\n<projection>Ground Range</projection>\n</productInformation>\n"
    return f"<generalAnnotation>\n{information}{_list('orbitList', states)}</generalAnnotation>\n"


def _image(header: Header, geometry: SceneGeometry) -> str:
    lines, samples = geometry.shape
    return (
        "<imageAnnotation>\n<imageInformation>\n"
        f"<productFirstLineUtcTime>{_iso(header.first)}</productFirstLineUtcTime>\n"
        f"<productLastLineUtcTime>{_iso(header.last)}</productLastLineUtcTime>\n"
        f"<slantRangeTime>{2 * geometry.grid.slant_range[0, 0] / SPEED_OF_LIGHT:.15e}</slantRangeTime>\n"
        "<pixelValue>Detected</pixelValue>\n<outputPixels>16 bit Unsigned Integer</outputPixels>\n"
        f"<rangePixelSpacing>{geometry.sample_spacing_m:.6e}</rangePixelSpacing>\n"
        f"<azimuthPixelSpacing>{geometry.sample_spacing_m:.6e}</azimuthPixelSpacing>\n"
        f"<azimuthTimeInterval>{geometry.line_interval_s:.15e}</azimuthTimeInterval>\n"
        f"<numberOfSamples>{samples}</numberOfSamples>\n<numberOfLines>{lines}</numberOfLines>\n"
        "</imageInformation>\n<processingInformation>\n<thermalNoiseCorrectionPerformed>false</thermalNoiseCorrectionPerformed>\n"
        "<ellipsoidName>WGS84</ellipsoidName>\n</processingInformation>\n</imageAnnotation>\n"
    )


def _grid(header: Header, geometry: SceneGeometry) -> str:
    grid, points = geometry.grid, []
    for row, line in enumerate(grid.lines):
        for col, sample in enumerate(grid.samples):
            points.append(
                f"<geolocationGridPoint>\n<azimuthTime>{_moment(header, grid.azimuth_time[row, col])}</azimuthTime>\n"
                f"<slantRangeTime>{2 * grid.slant_range[row, col] / SPEED_OF_LIGHT:.15e}</slantRangeTime>\n<line>{line:.0f}</line>\n"
                f"<pixel>{sample:.0f}</pixel>\n<latitude>{grid.latitude[row, col]:.15e}</latitude>\n"
                f"<longitude>{grid.longitude[row, col]:.15e}</longitude>\n<height>{grid.height[row, col]:.15e}</height>\n"
                f"<incidenceAngle>{grid.incidence[row, col]:.15e}</incidenceAngle>\n</geolocationGridPoint>\n"
            )
    return f"<geolocationGrid>\n{_list('geolocationGridPointList', points)}</geolocationGrid>\n"


def _conversions(header: Header, geometry: SceneGeometry) -> str:
    told = geometry.ground_range
    entries = [
        f"<coordinateConversion>\n<azimuthTime>{_moment(header, seconds)}</azimuthTime>\n<gr0>{origin:.15e}</gr0>\n"
        f"{_vector('grsrCoefficients', values, '.15e')}</coordinateConversion>\n"
        for seconds, origin, values in zip(told.times, told.origins, told.coefficients, strict=True)
    ]
    return f"<coordinateConversion>\n{_list('coordinateConversionList', entries)}</coordinateConversion>\n"


def _merging(header: Header, geometry: SceneGeometry, instrument: Instrument) -> str:
    entries = [
        f'<swathMerge>\n<swath>{name}</swath>\n<swathBoundsList count="1">\n<swathBounds>\n'
        f"<azimuthTime>{_iso(header.first)}</azimuthTime>\n"
        f"<firstAzimuthLine>0</firstAzimuthLine>\n<firstRangeSample>{part.start}</firstRangeSample>\n"
        f"<lastAzimuthLine>{geometry.shape[0] - 1}</lastAzimuthLine>\n<lastRangeSample>{part.stop - 1}</lastRangeSample>\n"
        "</swathBounds>\n</swathBoundsList>\n</swathMerge>\n"
        for name, part in instrument.swaths
    ]
    return f"<swathMerging>\n{_list('swathMergeList', entries)}</swathMerging>\n"


def _range_vectors(header: Header, table: LookUpTable, tag: str, lut: str, scale: float) -> list[str]:
    return [
        f"<{tag}>\n<azimuthTime>{_time(header, line)}</azimuthTime>\n<line>{line:.0f}</line>\n"
        f"{_vector('pixel', table.samples, '.0f')}{_vector(lut, values / scale)}</{tag}>\n"
        for line, values in zip(table.lines, table.values, strict=True)
    ]


def _azimuth_vector(name: str, block: AzimuthBlock) -> str:
    place = block.window
    return (
        f"<noiseAzimuthVector>\n<swath>{name}</swath>\n<firstAzimuthLine>{place.row}</firstAzimuthLine>\n"
        f"<firstRangeSample>{place.col}</firstRangeSample>\n<lastAzimuthLine>{place.row + place.rows - 1}</lastAzimuthLine>\n"
        f"<lastRangeSample>{place.col + place.cols - 1}</lastRangeSample>\n"
        f"{_vector('line', block.lines, '.0f')}{_vector('noiseAzimuthLut', block.values)}</noiseAzimuthVector>\n"
    )


def _list(tag: str, entries: list[str]) -> str:
    return f'<{tag} count="{len(entries)}">\n{"".join(entries)}</{tag}>\n'


def _vector(tag: str, values: Iterable[float], form: str = ".6e") -> str:
    told = [format(value, form) for value in values]
    return f'<{tag} count="{len(told)}">{" ".join(told)}</{tag}>\n'


def _axes(tag: str, values: Floats) -> str:
    return f"<{tag}>\n" + "".join(f"<{axis}>{value:.15e}</{axis}>\n" for axis, value in zip("xyz", values, strict=True)) + f"</{tag}>\n"


def _time(header: Header, line: float) -> str:
    return _moment(header, line * LINE_INTERVAL_S)


def _moment(header: Header, seconds: float) -> str:
    return _iso(header.first + timedelta(seconds=float(seconds)))


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")
