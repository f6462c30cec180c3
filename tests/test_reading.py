"""How objects are read: in one go, or member by member."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk import BusinessModel
from mcp_sdk.reading import Reader, member

MODEL = BusinessModel("order", attributes={"size": "int", "tier": "string", "tags": "list"})
RAW = st.none() | st.integers() | st.text() | st.booleans() | st.floats() | st.lists(st.text()) | st.binary()
OBJECTS = st.dictionaries(st.sampled_from(["id", "state", "size", "tier", "tags", "other"]), RAW)


class Thing:
    """An object of given members."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.__dict__.update(members)


@given(OBJECTS)
def test_objects_and_mappings_say_the_same(members: dict[str, Any]) -> None:
    """Whatever they hold, reading never raises, and what is captured is of its declared type."""
    by_key = Reader(MODEL, dict, name=str).read(members)
    by_name = Reader(MODEL, Thing, name=str).read(Thing(members))
    one_by_one = Reader(MODEL, Thing, name=str, look=lambda subject, name: member(subject, name)).read(Thing(members))  # noqa: PLW0108
    assert by_key == by_name == one_by_one
    assert isinstance(by_key.entity_id, str)
    assert {type(value) for value in by_key.attributes.values()} <= {int, str, tuple}
    unfit = sum(members.get(name) is not None for name in MODEL.attributes) - len(by_key.attributes)
    assert by_key.missed == unfit


@given(OBJECTS, OBJECTS)
def test_equal_readings_are_equal_facts(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What ``same`` calls unchanged need not be converted again; a list may have changed in place, so it never is."""
    plain = BusinessModel("order", attributes={"tier": "string"})
    reader = Reader(plain, dict, name=str)
    before, after = reader.raw(one), reader.raw(other)
    if reader.same(before, after):
        assert reader.facts(before).attributes == reader.facts(after).attributes
    listing = Reader(MODEL, dict, name=str)
    assert not listing.same(listing.raw(one), listing.raw(one))


def test_members_are_read_along_a_path() -> None:
    """Dots lead through objects and mappings; what is missing or fails is None."""
    assert member({"user": Thing({"tier": "gold"})}, "user.tier") == "gold"
    assert member({}, "user.tier") is None
    assert member({"user": None}, "user.tier.name") is None
    assert member(type("Broken", (), {"tier": property(lambda _: 1 / 0)})(), "tier") is None
