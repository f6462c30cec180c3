"""Moves of entities: what is known before one, and what it makes."""

from __future__ import annotations

from enum import StrEnum

import pytest
from fakes import FakePlane

from mcp_sdk import Attribute, BusinessModel, EntityRef, ModelContext, ModelError, Outcome, Transition, Trust, current
from mcp_sdk.moves import Move, after_move, captured_attributes, differing, fresh_context, newest, transitions_of
from mcp_sdk.testing import RecordingMesh

REF = EntityRef("order", "o-1")


class Tier(StrEnum):
    """What a service may hold in an attribute."""

    GOLD = "gold"


def context(state: str, revision: int, **fields: object) -> ModelContext:
    """Give a context of the order."""
    return ModelContext("order", "o-1", state, {}, revision, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (context("heard", 7, tentative=True), "heard"),
        (context("heard", 8, trust=Trust.VERIFIED), "heard"),
        (context("heard", 6), "stored"),
        (context("heard", 99, trust=Trust.UNSIGNED), "stored"),
        (context("heard", 99, trust=Trust.EXPIRED), "stored"),
        (ModelContext("order", "o-2", "other", {}, 99), "stored"),
    ],
)
def test_the_newest_is_of_the_highest_revision_that_may_be_believed(
    held: ModelContext, expected: str, shop: RecordingMesh, plane: FakePlane
) -> None:
    """``7+`` beats a stored 7; what nobody signed, and another entity, do not count."""
    plane.hold("order", "o-1", "stored", 7)
    work = current.Record(shop)
    work.put(held)
    found = newest(shop, work, REF)
    assert found is not None
    assert found.state == expected


def test_what_a_running_call_shows_is_looked_through(shop: RecordingMesh) -> None:
    """Below a tentative state stands what is settled."""
    work = current.Record(shop)
    work.put(context("announced", 7, tentative=True))
    work.settled["order"] = context("created", 7)
    assert newest(shop, work, REF) == context("created", 7)


def test_what_waits_for_a_commit_comes_on_top(shop: RecordingMesh, plane: FakePlane) -> None:
    """In its own work only, and entity by entity."""
    plane.hold("order", "o-1", "stored", 7, amount=1)
    work = current.Record(shop)
    work.pending.append(Transition("order", "o-2", "other", "e-1"))
    work.pending.append(Transition("order", "o-1", None, "e-2", attributes={"amount": 2}))
    found = newest(shop, work, REF)
    assert found is not None
    assert (found.state, found.attributes, found.tentative) == ("stored", {"amount": 2}, True)
    fresh = newest(shop, current.Record(shop), REF)
    assert fresh is not None
    assert fresh.attributes == {"amount": 1}


def test_moves_that_commit_together_are_a_batch(shop: RecordingMesh) -> None:
    """An abort among them is none of it; one move alone has no batch."""
    before = fresh_context(shop, REF, "created")
    moves = [Move(before, "paid"), Move(before, "shipped"), Move(before, "failed", outcome=Outcome.ABORTED)]
    first, second, aborted = transitions_of(shop, moves, seconds=2.0)
    assert first.batch_id == second.batch_id != ""
    assert (aborted.batch_id, aborted.duration) == ("", 2.0)
    assert transitions_of(shop, moves[1:])[0].batch_id == ""


def test_a_move_leaves_what_it_does_not_name(shop: RecordingMesh) -> None:
    """Without a state the state stays; attributes are merged."""
    before = ModelContext("order", "o-1", "created", {"a": 1, "b": 2}, 7)
    after = after_move(shop, Move(before, None, {"b": 3}))
    assert (after.state, after.attributes, after.revision, after.tentative) == ("created", {"a": 1, "b": 3}, 7, True)
    assert differing(after.attributes, before.attributes) == {"b": 3}
    assert differing(before.attributes, before.attributes) == {}


def test_attributes_are_captured_by_the_model() -> None:
    """Sensitive ones are left out; a model that declares none takes plain values as they are."""
    model = BusinessModel("order", attributes=[Attribute("amount", "decimal"), Attribute("card", sensitive=True)])
    assert captured_attributes(model, {"amount": 2, "card": "x"}) == {"amount": 200}
    assert captured_attributes(BusinessModel("order"), {"a": 1, "b": None}) == {"a": 1, "b": "None"}
    assert type(captured_attributes(BusinessModel("order"), {"tier": Tier.GOLD})["tier"]) is str
    with pytest.raises(ModelError, match=r"no attribute 'amont'. Declared: amount, card"):
        captured_attributes(model, {"amont": 2})
