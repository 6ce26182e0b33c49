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


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    return str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}/out"


def test_that_a_folder_is_filled_and_takes_the_place_of_the_old_when_it_is_whole(place):
    storage.write_text(f"{place}/left", "over")
    storage.write_text(f"{place}/manifest.json", "old")
    with storage.new_folder(place) as building:
        storage.write_text(f"{building}/part/x", "new")
        storage.write_text(f"{building}/manifest.json", "new manifest")
        assert storage.read_text(f"{place}/manifest.json") == "old"
    assert [name.rsplit("out/", 1)[-1] for name in storage.list_files(place, "")] == ["manifest.json", "part/x"]
    assert storage.read_text(f"{place}/manifest.json") == "new manifest"


def test_that_a_folder_whose_work_fails_leaves_the_old_one(place):
    storage.write_text(f"{place}/x", "old")

    def fail():
        with storage.new_folder(place) as building:
            storage.write_text(f"{building}/x", "half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert storage.read_text(f"{place}/x") == "old"


@pytest.mark.parametrize("way", ["published", "put"])
def test_that_where_folders_cannot_be_moved_the_manifest_goes_first_and_comes_last(way, tmp_path, monkeypatch):
    """Broken off at any step, there is no manifest beside files of another set."""
    root, told = f"memory://{tmp_path.name}", []
    for folder, text in (("new.building", "new"), ("final", "old")):
        for name in ("manifest.json", "a", "z"):
            storage.write_text(f"{root}/{folder}/{name}", text)
            storage.write_text(str(tmp_path / "local" / name), "new")
    filesystem, final = storage.open_filesystem(f"{root}/final")
    for step in ("rm_file", "mv", "put_file"):
        kept = getattr(filesystem, step)

        def look(*args, kept=kept, **kwargs):
            kept(*args, **kwargs)
            told.append({name.rsplit("/", 1)[-1]: filesystem.cat_file(name) for name in filesystem.find(final)})

        monkeypatch.setattr(filesystem, step, look)
    if way == "put":
        storage.put_folder(str(tmp_path / "local"), f"{root}/final")
    else:
        storage.publish_folder(f"{root}/new.building", f"{root}/final")
    assert told[0] == {"a": b"old", "z": b"old"}
    assert told[-1] == {"a": b"new", "z": b"new", "manifest.json": b"new"}
    assert all(len(set(state.values())) == 1 and len(state) == 3 for state in told if "manifest.json" in state)
