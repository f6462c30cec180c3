"""Streams for readers, as server-sent events (WHATWG HTML, section 9.2): bounded, with heartbeats, resumed by id.

A reader says where it was with ``Last-Event-ID`` or ``?after=``. One that reads too slowly is told ``resync`` in the
place of what it missed, and nothing is kept for one that left.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Query
from fastapi.responses import StreamingResponse

from mcp_sdk.server.access.callers import Caller, Permission
from mcp_sdk.server.desk import Desk
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.streams import Outbox

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["SSE", "After", "Feed", "event"]

logger = logging.getLogger("mcp_sdk.server")
HEARTBEAT = 15.0
_LINES = re.compile("\r\n|\r|\n")
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_SOON = (("retry-after", "1"),)
SSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "server-sent events, until either side goes",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
"""How routes that stream describe their answer."""


def event(kind: str, data: Any, *, number: str = "") -> str:
    """Write one event; ``number`` is what a reader resumes from."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    lines = "".join(f"data: {line}\n" for line in _LINES.split(text))
    return (f"id: {number}\n" if number else "") + f"event: {kind}\n{lines}\n"


def _after(
    after: Annotated[str, Query(max_length=200, pattern=r"^[!-~]*$", description="resume after this id")] = "",
    last_event_id: Annotated[str, Header(max_length=200, description="the same, as browsers say it")] = "",
) -> str:
    return last_event_id or after


After = Annotated[str, Depends(_after)]


class Feed:
    """Events that wait for one reader. ``left`` is called once, when the reader is gone.

    Raises a 503 where the replica holds as many streams as it may.
    """

    def __init__(self, desk: Desk, *, left: Callable[[], None] = lambda: None) -> None:
        if len(desk.exits.feeds) >= desk.settings.streams:
            raise Fault(503, "too-many-streams", "this replica holds as many streams as it may", headers=_SOON)
        self._desk, self._left = desk, left
        self.signs: bool = False
        self.outbox: Outbox = Outbox(desk.settings.outbox, self._overrun)

    def _overrun(self) -> str:
        self._desk.hub.resyncs += 1
        return self.resync()

    def resync(self) -> str:
        """Give the event that says that some were missed."""
        return event("resync", {"cursor": self._desk.hub.cursor}, number=self._desk.hub.cursor)

    def bye(self, after: float) -> None:
        """Tell the reader to go, and in how many seconds to come back (``retry`` is what browsers wait)."""
        self.outbox.end(f"retry: {round(after * 1000)}\n" + event("bye", {"after": after}))

    def open(self, caller: Caller, still: Permission, **where: object) -> StreamingResponse:
        """Give the response that streams them, for as long as ``caller`` may ``still`` see them."""
        return _Streaming(self, self._desk.door.fall(caller, still, **where))

    def enter(self) -> None:
        """Count it among those that are told to go."""
        self._desk.exits.feeds.add(self)

    def leave(self) -> None:
        """Let go of everything."""
        self._desk.exits.feeds.discard(self)
        self.outbox.clear()
        self._left()

    async def texts(self) -> AsyncIterator[str | bytes]:
        """Give what is to be sent, and heartbeats while nothing is."""
        yield ": welcome\n\n"
        while not self.outbox.ended:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    text = await self.outbox.next()
                yield text.encode()
            except TimeoutError:
                yield ": still here\n\n"
            except UnicodeEncodeError as error:  # one that cannot be written does not end the others
                logger.warning("an event is left out of a stream, for it is no text: %s", error.reason)


class _Streaming(StreamingResponse):
    """Streams until the reader is gone, whatever it was that ended it."""

    def __init__(self, feed: Feed, fall: Coroutine[Any, Any, None]) -> None:
        super().__init__(feed.texts(), media_type="text/event-stream", headers=_HEADERS)
        self._feed, self._fall = feed, fall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._feed.enter()
        parts = [asyncio.ensure_future(part) for part in (super().__call__(scope, receive, send), self._fall)]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self._feed.leave()
