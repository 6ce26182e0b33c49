import pytest

from eespark.errors import ManifestError
from eespark.manifest import build_manifest, dump_manifest, manifest_hash, parse_manifest

CONTENT = {"bundle": "b", "protocols": {}}


def test_that_what_is_written_is_read():
    manifest = build_manifest("validation", CONTENT, "0.1")
    assert parse_manifest(dump_manifest(manifest), "validation", "here") == manifest


def test_that_a_missing_entry_is_named():
    with pytest.raises(ManifestError, match="needs bundle"):
        build_manifest("validation", {"protocols": {}}, "0.1")


def test_that_another_kind_is_refused():
    text = dump_manifest(build_manifest("validation", CONTENT, "0.1"))
    with pytest.raises(ManifestError, match="needed a bundle, found a validation"):
        parse_manifest(text, "bundle", "here")


def test_that_another_version_is_refused_with_who_wrote_it():
    text = dump_manifest({**build_manifest("validation", CONTENT, "0.1"), "manifest_version": 99})
    with pytest.raises(ManifestError, match=r"found 99.*0\.1"):
        parse_manifest(text, "validation", "here")


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_that_what_is_not_a_manifest_is_refused(text):
    with pytest.raises(ManifestError, match="here"):
        parse_manifest(text, "bundle", "here")


def test_that_the_hash_does_not_depend_on_the_order_of_entries():
    assert manifest_hash({"a": 1, "b": 2}) == manifest_hash({"b": 2, "a": 1})
    assert manifest_hash({"a": 1, "b": 2}) != manifest_hash({"a": 1, "b": 3})
