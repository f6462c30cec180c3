"""Frozen facts, and the events that change them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import EntityRef, ModelContext, ModelError, Outcome, Transition, Trust
from mcp_sdk.context import NewContext, NewTransition, Scope
from mcp_sdk.moves import made_context, made_transition

TEXT = st.text(max_size=8)
MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES = (
    TEXT
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | MOMENTS
    | st.lists(TEXT).map(tuple)
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=4)
CONTEXTS = st.builds(
    ModelContext,
    model=TEXT,
    entity_id=TEXT,
    state=st.none() | TEXT,
    attributes=ATTRIBUTES,
    revision=st.integers(0, 99),
    tentative=st.booleans(),
    observed_at=st.none() | MOMENTS,
    source=TEXT,
    trust=st.sampled_from(Trust),
)
TRANSITIONS = st.builds(
    Transition,
    model=TEXT,
    entity_id=TEXT,
    to_state=st.none() | TEXT,
    event_id=TEXT,
    from_state=st.none() | TEXT,
    attributes=ATTRIBUTES,
    outcome=st.sampled_from(Outcome),
    base_revision=st.none() | st.integers(1, 99),
    observed_at=MOMENTS,
    duration=st.floats(0, 1e6),
)


@given(CONTEXTS)
def test_a_context_goes_through_json(context: ModelContext) -> None:
    """What ``to_dict`` writes ``from_dict`` reads, types of values included."""
    assert ModelContext.from_dict(context.to_dict()) == context


@given(TRANSITIONS)
def test_a_transition_goes_through_json(event: Transition) -> None:
    """What ``to_dict`` writes ``from_dict`` reads."""
    assert Transition.from_dict(event.to_dict()) == event


@pytest.mark.parametrize(
    "read",
    [
        lambda: ModelContext.from_dict({}),
        lambda: ModelContext.from_dict(
            {"model": "o", "id": "1", "state": None, "attributes": {"a": None}, "revision": 1}
        ),
        lambda: Transition.from_dict({}),
        lambda: Transition.from_dict({"attributes": {}, "outcome": "odd", "observed_at": "x"}),
    ],
)
def test_what_does_not_fit_is_refused(read: Any) -> None:
    """With one error, whatever is wrong."""
    with pytest.raises(ModelError):
        read()


def test_facts_have_no_key_for_what_is_absent() -> None:
    """``has(order.state)`` asks for the key; attributes never stand in for what is built in."""
    assert ModelContext("order").facts == {}
    full = ModelContext("order", "o-1", "paid", {"amount": 3, "id": "x"})
    assert full.facts == {"id": "o-1", "state": "paid", "amount": 3}
    assert full.facts is full.facts


@given(st.lists(CONTEXTS))
def test_contexts_are_ordered_by_rank(contexts: list[ModelContext]) -> None:
    """``7+`` beats a stored 7, and 8 beats ``7+``."""
    ranked = sorted(contexts, key=lambda context: context.rank)
    assert [2 * context.revision + context.tentative for context in ranked] == sorted(
        2 * context.revision + context.tentative for context in contexts
    )


def test_only_three_trusts_count() -> None:
    """What nobody signed, what expired and what is forged do not."""
    assert {trust.value for trust in Trust if trust.counts} == {"local", "store", "verified"}


def test_values_are_frozen_however_they_were_made() -> None:
    """The quick way makes the same values as the constructors."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    context = made_context(NewContext("order", "o-1", "paid", {"amount": 1}, 7, True, "shop"))
    assert context == ModelContext("order", "o-1", "paid", {"amount": 1}, 7, True, None, "shop")
    arguments = (
        "order",
        "o-1",
        "paid",
        "e-1",
        None,
        {},
        Outcome.COMMITTED,
        7,
        "",
        "n",
        "e",
        now,
        "s",
        "op",
        "",
        0.5,
        "",
    )
    event = made_transition(NewTransition(*arguments))  # type: ignore[arg-type]
    assert event == Transition(*arguments)  # type: ignore[arg-type]
    for value, name in ((context, "state"), (event, "to_state")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "other")
        assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == replace(value) == value
        assert repr(value).startswith(f"{type(value).__name__}(model='order'")


def test_refs_and_scopes() -> None:
    """An entity and where it lives."""
    event = Transition("order", "o-1", None, "e-1", namespace="n", environment="e")
    assert event.ref == EntityRef("order", "o-1") == ModelContext("order", "o-1").ref
    assert str(event.ref) == "order:o-1"
    assert event.scope == Scope("n", "e")
    assert datetime.now(UTC) - event.observed_at < timedelta(minutes=1)
    assert ModelContext("order").but(state="paid").state == "paid"
