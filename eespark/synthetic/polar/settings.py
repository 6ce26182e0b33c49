"""Settings of the synthetic polar archive."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eespark.job import JobSettings
from eespark.settings import Url


class PolarSettings(JobSettings):
    """What the polar archive is made of; two archives with equal settings are equal."""

    output: Annotated[Url, Field(description="local folder that will hold archive/, labels/ and truth/; it appears whole or not at all")]
    seed: Annotated[int, Field(ge=0, description="of everything that is drawn")]
    size_px: Annotated[
        int, Field(ge=128, le=10_400, description="lines and samples (40 m) of each scene; a whole one has about 10,400")
    ] = 1_200
    dates: Annotated[int, Field(ge=2, le=48, multiple_of=2, description="scenes; half of them in winter, half in the freeze-up")] = 12
    polygons_a_kind: Annotated[int, Field(ge=1, le=200, description="polygons of a kind that are drawn on a scene at most")] = 9
    faults: Annotated[bool, Field(description="add scenes that are broken: cut short, without noise, HV or geolocation grid")] = True
    workers: Annotated[int, Field(ge=1, description="processes that render scenes")] = 2
