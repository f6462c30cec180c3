"""The tree of an index: nodes that part rules by one fact each, and the walk through them to the rules that match.

A leaf is a rule's number, or a tuple of several. A rule of which every test was taken on the way is *sure*: it matches,
and its condition is not asked. One that must be asked stands as ``~number``, and is asked for what is left: what was
surely found on every way to it is not tested again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp_sdk.policy.lookup.lookups import heads_find, quick_find, reader
from mcp_sdk.policy.lookup.normal import Path, Test

__all__ = ["Condition", "Node", "Tree"]

Condition = Callable[[Any, Any], Any]
Find = Callable[[Any, Any, int], int]
_NOTHING: frozenset[Test] = frozenset()


@dataclass(slots=True)
class Node:
    """Parts rules by the fact at ``path``, whose values are of the type ``kind``, None where only presence is asked.

    ``table`` by its value; ``heads`` by its first characters, so many as ``lengths`` say; ``cuts`` and ``slots`` by
    interval (``places`` of a ``Layout``); ``present`` for any value, ``absent`` for none, ``rest`` always. ``find``
    gives the first matching rule before a limit, else the limit.
    """

    path: Path
    kind: type[Any] | None = None
    table: dict[Any, Any] = field(default_factory=dict)
    heads: dict[str, Any] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    cuts: list[Any] = field(default_factory=list)
    slots: list[Any] = field(default_factory=list)
    flat: bool = True
    present: Any = None
    absent: Any = None
    rest: Any = None
    find: Find = field(init=False, repr=False)
    read: Condition = field(init=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether one table, or one row of slots, is all there is beside absence."""
        ways = bool(self.table) + len(self.lengths) + bool(self.slots) * (1 if self.flat else 2)
        return self.kind is not None and self.present is None and self.rest is None and ways <= 1

    @property
    def by_heads(self) -> bool:
        """Whether prefixes, of whatever lengths, are all there is beside absence."""
        return bool(self.lengths) and not (self.table or self.slots) and self.present is None and self.rest is None

    def at(self, value: Any) -> Iterator[Any]:
        """Yield the parts that a value leads to; None is absence. A value of another type raises ``TypeError``."""
        if value is None:
            yield self.absent
        elif self.kind is not None and value.__class__ is not self.kind:
            raise TypeError(f"{value.__class__.__name__} is no key of {'.'.join(self.path)}")
        else:
            yield self.table.get(value)
            for length in self.lengths:
                yield self.heads.get(value[:length])
            yield from self.covering(value)
            yield self.present
        yield self.rest

    def covering(self, value: Any) -> Iterator[Any]:
        """Yield the parts of the intervals that a value is in."""
        if not self.slots:
            return
        place = bisect_right(self.cuts, value)
        if self.flat:
            yield self.slots[place]
            return
        place += len(self.cuts) + 1
        while place:
            yield self.slots[place]
            place >>= 1


class Tree:
    """Rules in order, found by the contexts ``c`` and the request ``q``.

    ``make`` gives the condition of a rule's number, less what some tests have found, and is asked when a look-up first
    comes upon it. ``found[ways[number]]`` are the tests that every way to a rule has surely found to hold. A tree holds
    nothing of a revision, so the next one goes on with it where the rules are the same.
    """

    make: Callable[[int, frozenset[Test]], Condition]

    def __init__(self, on_error: Sequence[bool]) -> None:
        self.size: int = len(on_error)
        self.on_error = bytes(on_error)
        self.conditions: list[Condition | None] = [None] * self.size
        self.wholes: dict[int, Condition] = {}
        self.found: list[frozenset[Test]] = [_NOTHING]
        self.ways: array[int] = array("I", [0]) * self.size
        self.root: Any = None

    def left(self, number: int) -> Condition:
        """Give what is left to ask of a rule that a look-up came upon."""
        found = self.conditions[number]
        if found is None:
            found = self.conditions[number] = self.make(number, self.found[self.ways[number]])
        return found

    def holds(self, number: int) -> Condition:
        """Give the whole condition of a rule."""
        found = self.wholes.get(number)
        if found is None:
            found = self.wholes[number] = self.make(number, _NOTHING)
        return found

    def matches(self, number: int, c: Any, q: Any) -> bool:
        """Ask one rule."""
        try:
            return bool(self.holds(number)(c, q))
        except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
            return bool(self.on_error[number])

    def scan(self, numbers: tuple[int, ...], c: Any, q: Any, limit: int) -> int:
        """Give the first of some rules that matches, if it stands before ``limit``; else ``limit``."""
        for number in numbers:
            if number >= 0:
                return min(number, limit)
            asked = ~number
            if asked >= limit:
                return limit
            try:
                if (self.conditions[asked] or self.left(asked))(c, q):
                    return asked
            except Exception:  # noqa: BLE001 - a CEL error is any exception of generated code
                if self.on_error[asked]:
                    return asked
        return limit

    def search(self, part: Any, c: Any, q: Any, limit: int) -> int:
        """Give the first matching rule of a part, if it stands before ``limit``; else ``limit``."""
        if part.__class__ is tuple:
            return self.scan(part, c, q, limit)
        if part.__class__ is int:
            return self.scan((part,), c, q, limit)
        found: int = part.find(c, q, limit)
        return found

    @property
    def plain(self) -> bool:
        """Whether one look-up by value or interval leads to every rule."""
        return isinstance(self.root, Node) and self.root.plain

    @property
    def by_heads(self) -> bool:
        """Whether prefixes of several lengths lead to every rule."""
        return isinstance(self.root, Node) and self.root.by_heads

    def linear(self, c: Any, q: Any) -> Iterator[int]:
        """Yield the numbers of all rules that match, asking each: the slow truth."""
        return (number for number in range(self.size) if self.matches(number, c, q))

    def every(self, c: Any, q: Any) -> list[int]:
        """Give the numbers of all rules that match, in order."""
        root = self.root
        if root.__class__ is int:  # the only rule, as in most rate limits
            number = root if root >= 0 else ~root
            return [number] if root >= 0 or self.matches(number, c, q) else []
        try:
            candidates = dict(self.candidates(c, q))
        except Exception:  # noqa: BLE001 - a fact of another type is no key
            return list(self.linear(c, q))
        return [number for number in sorted(candidates) if candidates[number] or self.matches(number, c, q)]

    def candidates(self, c: Any, q: Any) -> list[tuple[int, bool]]:
        """Give the rules that may match, in order, and whether they surely do; the sure word on a rule last."""
        found: list[tuple[int, bool]] = []
        stack = [self.root]
        while stack:
            part = stack.pop()
            if isinstance(part, Node):
                stack.extend(part.at(part.read(c, q)))
            elif part is not None:
                numbers = part if part.__class__ is tuple else (part,)
                found += [(number, True) if number >= 0 else (~number, False) for number in numbers]
        return sorted(found)

    def ready(self, node: Node) -> Node:
        """Give a node its look-up, the plainest that does."""
        node.read = reader(node.path)
        node.find = quick_find(self, node) if node.plain else (heads_find if node.by_heads else _any_find)(self, node)
        return node


def _any_find(tree: Tree, node: Node) -> Find:
    """Give the look-up of a node that parts its rules in several ways."""
    read, at, search = node.read, node.at, tree.search

    def find(c: Any, q: Any, limit: int) -> int:
        for part in at(read(c, q)):
            if part is not None:
                limit = search(part, c, q, limit)
        return limit

    return find
