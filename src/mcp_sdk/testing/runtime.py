"""A clock and ids that a test can foretell."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock", "SequentialIds"]

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = timedelta()

    def now(self) -> datetime:
        """Give the time, in UTC."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Give the seconds since the clock was made."""
        return self._elapsed.total_seconds()

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self._elapsed += timedelta(seconds=seconds)


class SequentialIds:
    """Gives ``event-1``, ``event-2`` and so on."""

    def __init__(self, prefix: str = "event-") -> None:
        self._prefix = prefix
        self._count = itertools.count(1)

    def __call__(self) -> str:
        """Give the next id."""
        return f"{self._prefix}{next(self._count)}"
