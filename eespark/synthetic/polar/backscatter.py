"""How bright each kind of surface is in HH and HV, and how its texture looks: chosen once, hashed with the rest of the generator.

Slopes with incidence of first-year and deformed ice: Makynen and Karvonen 2017 (10.1109/TGRS.2017.2721981), -0.25 and -0.24 dB a degree
in HH, -0.16 in HV; of old ice flatter (10.1109/TGRS.2023.3315056), of open water by far the steepest (Lohse et al. 2020,
10.1017/aog.2020.45). Means are chosen so that whole scenes have about the digital numbers of a real one (mean and deviation 365 and 258
in HH, 106 and 103 in HV), and so that kinds overlap in single pixels: wind makes water as bright as ice, floes of a kind differ by as much
as kinds do. What tells kinds apart is how they look: grains, ridges, streaks, and the fall with incidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFERENCE_DEG: Final = 30.0
LOOKS: Final = 10.7
"""Equivalent number of looks of EW GRDM (Sentinel-1 Product Definition, S1-RS-MDA-52-7440)."""


@dataclass(frozen=True)
class Surface:
    """One kind of surface.

    Attributes:
        name: Of the kind.
        hh: Mean at `REFERENCE_DEG`, decibels.
        hv: Mean at `REFERENCE_DEG`, decibels.
        hh_slope: Decibels a degree.
        hv_slope: Decibels a degree.
        floe: Standard deviation between floes, decibels.
        grain: Of the texture at 100 m.
        patch: Of the texture at 600 m.
        ridge: Decibels that a ridge is brighter by, in HH; in HV by half more.
        ridge_share: Share of the area under ridges.
    """

    name: str
    hh: float
    hv: float
    hh_slope: float
    hv_slope: float
    floe: float
    grain: float
    patch: float
    ridge: float = 0.0
    ridge_share: float = 0.0


SURFACES: Final = (
    Surface("open_water", -14.0, -30.0, -0.65, -0.15, 0.0, 0.2, 0.4),
    Surface("new_ice", -19.0, -31.0, -0.35, -0.15, 0.8, 0.3, 0.5),
    Surface("brash", -11.0, -23.0, -0.22, -0.14, 1.0, 1.9, 0.6),
    Surface("young_ice", -12.0, -25.0, -0.25, -0.16, 1.6, 0.5, 1.5),
    Surface("first_year", -14.5, -27.0, -0.25, -0.16, 1.6, 0.5, 0.8, 4.0, 0.04),
    Surface("deformed", -10.5, -20.0, -0.19, -0.16, 1.5, 1.3, 1.2, 4.5, 0.16),
    Surface("land", -8.5, -16.0, -0.20, -0.15, 0.0, 2.2, 2.4),
)
KINDS: Final = tuple(surface.name for surface in SURFACES)
OPEN_WATER, NEW_ICE, BRASH, YOUNG_ICE, FIRST_YEAR, DEFORMED, LAND = range(len(KINDS))
# Water by wind: deviation between dates, between places of a date, and how much of it HV feels.
WIND_DATE_DB: Final = 2.2
WIND_PLACE_DB: Final = 1.6
WIND_IN_HV: Final = 0.35
ICEBERG_DB: Final = (9.0, 11.0)
"""How much brighter than deformed ice an iceberg is, HH and HV."""
