"""Which replicas look on, as their records say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcp_sdk.context import Scope
from mcp_sdk.ports import Record
from mcp_sdk.protocol.filters import Filter
from mcp_sdk.server.relays.lookouts import COUNTS, KIND, LEFT, RELAYS, REPLICAS, Look, Lookouts, content
from mcp_sdk.server.relays.sealing import Reader

SCOPE = Scope("shop", "prod")
FILTERS = (Filter(service="shop"),)
KEY = bytes(range(32))
LOOKS = {SCOPE: Look(FILTERS, KEY)}
WANTED = {SCOPE: FILTERS}


def record(reader: Reader, of: Reader, revision: int = 1, name: str = "a") -> Record:
    """Give the record of a replica that looks on, for ``reader`` to read."""
    return Record(KIND, name, content(of, LOOKS, [SCOPE], {reader.public}), revision)


def test_a_record_counts_while_it_is_renewed() -> None:
    """By when it was heard to change; after that nobody is told anything, and later it is what a dead replica left."""
    here, there, known = Reader(), Reader(), Lookouts()
    first = record(here, there)
    known.learn([first], 0.0, here)
    known.learn([first], COUNTS, here)
    assert (known.wanted(COUNTS), known.readers(SCOPE, COUNTS)) == (WANTED, {KEY})
    assert known.looking(COUNTS)
    assert (known.wanted(COUNTS + 1), known.keys(COUNTS + 1), known.looking(COUNTS + 1)) == ({}, set(), False)
    known.learn([record(here, there, 2)], COUNTS + 1, here)
    assert known.wanted(COUNTS + 2) == WANTED
    assert not known.left(COUNTS + 1 + LEFT)
    assert [one.relays for one in known.left(COUNTS + 2 + LEFT)] == [(SCOPE,)]


def test_whom_a_record_is_not_for_knows_that_somebody_looks_on_alone() -> None:
    """So that it can say that it is there."""
    here, there, stranger, known = Reader(), Reader(), Reader(), Lookouts()
    known.learn([record(stranger, there)], 0.0, here)
    assert (known.looking(0.0), known.keys(0.0), known.wanted(0.0)) == (True, {there.public}, {})


def test_filters_of_several_replicas_are_put_together() -> None:
    """And gone with their records."""
    here, known = Reader(), Lookouts()
    known.learn([record(here, Reader()), record(here, Reader(), name="b")], 0.0, here)
    assert known.wanted(0.0) == {SCOPE: FILTERS * 2}
    known.learn([], 0.0, here)
    assert not known.any


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"key": 7},
        {"key": "zz"},
        {"key": "00", "relays": [], "looking": True, "looks": None},
        {"relays": [[1, 2, 3]]},
        {"key": KEY.hex(), "relays": [[1, 2]], "looking": True, "looks": None},
        {"key": KEY.hex(), "relays": [[[], "x"]], "looking": True, "looks": None},
        [],
        "x",
    ],
)
def test_a_record_that_cannot_be_read_says_nothing(told: Any) -> None:
    """It is erased as any other when nobody renews it."""
    known = Lookouts()
    known.learn([replace(record(Reader(), Reader()), content=told)], 0.0, Reader())
    assert (known.wanted(0.0), known.keys(0.0), known.looking(0.0)) == ({}, set(), False)
    assert [one.relays for one in known.left(LEFT + 1)] == [()]


def test_what_is_read_is_bounded() -> None:
    """Whoever writes to the store may have written thousands of records, or one with as many scopes."""
    known, told = Lookouts(), {"key": KEY.hex(), "looking": True, "looks": None, "relays": [["a", "b"]] * 2 * RELAYS}
    known.learn((Record(KIND, str(number), told, 1) for number in range(2 * REPLICAS)), 0.0, Reader())
    assert [len(one.relays) for one in known.left(LEFT + 1)] == [RELAYS] * REPLICAS
