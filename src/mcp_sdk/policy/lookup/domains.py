"""Sets of values of one fact, exact enough to reason with: finite sets, intervals, what is left out, and absence.

An interval is half-open, ``low ≤ value < high``, over numbers and strings alike: CEL orders strings by code point, so a
prefix is an interval too, and ``> v`` begins at the next value after ``v``, which int64, doubles and strings all have.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

__all__ = ["ABSENT", "ANYTHING", "NOTHING", "PRESENT", "Domain", "after", "prefixed"]

_NONE: frozenset[Any] = frozenset()
LAST = 0x10FFFF


class Domain(NamedTuple):
    """The values that a fact may have: ``values`` when they are finitely many, else an interval less ``but``.

    ``low`` None is without lower end and ``high`` None without upper; NaN is in no interval that has an end.
    ``absent`` says that the fact may also be absent.
    """

    values: frozenset[Any] | None = None
    low: Any = None
    high: Any = None
    but: frozenset[Any] = _NONE
    absent: bool = False

    def __contains__(self, value: object) -> bool:
        """Tell whether a value is in it; None stands for absence."""
        if value is None:
            return self.absent
        if self.values is not None:
            return value in self.values
        return self._between(value) and value not in self.but

    def _between(self, value: Any) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value < self.high)

    @property
    def empty(self) -> bool:
        """Whether it is certain that no value is in it."""
        if self.absent:
            return False
        if self.values is not None:
            return not self.values
        return self.hollow

    def meet(self, other: Domain) -> Domain:
        """Give the values in both."""
        absent = self.absent and other.absent
        if self.values is not None:
            return Domain(frozenset(value for value in self.values if value in other), absent=absent)
        if other.values is not None:
            return other.meet(self)
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return Domain(None, max(lows, default=None), min(highs, default=None), self.but | other.but, absent)

    def apart(self, other: Domain) -> bool:
        """Tell whether certainly no value is in both."""
        if self.absent and other.absent:
            return False
        if self.values is not None:
            return not any(value in other for value in self.values)
        if other.values is not None:
            return not any(value in self for value in other.values)
        return (self.high is not None and other.low is not None and self.high <= other.low) or (
            other.high is not None and self.low is not None and other.high <= self.low
        )

    def within(self, other: Domain) -> bool:
        """Tell whether every value is certainly in ``other``."""
        if self.empty:
            return True
        if self.absent and not other.absent:
            return False
        if self.values is not None:
            return all(value in other for value in self.values)
        if other.values is not None:
            return self.hollow
        return self.hollow or (self._inside(other) and not any(value in self for value in other.but))

    @property
    def hollow(self) -> bool:
        """Whether its interval has no value, its low end not being below its high one."""
        return self.low is not None and self.high is not None and not self.low < self.high

    def _inside(self, other: Domain) -> bool:
        low = other.low is None or (self.low is not None and self.low >= other.low)
        return low and (other.high is None or (self.high is not None and self.high <= other.high))


PRESENT = Domain()
ABSENT = Domain(_NONE, absent=True)
ANYTHING = Domain(absent=True)
NOTHING = Domain(_NONE)


def after(value: Any) -> Any:
    """Give the next value in the order of its type: int, double (IEEE 754) or string; None where there is none."""
    if isinstance(value, str):
        return value + "\0"
    if isinstance(value, float):
        following = math.nextafter(value, math.inf)
        return None if following == value else following
    return value + 1


def prefixed(prefix: str) -> Domain:
    """Give the strings that start with ``prefix``."""
    kept = prefix.rstrip(chr(LAST))
    return Domain(None, prefix or None, kept[:-1] + chr(ord(kept[-1]) + 1) if kept else None)
