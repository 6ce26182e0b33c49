"""What a long job is going to cost, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FIXED_S: Final = 20.0
"""s that a job takes besides its tasks: a session's start, plans, commits."""


@dataclass(frozen=True)
class Plan:
    """Tasks that are left, and what they cost.

    Attributes:
        tasks: How many.
        by_place: Tile, scene or part -> tasks there.
        work: Of all tasks, in `unit`.
        largest: Of the largest task, in `unit`.
        unit: Such as "Mpx to decode".
        rate: Units a second and core.
        rate_from: Where the rate was measured.
        gb_to_read: Gigabytes.
        gb_to_write: Gigabytes.
        more: Counts that only this job has.
    """

    tasks: int
    by_place: Mapping[str, int]
    work: float
    largest: float
    unit: str
    rate: float
    rate_from: str
    gb_to_read: float
    gb_to_write: float
    more: Mapping[str, Any] = field(default_factory=dict)

    def told(self, cores: int, fixed_s: float = FIXED_S) -> dict[str, Any]:
        """The plan as a summary tells it.

        Args:
            cores: Task slots that it will run on; it takes no less than its largest task, however many there are.
            fixed_s: s that the job takes besides its tasks.
        """
        core_s, longest_s = self.work / self.rate, self.largest / self.rate
        return {
            "tasks": self.tasks,
            "by_place": dict(self.by_place),
            "work": round(self.work, 3),
            "largest_task": round(self.largest, 3),
            "unit": self.unit,
            "core_hours": round(core_s / 3600, 4),
            "cores": cores,
            "seconds": round(fixed_s + max(core_s / cores, longest_s), 1) if self.tasks else 0.0,
            "gb_to_read": round(self.gb_to_read, 4),
            "gb_to_write": round(self.gb_to_write, 4),
            "rate_per_core_s": round(self.rate, 4),
            "rate_from": self.rate_from,
            **self.more,
        }
