"""Pages of an answer: what many values say together is bounded by its bytes, and so is what is read for it.

Stores count what they read in rows, and a row may be megabytes. So they are asked for a few at a time, for more where
those are small, until a page is full.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi.responses import Response
from pydantic_core import to_json

from mcp_sdk.context import EntityRef, Scope
from mcp_sdk.ports import Store
from mcp_sdk.protocol.plain import plain_applied
from mcp_sdk.server.faults import Fault

__all__ = ["PAGE", "READERS", "Page", "TooMuch", "Wanted", "found", "history", "listing", "turn"]


class TooMuch(Exception):
    """Several entities that were asked for together are more than a page."""


PAGE = 8 * 1024 * 1024
"""Bytes of one page, unless its first value alone has more."""
STEP = 32
"""Rows that are read at once, at most."""
LOOKED_UP = 8
"""Entities that are looked up at once before it is known how large they are: calls name few."""
READERS = 4
"""Pages that one replica puts together at once."""
PATIENCE = 10.0
"""Seconds that a page waits for its turn."""


class Page:
    """Values as JSON, until they are ``PAGE`` bytes; the first one fits always."""

    def __init__(self, first: int = 1) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self._first, self._largest = first, 1

    def add(self, part: bytes) -> bool:
        """Take a value, and tell whether it did fit."""
        if self.parts and self.size + len(part) > PAGE:
            return False
        self.parts.append(part)
        self.size += len(part)
        self._largest = max(self._largest, len(part))
        return True

    def step(self, left: int) -> int:
        """Give how many of ``left`` rows to read next: none where one as large as the largest would not fit."""
        first, self._first = self._first, STEP
        return max(min(left, first, (PAGE - self.size) // self._largest), 0)

    def answer(self, name: str, **more: Any) -> Response:
        """Give the response that lists them under ``name``, with ``more`` beside."""
        rest = to_json(more).removeprefix(b"{")
        return Response(b'{"%s":[%s],%s' % (name.encode(), b",".join(self.parts), rest), media_type="application/json")


class Wanted(NamedTuple):
    """What is to be listed of a model."""

    state: str | None
    prefix: str
    limit: int
    after: str


@asynccontextmanager
async def turn(readers: asyncio.Semaphore, patience: float = PATIENCE) -> AsyncIterator[None]:
    """Wait until one more page may be put together; raises a 503 where that takes too long."""
    try:
        async with asyncio.timeout(patience):
            await readers.acquire()
    except TimeoutError as error:
        detail = f"this replica puts {READERS} pages together at once, and none was done in {patience:g} s"
        raise Fault(503, "too-many-pages", detail, headers=(("retry-after", "1"),)) from error
    try:
        yield
    finally:
        readers.release()


async def listing(store: Store, scope: Scope, model: str, wanted: Wanted) -> tuple[Page, str]:
    """Give entities of a model by id, and after which id the next page begins: empty at the end."""
    page, after = Page(), wanted.after
    while step := page.step(wanted.limit - len(page.parts)):
        some = await store.list(scope, model, state=wanted.state, id_prefix=wanted.prefix, limit=step, after=after)
        for context in some.contexts:
            if not page.add(_json(context.to_dict())):
                return page, after
            after = context.entity_id
        if not some.after:
            return page, ""
    return page, after


async def history(store: Store, scope: Scope, ref: EntityRef, limit: int) -> tuple[Page, bool]:
    """Give the last transitions of an entity, oldest first, and whether older ones are left out for their size.

    Others may be added meanwhile, so each reading begins anew at the newest.
    """
    wanted = 1
    while True:
        applied, page = await store.history(scope, ref, limit=wanted), Page(2 * STEP)
        whole = all(page.add(_json(plain_applied(one))) for one in reversed(applied))
        if not whole or len(applied) < wanted or wanted == limit:
            page.parts.reverse()
            return page, not whole
        wanted += max(page.step(limit - wanted), 1)


async def found(store: Store, scope: Scope, refs: Sequence[EntityRef]) -> list[str]:
    """Look entities up, each as JSON; raises ``TooMuch`` for several that are more than a page."""
    page, at = Page(LOOKED_UP), 0
    while some := refs[at : at + max(page.step(STEP), 1)]:
        for context in (await store.get(scope, some)).values():
            if not page.add(json.dumps(context.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()):
                raise TooMuch(f"these {len(refs)} entities are more than {PAGE} bytes: ask for fewer at once")
        at += len(some)
    return [part.decode() for part in page.parts]


def _json(plain: Any) -> bytes:
    return to_json(plain, inf_nan_mode="null")
