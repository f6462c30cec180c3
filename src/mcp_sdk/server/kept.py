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
ITEM = 100
"""Bytes of an attribute, or of a text in a list, beside its characters, about."""


class Kept:
    """Changes in order; the oldest go when there are more than ``count``, or more than ``size`` bytes, about."""

    def __init__(self, count: int = COUNT, size: int = SIZE) -> None:
        self._count, self._size = count, size
        self._held: deque[Change] = deque()
        self._weight = 0

    def add(self, change: Change) -> None:
        """Keep a change; of an entity that is forgotten by it, nothing else is kept any more."""
        if change.kind == "forgotten":
            self._strike(change)
        self._held.append(change)
        self._weight += _weight(change)
        while len(self._held) > self._count or self._weight > self._size:
            self._weight -= _weight(self._held.popleft())

    def _strike(self, forgotten: Change) -> None:
        for index, change in enumerate(self._held):
            applied = change.applied
            if applied is not None and (change.scope, applied.context.ref) == (forgotten.scope, forgotten.ref):
                self._held[index] = replace(change, applied=None)
                self._weight += EACH - _weight(change)

    def since(self, cursor: Cursor) -> tuple[Change, ...] | None:
        """Give the changes after a position, or None where it is none of a change that is kept."""
        for index, change in enumerate(self._held):
            if change.cursor == cursor:
                return tuple(islice(self._held, index + 1, None))
        return None

    def clear(self) -> None:
        """Keep nothing."""
        self._held.clear()
        self._weight = 0


def _weight(change: Change) -> int:
    applied = change.applied
    if applied is None:
        return EACH
    said, known = applied.transition.attributes, applied.context.attributes
    size = _size(said)
    return EACH + size + (size if known is said else _size(known))


def _size(attributes: Mapping[str, Value]) -> int:
    """Give how many bytes they are, about; a loop, for this is done for each change that there is."""
    size = ITEM * len(attributes)
    for name, value in attributes.items():
        size += len(name)
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, tuple):
            size += ITEM * len(value) + sum(map(len, value))
    return size
