"""Attribute values as text, by their declared type."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.wire import READERS, WRITERS, Problem, bare, fact

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "int": INT64,
    "decimal": INT64,
    "double": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "list": st.lists(st.text()).map(tuple),
}


@pytest.mark.parametrize("kind", sorted(VALUES))
@given(data=st.data())
def test_a_value_reads_back_as_it_was(kind: str, data: st.DataObject) -> None:
    """Whatever it is, of whichever type."""
    value = data.draw(VALUES[kind])
    read = READERS[kind](WRITERS[kind](value))
    assert read == value
    assert type(read) is type(value)


def test_values_are_readable() -> None:
    """People and other languages can make sense of what travels."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert WRITERS["timestamp"](moment) == "2026-01-02T02:04:05Z"
    assert WRITERS["list"](("a", "b,c")) == "a,b\\,c"
    assert WRITERS["bool"](True) == "true"
    assert WRITERS["double"](1) == "1.0"


def test_not_a_number_travels() -> None:
    """A double may be anything that IEEE 754 knows."""
    read = READERS["double"](WRITERS["double"](math.nan))
    assert isinstance(read, float)
    assert math.isnan(read)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", 1),
        ("int", True),
        ("int", 2**63),
        ("int", "1"),
        ("decimal", 1.5),
        ("double", True),
        ("bool", 1),
        ("timestamp", datetime(2026, 1, 1)),  # noqa: DTZ001
        ("list", "abc"),
    ],
)
def test_a_value_of_another_type_is_not_written(kind: str, value: object) -> None:
    """It would read back as something else."""
    with pytest.raises(TypeError):
        WRITERS[kind](value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", ""),
        ("int", "1_0"),
        ("int", "٣"),
        ("int", " 1"),
        ("int", "9223372036854775808"),
        ("decimal", "1.5"),
        ("double", "infinity"),
        ("double", "0x1"),
        ("bool", "True"),
        ("timestamp", "2026-01-01"),
        ("timestamp", "2026-01-01T00:00:00"),
        ("timestamp", "2026-13-01T00:00:00Z"),
        ("timestamp", "0001-01-01T00:00:00+01:00"),
        ("list", "a\\b"),
        ("list", "a\\"),
    ],
)
def test_text_of_another_type_is_not_read(kind: str, text: str) -> None:
    """Only the one notation of a type is accepted."""
    with pytest.raises((ValueError, KeyError, OverflowError)):
        READERS[kind](text)


@given(st.text())
def test_quotes_keep_white_space_at_the_ends(text: str) -> None:
    """What is sent has none at its ends, so that a client that trims values changes nothing."""
    _, said, raw, _ = fact((0, 0), "mcp_sdk.m.f", text)
    sent = said.partition("=")[2]
    assert sent == sent.strip()
    assert bare(sent) == text
    assert raw.isascii()


def test_problems_are_labels() -> None:
    """Every reason is a short word that a metric can carry."""
    assert all(problem.isidentifier() and problem == problem.lower() for problem in Problem)
