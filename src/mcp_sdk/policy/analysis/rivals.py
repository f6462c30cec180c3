"""Which of many rules may take the calls of one, found without asking each.

A box is kept under one value that it asks of a fact, the rarest of those it names: whatever it takes whole has a value
of that fact that it asks for. Boxes that name no values are kept under a fact. The first that ask for one fact
only are rivals of all that do not ask for it: together they may leave nothing. A group holds so many boxes; past that
only one that takes a held one whole is let in, in its place. So a rival may be missed, and the work is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from mcp_sdk.policy.analysis.regions import Box, Space
from mcp_sdk.policy.lookup.domains import Domain
from mcp_sdk.policy.lookup.normal import Path

__all__ = ["Rivals"]

GROUP = 16
NAMED = 16
"""So many values of a fact are counted and looked up."""
MAX_BOXES = 1024
"""So many pairs of boxes are compared for one rule."""

Key = tuple[Path, Hashable] | tuple[Path] | tuple[()]


class Rivals:
    """Rules by where they match, looked up by where another does."""

    def __init__(self, space: Space, boxes: Iterable[Sequence[Box]]) -> None:
        self._space = space
        self._counts: Counter[Key] = Counter(key for some in boxes for box in some for key in _values(box))
        self._groups: dict[Key, list[tuple[int, Box]]] = {}
        self._boxes: dict[int, Sequence[Box]] = {}
        self._broad: list[tuple[int, Path]] = []

    def none(self) -> Rivals:
        """Give one that holds no rules yet, for some of the same rules."""
        empty = Rivals(self._space, ())
        empty._counts = self._counts
        return empty

    def add(self, number: int, boxes: Sequence[Box]) -> None:
        """Let a rule be a rival of those that come after."""
        entered = [self._enter(key, number, box) for box in boxes for key in self._keys(box)]
        if any(entered):
            self._boxes[number] = boxes
        if len(self._broad) < GROUP and len(boxes) == 1 and len(boxes[0]) == 1:
            self._broad.append((number, next(iter(boxes[0]))))

    def _keys(self, box: Box) -> list[Key]:
        """Give the groups of a box: one for each value of the fact whose values are named least often."""
        named: dict[Path, list[Key]] = {}
        for path, value in _values(box):
            named.setdefault(path, []).append((path, value))
        if named:
            return named[min(named, key=lambda path: (sum(map(self._counts.__getitem__, named[path])), path))]
        return [(path,) for path in sorted(box)[:1]] or [()]

    def _enter(self, key: Key, number: int, box: Box) -> bool:
        group = self._groups.setdefault(key, [])
        if len(group) < GROUP:
            group.append((number, box))
            return True
        for place, (_, held) in enumerate(group):
            if self._space.within(held, box):
                group[place] = (number, box)
                return True
        return False

    def of(self, boxes: Sequence[Box]) -> dict[int, Sequence[Box]]:
        """Give rules that may take calls which are in ``boxes``, in order, as many as there is room for."""
        found = {number for box in boxes for key in _lookups(box) for number, _ in self._groups.get(key, ())}
        found.update(number for number, path in self._broad if not any(path in box for box in boxes))
        rivals, room = {}, MAX_BOXES // (len(boxes) or 1)
        for number in sorted(found):
            taken = self._boxes.get(number, ())
            room -= len(taken)
            if taken and room >= 0:
                rivals[number] = taken
        return rivals


def _values(box: Box) -> list[tuple[Path, Hashable]]:
    return [
        (path, value)
        for path, domain in box.items()
        if domain.values is not None and len(domain.values) + domain.absent <= NAMED
        for value in _named(domain)
    ]


def _named(domain: Domain) -> list[Hashable]:
    return [*(domain.values or ()), *([None] if domain.absent else [])]


def _lookups(box: Box) -> list[Key]:
    return [(), *_values(box), *((path,) for path in box)]
