"""The chain of the audit log: what breaks it is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sdk.audit import GENESIS, Entry, Head, verify
from mcp_sdk.context import Scope
from mcp_sdk.exceptions import ProtocolError


def chain(count: int) -> list[Entry]:
    """Give the entries of a log."""
    made: list[Entry] = []
    for number in range(1, count + 1):
        last = made[-1].head if made else GENESIS
        entry = Entry(number, f"t{number}", "ada", "token.create", "begun", Scope("shop", "prod"), previous=last.digest)
        made.append(entry.sealed())
    return made


def texts(entries: list[Entry]) -> list[str]:
    """Give them as they are stored."""
    return [entry.text() for entry in entries]


def test_an_entry_is_read_as_it_was_written() -> None:
    """Text and back is the same entry, with its digest."""
    (entry,) = chain(1)
    assert Entry.from_text(entry.text()) == entry
    assert Entry.from_text(entry.text()).digest == entry.digest


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"number": true}', '{"number": 1}', "[" * 100_000])
def test_what_is_no_entry_is_refused(text: str) -> None:
    """Anything else raises, and counts as altered."""
    with pytest.raises(ProtocolError):
        Entry.from_text(text)
    broken = verify([text])
    assert broken is not None
    assert (broken.number, broken.why) == (1, "altered")


@given(st.integers(0, 12))
def test_an_untouched_log_holds(count: int) -> None:
    """Whatever its length, from the beginning and from any entry that is known."""
    entries = chain(count)
    head = entries[-1].head if entries else GENESIS
    assert verify(texts(entries), head=head) is None
    for index in range(count):
        assert verify(texts(entries[index + 1 :]), head=head, start=entries[index].head) is None


@given(st.data())
def test_any_change_of_any_field_is_named(data: st.DataObject) -> None:
    """The number of the entry that was altered is said; so is one whose digest was made anew, by the one after it."""
    entries, index = chain(6), data.draw(st.integers(0, 5))
    field = data.draw(st.sampled_from(["time", "who", "what", "phase", "target", "detail", "identity"]))
    forged = replace(entries[index], **{field: "forged"})
    told = texts(entries)
    told[index] = forged.text()
    broken = verify(told)
    assert broken is not None
    assert (broken.number, broken.why) == (index + 1, "altered")
    told[index] = forged.sealed().text()
    later = verify(told, head=entries[-1].head)
    assert later is not None
    assert later.why == "altered"
    assert later.number == min(index + 2, 6)


@given(st.data())
def test_a_missing_entry_is_a_gap_and_a_swapped_one_is_out_of_order(data: st.DataObject) -> None:
    """Left out, doubled or exchanged: the first number at which it shows is said, and which of these it is."""
    entries, index = chain(6), data.draw(st.integers(0, 4))
    told = texts(entries)
    gap = verify(told[:index] + told[index + 1 :])
    swapped = told[:]
    swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
    order, doubled = verify(swapped), verify(told[: index + 1] + told[index:])
    assert gap is not None
    assert order is not None
    assert doubled is not None
    assert (gap.number, gap.why) == (index + 1, "gap")
    assert (order.number, order.why) == (index + 1, "reordered")
    assert (doubled.number, doubled.why) == (index + 2, "reordered")


def test_a_log_that_was_cut_off_is_found_out_by_a_head() -> None:
    """Without a head that was kept nobody can tell; with it, the first entry that is missing is named."""
    entries = chain(5)
    assert verify(texts(entries[:3])) is None
    broken = verify(texts(entries[:3]), head=entries[-1].head)
    assert broken is not None
    assert (broken.number, broken.why) == (4, "truncated")


def test_a_log_that_was_written_anew_does_not_hold_an_old_head() -> None:
    """Another log of the same length has other digests; it may have grown since the head was seen."""
    entries = chain(5)
    broken = verify(texts(entries), head=Head(3, "0" * 64))
    assert broken is not None
    assert (broken.number, broken.why) == (3, "altered")
    assert verify(texts(entries), head=entries[2].head) is None
