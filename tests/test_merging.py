"""Two versions of one model: together, or refused with the difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import BusinessModel, ModelError
from mcp_sdk.merging import additions, differences, merge, merge_all
from mcp_sdk.models import Attribute

STATES = ("created", "paid", "sent")
ATTRIBUTES = st.builds(
    Attribute,
    st.sampled_from(["amount", "tier", "risk"]),
    st.sampled_from(["string", "decimal"]),
    priority=st.integers(0, 2),
)


@st.composite
def models(draw: st.DrawFn) -> BusinessModel:
    """Versions of one model, which may contradict each other."""
    states = draw(st.lists(st.sampled_from(STATES), unique=True))
    known = st.sampled_from(states or STATES)
    return BusinessModel(
        "order",
        key=draw(st.sampled_from(["id", "id", "id", "number"])),
        states=states,
        transitions=draw(st.dictionaries(known, st.sets(known), max_size=3)),
        attributes=draw(st.lists(ATTRIBUTES, max_size=3, unique_by=lambda one: one.name)),
        enforce=draw(st.booleans()),
        retention=draw(st.sampled_from([None, None, 60.0])),
    )


def merged(*several: BusinessModel) -> dict[str, Any] | None:
    """Merge in order, and give plain JSON; None where it is refused."""
    found = several[0]
    try:
        for each in several[1:]:
            found = merge(found, each)
    except ModelError:
        return None
    return found.to_dict()


@given(models(), models())
def test_the_order_of_two_versions_does_not_matter(one: BusinessModel, other: BusinessModel) -> None:
    """Merging is commutative, in what it refuses too."""
    assert merged(one, other) == merged(other, one)
    assert bool(differences(one, other)) == (merged(one, other) is None)


@given(models(), models(), models())
def test_the_order_of_many_versions_does_not_matter(
    one: BusinessModel, two: BusinessModel, three: BusinessModel
) -> None:
    """Merging is associative where nothing is refused."""
    left, right = merged(one, two, three), merged(two, three)
    if left is not None and right is not None:
        assert left == merged(one, merge(two, three))


@given(models(), models())
def test_declaring_it_again_changes_nothing(one: BusinessModel, other: BusinessModel) -> None:
    """Merging is idempotent: versions side by side do not flap a model."""
    assert merge(one, one) == one
    both = merged(one, other)
    if both is not None:
        assert merged(BusinessModel.from_dict(both), one) == both


def test_states_moves_and_attributes_are_put_together() -> None:
    """What either version says holds."""
    one = BusinessModel("order", states=("created", "paid"), transitions={"created": ["paid"]}, retention=60.0)
    two = BusinessModel("order", states=("created", "lost"), transitions={"created": ["lost"]}, attributes={"a": "int"})
    both = merge(one, two)
    assert set(both.states) == {"created", "paid", "lost"}
    assert both.transitions["created"] == {"paid", "lost"}
    assert (both.attributes["a"].type, both.retention) == ("int", 60.0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (BusinessModel("order", key="number", attributes={"a": "int"}), "order: key is 'id' and 'number'"),
        (BusinessModel("order", state="status", attributes={"a": "int"}), "order: state is 'state' and 'status'"),
        (BusinessModel("order", attributes={"a": "string"}), "order.a: type is 'int' and 'string'"),
        (BusinessModel("order", attributes=[Attribute("a", "int", scale=3)]), "order.a: scale is 2 and 3"),
        (
            BusinessModel("order", attributes=[Attribute("a", "int", travels=False)]),
            "order.a: travels is True and False",
        ),
        (BusinessModel("order", retention=9.0), "order: retention is 5.0 and 9.0"),
    ],
)
def test_what_contradicts_is_named_with_both_values(other: BusinessModel, said: str) -> None:
    """Neither version is chosen."""
    held = BusinessModel("order", attributes={"a": "int"}, retention=5.0)
    with pytest.raises(ModelError) as refused:
        merge_all([held], [other])
    assert said in str(refused.value)


def test_only_what_is_declared_is_given_back() -> None:
    """What others declared and this version does not know is left alone."""
    order, user = BusinessModel("order"), BusinessModel("user")
    assert merge_all([order], [user]) == (user,)


@given(models(), models())
def test_what_adds_nothing_is_told_from_what_does(held: BusinessModel, declared: BusinessModel) -> None:
    """A declaration adds nothing where what is merged is what was held, whatever the order of states is."""
    if differences(held, declared):
        assert additions(held, declared) == differences(held, declared)
        return
    both = merge(held, declared)
    same = replace(both, states=()) == replace(held, states=()) and set(both.states) == set(held.states)
    assert (additions(held, declared) == []) is same
    assert additions(both, declared) == []
