"""Rivals are found by what they ask for, and their number is bounded."""

from __future__ import annotations

from mcp_sdk.models import BusinessModel
from mcp_sdk.policy.analysis.regions import Box, Space
from mcp_sdk.policy.analysis.rivals import GROUP, Rivals
from mcp_sdk.policy.lookup.domains import PRESENT, Domain

CHANNEL, ITEMS, TIER = ("order", "channel"), ("order", "items"), ("order", "tier")
SPACE = Space({"order": BusinessModel("order", attributes={"channel": "string", "tier": "string", "items": "int"})})


def one(value: str) -> Domain:
    return Domain(frozenset({value}))


def rivals(*boxes: Box) -> Rivals:
    """Give rivals of which each has one box."""
    made = Rivals(SPACE, [[box] for box in boxes])
    for number, box in enumerate(boxes):
        made.add(number, [box])
    return made


def test_a_rival_is_found_by_its_rarest_value() -> None:
    """Of a hundred rules that share a channel only the one of the same tier comes up."""
    made = rivals(*({CHANNEL: one("web"), TIER: one(f"t{number}")} for number in range(100)))
    assert list(made.of([{CHANNEL: one("web"), TIER: one("t7")}])) == [7]
    assert made.of([{CHANNEL: one("app"), TIER: one("other")}]) == {}


def test_a_rule_without_conditions_is_everybodys_rival() -> None:
    """So is, up to a bound, one that asks for a fact of which another says nothing."""
    made = rivals({}, {ITEMS: PRESENT}, {CHANNEL: one("web")})
    assert list(made.of([{TIER: one("t")}])) == [0, 1, 2]
    assert list(made.of([{CHANNEL: one("app")}])) == [0, 1]


def test_a_full_group_lets_in_only_what_takes_one_of_it_whole() -> None:
    """A broad rule that comes late is still found; a narrow one is not."""
    narrow = [{ITEMS: Domain(None, number, number + 30), TIER: PRESENT} for number in range(0, 100 * GROUP, 100)]
    made = rivals(*narrow, {ITEMS: Domain(None, 0), TIER: PRESENT}, {ITEMS: Domain(None, -9, -5), TIER: PRESENT})
    found = made.of([{ITEMS: Domain(None, 50, 60), TIER: PRESENT}])
    assert len(found) <= GROUP
    assert len(narrow) in found
    assert len(narrow) + 1 not in found
