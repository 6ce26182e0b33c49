from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from eespark.errors import FormatError, MissingError
from eespark.io import rasters
from eespark.io.remote_names import gdal_path, hdfs_web, plain_url, remote_options


@pytest.fixture(scope="module")
def jp2(tmp_path_factory):
    """A 300 x 260 raster in JPEG 2000 tiles of 64: its last tiles are cut."""
    values = np.random.default_rng(3).integers(1, 5_000, (300, 260)).astype(np.uint16)
    path = tmp_path_factory.mktemp("jp2") / "band.jp2"
    profile = {"driver": "JP2OpenJPEG", "width": 260, "height": 300, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    options = {"tiled": True, "REVERSIBLE": "YES", "QUALITY": "100", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    with rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 600_000, 0, -10, 5_400_000), **profile, **options) as dataset:
        dataset.write(values, 1)
    return str(path), values


def test_that_a_raster_tells_its_shape_tiles_place_and_type(jp2):
    info = rasters.raster_info(jp2[0])
    assert (info.shape, info.block, info.crs, info.dtype, info.count) == ((300, 260), (64, 64), "EPSG:32633", "uint16", 1)
    assert info.transform == (10, 0, 600_000, 0, -10, 5_400_000)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_that_single_pixels_equal_the_same_pixels_of_the_whole(jp2, seed):
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, 300, 40), rng.integers(0, 260, 40)
    values, _ = rasters.read_pixels(jp2[0], rows, cols)
    assert values.tolist() == jp2[1][rows, cols].tolist()


def test_that_only_tiles_with_a_wanted_pixel_are_decoded_and_each_once(jp2):
    rows, cols = np.array([0, 63, 70, 299]), np.array([0, 63, 0, 259])
    wanted = np.array([True, True, False, True])
    values, decoded = rasters.read_pixels(jp2[0], rows, cols, wanted=wanted)
    assert decoded == 64 * 64 + (300 - 256) * (260 - 256)  # the first tile once, and the cut last one
    assert values.tolist() == [jp2[1][0, 0], jp2[1][63, 63], 0, jp2[1][299, 259]]


def test_that_no_pixel_decodes_nothing(jp2):
    values, decoded = rasters.read_pixels(jp2[0], np.zeros(0, int), np.zeros(0, int))
    assert (len(values), decoded) == (0, 0)


def test_that_a_pixel_of_a_finer_grid_is_read_from_the_pixel_that_holds_its_centre(jp2):
    rows, cols = np.array([0, 1, 2, 599]), np.array([0, 1, 3, 519])
    values, _ = rasters.read_pixels(jp2[0], rows, cols, grid=(600, 520))
    assert values.tolist() == jp2[1][[0, 0, 1, 299], [0, 0, 1, 259]].tolist()


def test_that_a_pixel_outside_is_an_error_not_a_wrong_value(jp2):
    with pytest.raises(FormatError, match="rows to 300"):
        rasters.read_pixels(jp2[0], np.array([300]), np.array([0]))


def test_that_a_window_equals_the_same_part_of_the_whole(jp2):
    assert (rasters.read_window(jp2[0], (60, 50, 100, 120)) == jp2[1][60:160, 50:170]).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_that_a_file_cut_short_does_not_pass(jp2, tmp_path, share):
    content = Path(jp2[0]).read_bytes()
    cut = tmp_path / "cut.jp2"
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FormatError, match=r"cut\.jp2"):
        rasters.check_last_tile(str(cut))


def test_that_a_whole_file_passes(jp2):
    assert rasters.check_last_tile(jp2[0]).shape == (300, 260)


def test_that_a_missing_file_is_named():
    with pytest.raises(MissingError, match="nowhere"):
        rasters.raster_info("/nowhere.tif")


