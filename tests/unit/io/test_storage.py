import pytest

from eespark.errors import FormatError, ManifestError, MissingError
from eespark.io import storage
from eespark.manifest import build_manifest


def test_that_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    url = str(tmp_path / "a" / "b.txt")
    storage.write_text(url, "grün")
    storage.write_text(url, "rot")
    assert storage.read_text(url) == "rot"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_that_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    url = str(tmp_path / "b.txt")
    storage.write_text(url, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_text(url, "new")
    assert storage.read_text(url) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_that_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(str(tmp_path / "a.json"), {"x": float("nan")})


def test_that_a_missing_manifest_says_what_to_do(tmp_path):
    with pytest.raises(MissingError, match="its job has not ended"):
        storage.read_manifest(str(tmp_path), "bundle")


def test_that_a_manifest_comes_back_and_a_wrong_one_is_refused(tmp_path):
    manifest = build_manifest("validation", {"bundle": "b", "protocols": {}}, "0.1")
    storage.write_manifest(str(tmp_path), manifest)
    assert storage.read_manifest(str(tmp_path), "validation") == manifest
    with pytest.raises(ManifestError):
        storage.read_manifest(str(tmp_path), "map")


def test_that_a_published_folder_takes_the_place_of_the_old(tmp_path):
    for name, text in (("new.building", "new"), ("final", "old")):
        storage.write_text(str(tmp_path / name / "x"), text)
    storage.write_text(str(tmp_path / "final" / "left"), "over")
    storage.publish_folder(str(tmp_path / "new.building"), str(tmp_path / "final"))
    assert [p.name for p in tmp_path.iterdir()] == ["final"]
    assert [(p.name, p.read_text()) for p in (tmp_path / "final").iterdir()] == [("x", "new")]


def test_that_parts_of_urls_are_joined_by_one_slash():
    assert storage.join_url("s3://b/a/", "/c/", "d") == "s3://b/a/c/d"


def test_that_a_remote_url_has_no_local_path():
    with pytest.raises(FormatError, match="memory"):
        storage.local_path("memory://x")
