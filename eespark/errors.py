"""The errors that callers may catch.

Each is an `EESparkError` and the builtin that fits, so that either may be caught. The text of an
error says what was needed, what was found, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EESparkError(Exception):
    """Base of every error that eespark raises knowingly."""


class SettingsError(EESparkError, ValueError):
    """Settings that cannot be used: unknown keys, impossible values."""


class FormatError(EESparkError, ValueError):
    """A file or table from outside that is not what it claims to be."""


class MissingError(EESparkError, LookupError):
    """Something that was named and is not there: a file, a band, a class, a column."""


class ManifestError(EESparkError, ValueError):
    """A manifest that is absent, of another kind, or at odds with the data beside it."""


class LeakError(EESparkError, ValueError):
    """Parts of a sample set that share ground, a parcel, or come closer than the guard distance."""


class CapacityError(EESparkError, RuntimeError):
    """The machine or cluster has fewer slots, bytes or seconds than the work needs."""


class StorageFullError(CapacityError):
    """No room, or no quota, where something is to be written: all that follows would fail too, so that it ends a job at once."""


class BusyError(EESparkError, RuntimeError):
    """Another run holds what this one needs for itself."""


class TooManyFailuresError(EESparkError, RuntimeError):
    """More items failed than `max_failed_share` allows; everything else was written, as `summary` tells."""

    def __init__(self, message: str, summary: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.summary = dict(summary or {})