@given(st.integers(1, 3_000), st.sampled_from([1, 2, 3, 6]))
def test_that_companion_pixels_of_whole_ratios_are_integer_division(coarse, ratio):
    fine = np.arange(coarse * ratio)
    assert (rasters.companion_pixels(fine, coarse * ratio, coarse) == fine // ratio).all()


@pytest.mark.parametrize(
    ("url", "member", "expected"),
    [
        ("/data/a.jp2", None, "/data/a.jp2"),
        ("s3://bucket/a.jp2", None, "/vsis3/bucket/a.jp2"),
        ("https://host.example/a.tif", None, "/vsicurl/https://host.example/a.tif"),
        ("/data/a.zip", "x/b.jp2", "/vsizip//data/a.zip/x/b.jp2"),
        ("s3://bucket/a.zip", "x/b.jp2", "/vsizip//vsis3/bucket/a.zip/x/b.jp2"),
        ("file:///data/a.jp2", None, "/data/a.jp2"),
        ("hdfs://name:8020/x/a.jp2", None, "/vsiwebhdfs/http://name:9870/webhdfs/v1/x/a.jp2"),
        ("hdfs://name:8020/x/a.zip", "y/b.jp2", "/vsizip//vsiwebhdfs/http://name:9870/webhdfs/v1/x/a.zip/y/b.jp2"),
    ],
)
def test_that_urls_have_their_names_in_gdal(url, member, expected, monkeypatch):
    monkeypatch.delenv("EESPARK_WEBHDFS", raising=False)
    assert gdal_path(url, member) == expected


def test_that_a_url_that_gdal_does_not_read_is_refused():
    with pytest.raises(FormatError, match=r"GDAL reads .*hdfs.* and local paths, found gopher"):
        gdal_path("gopher://name/a.jp2")


def test_that_the_web_interface_of_hdfs_is_told_by_the_environment_or_the_url(monkeypatch):
    monkeypatch.setenv("EESPARK_WEBHDFS", "https://gateway:14000/")
    assert gdal_path("hdfs:///a.jp2") == "/vsiwebhdfs/https://gateway:14000/webhdfs/v1/a.jp2"
    monkeypatch.delenv("EESPARK_WEBHDFS")
    with pytest.raises(FormatError, match="needed hdfs://namenode:port/path, or EESPARK_WEBHDFS="):
        hdfs_web("hdfs:///a.jp2")


def test_that_gdal_asks_hdfs_as_the_user_and_s3_at_the_endpoint_of_the_environment(monkeypatch):
    monkeypatch.setenv("HADOOP_USER_NAME", "anna")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:9000")
    monkeypatch.delenv("AWS_S3_ENDPOINT", raising=False)
    assert remote_options("/vsizip//vsiwebhdfs/http://name:9870/webhdfs/v1/a.zip/b.jp2") == {"WEBHDFS_USERNAME": "anna"}
    assert remote_options("/vsis3/bucket/a.jp2") == {
        "AWS_S3_ENDPOINT": "store.example:9000",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    assert remote_options("/data/a.jp2") == {}
    monkeypatch.setenv("AWS_S3_ENDPOINT", "other:1")
    assert remote_options("/vsis3/bucket/a.jp2") == {}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/vsis3/bucket/a.tif", "s3://bucket/a.tif"),
        ("/vsicurl/https://host.example/a.tif", "https://host.example/a.tif"),
        ("/vsiwebhdfs/http://name:9870/webhdfs/v1/a.tif", "http://name:9870/webhdfs/v1/a.tif?op=OPEN"),
        ("/vsizip//data/a.zip/b.tif", "/vsizip//data/a.zip/b.tif"),
    ],
)
def test_that_other_tools_are_told_urls(path, expected):
    assert plain_url(path) == expected


def test_that_a_map_comes_back_as_written_with_colours_and_overviews(tmp_path):
    values = np.random.default_rng(0).integers(0, 4, (700, 600)).astype(np.uint8)
    path = str(tmp_path / "class.tif")
    colours = {0: (1, 2, 3), 3: (250, 0, 7)}
    rasters.write_cog(
        path,
        values,
        {"crs": "EPSG:32633", "transform": (10, 0, 0, 0, -10, 0), "nodata": 255, "colormap": colours, "tags": {"UNIT": "class"}},
    )
    with rasterio.open(path) as dataset:
        assert (dataset.read(1) == values).all()
        assert dataset.colormap(1)[3] == (250, 0, 7, 255)
        assert dataset.overviews(1)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (dataset.nodata, dataset.tags()["UNIT"]) == (255, "class")
    assert [f.name for f in tmp_path.iterdir()] == ["class.tif"]
