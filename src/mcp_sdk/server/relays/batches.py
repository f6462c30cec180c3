"""Decisions on their way from one replica to another: collected and bounded where they go out, counted where they come.

Decisions are numbered where they go out, those that are left out as well; so whoever reads knows how many it missed.
A batch says the number of its first decision and the number that comes after its last, and of which count they are: a
replica begins another each time that it begins to pass decisions on.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mcp_sdk.ports import Record
from mcp_sdk.server.relays.sealing import Reader

__all__ = ["KIND", "SLOTS", "Batch", "Incoming", "Outgoing", "Slot", "Taken"]

KIND = "tapped"
"""The kind of the records, in the scope of the decisions: ``tapped <replica>.<slot>``, a batch each."""
SLOTS = 8
"""Batches of one replica that are there at once: a reader has time to read them."""
RATE = 100
"""Decisions a second that one replica passes on, of one scope."""
SIZE = 65_536
"""Characters of decisions in a batch, as JSON."""
KEPT = 5.0
"""Seconds for which a batch is there for others to read."""
COUNTS = 1_000
"""Counts of others that a reader remembers, and those of batches that are there."""
LARGEST = 2**53
"""The largest number that a batch says."""


Decided: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A decision's record, and which client made it."""


@dataclass(frozen=True)
class Batch:
    """Some decisions, as JSON texts ``{"record": {…}, "by": {…}}``, with the numbers between which they are."""

    first: int
    next: int
    decisions: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A record that is there, perhaps: its revision as far as it is known, and when it was written."""

    revision: int
    at: float


@dataclass
class Outgoing:
    """What one replica passes on of one scope; ``erase`` is set where all that is there has to go at once.

    ``count`` names the count of its numbers.
    """

    slots: dict[int, Slot] = field(default_factory=dict)
    erase: bool = False
    count: str = field(default_factory=lambda: secrets.token_hex(4))
    _pending: list[tuple[int, str]] = field(default_factory=list)
    _size: int = 0
    _first: int = 0
    _next: int = 0
    _second: int = 0
    _sent: int = 0

    def add(self, record: Mapping[str, Any], who: Mapping[str, Any], now: float) -> None:
        """Pass a decision on, if there is room for it; it is counted in any case."""
        self._next += 1
        if self._sent_at(now) >= RATE:
            return
        text = json.dumps({"record": record, "by": who})
        if self._size + len(text) <= SIZE:
            self._sent, self._size = self._sent + 1, self._size + len(text)
            self._pending.append((self._next - 1, text))

    def _sent_at(self, now: float) -> int:
        if int(now) != self._second:
            self._second, self._sent = int(now), 0
        return self._sent

    def skip(self, count: int) -> None:
        """Count decisions that did not come as far as this."""
        self._next += count

    def forget(self) -> None:
        """Pass on nothing of what waits, and have erased what is there."""
        self._pending, self._size, self.erase = [], 0, True

    def batch(self) -> Batch | None:
        """Give what waits, if anything happened since the last batch; it waits until it is said to be ``done``."""
        if self._next == self._first:
            return None
        return Batch(self._first, self._next, tuple(text for _, text in self._pending))

    def done(self, batch: Batch) -> None:
        """Let go of a batch that was written, or that nobody takes."""
        self._first = batch.next
        self._pending = [(number, text) for number, text in self._pending if number >= batch.next]
        self._size = sum(len(text) for _, text in self._pending)

    def old(self, now: float) -> list[int]:
        """Give the slots that have been there long enough; all of them where all have to go."""
        return [number for number, slot in self.slots.items() if self.erase or now - slot.at > KEPT]


@dataclass(frozen=True)
class Taken:
    """Decisions of others, each with the client that made it, and how many more there were that did not arrive."""

    decisions: list[Decided]
    missed: int


class Incoming:
    """What one replica was shown of one scope, by the others, since it began to look; nothing is shown twice.

    ``reader`` is its own, so that it can read nothing that was written before.
    """

    def __init__(self) -> None:
        self.reader: Reader = Reader()
        self._next: dict[str, int] = {}

    def take(self, records: Iterable[Record]) -> Taken:
        """Give what is new in the records that are there."""
        taken, missed = list[Decided](), 0
        there = sorted(filter(None, map(_read, records)), key=lambda each: each[:2])
        for first, after, by, sealed in there:
            if after <= self._next.get(by, -1):
                continue
            plain, before = self.reader.open(sealed), self._next.get(by, first)
            self._next[by] = after
            if isinstance(plain, list):  # else it was not for us
                decisions = [each for each in map(_decided, plain) if each is not None]
                taken += decisions
                missed += max(0, after - before - len(decisions))
        self._forget({by for _, _, by, _ in there})
        return Taken(taken, missed)

    def _forget(self, there: set[str]) -> None:
        """Where there are many counts, forget those of which no batch is there: none of them can be shown again."""
        if len(self._next) > COUNTS:
            self._next = {by: after for by, after in self._next.items() if by in there}


def _read(record: Record) -> tuple[int, int, str, Any] | None:
    """Give the numbers of a batch, whose count they are, and what is in it; None for a record that is none.

    Whoever writes to the store may have written it.
    """
    if not isinstance(record.content, Mapping):
        return None
    first, after, count = (record.content.get(name) for name in ("first", "next", "count"))
    if not (isinstance(first, int) and isinstance(after, int) and isinstance(count, str)):
        return None
    by = f"{record.name.partition('.')[0]}.{count}"
    return (first, after, by, record.content.get("sealed")) if 0 <= first <= after <= LARGEST else None


def _decided(text: Any) -> Decided | None:
    """Read one decision of a batch; None for what is none."""
    try:
        told = json.loads(text)
        record, who = told["record"], told["by"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return (record, who) if isinstance(record, dict) and isinstance(who, dict) else None
