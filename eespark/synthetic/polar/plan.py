"""Which scenes the polar archive holds, and which of them are special or broken on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from eespark.synthetic.noise import mix, subseed
from eespark.synthetic.polar.ice import Sea
from eespark.synthetic.polar.orbit import LINE_INTERVAL_S, SPACING_M, View
from eespark.synthetic.polar.settings import PolarSettings

# Danmarkshavn, north-east Greenland: the site of the Norwegian Meteorological Institute's scenes of 2018.
LONGITUDE: Final = -18.7
LATITUDE: Final = 76.8
WINTER, FREEZE_UP = date(2018, 1, 10), date(2018, 10, 5)
STEP_DAYS: Final = 12
# The site is seen from four tracks: ascending or not, incidence in its middle, hour of passing (UTC), relative orbit.
TRACKS: Final = ((False, 26.0, 8, 112), (True, 33.0, 17, 45), (False, 40.5, 8, 68), (True, 29.5, 17, 147))
_FIRST_ORBIT: Final = date(2014, 4, 3)
_ORBITS_A_DAY: Final = 175 / 12
_VERSION, _EARLY_VERSION = "003.52", "002.72"
FAULTS: Final = ("truncated", "missing_noise", "missing_hv", "no_grid")


@dataclass(frozen=True)
class Scene:
    """One scene to make.

    Attributes:
        day: Of sensing.
        first: Time of the first line, UTC.
        view: How it sees the site.
        mission: S1A or S1B.
        relative_orbit: Of its track.
        orbit: Absolute.
        datatake: Of the name, hexadecimal.
        form: safe, zip, cloud (short names of the cloud copies) or early (processor before 2.90: noise by range alone, low border).
        fault: Empty, or what is wrong: one of `FAULTS`.
    """

    day: date
    first: datetime
    view: View
    mission: str
    relative_orbit: int
    orbit: int
    datatake: str
    form: str = "safe"
    fault: str = ""

    @property
    def last(self) -> datetime:
        """Time of the last line."""
        return self.first + timedelta(seconds=(self.view.lines - 1) * LINE_INTERVAL_S)

    @property
    def version(self) -> str:
        """Of the processor, as manifest.safe writes it."""
        return _EARLY_VERSION if self.form == "early" else _VERSION

    @property
    def stem(self) -> str:
        """Start, stop, orbit and datatake, as in all its names."""
        return f"{self.first:%Y%m%dT%H%M%S}_{self.last:%Y%m%dT%H%M%S}_{self.orbit:06d}_{self.datatake}"

    @property
    def product_id(self) -> str:
        """Name without .SAFE."""
        unique = int(mix(self.day.toordinal(), len(self.fault), len(self.form), 7)[0]) & 0xFFFF
        return f"{self.mission}_EW_GRDM_1SDH_{self.stem}_{unique:04X}"


def sea_of(settings: PolarSettings) -> Sea:
    """The sea that all scenes see."""
    return Sea(LONGITUDE, LATITUDE, settings.size_px * SPACING_M, subseed(settings.seed, 500))


def plan_scenes(settings: PolarSettings) -> list[Scene]:
    """All scenes in the order of time, the broken ones last: copies of good ones a day later."""
    half = settings.dates // 2
    days = [first + timedelta(days=STEP_DAYS * number) for first in (WINTER, FREEZE_UP) for number in range(half)]
    forms = {1: "zip", 2: "cloud", half: "early"}
    scenes = [_scene(settings, day, number, forms.get(number, "safe"), "") for number, day in enumerate(days)]
    if not settings.faults:
        return scenes
    return scenes + [
        _scene(settings, days[number % len(days)] + timedelta(days=1), number, "safe", fault) for number, fault in enumerate(FAULTS)
    ]


def _scene(settings: PolarSettings, day: date, number: int, form: str, fault: str) -> Scene:
    ascending, incidence, hour, relative = TRACKS[number % len(TRACKS)]
    first = datetime.combine(day, time(hour, 14, 20 + number % 30, 546_000))
    # Cycles of twelve days have 175 orbits; the number within one is that of the track.
    cycle = int((day - _FIRST_ORBIT).days * _ORBITS_A_DAY) // 175
    orbit = cycle * 175 + relative + 72
    view = View(LONGITUDE, LATITUDE, ascending, incidence, settings.size_px, settings.size_px)
    return Scene(day, first, view, "S1B" if number % 3 == 2 else "S1A", relative, orbit, f"{orbit * 37 % 0xFFFFFF:06X}", form, fault)
