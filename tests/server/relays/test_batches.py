"""Decisions on their way from one replica to another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mcp_sdk.ports import Record
from mcp_sdk.server.relays.batches import COUNTS, KEPT, KIND, RATE, SIZE, Batch, Incoming, Outgoing, Slot
from mcp_sdk.server.relays.sealing import seal

WHO = {"service": "shop"}


def written(batch: Batch | None, name: str = "b.0") -> Record:
    """Give a batch as it stands in the store, but for the seal."""
    assert batch is not None
    told = {"count": "c", "first": batch.first, "next": batch.next, "sealed": list(batch.decisions)}
    return Record(KIND, name, told)


def read(incoming: Incoming, *records: Record) -> tuple[list[Any], int]:
    """Give what is new, and how much was missed, of records that are sealed for nobody else."""
    sealed = [replace(each, content=_sealed(each, incoming)) for each in records]
    taken = incoming.take(sealed)
    return [record["n"] for record, _ in taken.decisions], taken.missed


def _sealed(record: Record, incoming: Incoming) -> dict[str, Any]:
    told = record.content.get("sealed")
    return dict(record.content) | {"sealed": seal(told, {incoming.reader.public}) if told else None}


def filled(count: int, outgoing: Outgoing | None = None, now: float = 0.0) -> Outgoing:
    """Pass decisions on."""
    outgoing = outgoing or Outgoing()
    for number in range(count):
        outgoing.add({"n": number}, WHO, now)
    return outgoing


def test_a_batch_waits_until_it_is_done() -> None:
    """What comes meanwhile is of the next one."""
    outgoing = filled(2)
    batch = outgoing.batch()
    assert batch is not None
    outgoing.add({"n": 2}, WHO, 0.0)
    outgoing.done(batch)
    incoming = Incoming()
    assert read(incoming, written(batch)) == ([0, 1], 0)
    assert read(incoming, written(batch), written(outgoing.batch(), "b.1")) == ([2], 0)


def test_no_more_than_the_rate_is_passed_on_and_the_rest_is_counted() -> None:
    """So is what a client did not send, and what is too large."""
    outgoing = filled(RATE + 5)
    outgoing.skip(3)
    outgoing.add({"n": "x" * SIZE}, WHO, 1.0)
    shown, missed = read(Incoming(), written(outgoing.batch()))
    assert (len(shown), missed) == (RATE, 9)
    assert outgoing.batch() == filled(RATE + 9).batch()


def test_batches_that_nobody_read_in_time_are_counted() -> None:
    """Numbers say how many there were."""
    outgoing, incoming, batches = Outgoing(), Incoming(), list[Batch]()
    for _ in range(3):
        batches += filter(None, [filled(2, outgoing).batch()])
        outgoing.done(batches[-1])
    assert read(incoming, written(batches[0])) == ([0, 1], 0)
    assert read(incoming, written(batches[2])) == ([0, 1], 2)


def test_what_is_forgotten_is_neither_sent_nor_left_there() -> None:
    """It is counted as what did not arrive."""
    outgoing = filled(4)
    outgoing.slots[0] = Slot(1, 0.0)
    assert (outgoing.old(KEPT), outgoing.old(KEPT + 1)) == ([], [0])
    outgoing.forget()
    assert outgoing.old(0.0) == [0]
    assert outgoing.batch() == Batch(0, 4, ())


def test_what_is_not_for_this_replica_and_what_is_none_hold_nothing() -> None:
    """It is not missed either."""
    foreign = Record(KIND, "c.0", {"count": "c", "first": 0, "next": 5, "sealed": None})
    assert read(Incoming(), foreign, Record(KIND, "d.0", {}), Record(KIND, "e.0", {"first": "x"})) == ([], 0)


@pytest.mark.parametrize(
    "told",
    [
        [],
        "x",
        {"count": "c", "first": 0, "next": 2**60, "sealed": None},
        {"count": "c", "first": -1, "next": 2, "sealed": None},
        {"count": 7, "first": 0, "next": 2, "sealed": None},
    ],
)
def test_a_record_that_is_no_batch_hides_no_other(told: Any) -> None:
    """Whoever writes to the store may have written it."""
    incoming = Incoming()
    batch = replace(written(filled(1).batch()), content=_sealed(written(filled(1).batch()), incoming))
    taken = incoming.take([Record(KIND, "a.0", told), batch])
    assert (len(taken.decisions), taken.missed) == (1, 0)


@pytest.mark.parametrize(
    "odd", [5, None, "5", "{", "[" * 100_000, '{"record": 5, "by": {}}', '{"record": {}, "by": []}']
)
def test_what_is_no_decision_hides_no_other(odd: Any) -> None:
    """It counts as one that was missed."""
    told = [odd, '{"record": {"n": 1}, "by": {}}']
    assert read(Incoming(), Record(KIND, "a.0", {"count": "c", "first": 0, "next": 2, "sealed": told})) == ([1], 1)


def test_a_replica_that_begins_to_count_anew_is_heard() -> None:
    """Its numbers are lower than those that were read."""
    incoming = Incoming()
    assert read(incoming, written(filled(9).batch()))[0] == list(range(9))
    again = written(filled(1).batch())
    assert read(incoming, replace(again, content={**again.content, "count": "d"})) == ([0], 0)


def test_counts_that_are_remembered_are_few() -> None:
    """However many there were."""
    incoming = Incoming()
    for number in range(COUNTS + 10):
        incoming.take([Record(KIND, f"{number}.0", {"count": "c", "first": 0, "next": 5})])
    assert len(incoming._next) <= COUNTS


def test_nothing_is_shown_twice_however_many_records_there_are() -> None:
    """What is there is remembered."""
    incoming, batch = Incoming(), written(filled(1).batch())
    records = [batch, *(Record(KIND, f"{n}.0", {"count": "c", "first": n, "next": n + 5}) for n in range(2 * COUNTS))]
    assert read(incoming, *records) == ([0], 0)
    assert read(incoming, *records) == ([], 0)
