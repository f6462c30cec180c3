"""What bounds a request: the size of its body, however it is said and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcp_sdk.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["BodyLimit"]


class BodyLimit:
    """Refuses a body of more than ``size`` bytes with a 413: at once where its length is said, else when passed."""

    def __init__(self, app: ASGIApp, *, size: int) -> None:
        self._app, self._size = app, size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._size:
            await self._refuse(send)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        left, answered = self._size, False

        async def counting() -> Any:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLarge
            return message

        async def sending(message: Any) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counting, sending)
        except _TooLarge:
            if not answered:
                await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        made = problem(413, "body-too-large", "Content Too Large", f"a body has {self._size} bytes at most")
        await send({"type": "http.response.start", "status": made.status, "headers": made.raw_headers})
        await send({"type": "http.response.body", "body": made.body})


class _TooLarge(Exception):
    pass
