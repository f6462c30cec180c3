"""Intervals over one fact → what lies at a value, found by bisection however many intervals there are.

The ends of all intervals cut the values into slots. Where intervals overlap little, each slot lists those that cover
it; where they overlap much, each interval stands in the nodes of a segment tree that cover it, O(log n) of them, and a
look-up walks from its slot to the root (de Berg et al., Computational Geometry, 10.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

__all__ = ["Interval", "Layout", "layout", "overlap"]

T = TypeVar("T")
Interval = tuple[Any, Any]
"""``low ≤ value < high``; None is without end."""

ROOM = 4
"""How many times over an interval may be listed, on average, before the tree takes less room."""


class Layout(NamedTuple):
    """``cuts``, in order: a value's slot is ``bisect_right(cuts, value)``. ``places`` lists the intervals' numbers.

    Flat: by slot. As a tree: by node; slot ``s`` is node ``s + len(cuts) + 1``, and ``n // 2`` is the parent of ``n``.
    """

    cuts: list[Any]
    places: list[list[int]]
    flat: bool


def _spans(intervals: Sequence[Interval]) -> tuple[list[Any], list[tuple[int, int]]]:
    """Give the cuts, and the slots of each interval: from, and up to but not including."""
    cuts = sorted({end for interval in intervals for end in interval if end is not None})
    slot = {cut: number for number, cut in enumerate(cuts, 1)}
    last = len(cuts) + 1
    return cuts, [(0 if low is None else slot[low], last if high is None else slot[high]) for low, high in intervals]


def overlap(intervals: Sequence[Interval]) -> float:
    """Give how many intervals cover a slot, on average."""
    cuts, spans = _spans(intervals)
    return sum(end - start for start, end in spans) / (len(cuts) + 1)


def layout(intervals: Sequence[Interval]) -> Layout:
    """Lay intervals out, flat or as a tree, whichever takes less room."""
    cuts, spans = _spans(intervals)
    size = len(cuts) + 1
    flat = sum(end - start for start, end in spans) <= ROOM * len(spans) + size
    places: list[list[int]] = [[] for _ in range(size if flat else 2 * size)]
    for number, (start, end) in enumerate(spans):
        for place in range(start, end) if flat else _nodes(start + size, end + size):
            places[place].append(number)
    return Layout(cuts, places, flat)


def _nodes(start: int, end: int) -> Iterator[int]:
    """Yield the nodes of a segment tree that together cover leaves ``start`` up to ``end``."""
    while start < end:
        if start & 1:
            yield start
            start += 1
        if end & 1:
            end -= 1
            yield end
        start, end = start >> 1, end >> 1
