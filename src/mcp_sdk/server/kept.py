"""The last changes that a replica heard, within bounds of number and size, for streams that come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from mcp_sdk.models import Value
from mcp_sdk.ports import Change, Cursor

__all__ = ["Kept"]

COUNT = 20_000
SIZE = 32 * 1024 * 1024
EACH = 1_000
"""Bytes of a change beside its attributes, about."""


class Kept:
    """Changes in order; the oldest go when there are more than ``count``, or more than ``size`` bytes, about."""

    def __init__(self, count: int = COUNT, size: int = SIZE) -> None:
        self._count, self._size = count, size
        self._held: deque[tuple[Change, int]] = deque()
        self._weight = 0

    def add(self, change: Change) -> None:
        """Keep a change; of an entity that is forgotten by it, nothing else is kept any more."""
        if change.kind == "forgotten":
            self._strike(change)
        weight = _weight(change)
        self._held.append((change, weight))
        self._weight += weight
        while len(self._held) > self._count or self._weight > self._size:
            self._weight -= self._held.popleft()[1]

    def _strike(self, forgotten: Change) -> None:
        for index, (change, weight) in enumerate(self._held):
            applied = change.applied
            if applied is not None and (change.scope, applied.context.ref) == (forgotten.scope, forgotten.ref):
                self._held[index] = (replace(change, applied=None), EACH)
                self._weight += EACH - weight

    def since(self, cursor: Cursor) -> tuple[Change, ...] | None:
        """Give the changes after a position, or None where it is none of a change that is kept."""
        for index, (change, _) in enumerate(self._held):
            if change.cursor == cursor:
                return tuple(later for later, _ in islice(self._held, index + 1, None))
        return None

    def clear(self) -> None:
        """Keep nothing."""
        self._held.clear()
        self._weight = 0


def _weight(change: Change) -> int:
    if change.applied is None:
        return EACH
    return EACH + _texts(change.applied.transition.attributes) + _texts(change.applied.context.attributes)


def _texts(attributes: Mapping[str, Value]) -> int:
    return sum(_size(value) for value in attributes.values())


def _size(value: Value) -> int:
    if isinstance(value, tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str) else 0
