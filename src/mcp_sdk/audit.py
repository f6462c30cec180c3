"""The audit log: who did what, in a chain of hashes. Pure: where it is kept is a store's concern.

An entry's digest is the SHA-256 of its canonical JSON, which holds the digest of the entry before it. Who knows the
last number and digest can therefore tell whether anything before it was altered, reordered, left out or cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mcp_sdk.context import MESH, Scope
from mcp_sdk.exceptions import ProtocolError
from mcp_sdk.snapshot import canonical

__all__ = ["GENESIS", "PHASES", "Broken", "Entry", "Head", "verify"]

PHASES = ("begun", "done", "failed")


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes: the last number and the last digest."""

    number: int = 0
    digest: str = "0" * 64


GENESIS = Head()
"""The head of an empty log."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. A change has two: ``begun`` before it and ``done`` or ``failed`` after it, which names the first.

    ``time`` is ISO 8601 in UTC; ``who`` the caller's name and ``identity`` what proved it; ``before`` and ``after`` are
    plain JSON, digests where the thing is large, and never secrets. ``begun`` is the number of the entry that this one
    ends, 0 for one that begins.
    """

    number: int
    time: str
    who: str
    what: str
    phase: str
    scope: Scope = MESH
    identity: str = ""
    target: str = ""
    before: Any = None
    after: Any = None
    begun: int = 0
    detail: str = ""
    previous: str = GENESIS.digest
    digest: str = field(default="", compare=False)

    def sealed(self) -> Self:
        """Give the entry with its digest."""
        return replace(self, digest=_digest(self._plain()))

    @property
    def head(self) -> Head:
        """The chain up to and with this entry."""
        return Head(self.number, self.digest)

    def _plain(self) -> dict[str, Any]:
        names = ("number", "time", "who", "identity", "what", "phase", "target", "before", "after", "begun", "detail")
        plain = {name: getattr(self, name) for name in names}
        where = {"namespace": self.scope.namespace, "environment": self.scope.environment}
        return plain | where | {"previous": self.previous}

    def to_dict(self) -> dict[str, Any]:
        """Give the entry as plain JSON, digest and all."""
        return self._plain() | {"digest": self.digest}

    def text(self) -> str:
        """Give the entry as it is stored: canonical JSON on one line."""
        return canonical(self.to_dict()).decode()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote; raises ``ProtocolError``."""
        try:
            rest = dict(plain)
            scope = Scope(rest.pop("namespace"), rest.pop("environment"))
            return cls(scope=scope, **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"not an entry of an audit log: {error!r:.80}") from error

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what ``text`` wrote; raises ``ProtocolError``."""
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("not an entry of an audit log: no JSON") from error
        if not isinstance(plain, dict) or type(plain.get("number")) is not int:
            raise ProtocolError("not an entry of an audit log: no JSON object with a number")
        return cls.from_dict(plain)


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(plain)).hexdigest()


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry that does not hold. ``why`` is ``gap``, ``altered``, ``reordered`` or ``truncated``."""

    number: int
    why: str
    detail: str


def verify(texts: Iterable[str], *, head: Head | None = None, start: Head = GENESIS) -> Broken | None:
    """Check the stored texts of a log that follow ``start``; give what is broken first, or None.

    ``head`` is one that was seen before, or elsewhere: the log must reach it, and hold that entry. Without it
    nobody can tell that the end was cut off.
    """
    texts, last = list(texts), start
    for text in texts:
        broken = _follows(text, last, texts) or _differs(text, head)
        if broken is not None:
            return broken
        last = Entry.from_text(text).head
    if head is not None and last.number < head.number:
        return Broken(last.number + 1, "truncated", f"the log ends at {last.number}, and had {head.number} entries")
    return None


def _follows(text: str, last: Head, texts: list[str]) -> Broken | None:
    due = last.number + 1
    try:
        entry = Entry.from_text(text)
    except ProtocolError as error:
        return Broken(due, "altered", str(error))
    if entry.number != due:
        return _misplaced(entry.number, due, texts)
    if text != entry.text() or entry.digest != entry.sealed().digest:
        return Broken(due, "altered", "its digest is not that of what it says")
    if entry.previous != last.digest:
        return Broken(due, "altered", f"it does not follow the entry {last.number} that stands before it")
    return None


def _misplaced(number: int, due: int, texts: list[str]) -> Broken:
    if number < due or due in _numbers(texts):
        return Broken(due, "reordered", f"the entry {number} stands where {due} belongs")
    return Broken(due, "gap", f"the entry {number} stands where {due} belongs, which is missing")


def _numbers(texts: list[str]) -> set[int]:
    found = set()
    for text in texts:
        try:
            found.add(Entry.from_text(text).number)
        except ProtocolError:
            continue
    return found


def _differs(text: str, head: Head | None) -> Broken | None:
    entry = Entry.from_text(text)
    if head is not None and entry.number == head.number and entry.digest != head.digest:
        return Broken(entry.number, "altered", f"its digest begins {entry.digest[:12]}, and was {head.digest[:12]}")
    return None
