"""Settings of `draw_samples`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field

from eespark.burn import Rule
from eespark.errors import SettingsError
from eespark.job import JobSettings
from eespark.settings import Share, Url

# What may change without another sample set: where things lie, how the work is cut, what is told of it.
_FREE: Final = {"products", "labels", "samples", "sets", "summary", "log_level", "block_px", "method", "min_parcels"}
# What must not change from a version to the next, or the parts and probabilities that stay would mean something else.
_KEPT: Final = ("legend", "purity", "erode_m", "max_per_parcel", "split_block_m", "seed")


class DrawSettings(JobSettings):
    """Settings of `draw_samples`."""

    products: Annotated[Url, Field(description="Delta table of the catalog")]
    labels: Annotated[Url, Field(description="Delta table of the labels")]
    samples: Annotated[Url, Field(description="Delta table to write")]
    sets: Annotated[Url, Field(description="folder of the sample sets' manifests")]
    sample_set: Annotated[str, Field(pattern=r"^[\w-]+@\d+$", description="name@version; a version never changes")]
    extends: Annotated[str | None, Field(pattern=r"^[\w-]+@\d+$", description="older version whose parts and probabilities stay")] = None
    legend: Annotated[str, Field(description="legend of the classes, as in the labels")] = "timesen2crop"
    sources: Annotated[list[str], Field(min_length=1, description="label sources with polygons")]
    point_sources: Annotated[list[str], Field(description="label sources with points, all taken, for validation only")] = []
    level: Annotated[str, Field(pattern="^(L1C|L2A)$", description="level of the products whose grids are used")] = "L2A"
    tiles: Annotated[list[str] | None, Field(description="tiles to draw from; all of the catalog by default")] = None
    holdout_tiles: Annotated[list[str], Field(description="tiles kept out of training: part unseen")] = []
    adopted_squares: Annotated[
        dict[str, str], Field(description="square without a tile of its own, as 34NBU -> tile that owns its ground")
    ] = {}
    total: Annotated[int, Field(ge=1, description="pixels wanted in all")]
    allocation: Annotated[str, Field(pattern="^(proportional|equal|capped)$", description="to the classes")] = "proportional"
    max_per_parcel: Annotated[int | None, Field(ge=1, description="expected pixels of one parcel at most")] = None
    purity: Annotated[Rule, Field(description="cell: the whole 20 m cell inside; centre: the 10 m centre")] = "cell"
    erode_m: Annotated[float, Field(ge=0, description="m by which parcels are drawn in")] = 5.0
    block_px: Annotated[int, Field(ge=64, description="px; block of a tile that one task burns")] = 1024
    split_block_m: Annotated[float, Field(gt=0, description="m; ground block that is never divided between parts")] = 10_000.0
    split_shares: Annotated[dict[str, Share], Field(description="part -> share of the parcels")] = {
        "train": 0.7,
        "validation": 0.1,
        "test": 0.2,
    }
    min_parcels: Annotated[int, Field(ge=1, description="a class with fewer parcels is reported as too rare")] = 10
    guard_m: Annotated[float, Field(ge=0, description="m between any two parts")] = 60.0
    method: Annotated[
        str, Field(pattern="^(burn|points)$", description="burn, or Sedona's ST_Contains of every cell: the same, slower")
    ] = "burn"
    seed: Annotated[int, Field(description="of hashes")] = 1


def check_same(settings: DrawSettings, drawn: Mapping[str, Any]) -> None:
    """Check that a version that exists was drawn with these settings.

    Args:
        settings: Of now.
        drawn: Settings in the version's manifest.

    Raises:
        SettingsError: They differ.
    """
    wanted = settings.model_dump(mode="json", exclude=_FREE)
    differ = sorted(name for name, value in wanted.items() if drawn.get(name) != value)
    if differ:
        raise SettingsError(f"{settings.sample_set} exists with other {', '.join(differ)}; a version never changes: name the next one")


def check_extends(settings: DrawSettings, older: Mapping[str, Any]) -> None:
    """Check that a version can start from an older one.

    Args:
        settings: Of the new version.
        older: Settings in the older version's manifest.

    Raises:
        SettingsError: Parts or probabilities of the older one would mean something else, or a tile that it held out came into training.
    """
    wanted = settings.model_dump(mode="json", include=set(_KEPT))
    differ = sorted(name for name in _KEPT if older.get(name) != wanted[name])
    if differ:
        raise SettingsError(f"{settings.sample_set} extends {settings.extends}, which has other {', '.join(differ)}; keep them")
    freed = sorted(set(older.get("holdout_tiles", ())) - set(settings.holdout_tiles))
    if freed:
        raise SettingsError(f"{settings.sample_set} extends {settings.extends}, which held out {', '.join(freed)}; add to holdout_tiles")
