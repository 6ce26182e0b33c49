import numpy as np
import pytest

from eespark.bands import Flag, flags_of_scl
from eespark.kernels import optical


@pytest.mark.parametrize(
    ("dn", "offset", "expected"),
    [
        (1_234, 0.0, 1_234),  # before baseline 04.00
        (2_234, -1_000.0, 1_234),  # the same reflectance, 0.1234, from 04.00 on
        (900, -1_000.0, -100),  # negative reflectance over dark water is information
        (0, -1_000.0, -32_768),  # no data stays no data, whatever the offset
        (0, 0.0, -32_768),
        (65_535, 0.0, 32_767),  # cut, not wrapped to a negative number
    ],
)
def test_that_stored_reflectance_follows_the_product_specification(dn, offset, expected):
    assert optical.stored_reflectance(np.array([dn], np.uint16), offset, 10_000.0).tolist() == [expected]


def test_that_another_quantification_is_scaled_to_ten_thousand():
    assert optical.stored_reflectance(np.array([250], np.uint16), 0.0, 1_000.0).tolist() == [2_500]


def test_that_scene_classes_become_the_flags_of_timesen2crop():
    # 0 no data, 1 saturated, 2 dark or shadow, 3 cloud shadow, 4 vegetation, 5 soil, 6 water,
    # 7 unclassified, 8 and 9 cloud, 10 cirrus, 11 snow
    assert flags_of_scl(np.arange(12, dtype=np.uint8)).tolist() == [4, 4, 2, 2, 0, 0, 0, 5, 1, 1, 1, 3]
    assert flags_of_scl(np.array([12, 255], np.uint8)).tolist() == [4, 4]


def test_that_no_data_or_saturation_in_one_band_flags_the_pixel():
    flag = np.array([Flag.CLEAR, Flag.CLEAR, Flag.CLEAR, Flag.CLOUD], np.uint8)
    dn = np.array([[5, 5], [5, 0], [65_535, 5], [0, 0]], np.uint16)
    assert optical.flag_faults(flag, dn).tolist() == [Flag.CLEAR, Flag.NO_DATA, Flag.NO_DATA, Flag.CLOUD]
