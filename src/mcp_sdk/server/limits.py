"""What bounds requests: the size of a body, however it is said, its time, what all bodies take together, headers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mcp_sdk.server.faults import Fault

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit"]

MOST_HEADERS = 200
_CLOSE = (("connection", "close"),)


class BodyLimit:
    """Refuses a body of more than ``size`` bytes with a 413: at once where its length is said, else when passed.

    One that takes more than ``seconds`` to arrive is refused with a 408, and too many headers with a 431. All bodies
    that are under way have ``together`` bytes at most: what would be more is refused with a 503.
    """

    def __init__(self, app: ASGIApp, *, size: int, seconds: float = 30.0, together: int = 64 * 1024 * 1024) -> None:
        self._app, self._size, self._seconds = app, size, seconds
        self._budget = _Budget(together)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._refusal(scope["headers"])
        if fault is not None:
            await fault.response()(scope, receive, send)
            return
        body = _Body(receive, self._size, self._seconds, self._budget)
        try:
            await self._guarded(scope, body, send)
        finally:
            self._budget.left += body.held

    async def _guarded(self, scope: Scope, body: _Body, send: Send) -> None:
        answered = False

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, body.receive, sending)
        except Fault as fault:
            if answered:
                raise
            await fault.response()(scope, body.receive, send)

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> Fault | None:
        if len(headers) > MOST_HEADERS:
            return Fault(431, "too-many-headers", f"a request has {MOST_HEADERS} headers at most")
        said = dict(headers)
        if b"transfer-encoding" in said and b"content-length" in said:  # something in front may have believed the other
            return Fault(400, "malformed", "say one of content-length and transfer-encoding", headers=_CLOSE)
        length = said.get(b"content-length", b"0")
        return _too_large(self._size) if not length.isdigit() or int(length) > self._size else None


class _Budget:
    """Bytes that may be held of all bodies, and those that are left."""

    def __init__(self, size: int) -> None:
        self._size, self.left = size, size

    def take(self, size: int) -> None:
        if size > self.left:
            raise Fault(
                503,
                "too-many-bodies",
                f"this replica holds {self._size} bytes of bodies at most, and has no room for this one now",
                headers=(("retry-after", "1"), ("connection", "close")),
            )
        self.left -= size


class _Body:
    """Counts a body while it arrives; ``held`` is what it took of the budget."""

    def __init__(self, receive: Receive, size: int, seconds: float, budget: _Budget) -> None:
        self._budget, self.held = budget, 0
        self._receive, self._left, self._size, self._seconds = receive, size, size, seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._arriving = True

    async def receive(self) -> Any:
        message = await (self._timed() if self._arriving else self._receive())
        self._arriving = self._arriving and message.get("more_body", False)
        size = len(message.get("body", b""))
        self._left -= size
        if self._left < 0:
            raise _too_large(self._size)
        self._budget.take(size)
        self.held += size
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
