"""Boxes of facts against every point in them."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.regions import Box, Space, covering
from mcp_sdk.policy.lookup.domains import Domain

MODELS = {
    "order": BusinessModel("order", states=("a", "b"), attributes={"items": "int", "ratio": "double", "vip": "bool"})
}
SPACE = Space(MODELS)
POINTS: dict[tuple[str, ...], tuple[Any, ...]] = {
    ("order", "state"): (None, "a", "b"),
    ("order", "items"): (None, -1, 0, 1, 2, 3),
    ("order", "ratio"): (None, -math.inf, 0.0, 1.5, math.nan, math.inf),
    ("order", "vip"): (None, False, True),
}


def some(values: tuple[Any, ...]) -> st.SearchStrategy[Domain]:
    """Give domains over some values: sets, and intervals between them."""
    present = [value for value in values if value is not None]
    ends = st.none() | st.sampled_from([value for value in present if value == value])
    kept = st.frozensets(st.sampled_from(present))
    sets = st.builds(lambda kept, absent: Domain(kept, absent=absent), kept, st.booleans())
    if isinstance(present[0], bool):
        return sets
    ranges = st.builds(lambda low, high, absent: Domain(None, low, high, absent=absent), ends, ends, st.booleans())
    return sets | ranges.filter(lambda domain: None in (domain.low, domain.high) or domain.low < domain.high)


def typed(path: tuple[str, ...]) -> st.SearchStrategy[Domain]:
    """Give domains of a fact as boxes have them: of its type, an interval of strings with a low end."""
    return some(POINTS[path]).map(lambda domain: domain.meet(SPACE.opened.all_of(path)))


box = st.fixed_dictionaries({}, optional={path: typed(path) for path in POINTS})
boxes = st.lists(box, max_size=3)


def inside(held: Box, point: dict[tuple[str, ...], Any]) -> bool:
    return all(point[path] in domain for path, domain in held.items())


def points() -> list[dict[tuple[str, ...], Any]]:
    return [dict(zip(POINTS, values, strict=True)) for values in product(*POINTS.values())]


EVERY = points()


@given(one=box, other=box)
def test_what_is_left_of_a_box_is_what_the_other_lacks(one: Box, other: Box) -> None:
    """Each point of the box is in just one piece, unless the other box has it."""
    pieces = SPACE.minus(one, other)
    for point in EVERY:
        assert sum(inside(piece, point) for piece in pieces) == (inside(one, point) and not inside(other, point))


@given(one=box, other=box)
def test_within_and_apart_are_certain(one: Box, other: Box) -> None:
    """A box within another has no point outside it, and boxes that are apart share none."""
    assert not SPACE.within(one, other) or all(inside(other, point) for point in EVERY if inside(one, point))
    assert not SPACE.apart(one, other) or not any(inside(one, point) and inside(other, point) for point in EVERY)


@given(held=boxes, takers=st.lists(boxes, max_size=4))
def test_those_that_are_said_to_cover_do(held: list[Box], takers: list[list[Box]]) -> None:
    """No point of the boxes is outside all of the takers that are named, and each of those is needed."""
    found = covering(SPACE, held, dict(enumerate(takers)))
    if found is not None:
        for point in EVERY:
            taken = any(inside(one, point) for number in found for one in takers[number])
            assert taken or not any(inside(one, point) for one in held)


def test_all_of_a_fact_is_what_is_declared() -> None:
    """States are those of the model, unless others are let in; a key of headers is of no fact."""
    assert SPACE.all_of(("order", "state")) == Domain(frozenset("ab"), absent=True)
    assert SPACE.opened.all_of(("order", "state")) == Domain(None, "", absent=True)
    assert SPACE.all_of(("principal", "mfa")) == Domain(frozenset({True, False}))
    assert SPACE.all_of(("request", "geo", "country")) == Domain(None, "")
