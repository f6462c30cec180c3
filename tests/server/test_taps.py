"""Who looks on: what the clients of a scope are told of it."""

from __future__ import annotations

import json
from typing import Any

from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.taps import Taps


class Looking:
    """Somebody who looks on."""

    def __init__(self, wanted: Filter) -> None:
        self.filter = wanted
        self.missing = 0

    def decision(self, *_: Any) -> None:
        """Take a decision."""

    def lost(self, count: int) -> None:
        """Note how many were not shown."""
        self.missing += count

    transition = missed = bye = decision


def told(*filters: Filter) -> list[dict[str, Any]]:
    """Give the filters that clients are told at last."""
    frames: list[str] = []
    taps = Taps(frames.append)
    for one in filters:
        taps.enter(Looking(one))
    found: list[dict[str, Any]] = json.loads(frames[-1])["filters"]
    return found


def test_clients_are_told_each_filter_once() -> None:
    """However many look for the same."""
    one, other = Filter(service="shop"), Filter(facts={"order.state": "paid"})
    assert sorted(told(one, other, one), key=str) == sorted([one.to_dict(), other.to_dict()], key=str)


def test_many_filters_become_one_that_everything_fits() -> None:
    """Else viewers could make a frame that no client takes, and every client of the scope would lose its stream."""
    many = [Filter(facts={f"order.a{number}": "x" * 900}) for number in range(100)]
    assert told(*many) == [Filter().to_dict()]


def test_who_begins_to_look_on_hears_of_nothing_that_was_lost_before() -> None:
    """Though somebody looked on all the time, at transitions alone."""
    taps, late = Taps(lambda _: None), Looking(Filter())
    taps.enter(Looking(Filter(decisions=False)))
    taps.dropped(7)
    taps.enter(late)
    taps.say_lost()
    assert late.missing == 0
    taps.dropped(2)
    taps.say_lost()
    assert late.missing == 2
