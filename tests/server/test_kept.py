"""The last changes of a replica."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_sdk.context import EntityRef, ModelContext
from mcp_sdk.ports import AppendStatus, Applied, Change, Cursor
from mcp_sdk.server.kept import Kept
from mcp_sdk.testing.stores import move


def change(number: int, text: str = "") -> Change:
    """Give a change with a text of some size."""
    sent = move(attributes={"text": text})
    context = ModelContext("order", "o-1", "created", sent.attributes, number)
    return Change("transition", Cursor(str(number)), applied=Applied(sent, AppendStatus.APPLIED, context))


def test_changes_after_a_position_are_given_in_order() -> None:
    """Those after the cursor of a change that is kept; None for one that is not."""
    kept = Kept(3)
    changes = [change(number) for number in range(5)]
    for each in changes:
        kept.add(each)
    assert kept.since(Cursor("2")) == (changes[3], changes[4])
    assert kept.since(Cursor("4")) == ()
    assert kept.since(Cursor("1")) is None
    kept.clear()
    assert kept.since(Cursor("4")) is None


def test_large_changes_are_kept_for_a_shorter_time() -> None:
    """The bound in bytes counts what attributes hold, in the transition and in the context after it."""
    kept = Kept(1000, size=100_000)
    for number in range(20):
        kept.add(change(number, "x" * 10_000))
    assert kept.since(Cursor("18")) is not None
    assert kept.since(Cursor("14")) is None


def test_of_a_forgotten_entity_nothing_is_kept() -> None:
    """Its changes keep their places; what they said is gone, lists of texts as well."""
    kept = Kept()
    for number in range(3):
        kept.add(change(number))
    kept.add(Change("forgotten", Cursor("3"), change(0).scope, ref=EntityRef("order", "o-1")))
    later = kept.since(Cursor("0"))
    assert later is not None
    assert [each.applied for each in later] == [None, None, None]


def test_lists_of_texts_have_a_weight() -> None:
    """As texts have."""
    kept = Kept(1000, size=100_000)
    for number in range(20):
        sent = move(attributes={"texts": ("x" * 10_000,)})
        context = ModelContext("order", "o-1", "created", sent.attributes, number)
        kept.add(Change("transition", Cursor(str(number)), applied=Applied(sent, AppendStatus.APPLIED, context)))
    assert kept.since(Cursor("14")) is None


@pytest.mark.parametrize("attributes", [{f"{number:0200}": 1 for number in range(100)}, {"texts": ("x",) * 1000}])
def test_names_and_many_small_values_have_a_weight(attributes: dict[str, Any]) -> None:
    """They take memory as long texts do."""
    kept = Kept(1000, size=100_000)
    for number in range(20):
        sent = move(attributes=attributes)
        context = ModelContext("order", "o-1", "created", sent.attributes, number)
        kept.add(Change("transition", Cursor(str(number)), applied=Applied(sent, AppendStatus.APPLIED, context)))
    assert kept.since(Cursor("14")) is None
