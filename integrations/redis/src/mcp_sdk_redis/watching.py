"""Watching: the changes after a position, as the server tells them, or as this handle itself wrote them.

A position is an id of the stream of changes, in the store of an identity; ids are ordered as two numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from mcp_sdk.context import Transition
from mcp_sdk.ports import Applied, Change, Cursor
from mcp_sdk.stores.echoes import Echo
from mcp_sdk_redis import rows, scripts
from mcp_sdk_redis.keys import Keys, parted, scope_of
from mcp_sdk_redis.link import Link, Position

__all__ = ["Watching", "cursor_at", "lines", "position", "written"]

PAGE = 500
_POSITION = re.compile(r"\d{1,19}-\d{1,19}", re.ASCII)
Found: TypeAlias = tuple[Cursor, Sequence[Change]]
"""The position after a page of changes, and those of them that were not erased."""


class Watching:
    """Reads the changes of a store; ``timeout`` is in seconds."""

    def __init__(self, link: Link, keys: Keys, timeout: float) -> None:
        self._link, self._keys, self._timeout = link, keys, timeout

    async def newest(self) -> Cursor:
        """Give the position after the newest change."""
        identity, newest, _ = await self._ask("", "", "+")
        return cursor_at(identity, newest)

    @contextmanager
    def joined(self) -> Iterator[Echo[Position]]:
        """Have what this handle writes kept, during the block, for ``after``."""
        echoes = self._link.echoes
        echo = echoes.join()
        try:
            yield echo
        finally:
            echoes.leave(echo)

    async def after(self, cursor: Cursor, echo: Echo[Position]) -> Found:
        """Give what comes after a position: what was written here as it was, and the rest by asking."""
        place = position(cursor)
        if own := await echo.following(place):
            return own[-1].cursor, own
        limit = echo.limit
        return await self._asked(cursor, f"{limit[1]}-{limit[2]}" if limit and limit[0] == place[0] else "+")

    async def wait(self, cursor: Cursor) -> None:
        """Wait until something comes after a position, or for half the timeout: then it is asked who the server is."""
        words = ("XREAD", "COUNT", 1, "BLOCK", int(self._timeout * 500), "STREAMS", self._keys.changes)
        await self._link.wait(*words, cursor.rpartition(":")[2])

    async def _asked(self, cursor: Cursor, upto: str) -> Found:
        origin, _, place = cursor.rpartition(":")
        if not _POSITION.fullmatch(place):
            origin, place = "", "0-0"
        identity, lost, answer = await self._ask(origin, place, upto)
        if lost:
            return cursor_at(identity, lost), [Change("resync", cursor_at(identity, lost))]
        page = lines(answer)
        reached = cursor_at(identity, page[-1].partition(b"\t")[0]) if page else cursor
        return reached, [change for line in page if (change := _change(identity, line)) is not None]

    async def _ask(self, origin: str, place: str, upto: str) -> tuple[bytes, bytes, bytes]:
        keys = (self._keys.meta, self._keys.changes, self._keys.log)
        identity, lost, answer = await self._link.run(scripts.AFTER, keys, origin, place, PAGE, upto)
        return identity, lost, answer


def position(cursor: Cursor) -> Position:
    """Give what a cursor says, to be compared with another of the same store."""
    origin, _, place = cursor.rpartition(":")
    if not _POSITION.fullmatch(place):
        return origin, -1, -1
    first, _, second = place.partition("-")
    return origin, int(first), int(second)


def written(transitions: Sequence[Transition], identity: bytes, entries: bytes) -> Sequence[Change]:
    """Give the changes that ``append.lua`` tells of, a line each, as watchers hear them."""
    changes = []
    for line in lines(entries):
        number, place, told, entered, text = line.split(b"\t", 4)
        applied = rows.written(transitions[int(number) - 1], told.decode(), entered.decode(), text)
        changes.append(_moved(cursor_at(identity, place), applied))
    return changes


def lines(answer: bytes) -> Sequence[bytes]:
    """Give the lines of an answer, of which there may be none."""
    return answer.split(b"\n") if answer else ()


def cursor_at(identity: bytes, place: bytes) -> Cursor:
    """Give the cursor of an id, in the store of an identity."""
    return Cursor(f"{identity.decode()}:{place.decode()}")


def _change(identity: bytes, line: bytes) -> Change | None:
    """Read a line of ``after.lua``; None for a transition that was erased."""
    place, kind, detail, content = line.split(b"\t", 3)
    cursor, told = cursor_at(identity, place), kind.decode()
    if told == "t":
        return _moved(cursor, rows.applied(content)) if content else None
    if told == "forgotten":
        # whom it named is erased after a day; who comes later has to read again
        return _told(cursor, content) if content else Change("resync", cursor)
    return Change(
        told, cursor, scope_of(detail.decode()), record=parted(detail.decode())[2] if told == "records" else ""
    )


def _moved(cursor: Cursor, applied: Applied) -> Change:
    return Change("transition", cursor, applied.transition.scope, applied)


def _told(cursor: Cursor, content: bytes) -> Change:
    scope, ref = rows.forgotten(content)
    return Change("forgotten", cursor, scope, ref=ref)
