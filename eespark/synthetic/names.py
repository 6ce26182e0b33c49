"""Names of products, granules, datastrips and files, as the agency gives them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from eespark.bands import RESOLUTION_M

# Processing centre of each baseline as real products name it.
_CENTRE: Final = {"02.06": "EPAE", "02.14": "MPS_", "04.00": "VGS1"}
BASELINE_OFFSET: Final = {"02.06": 0, "02.14": 0, "04.00": 1000}
"""Added to reflectance x 10,000; the metadata carries its negative."""


@dataclass(frozen=True)
class ProductName:
    """All names of one product.

    Attributes:
        mission: S2A or S2B.
        level: L1C or L2A.
        tile: MGRS name without T.
        relative_orbit: 1..143.
        absolute_orbit: Of the datatake.
        start: Start of the datatake, which names the product.
        datastrip_start: Start of the datastrip, seconds before; tells halves of a tile-date apart.
        made: When it was processed.
        baseline: NN.NN.
    """

    mission: str
    level: str
    tile: str
    relative_orbit: int
    absolute_orbit: int
    start: datetime
    datastrip_start: datetime
    made: datetime
    baseline: str

    @property
    def product_id(self) -> str:
        """Name of the product without .SAFE."""
        baseline = self.baseline.replace(".", "")
        parts = (
            f"{self.mission}_MSI{self.level}",
            stamp(self.start),
            f"N{baseline}",
            f"R{self.relative_orbit:03d}",
            f"T{self.tile}",
            stamp(self.made),
        )
        return "_".join(parts)

    @property
    def granule(self) -> str:
        """Name of the granule's folder."""
        return f"{self.level}_T{self.tile}_A{self.absolute_orbit:06d}_{stamp(self.datastrip_start)}"

    @property
    def datastrip_folder(self) -> str:
        """Name of the datastrip's folder."""
        return f"DS_{_CENTRE[self.baseline]}_{stamp(self.made)}_S{stamp(self.datastrip_start)}"

    @property
    def datastrip_id(self) -> str:
        """Identifier of the datastrip."""
        return self._pdi("DS", f"S{stamp(self.datastrip_start)}")

    @property
    def granule_id(self) -> str:
        """Identifier of the granule."""
        return self._pdi("TL", f"A{self.absolute_orbit:06d}_T{self.tile}")

    def _pdi(self, kind: str, rest: str) -> str:
        return f"{self.mission}_OPER_MSI_{self.level}_{kind}_{_CENTRE[self.baseline]}_{stamp(self.made)}_{rest}_N{self.baseline}"

    @property
    def datatake_id(self) -> str:
        """Identifier of the datatake."""
        return f"G{self.mission}_{stamp(self.start)}_{self.absolute_orbit:06d}_N{self.baseline}"

    @property
    def sensing_time(self) -> datetime:
        """When the tile's middle was seen."""
        return self.datastrip_start + timedelta(seconds=12, microseconds=461_000)

    @property
    def cloud_mask_id(self) -> str:
        """Identifier of the cloud mask of an L1C product."""
        where = f"{_CENTRE[self.baseline]}_{stamp(self.made)}_A{self.absolute_orbit:06d}_T{self.tile}"
        return f"{self.mission}_OPER_MSK_CLOUDS_{where}_B00_MSIL1C"

    @property
    def cloud_mask_file(self) -> str:
        """Path of the cloud mask below the .SAFE folder, up to baseline 03.01."""
        return f"GRANULE/{self.granule}/QI_DATA/MSK_CLOUDS_B00.gml"

    def image_file(self, band: str) -> str:
        """Path of a band below the .SAFE folder."""
        metres = RESOLUTION_M[band]
        stem = f"T{self.tile}_{stamp(self.start)}_{band}"
        folder = f"GRANULE/{self.granule}/IMG_DATA"
        return f"{folder}/{stem}.jp2" if self.level == "L1C" else f"{folder}/R{metres}m/{stem}_{metres}m.jp2"


def stamp(moment: datetime) -> str:
    """YYYYMMDDTHHMMSS."""
    return moment.strftime("%Y%m%dT%H%M%S")
