"""The kinds of crop and of other ground in the synthetic archive, and what each is called by farmers and surveyors.

Names are those of the Austrian list of 2018. Codes stand only where a real declaration shows them (`None` elsewhere): a reader
then has to map by name, as with the real list of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NO_CROP: Final = 255


@dataclass(frozen=True)
class Crop:
    """One kind of crop.

    Attributes:
        kind: Key into `phenology.yaml`.
        class_id: Class of TimeSen2Crop, 0..15.
        weight: Share of the parcels before farms specialise.
        declared: (SNAR_CODE or None, SNAR_BEZEICHNUNG) that farmers use for it; the first most often.
        lucas: LC1 code of LUCAS 2018 and its meaning is C3's: B11 common wheat, B12 durum, B13 barley, B14 rye, B15 oats, B16 maize, ...
    """

    kind: str
    class_id: int
    weight: float
    declared: tuple[tuple[str | None, str], ...]
    lucas: str


# Weights follow the class counts of TimeSen2Crop, rare classes lifted to 2 % so that a small archive holds some of each.
CROPS: Final[tuple[Crop, ...]] = (
    Crop("pea", 0, 0.025, ((None, "KÖRNERERBSEN"), (None, "ACKERBOHNEN (PUFFBOHNEN)")), "B41"),
    Crop("meadow", 1, 0.13, (("717", "MÄHWIESE/-WEIDE DREI UND MEHR NUTZUNGEN"), ("716", "MÄHWIESE/-WEIDE ZWEI NUTZUNGEN")), "E20"),
    Crop("pasture", 1, 0.05, ((None, "DAUERWEIDE"), (None, "HUTWEIDE")), "E20"),
    Crop("grain_maize", 2, 0.08, ((None, "KÖRNERMAIS"), (None, "MAIS CORN-COB-MIX (CCM)")), "B16"),
    Crop("silage_maize", 2, 0.05, (("109", "SILOMAIS"),), "B16"),
    Crop("potato", 3, 0.03, ((None, "SPEISEKARTOFFELN"), (None, "STÄRKEINDUSTRIEKARTOFFELN"), (None, "FRÜHKARTOFFELN")), "B21"),
    Crop("sunflower", 4, 0.025, ((None, "SONNENBLUMEN"),), "B31"),
    Crop("soy", 5, 0.06, ((None, "SOJABOHNEN"),), "B33"),
    Crop("winter_barley", 6, 0.08, (("110", "WINTERGERSTE"),), "B13"),
    Crop("rye", 8, 0.05, ((None, "WINTERROGGEN"), (None, "GRÜNSCHNITTROGGEN")), "B14"),
    Crop("rapeseed", 9, 0.04, ((None, "WINTERRAPS"),), "B32"),
    Crop("beet", 10, 0.035, ((None, "ZUCKERRÜBEN"), (None, "FUTTERRÜBEN (RUNKELRÜBEN, BURGUND KOHLRÜBEN)")), "B22"),
    Crop("spring_barley", 11, 0.05, ((None, "SOMMERGERSTE"),), "B13"),
    Crop("oat", 11, 0.025, ((None, "SOMMERHAFER"),), "B15"),
    Crop("winter_wheat", 12, 0.10, ((None, "WINTERWEICHWEIZEN"), (None, "WINTERDINKEL (SPELZ)")), "B11"),
    Crop("durum", 12, 0.015, ((None, "WINTERHARTWEIZEN (DURUM)"),), "B12"),
    Crop("triticale", 13, 0.055, (("116", "WINTERTRITICALE"),), "B18"),
    Crop("vineyard", 14, 0.025, ((None, "WEIN"),), "B82"),
    Crop("orchard", 14, 0.02, ((None, "TAFELÄPFEL"), (None, "ANDERES OBST")), "B71"),
    Crop("oil_pumpkin", 15, 0.03, ((None, "ÖLKÜRBIS"),), "B37"),
    Crop("vegetables", 15, 0.015, (("696", "FELDGEMÜSE EINKULTURIG"), (None, "FELDGEMÜSE MEHRKULTURIG")), "B43"),
    Crop("poppy", 15, 0.01, ((None, "WINTERMOHN"), (None, "SOMMERMOHN")), "B36"),
)
KINDS: Final = tuple(crop.kind for crop in CROPS)
COVERS: Final = ("verge", "forest", "settlement", "water")
"""Ground without a crop; a kind's index below `len(CROPS)` is a crop, above it a cover."""
COVER_LUCAS: Final = {"verge": "A22", "forest": "C10", "settlement": "A11", "water": "G11"}

UNKNOWN_CROP: Final = ("999", "NICHT IM KATALOG")
"""Code and name that no list holds."""
LANDSCAPE_ELEMENT: Final = ("360", "GLÖZ HECKE / UFERGEHÖLZ")
"""What the slivers are declared as."""


def class_of_kind(kind: int) -> int:
    """Class of TimeSen2Crop of a kind's index; 255 for ground without a crop."""
    return CROPS[kind].class_id if kind < len(CROPS) else NO_CROP
