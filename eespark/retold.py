"""Errors of eespark that come as text out of other processes (tasks of Spark, ranks of Horovod), made again."""

from __future__ import annotations

import re
from typing import Final

from eespark import errors
from eespark.errors import EESparkError

# As Python ends a stack.
_TOLD: Final = re.compile(r"^eespark\.errors\.(\w+): (.+)$", re.MULTILINE)


def error_told_by(text: str) -> EESparkError | None:
    """The last error of eespark that a text tells of; None where it tells of none. Of its message the first line is left."""
    found = _TOLD.findall(text)
    if not found:
        return None
    kind = getattr(errors, found[-1][0], None)
    told: str = found[-1][1].strip()
    return kind(told) if isinstance(kind, type) and issubclass(kind, EESparkError) else EESparkError(told)
