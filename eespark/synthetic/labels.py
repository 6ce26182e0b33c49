"""What farmers declare and surveyors note of the invented landscape, in the true schemas."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import geopandas
import numpy as np
import pandas as pd
import shapely
from pyproj.transformer import AreaOfInterest, Transformer, TransformerGroup
from shapely.affinity import translate
from shapely.geometry import Point, Polygon

from eespark.errors import MissingError
from eespark.synthetic.crops import COVER_LUCAS, COVERS, CROPS, LANDSCAPE_ELEMENT, UNKNOWN_CROP
from eespark.synthetic.noise import generator
from eespark.synthetic.region import WORLD_EPSG

AUSTRIA_LAMBERT: Final = 31287
SLIVERS: Final = 12
OVERLAPPING_PAIRS: Final = 2
# Neighbouring kinds that farmers and clerks mix up take half of the wrong declarations; the rest go anywhere.
CONFUSED: Final = {
    "winter_wheat": "triticale", "triticale": "rye", "rye": "triticale", "winter_barley": "spring_barley", "spring_barley": "winter_barley",
    "meadow": "pasture", "grain_maize": "silage_maize", "durum": "winter_wheat", "soy": "pea", "potato": "vegetables",
}  # fmt: skip
GPS_SD_M: Final = 3.0
NOT_REACHED_SHARE: Final = 0.12  # interpreted from photos: OBS_TYPE 3
LOOKED_ASIDE_SHARE: Final = 0.06  # OBS_DIRECT 2 (north) or 3 (east): the point lies on a line between covers
_MISSING: Final = 88.888888


def accurate_transformer(source: str, target: str, bounds: tuple[float, float, float, float]) -> Transformer:
    """The most accurate operation between two systems whose area of use holds the ground.

    `Transformer.from_crs` takes a general operation (1.5 m between MGI and WGS 84, 0.9 m off in Styria); with the area of
    interest the regional one (0.5 m) is known to apply. Source: EPSG dataset, MGI to WGS 84 (8).

    Args:
        source: As EPSG:n.
        target: As EPSG:n.
        bounds: West, south, east, north, degrees.

    Raises:
        MissingError: No operation is known.
    """
    # Over geographic WGS 84: between projected systems PROJ lists only the first operation.
    group = TransformerGroup(source, target, always_xy=True, area_of_interest=AreaOfInterest(*bounds))
    found = [t for t in group.transformers if t.accuracy >= 0]
    if not found:
        raise MissingError(f"needed an operation from {source} to {target} on {bounds}, found none; install PROJ's database")
    return min(found, key=lambda t: t.accuracy)


@cache
def _to_degrees() -> Transformer:
    return Transformer.from_crs(WORLD_EPSG, 4326, always_xy=True)


def to_lambert(geometries: Any) -> Any:
    """Geometries of the world frame in Austria Lambert (EPSG:31287), by the accurate datum operation."""
    to_degrees = _to_degrees()
    west, south, east, north = to_degrees.transform_bounds(*shapely.total_bounds(geometries))
    from_degrees = accurate_transformer("EPSG:4326", f"EPSG:{AUSTRIA_LAMBERT}", (west, south, east, north))

    def move(xy: Any) -> Any:
        lon, lat = to_degrees.transform(xy[:, 0], xy[:, 1])
        return np.column_stack(from_degrees.transform(lon, lat))

    return shapely.transform(np.asarray(geometries), move)


def declare(parcels: geopandas.GeoDataFrame, seed: int, wrong_share: float) -> geopandas.GeoDataFrame:
    """Declarations of the parcels: some wrong, some faulty.

    Args:
        parcels: Crop parcels of `build_landscape`, in a stable order.
        seed: Of the archive.
        wrong_share: Share of the parcels declared as another class.

    Returns:
        GEO_ID, key, true_kind, declared_kind (-1: no crop of the list), SNAR_CODE, SNAR_BEZEICHNUNG, fault (or empty),
        geometry (EPSG:31287).
    """
    rng = generator(seed, 80)
    true_kind = parcels["kind"].to_numpy().astype(int)
    declared = true_kind.copy()
    # As many as asked for, not as many as chance gives: the share is the truth that the tests know.
    wrong = rng.choice(len(parcels), round(wrong_share * len(parcels)), replace=False)
    for row in wrong:
        declared[row] = _other_kind(int(true_kind[row]), rng)
    names = [CROPS[k].declared[min(int(rng.geometric(0.65)) - 1, len(CROPS[k].declared) - 1)] for k in declared]
    out = geopandas.GeoDataFrame(
        {
            "GEO_ID": 10_000_000.0 + np.arange(len(parcels)),
            "key": parcels["key"].to_numpy(),
            "true_kind": true_kind,
            "declared_kind": declared,
            "SNAR_CODE": [code for code, _ in names],
            "SNAR_BEZEICHNUNG": [name for _, name in names],
            "fault": "",
        },
        geometry=to_lambert(parcels.geometry.to_numpy()),
        crs=f"EPSG:{AUSTRIA_LAMBERT}",
    )
    return _with_faults(out, rng)


def _other_kind(kind: int, rng: np.random.Generator) -> int:
    kinds = [crop.kind for crop in CROPS]
    other = CONFUSED.get(kinds[kind])
    if other is not None and rng.random() < 0.5 and CROPS[kinds.index(other)].class_id != CROPS[kind].class_id:
        return kinds.index(other)
    choices = [k for k, crop in enumerate(CROPS) if crop.class_id != CROPS[kind].class_id]
    weights = np.array([CROPS[k].weight for k in choices])
    return int(rng.choice(choices, p=weights / weights.sum()))


def _with_faults(table: geopandas.GeoDataFrame, rng: np.random.Generator) -> geopandas.GeoDataFrame:
    table = table.copy()
    # The right ones only, and large enough: a fault is one thing at a time.
    sound = table.index[(table["true_kind"] == table["declared_kind"]) & (table.area > 3_000)]
    chosen = [int(i) for i in rng.choice(sound, min(OVERLAPPING_PAIRS + 3, len(sound)), replace=False)]
    geometry, faults, last = list(table.geometry), list(table["fault"]), float(table["GEO_ID"].max())
    extra = []
    for row in chosen[:OVERLAPPING_PAIRS]:
        last += 1
        moved = translate(geometry[row], 0.35 * np.sqrt(geometry[row].area), 0.0)
        twin = {**table.loc[row].to_dict(), "GEO_ID": last, "geometry": moved, "fault": "overlap", "key": np.uint64(0)}
        other = _other_kind(int(table.loc[row, "true_kind"]), rng)
        code, name = CROPS[other].declared[0]
        extra.append({**twin, "declared_kind": other, "SNAR_CODE": code, "SNAR_BEZEICHNUNG": name})
        faults[row] = "overlap"
    for row, fault in zip(chosen[OVERLAPPING_PAIRS:], ("self_crossing", "empty", "unknown_crop"), strict=False):
        faults[row] = fault
        if fault == "self_crossing":
            west, south, east, north = geometry[row].bounds
            geometry[row] = Polygon([(west, south), (east, north), (east, south), (west, north)])
        elif fault == "empty":
            geometry[row] = Polygon()
        else:
            table.loc[row, ["SNAR_CODE", "SNAR_BEZEICHNUNG"]] = UNKNOWN_CROP
            table.loc[row, "declared_kind"] = -1
    for row in rng.choice(sound, min(SLIVERS, len(sound)), replace=False):
        last += 1
        west, _, east, north = geometry[row].bounds if not geometry[row].is_empty else table.geometry[row].bounds
        strip = Polygon([(west, north), (east, north), (east, north + 2.5), (west, north + 2.5)])
        code, name = LANDSCAPE_ELEMENT
        sliver = {"GEO_ID": last, "key": np.uint64(0), "true_kind": -1, "declared_kind": -1, "SNAR_CODE": code, "SNAR_BEZEICHNUNG": name}
        extra.append({**sliver, "fault": "sliver", "geometry": strip})
    table = table.assign(fault=faults).set_geometry(geopandas.GeoSeries(geometry, index=table.index, crs=table.crs))
    added = geopandas.GeoDataFrame(pd.DataFrame(extra), geometry="geometry", crs=table.crs)
    return geopandas.GeoDataFrame(pd.concat([table, added], ignore_index=True), geometry="geometry", crs=table.crs)


def write_invekos(path: Path, declared: geopandas.GeoDataFrame, year: int, seed: int) -> None:
    """Write the declarations as the INVEKOS GeoPackage of a year."""
    area = declared.area.to_numpy()
    farms = generator(seed, 81).integers(1_000_000, 9_999_999, len(declared) // 7 + 1)
    number = np.arange(len(declared))
    table = geopandas.GeoDataFrame(
        {
            "FS_KENNUNG": farms[number // 7].astype(float),
            "SNAR_BEZEICHNUNG": declared["SNAR_BEZEICHNUNG"].to_numpy(),
            "SL_FLAECHE_BRUTTO_HA": area / 1e4,
            "GEO_ID": declared["GEO_ID"].to_numpy(),
            "INSPIRE_ID": [f"https://data.inspire.gv.at/0037/lu/{int(i)}" for i in declared["GEO_ID"]],
            "SNAR_CODE": declared["SNAR_CODE"].to_numpy(),
            "GEO_PART_KEY": 1.0 + number,
            "LOG_PKEY": 5e6 + number,
            "GEOM_DATE_CREATED": pd.Timestamp(year, 4, 10, 10, 30, tz="UTC") + pd.to_timedelta(number % 40, unit="D"),
            "FART_ID": 1856.0,
            "GEO_TYPE": "POLYGON",
        },
        geometry=declared.geometry.to_numpy(),
        crs=declared.crs,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_file(path, layer=f"INSPIRE_SCHLAEGE_{year}_POLYGON", driver="GPKG", engine="pyogrio", geometry_type="Polygon")


def survey(landscape: geopandas.GeoDataFrame, extents: dict[str, Polygon], seed: int, spacing_m: float, year: int) -> pd.DataFrame:
    """LUCAS-like points with the column names and missing codes of the 2018 micro data.

    The column of the sampling weight, `WGT_LUCAS`, is named by this project. Its values scatter by about a quarter around 1, as calibrated
    weights do, and depend on nothing.

    Args:
        landscape: Of `build_landscape`.
        extents: Ground of the tiles in the world frame.
        seed: Of the archive.
        spacing_m: Between points of the grid.
        year: Of the survey.
    """
    rng, points = generator(seed, 82), []
    for extent in extents.values():
        west, south, east, north = extent.bounds
        xs, ys = (np.arange(np.ceil(a / spacing_m) * spacing_m, b, spacing_m) for a, b in ((west, east), (south, north)))
        points += [Point(x, y) for y in ys for x in xs if extent.contains(Point(x, y))]
    unique = geopandas.GeoSeries(list({(p.x, p.y): p for p in points}.values()), crs=landscape.crs)
    rows, columns = landscape.sindex.query(unique.geometry, predicate="within")
    kind = np.full(len(unique), len(CROPS), int)
    area = np.zeros(len(unique))
    kind[rows] = landscape["kind"].to_numpy()[columns]
    area[rows] = landscape.area.to_numpy()[columns]
    return pd.DataFrame(
        [_survey_row(n, p, int(k), float(a), rng, year) for n, (p, k, a) in enumerate(zip(unique, kind, area, strict=True))]
    )


def _survey_row(number: int, point: Point, kind: int, area_m2: float, rng: np.random.Generator, year: int) -> dict[str, Any]:
    to_degrees = _to_degrees()
    lon, lat = to_degrees.transform(point.x, point.y)
    crop = CROPS[kind] if kind < len(CROPS) else None
    reached = rng.random() >= NOT_REACHED_SHARE
    aside = (
        int(rng.choice([2, 3])) if (crop is None and rng.random() < 4 * LOOKED_ASIDE_SHARE) or rng.random() < LOOKED_ASIDE_SHARE / 4 else 1
    )
    distance = float(np.round(np.abs(rng.normal(0, 4.0)), 1)) if rng.random() < 0.85 else float(np.round(rng.uniform(10, 160), 1))
    turn = rng.uniform(0, 2 * np.pi)
    gps = to_degrees.transform(
        point.x + distance * np.cos(turn) + rng.normal(0, GPS_SD_M), point.y + distance * np.sin(turn) + rng.normal(0, GPS_SD_M)
    )
    lc1 = crop.lucas if crop is not None else COVER_LUCAS[COVERS[kind - len(CROPS)]]
    visited = f"{int(rng.integers(1, 29)):02d}/{int(rng.integers(5, 9)):02d}/{year}"
    size = 1 if area_m2 < 5e3 else 2 if area_m2 < 1e4 else 3 if area_m2 < 1e5 else 4
    return {
        "POINT_ID": 44_000_000 + number, "NUTS0": "AT", "TH_LAT": round(lat, 8), "TH_LONG": round(lon, 8),
        "OFFICE_PI": 0 if reached else 1, "EX_ANTE": 0, "SURVEY_DATE": visited,
        "GPS_PROJ": 1 if reached else 8, "GPS_PREC": int(rng.choice([2, 3, 4, 5, 8, 20])) if reached else 8888,
        "GPS_LAT": round(gps[1], 8) if reached else _MISSING, "GPS_EW": 1 if reached else 8, "GPS_LONG": round(gps[0],
        8) if reached else _MISSING,
        "OBS_DIST": distance if reached else 8888, "OBS_DIRECT": aside if reached else 8,
        "OBS_TYPE": (1 if distance < 100 else 2) if reached else 3,
        "OBS_RADIUS": 1 if crop is not None else 2, "LC1": lc1, "LC1_SPEC": "8", "LC1_PERC": 5, "LC2": "8", "LC2_SPEC": "8", "LC2_PERC": 8,
        "LU1": "U111" if crop is not None else {"forest": "U120", "settlement": "U370", "water": "U361",
        "verge": "U312"}[COVERS[kind - len(CROPS)]],
        "LU1_TYPE": "8", "LU1_PERC": 5, "LU2": "8", "PARCEL_AREA_HA": size if crop is not None else 8, "GRAZING": 8, "CROP_RESIDUES": 8,
        "CPRN_CANDO": 1 if reached and crop is not None else 2, "CPRN_LC": lc1 if reached and crop is not None else "8",
        "CPRN_LC1N": int(rng.integers(5, 52)) if crop is not None else 88, "CPRNC_LC1E": int(rng.integers(5,
        52)) if crop is not None else 88,
        "CPRNC_LC1S": int(rng.integers(5, 52)) if crop is not None else 88, "CPRNC_LC1W": int(rng.integers(5,
        52)) if crop is not None else 88,
        "WGT_LUCAS": round(float(np.exp(rng.normal(0, 0.25))), 4),
    }  # fmt: skip
