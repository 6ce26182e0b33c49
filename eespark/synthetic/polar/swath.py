"""Where the swath of EW begins, however wide a synthetic scene is."""

from __future__ import annotations

from typing import Final

NEAREST_DEG: Final = 18.9
"""Incidence at the near range, degrees; of the real scene that the tests read, 18.883."""
