"""Intervals over one fact → what lies at a value, found by bisection however many intervals there are.

The ends of all intervals cut the values into slots. Where intervals overlap little, each slot lists those that cover
it; where they overlap much, each interval stands in the nodes of a segment tree that cover it, O(log n) of them, and a
look-up walks from its slot to the root (de Berg et al., Computational Geometry, 10.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Interval", "Layout", "layout", "overlap"]

Interval = tuple[Any, Any]
"""``low ≤ value < high``; None is without end."""

ROOM = 4
"""How many times over an interval may be listed, on average, before the tree takes less room."""


class Layout(NamedTuple):
    """``cuts``, in order: a value's slot is ``bisect_right(cuts, value)``. ``places`` names the intervals at each.

    A place is None, an interval's number, or a list of several. Flat: by slot. As a tree: by node; slot ``s`` is node
    ``s + len(cuts) + 1``, and ``n // 2`` is the parent of ``n``.
    """

    cuts: list[Any]
    places: list[Any]
    flat: bool


def _cuts(intervals: Sequence[Interval]) -> list[Any]:
    return sorted({end for interval in intervals for end in interval if end is not None})


def _spans(intervals: Sequence[Interval], cuts: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield the slots of each interval: from, and up to but not including."""
    slot = {cut: number for number, cut in enumerate(cuts, 1)}
    slot[None], last = 0, len(cuts) + 1
    for low, high in intervals:
        yield slot[low], last if high is None else slot[high]


def overlap(intervals: Sequence[Interval]) -> float:
    """Give how many intervals cover a slot, on average."""
    cuts = _cuts(intervals)
    return sum(end - start for start, end in _spans(intervals, cuts)) / (len(cuts) + 1)


def layout(intervals: Sequence[Interval]) -> Layout:
    """Lay intervals out, flat or as a tree, whichever takes less room."""
    cuts = _cuts(intervals)
    size = len(cuts) + 1
    flat = sum(end - start for start, end in _spans(intervals, cuts)) <= ROOM * len(intervals) + size
    places: list[Any] = [None] * (size if flat else 2 * size)
    for number, (start, end) in enumerate(_spans(intervals, cuts)):
        for place in range(start, end) if flat else _nodes(start + size, end + size):
            _add(places, place, number)
    return Layout(cuts, places, flat)


def _add(places: list[Any], place: int, number: int) -> None:
    held = places[place]
    if held is None:
        places[place] = number
    elif held.__class__ is list:
        held.append(number)
    else:
        places[place] = [held, number]


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
