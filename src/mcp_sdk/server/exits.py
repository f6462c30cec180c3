"""How a replica leaves: it says so where load balancers look, sends its streams away, and only then stops listening.

One that may not decide any more sends them away likewise, and stays: another replica may know what this one does not.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from mcp_sdk.server.faults import Fault

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Exits", "Overdue", "spread"]


class Leaver(Protocol):
    """Something that is told to go."""

    def bye(self, after: float) -> None:
        """Say that the server goes, and in how many seconds to come back."""


def spread(count: int, most: float) -> float:
    """Give the seconds after which one of ``count`` streams comes back: the more of them, the wider apart."""
    return round(min(most, 0.2 + count / 200) * secrets.randbelow(1000) / 1000, 3)


class Exits:
    """Tells everyone to leave, once: ``feeds``, and the other streams that ``streams`` gives.

    ``most`` is how many seconds they are spread over at the most.
    """

    def __init__(self, streams: Callable[[], Iterable[Leaver]], *, most: float = 30.0) -> None:
        self.feeds: set[Leaver] = set()
        self._streams, self._most, self._going = streams, most, False

    def leaving(self) -> bool:
        """Tell whether this replica is about to stop."""
        return self._going

    async def watch(self, stale: Callable[[], object], interval: float) -> None:
        """Look every ``interval`` seconds, and send everyone away while what is known here is stale."""
        while True:
            await asyncio.sleep(interval)
            if stale() and not self._going:
                self._send_away(set())

    async def leave(self, *, notice: float, patience: float) -> None:
        """Be unready for ``notice`` seconds, send every stream away, and wait ``patience`` seconds for the last."""
        self._going = True
        await asyncio.sleep(notice)
        loop = asyncio.get_running_loop()
        until, told = loop.time() + patience, set[Leaver]()
        while self._send_away(told) and loop.time() < until:  # noqa: ASYNC110 - they end by themselves
            await asyncio.sleep(0.02)

    def _send_away(self, told: set[Leaver]) -> int:
        """Send away who was not told yet; give how many are still here."""
        left = [*self.feeds, *self._streams()]
        for one in left:
            if one not in told:
                told.add(one)
                one.bye(spread(len(left), self._most))
        return len(left)


class Overdue:
    """Answers a request that takes longer than the grace of a server that stops with a 503, which clients try again.

    The server cancels such requests, and would say that it failed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        answered = False

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if answered or scope["type"] != "http":
                raise
            await _overdue().response()(scope, receive, send)


def _overdue() -> Fault:
    return Fault(
        503,
        "leaving",
        "this replica stops, and does not know whether this was stored. Send it again: what has its event id is not "
        "stored twice, and a policy's revision tells whether it was applied",
        headers=(("retry-after", "1"), ("connection", "close")),
    )
