"""What is read in haste: nothing that the models of the route would refuse, and nothing otherwise than they read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.context import Transition
from mcp_sdk.server.bodies import INT53
from mcp_sdk.server.fitting import INT64, LONG, MOST_ATTRIBUTES, NAME, TEXT, transition
from mcp_sdk.server.routes.transitions import _validated

NOW = datetime(2026, 11, 27, tzinfo=UTC)
LEAST = {"model": "order", "entity_id": "o-1", "event_id": "e-1"}
ODD: list[Any] = [None, True, False, 0, 1, -1, 1.5, INT53, INT53 + 1, INT64, -INT64 - 1, "", "x", "\0", [], {}, ["a"]]
ODD += ["n" * NAME, "n" * (NAME + 1), "t" * TEXT, "t" * (TEXT + 1), "2026-01-01T00:00:00Z", "2026-13-01T00:00:00+00:00"]
ODD += [
    "2026-01-01T00:00:00+00:00",
    "2026-01-01T00:00:00.000001+00:00",
    "2026-01-01T00:00:00",
    "aborted",
    "1",
    "committed",
]
ODD += ["2026-01-01T00:00:00,000001+00:00", "2026-W01-1T00:00:00+00:00", {"timestamp": "2026-01-01T00:00:00Z"}]
ODD += [{"n" * (NAME + 1): 1}, {"": 1}, {"a\0": 1}, {"a": None}, {"a": INT64}, {"a": -INT64}, {"a": "x" * (LONG + 1)}]
ODD += [{"a": "x\0"}, {"a": ["b"]}, {"a": [1]}, {str(number): 1 for number in range(MOST_ATTRIBUTES + 1)}]
NAMES = [*Transition.__dataclass_fields__, "unknown"]


def same(plain: Any) -> bool:
    """Tell whether it was read in haste; then the models read it alike."""
    made = transition(plain, NOW)
    if made is None:
        return False
    assert made == _validated(0, plain, NOW)
    assert type(made) is Transition
    return True


def test_what_clients_send() -> None:
    """What our own clients send is read in haste."""
    sent = Transition(
        "order", "o-1", "paid", "e-1", attributes={"a": 1, "b": "x", "c": True, "d": 0.5}, base_revision=3
    )
    assert same(json.loads(json.dumps(sent.to_dict())))
    assert same(LEAST)


@pytest.mark.parametrize("name", NAMES)
def test_odd_values(name: str) -> None:
    """A value that the models would refuse, or read in another way, is left to them; in every field."""
    for value in ODD:
        same({**LEAST, name: value})


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_is_missing(name: str) -> None:
    """Nothing is made up for what a transition must have."""
    assert transition({key: value for key, value in LEAST.items() if key != name}, NOW) is None


@pytest.mark.parametrize("plain", [None, [], "x", 1, [LEAST]])
def test_no_object(plain: Any) -> None:
    """What is no object is left to the models."""
    assert transition(plain, NOW) is None


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD) | st.text(max_size=40) | st.datetimes().map(str)))
def test_anything(plain: dict[str, Any]) -> None:
    """Whatever is sent, it is read as the models read it or not at all."""
    same({**LEAST, **plain})
