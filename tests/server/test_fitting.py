"""What is read in haste: nothing that the models of the route would refuse, and nothing otherwise than they read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_sdk.context import Transition
from mcp_sdk.server.bodies import INT53, parse
from mcp_sdk.server.fitting import INT64, LONG, MOST_ATTRIBUTES, NAME, TEXT, transitions
from mcp_sdk.server.routes.transitions import _validated

NOW = datetime(2026, 11, 27, tzinfo=UTC)
LEAST = {"model": "order", "entity_id": "o-1", "event_id": "e-1"}
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    -0.0,
    1.5,
    INT53,
    INT53 + 1,
    INT64,
    -INT64 - 1,
    "",
    "x",
    "\0",
    [],
    {},
    ["a"],
]
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


def body(*plain: Any) -> bytes:
    """Write a batch as a client might."""
    return json.dumps({"transitions": plain}).encode()


def same(sent: bytes) -> bool:
    """Tell whether it was read in haste; then the models read it alike."""
    made = transitions(sent, NOW)
    if made is None:
        return False
    plain = parse(sent, twice=True)["transitions"]
    read = [_validated(number, one, NOW) for number, one in enumerate(plain)]
    assert (made, repr(made)) == (read, repr(read))  # 1 and 1.0 are equal, and so are 0.0 and -0.0
    assert {type(one) for one in made} <= {Transition}
    return True


def test_what_clients_send() -> None:
    """What our own clients send is read in haste."""
    sent = Transition(
        "order", "o-1", "paid", "e-1", attributes={"a": 1, "b": "x", "c": True, "d": 0.5}, base_revision=3
    )
    assert same(body(sent.to_dict(), LEAST))
    assert same(body())


@pytest.mark.parametrize("name", NAMES)
def test_odd_values(name: str) -> None:
    """A value that the models would refuse, or read in another way, is left to them; in every field."""
    for value in ODD:
        same(body({**LEAST, name: value}))


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_is_missing(name: str) -> None:
    """Nothing is made up for what a transition must have."""
    assert transitions(body({key: value for key, value in LEAST.items() if key != name}), NOW) is None


@pytest.mark.parametrize("sent", [b"", b"{}", b"[]", b"null", b'{"transitions": {}}', b'{"transitions": [null]}'])
def test_no_batch(sent: bytes) -> None:
    """What is no batch is left to the models."""
    assert transitions(sent, NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "1.0",
        "-0",
        "-0.0",
        "1e5",
        "1E400",
        "-1e400",
        "5e-324",
        "NaN",
        "Infinity",
        "0.1000000000000000055511151231257827021181583404541015625",
        "123456789012345678901234567890.5",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "01",
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0000"',
        '"\\\\u0000"',
        '"\u00e9\U0001f600"',
        '"a\tb"',
        "tru",
    ],
)
def test_values_as_they_are_written(value: str) -> None:
    """Numbers and texts are read as the standard library reads them, or left to it."""
    sent = (
        f'{{"transitions": [{{"model": "order", "entity_id": "o", "event_id": "e", "attributes": {{"a": {value}}}}}]}}'
    )
    same(sent.encode())


@pytest.mark.parametrize(
    "sent",
    [
        body(LEAST) + b"x",
        b"\xef\xbb\xbf" + body(LEAST),
        body(LEAST).replace(b"o-1", b"\xff"),
        body(LEAST).replace(b"o-1", b"\xed\xa0\x80"),
        body(LEAST).replace(b'"model"', b'"model": "other", "model"'),
        body({**LEAST, "attributes": {"a": 1}}).replace(b'"a": 1', b'"a": 1, "a": 2'),
        body(LEAST).replace(b'{"transitions"', b'{"transitions": [], "transitions"'),
        b'{"transitions": ' + b"[" * 100_000,
    ],
)
def test_bodies_as_they_are_written(sent: bytes) -> None:
    """What is no JSON is not read in haste; of two values of one name the last counts, as it does for the models."""
    same(sent)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD) | st.text(max_size=40) | st.datetimes().map(str)))
def test_anything(plain: dict[str, Any]) -> None:
    """Whatever is sent, it is read as the models read it or not at all."""
    same(body({**LEAST, **plain}))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.text(max_size=9))
def test_any_attribute(value: Any) -> None:
    """An attribute keeps its value and its type."""
    sent = body({**LEAST, "attributes": {"a": value}})
    if same(sent):
        made = transitions(sent, NOW)
        assert made is not None
        assert type(made[0].attributes["a"]) is type(value)
