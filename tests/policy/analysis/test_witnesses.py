"""A point that nothing takes refutes a claim at once."""

from __future__ import annotations

import pytest

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.regions import Box, Space
from mcp_sdk.policy.analysis.witnesses import witnessed
from mcp_sdk.policy.lookup.domains import ABSENT, PRESENT, Domain

SPACE = Space({"order": BusinessModel("order", attributes={"items": "int", "channel": "string", "ratio": "double"})})
ITEMS, CHANNEL, RATIO = ("order", "items"), ("order", "channel"), ("order", "ratio")


@pytest.mark.parametrize(
    ("box", "takers", "left"),
    [
        ({ITEMS: Domain(None, 0, 10)}, [{ITEMS: Domain(None, 1, 10)}], True),
        ({ITEMS: Domain(None, 0, 10)}, [{ITEMS: Domain(None, 0, 9)}], True),
        ({ITEMS: Domain(None, 0, 10)}, [{ITEMS: Domain(None, 0, 5)}, {ITEMS: Domain(None, 5, 10)}], False),
        ({ITEMS: PRESENT}, [{ITEMS: PRESENT}], False),
        ({}, [{CHANNEL: PRESENT}], True),
        ({}, [{CHANNEL: PRESENT}, {CHANNEL: ABSENT}], False),
        ({CHANNEL: Domain(None, "a", but=frozenset("a"))}, [{CHANNEL: Domain(None, "b")}], True),
        ({RATIO: Domain(None, None, 1.5)}, [{RATIO: Domain(None, None, 1.0)}], True),
        ({RATIO: Domain(None, None, 1.5)}, [{RATIO: Domain(None, None, 2.0)}], False),
    ],
)
def test_a_corner_that_nobody_takes_is_seen(box: Box, takers: list[Box], left: bool) -> None:
    """The least and the greatest point of a box are tried, absence first where it is allowed."""
    assert witnessed([box], takers, SPACE.all_of) is left
