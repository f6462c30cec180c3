"""Single points of boxes: one that nothing takes shows at once that something is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mcp_sdk.policy.lookup.domains import LAST, Domain, after
from mcp_sdk.policy.lookup.normal import Path

__all__ = ["witnessed"]

Box = Mapping[Path, Domain]


def witnessed(boxes: Iterable[Box], takers: Iterable[Box], all_of: Callable[[Path], Domain]) -> bool:
    """Tell whether a corner of the boxes is in none of ``takers``; ``all_of`` gives what a fact can be at all."""
    others = list(takers)
    return any(_outside(box, others, all_of, pick) for box in boxes for pick in (_lowest, _highest))


def _outside(box: Box, others: Iterable[Box], all_of: Callable[[Path], Domain], pick: Callable[[Domain], Any]) -> bool:
    point: dict[Path, Any] = {}

    def at(path: Path) -> Any:
        if path not in point:
            point[path] = pick(box.get(path) or all_of(path))
        return point[path]

    if any(at(path) not in domain for path, domain in box.items()):
        return False
    return not any(all(at(path) in domain for path, domain in other.items()) for other in others)


def _lowest(domain: Domain) -> Any:
    """Give absence where it is allowed, else the least value."""
    if domain.absent:
        return None
    if domain.values is not None:
        return min(domain.values, default=None)
    value = -math.inf if domain.low is None else domain.low
    while value in domain.but and value is not None:
        value = after(value)
    return value


def _highest(domain: Domain) -> Any:
    """Give about the greatest value; absence only where there is no other."""
    if domain.values is not None:
        return max(domain.values, default=None)
    if isinstance(domain.high, int):
        return domain.high - 1
    if isinstance(domain.high, float):
        return math.nextafter(domain.high, -math.inf)
    low = domain.low
    return f"{low}{chr(LAST)}" if isinstance(low, str) else math.inf
