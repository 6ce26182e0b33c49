"""A full disk is known whoever tells of it, and told with what is free where."""

import errno
import os
import shutil

import pytest

from eespark.io.room import free_space, is_full, tells_full


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_that_a_full_disk_is_known_by_its_code_its_cause_and_its_text(number):
    told = OSError(number, "in another language")
    assert is_full(told)
    assert is_full(caused(ValueError("x"), caused(RuntimeError("y"), told)))
    assert is_full(RuntimeError(f"java.io.IOException: {os.strerror(number)}"))
    assert tells_full(f"OSError: [Errno {number}] {os.strerror(number)}: '/data/x'")


def test_that_other_errors_are_not_taken_for_it():
    assert not is_full(OSError(errno.EIO, "Input/output error"))
    assert not is_full(caused(ValueError("x"), FileNotFoundError(errno.ENOENT, "No such file or directory")))


def test_that_an_error_that_is_its_own_cause_is_looked_at_once():
    error = RuntimeError("x")
    assert not is_full(caused(error, error))
    other = caused(ValueError("y"), error)
    error.__cause__ = other
    assert not is_full(error)


def test_that_free_space_is_told_once_a_disk_also_of_folders_to_come(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10e9, 6e9, 4_321_000_000))
    told = free_space([str(tmp_path / "tables" / "products"), str(tmp_path), "s3://bucket/x", "relative"])
    assert told == f"{tmp_path} 4,321.0 MB"
