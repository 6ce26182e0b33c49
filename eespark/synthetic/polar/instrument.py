"""Calibration and thermal noise of synthetic EW scenes: as annotated, and as they really are.

The shape of the noise (nine values a sub-swath, decibels), the incidence angles of the seams, the scalloping and the calibration constant
are those that the annotation of S1A_EW_GRDM_1SDH_20221130T014342 (Copernicus Sentinel data 2022, IPF 3.52) gives. What really is there
differs from what is annotated, as it does in real scenes (Park et al. 2018, 10.1109/TGRS.2017.2765248): each sub-swath by a factor of its
own, and the scalloping by its depth. Taking off the annotated noise therefore leaves seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from eespark.kernels.sar_noise import AzimuthBlock, Noise
from eespark.kernels.sar_tables import Floats, LookUpTable, Window
from eespark.sar_geometry import SceneGeometry
from eespark.synthetic.noise import normal, subseed

BETA_NOUGHT: Final = 1087.0
SUB_SWATHS: Final = ("EW1", "EW2", "EW3", "EW4", "EW5")
SEAMS_DEG: Final = (28.534, 33.798, 38.995, 43.236)
NOISE_DB: Final = {
    "HH": (
        (-19.8, -24.5, -25.0, -23.1, -22.3, -24.2, -25.4, -24.4, -21.0),
        (-26.6, -27.9, -28.5, -28.5, -28.3, -28.0, -27.4, -26.5, -25.1),
        (-25.4, -27.5, -28.8, -29.5, -29.7, -29.5, -28.8, -27.6, -25.7),
        (-28.3, -30.6, -31.9, -32.5, -32.5, -31.7, -30.4, -28.4, -25.6),
        (-30.3, -31.4, -32.0, -32.3, -32.2, -31.8, -31.0, -30.0, -28.8),
    ),
    "HV": (
        (-20.4, -25.3, -25.9, -24.1, -23.2, -25.1, -26.3, -25.3, -21.9),
        (-28.1, -29.4, -29.9, -29.9, -29.7, -29.3, -28.8, -27.8, -26.3),
        (-27.0, -29.1, -30.5, -31.2, -31.3, -31.1, -30.4, -29.1, -27.2),
        (-29.7, -32.0, -33.4, -34.0, -33.9, -33.2, -31.8, -29.7, -26.9),
        (-31.3, -32.4, -33.0, -33.3, -33.2, -32.8, -32.1, -31.0, -29.9),
    ),
}
OUTER_DEG: Final = (18.9, 46.4)
NODE_STEP_PX: Final = 40
NODE_STEP_LINES: Final = 167
SCALLOP_LINES: Final = 500
SCALLOP_DEPTH: Final = 0.19
# How far the truth is from the annotation: standard deviation of the factor of a sub-swath, and share of the scalloping left out.
SWATH_ERROR: Final = 0.06
SCALLOP_ERROR: Final = 0.25


@dataclass(frozen=True)
class Instrument:
    """Of one polarisation of one scene.

    Attributes:
        calibration: sigmaNought.
        noise: As annotated, in units of DN^2.
        swaths: Name, and the samples of each sub-swath in the image.
        true_noise: As it is.
    """

    calibration: LookUpTable
    noise: Noise
    swaths: tuple[tuple[str, range], ...]
    true_noise: Noise


def instrument(geometry: SceneGeometry, band: str, seed: int) -> Instrument:
    """Calibration and noise of a polarisation, HH or HV, by the incidence angles of the scene."""
    lines, samples = geometry.shape
    incidence = _mean_incidence(geometry)
    # One line beyond the image, as the agency's tables go on.
    rows = np.arange(0, lines + NODE_STEP_LINES, NODE_STEP_LINES, dtype=np.float64)
    swaths = _swaths(incidence)
    nodes = np.unique(
        [*range(0, samples, NODE_STEP_PX), samples - 1, *(edge for _, part in swaths for edge in (part.start, part.stop - 1))]
    )
    gain = BETA_NOUGHT / np.sqrt(np.sin(np.radians(incidence[nodes])))
    calibration = LookUpTable(rows, nodes.astype(np.float64), np.repeat(gain[None], len(rows), axis=0))
    power = np.zeros(len(nodes))
    truth = np.zeros(len(nodes))
    for name, part in swaths:
        inside = (nodes >= part.start) & (nodes < part.stop)
        number = SUB_SWATHS.index(name)
        edges = (OUTER_DEG[0], *SEAMS_DEG, OUTER_DEG[1])
        shape = np.interp(incidence[nodes[inside]], np.linspace(edges[number], edges[number + 1], 9), NOISE_DB[band][number])
        power[inside] = 10 ** (shape / 10) * gain[inside] ** 2
        truth[inside] = power[inside] * (1 + SWATH_ERROR * normal(seed, subseed(seed, number))[0])
    tables = [LookUpTable(rows, nodes.astype(np.float64), np.repeat(one[None], len(rows), axis=0)) for one in (power, truth)]
    blocks = [tuple(_scallop(part, lines, number, depth) for number, (_, part) in enumerate(swaths)) for depth in _depths()]
    return Instrument(calibration, Noise(tables[0], blocks[0]), swaths, Noise(tables[1], blocks[1]))


def _depths() -> tuple[float, float]:
    return SCALLOP_DEPTH, SCALLOP_DEPTH * (1 + SCALLOP_ERROR)


def _mean_incidence(geometry: SceneGeometry) -> Floats:
    table = geometry.incidence_table()
    return np.interp(np.arange(geometry.shape[1]), table.samples, table.values.mean(axis=0))


def _swaths(incidence: Floats) -> tuple[tuple[str, range], ...]:
    """The sub-swaths that the image meets, and their samples."""
    edges = [0, *np.searchsorted(incidence, SEAMS_DEG).tolist(), len(incidence)]
    parts = [(name, range(start, stop)) for name, start, stop in zip(SUB_SWATHS, edges[:-1], edges[1:], strict=True)]
    return tuple((name, part) for name, part in parts if len(part))


def _scallop(part: range, lines: int, number: int, depth: float) -> AzimuthBlock:
    """Lowest in the middle of each burst; bursts of a sub-swath begin a fifth of a cycle after those of the one before."""
    nodes = np.unique(np.append(np.arange(0, lines, 10), lines - 1)).astype(np.float64)
    phase = (nodes / SCALLOP_LINES + number / len(SUB_SWATHS)) % 1 - 0.5
    return AzimuthBlock(Window(0, part.start, lines, len(part)), nodes, 1 + depth * (2 * phase) ** 2)
