"""What bounds requests: the size of a body, however it is said, its time, what all bodies take together, headers.

And answers: what all that are large take together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcp_sdk.server.access.callers import CALLER
from mcp_sdk.server.faults import Fault
from mcp_sdk.server.unread import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AnswerLimit", "BodyLimit"]

MOST_HEADERS = 200
_CLOSE = (("connection", "close"),)
LINGER = 5.0
"""Seconds for which the rest of a body that was refused is taken in."""


class BodyLimit:
    """Refuses a body of more than ``size`` bytes with a 413: at once where its length is said, else when passed.

    One that takes more than ``seconds`` to arrive is refused with a 408, and too many headers with a 431. All bodies
    that are under way have ``together`` bytes at most: what would be more is refused with a 503.

    What is still on its way then is taken in and let go, for a while: who writes does not read, and a connection that
    is closed on it is reset before the answer is read.
    """

    def __init__(self, app: ASGIApp, *, size: int, seconds: float = 30.0, together: int = 64 * 1024 * 1024) -> None:
        self._app, self._size, self._seconds = app, size, seconds
        self._budget = _Budget(together, "bodies")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._refusal(scope["headers"])
        if fault is not None:
            await self._refuse(fault, scope, receive, send)
            return
        body = _Body(receive, self._size, self._seconds, self._budget)
        try:
            await self._guarded(scope, body, send)
        finally:
            self._budget.give(body.held)

    async def _guarded(self, scope: Scope, body: _Body, send: Send) -> None:
        async def sending(message: Message) -> None:
            await (self._last if body.refused and _ends(message) else _as_it_is)(message, body.rest, send)

        await self._app(scope, body.receive, sending)

    async def _refuse(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            await (self._last if _ends(message) else _as_it_is)(message, receive, send)

        await fault.response()(scope, receive, sending)

    async def _last(self, message: Message, receive: Receive, send: Send) -> None:
        await send({**message, "more_body": True})
        await self._pass_over(receive)
        await send({"type": "http.response.body", "body": b""})

    async def _pass_over(self, receive: Receive) -> None:
        left, more = 16 * self._size, True
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while more and left > 0:
                    message = await receive()
                    more = message.get("more_body", False)
                    left -= len(message.get("body", b""))

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> Fault | None:
        if len(headers) > MOST_HEADERS:
            return Fault(431, "too-many-headers", f"a request has {MOST_HEADERS} headers at most")
        said = dict(headers)
        if b"transfer-encoding" in said and b"content-length" in said:  # something in front may have believed the other
            return Fault(400, "malformed", "say one of content-length and transfer-encoding", headers=_CLOSE)
        length = said.get(b"content-length", b"0")
        return _too_large(self._size) if not length.isdigit() or int(length) > self._size else None


async def _as_it_is(message: Message, receive: Receive, send: Send) -> None:
    del receive
    await send(message)


def _ends(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)


class AnswerLimit:
    """Has ``together`` bytes at most of large answers to GET under way, a quarter for one caller: one more is a 503.

    They are sent in pieces, each when the reader took the one before it. An answer that never changes is held once for
    all its readers and does not count; one that is larger than ``together`` is given where there is no other. What
    changes something is answered whatever that takes: it is done by then.
    """

    def __init__(self, app: ASGIApp, *, together: int = 64 * 1024 * 1024) -> None:
        self._app, self._budget = app, _Budget(together, "answers")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send, self._budget)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._budget.give(answer.held, answer.of)


class _Budget:
    """Bytes that may be held of all ``what``, and those that are left; a quarter of them is for one that is named."""

    def __init__(self, size: int, what: str) -> None:
        self.size, self._left, self._what = size, size, what
        self._of: Counter[str] = Counter()

    def take(self, size: int, of: str = "") -> None:
        share = self.size // 4 if of and self._of[of] else self.size
        if size and (size > self._left or size + self._of[of] > share):
            bound = f"{self.size} bytes of {self._what} at most" + (", a quarter of them for one caller" if of else "")
            raise Fault(
                503,
                f"too-many-{self._what}",
                f"this replica holds {bound}, and has no room for this one now",
                headers=(("retry-after", "1"), ("connection", "close")),
            )
        self._left -= size
        self._of[of] += size

    def give(self, size: int, of: str = "") -> None:
        self._left += size
        self._of[of] -= size
        if not self._of[of]:
            del self._of[of]


class _Answer:
    """Sends one answer; ``held`` is what it took of the budget."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, budget: _Budget) -> None:
        self._scope, self._receive, self._send, self._budget = scope, receive, send, budget
        self._refused, self.held, self.of = False, 0, ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif not self._refused:
            await self._go_on(message)

    async def _begin(self, message: Message) -> None:
        size = min(_held(message.get("headers", ())), self._budget.size)
        self.of = self._scope[CALLER].key if CALLER in self._scope else ""
        try:
            self._budget.take(size, self.of)
        except Fault as fault:
            self._refused = True
            await fault.response()(self._scope, self._receive, self._send)
        else:
            self.held = size
            await self._send(message)

    async def _go_on(self, message: Message) -> None:
        body = message.get("body", b"")
        last = max(len(body) - 1, 0) // PIECE * PIECE
        for at in range(0, last, PIECE):
            await self._send({**message, "body": body[at : at + PIECE], "more_body": True})
        await self._send({**message, "body": body[last:]})


def _held(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Give the bytes that an answer takes: none where it is small, or the same for everybody."""
    said = dict(headers)
    size = int(said.get(b"content-length", b"0"))
    return size if size > PIECE and b"immutable" not in said.get(b"cache-control", b"") else 0


class _Body:
    """Counts a body while it arrives; ``held`` is what it took of the budget, ``refused`` whether it was too much."""

    def __init__(self, receive: Receive, size: int, seconds: float, budget: _Budget) -> None:
        self._budget, self.held = budget, 0
        self._receive, self._left, self._size, self._seconds = receive, size, size, seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._arriving = True
        self.refused = False

    async def receive(self) -> Any:
        try:
            return await self._counted()
        except Fault:
            self.refused = True
            raise

    async def _counted(self) -> Any:
        message = await (self._timed() if self._arriving else self._receive())
        self._arriving = self._arriving and message.get("more_body", False)
        size = len(message.get("body", b""))
        self._left -= size
        if self._left < 0:
            raise _too_large(self._size)
        self._budget.take(size)
        self.held += size
        return message

    async def rest(self) -> Any:
        """Give what comes after a refusal, which counts no more."""
        if not self._arriving:
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await self._receive()
        self._arriving = message.get("more_body", False)
        return message

    async def _timed(self) -> Any:
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError as error:
            raise Fault(
                408,
                "body-too-slow",
                f"the body did not arrive in {self._seconds:g} s",
                headers=_CLOSE,
            ) from error


def _too_large(size: int) -> Fault:
    return Fault(413, "body-too-large", f"a body has {size} bytes at most", headers=_CLOSE)
