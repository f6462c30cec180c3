"""What bounds a connection before it says anything that can be refused: how many there are, how long a head takes."""

from __future__ import annotations

import asyncio
import resource
from contextlib import suppress
from typing import Any

from mcp_sdk.server import peers

__all__ = ["HEAD", "Bounded", "allow_connections"]

HEAD = 10.0
"""Seconds that the head of a request may take to arrive, the first as every later one; at most twice as many."""
MOST = 65_536
RESERVE = 64
"""File descriptors that are kept for the store, its files and the log."""


def allow_connections() -> int:
    """Raise the number of files that this process may hold open to what the system allows; give that of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # what the kernel gives may be less than what it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max((resource.getrlimit(resource.RLIMIT_NOFILE)[0] if soft >= 0 else MOST) - RESERVE, 1)


class Bounded(peers.Http):
    """HTTP that gives up a connection on which no request is under way for too long, and closes those beyond ``most``.

    Without it anybody could hold every file descriptor by heads that never end, and nobody else would get in.
    """

    most = 0
    head = HEAD
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if self.most and len(self.connections) > self.most:
            self.transport.abort()
        else:
            self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self.head, self._look, self._requests())

    def _look(self, before: Any) -> None:
        """Close where none was under way the last time, and none came since; a WebSocket is no longer our concern."""
        if self.transport.get_protocol() is not self:
            return
        if before is not None and before is self._requests():
            self.transport.abort()
        else:
            self._look_later()

    def _requests(self) -> Any:
        """Give what stands for the wait for a head: the same until a request comes, and None while one is under way."""
        if self.cycle is None:
            return self
        return self.cycle if self.cycle.response_complete else None
