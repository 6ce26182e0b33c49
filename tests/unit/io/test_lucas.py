"""LUCAS points: missing codes by column, field observations only, and where the observed land lies."""

from __future__ import annotations

from datetime import date

import pyproj
import pytest
import shapely

from eespark.errors import FormatError, MissingError
from eespark.io.lucas import LucasSettings, count_points, point_record, read_points

GEOD = pyproj.Geod(ellps="WGS84")
# The two points of Flanders that the 2018 micro-data begin with are office and village; this one is a field by the same rules.
POINT = {
    "POINT_ID": "38863102",
    "NUTS0": "AT",
    "TH_LAT": "48.2000",
    "TH_LONG": "16.3000",
    "SURVEY_DATE": "12/07/18",
    "GPS_PROJ": "1",
    "GPS_PREC": "5",
    "GPS_LAT": "48.20001",
    "GPS_EW": "1",
    "GPS_LONG": "16.30002",
    "OBS_DIST": "2",
    "OBS_DIRECT": "1",
    "OBS_TYPE": "1",
    "LC1": "B11",
    "LC1_PERC": "100",
    "LU1": "U111",
    "PARCEL_AREA_HA": "3",
    "WEIGHT": "812.5",
}
SOURCE = LucasSettings(url="unused.csv")


def record(source=SOURCE, **change):
    return point_record(POINT | change, source)


def place(found):
    point = shapely.from_wkb(found.geometry)
    return point.x, point.y


def test_that_a_good_point_is_used_where_the_gps_has_it():
    found = record()
    assert (found.source_key, found.code, found.reason, found.crs, found.weight) == ("38863102", "B11", None, "EPSG:4326", 1.0)
    assert found.observed == date(2018, 7, 12)
    assert place(found) == (16.30002, 48.20001)


@pytest.mark.parametrize(("direct", "azimuth_deg"), [("2", 0.0), ("3", 90.0)], ids=["north", "east"])
def test_that_the_point_moves_where_the_observer_looked(direct, azimuth_deg):
    # Oracle: the geodesic of 3 m on WGS 84.
    lon, lat, _ = GEOD.fwd(16.30002, 48.20001, azimuth_deg, 3.0)
    x, y = place(record(OBS_DIRECT=direct))
    assert GEOD.inv(lon, lat, x, y)[2] < 0.03


def test_that_the_move_is_a_setting():
    x, y = place(record(LucasSettings(url="u", look_m=10.0), OBS_DIRECT="2"))
    assert GEOD.inv(16.30002, 48.20001, x, y)[2] == pytest.approx(10.0, abs=0.1)


def test_that_the_theoretical_point_can_be_asked_for():
    found = record(
        LucasSettings(url="u", position="theoretical"), GPS_LAT="88.888888", GPS_LONG="88.888888", GPS_PREC="8888", OBS_DIST="8888"
    )
    assert (place(found), found.reason) == ((16.3, 48.2), None)


@pytest.mark.parametrize("lon", ["3.5", "-3.5"], ids=["unsigned", "signed"])
def test_that_west_of_greenwich_is_negative(lon):
    assert place(record(GPS_EW="2", GPS_LONG=lon, TH_LONG="-3.5"))[0] == -3.5


@pytest.mark.parametrize("kind", ["3", "4", "5", "7", "8"])
def test_that_what_nobody_saw_in_the_field_is_not_observed(kind):
    assert record(OBS_TYPE=kind).reason == "not_observed"


def test_that_a_point_seen_from_afar_is_not_observed_from_its_own_land():
    assert record(OBS_TYPE="2", OBS_DIST="150").reason == "imprecise"
    assert record(LucasSettings(url="u", position="theoretical"), OBS_TYPE="2", OBS_DIST="150").reason is None


def test_that_a_missing_cover_is_not_observed():
    assert (record(LC1="8").code, record(LC1="8").reason) == (None, "not_observed")


@pytest.mark.parametrize(
    "change",
    [
        {"GPS_PREC": "11"},
        {"GPS_PREC": "8888"},
        {"OBS_DIST": "11"},
        {"OBS_DIST": "8888"},
        {"OBS_DIST": ""},
        {"OBS_DIRECT": "8"},
        {"PARCEL_AREA_HA": "1"},
        {"PARCEL_AREA_HA": "8"},
        {"PARCEL_AREA_HA": "5"},
        {"GPS_PROJ": "2"},
        {"GPS_LAT": "88.888888", "GPS_LONG": "88.888888"},
    ],
    ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()),
)
def test_that_a_point_of_uncertain_place_is_imprecise(change):
    assert record(**change).reason == "imprecise"


@pytest.mark.parametrize("change", [{"GPS_PREC": "8"}, {"OBS_DIST": "8"}])
def test_that_eight_metres_are_not_taken_for_missing(change):
    assert record(**change).reason is None


def test_that_a_point_without_gps_lies_at_the_theoretical_place():
    assert place(record(GPS_PROJ="2", GPS_LAT="88.888888", GPS_LONG="88.888888")) == (16.3, 48.2)


def test_that_weights_are_read_from_their_column():
    assert record(LucasSettings(url="u", weight="WEIGHT")).weight == 812.5


@pytest.fixture
def written(tmp_path):
    lines = [",".join(f'"{name}"' for name in POINT)]
    lines += [",".join(f'"{value}"' for value in (POINT | {"POINT_ID": str(i)}).values()) for i in range(5)]
    (tmp_path / "lucas.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return LucasSettings(url=str(tmp_path / "lucas.csv"))


def test_that_ranges_of_the_file_are_its_rows_in_order(written):
    assert count_points(written) == 5
    assert [r.source_key for first in (0, 2, 4) for r in read_points(written, first, 2)] == ["0", "1", "2", "3", "4"]


def test_that_attributes_are_kept(written):
    assert next(read_points(written, 0, 1)).attributes == {
        "NUTS0": "AT",
        "LC1_PERC": "100",
        "LU1": "U111",
        "OBS_TYPE": "1",
        "OBS_DIST": "2",
    }


def test_that_absent_columns_are_listed(written):
    source = written.model_copy(update={"weight": "WGT", "attributes": ("SOIL",)})
    with pytest.raises(MissingError, match="needed the columns SOIL, WGT, found POINT_ID, NUTS0"):
        count_points(source)


def test_that_a_cut_line_is_an_error_and_not_a_point(written, tmp_path):
    with open(tmp_path / "lucas.csv", "a", encoding="utf-8") as stream:
        stream.write('"9","AT"\n')
    with pytest.raises(FormatError, match="in line 7"):
        list(read_points(written, 0, 10))


def test_that_a_number_that_is_none_is_named():
    with pytest.raises(FormatError, match="point 38863102: needed a number in GPS_PREC, found 'five'"):
        record(GPS_PREC="five")


def test_that_a_date_that_is_none_is_named():
    with pytest.raises(FormatError, match=r"needed a date dd/mm/yy in SURVEY_DATE, found '2018\.07'"):
        record(SURVEY_DATE="2018.07")


def test_that_an_absent_file_is_named(tmp_path):
    with pytest.raises(MissingError, match="found nothing there"):
        count_points(LucasSettings(url=str(tmp_path / "none.csv")))
