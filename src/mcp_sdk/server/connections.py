"""What bounds a connection before it says anything that can be refused: how many there are, how long a head takes."""

from __future__ import annotations

import asyncio
import logging
import resource
from contextlib import suppress
from typing import Any

from mcp_sdk.problems import problem
from mcp_sdk.server.access import peers

__all__ = ["SPOKEN", "Http", "allow_connections", "allow_streams"]

logger = logging.getLogger("mcp_sdk.server")
MOST = 65_536
RESERVE = 64
"""File descriptors that are kept for the store, its files and the log."""
SPARE = 136
"""Connections that are kept for requests."""
HEAD = 65_536
"""Bytes that may come before a head is whole, or a trailer."""
LINGER = 1.0
"""Seconds."""


def allow_connections() -> int:
    """Raise the number of files that this process may hold open to what the system allows; give that of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # what the kernel gives may be less than what it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max((resource.getrlimit(resource.RLIMIT_NOFILE)[0] if soft >= 0 else MOST) - RESERVE, 1)


def allow_streams(streams: int, connections: int) -> int:
    """Give how many of ``streams`` the connections have room for; where that is fewer it is said."""
    fit = min(streams, max(connections - SPARE, connections // 2))
    if fit < streams:
        logger.warning(
            "there is room for %d streams, not %d: this process may have %d open files. Raise that with: ulimit -Hn %d",
            *(fit, streams, connections + RESERVE, streams + SPARE + RESERVE),
        )
    return fit


class Http(peers.Http):
    """Says in a problem what was no request at all, or none within ``head_time`` seconds, and closes.

    Without it anybody could hold every file descriptor by heads that never end, and nobody else would get in. The time
    is from the connection on, and then from the first byte of each next request: who sends a byte now and then gets no
    more of it. It listens a while longer after such an answer, for closing at once would reset the connection before
    the answer is read. Connections beyond ``most`` are closed at once; 0 is no bound.
    """

    def __init__(self, *args: Any, head_time: float = 10.0, most: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_time, self._most = head_time, most
        self._timer: asyncio.TimerHandle | None = None
        self._size = 0
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait, unless there are too many."""
        super().connection_made(transport)
        if self._most and len(self.connections) > self._most:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(self._head_time, self._late)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and pass over what follows an answer of this kind."""
        if self._answered:
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._came()
        elif before is None or before.response_complete:
            self._wait_on(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._came()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read."""
        self._refuse(400, "malformed", "Bad Request", f"no HTTP request: {msg}")

    def _came(self) -> None:
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_on(self, more: int) -> None:
        self._size += more
        if self._timer is None:
            self._timer = self.loop.call_later(self._head_time, self._late)

    @property
    def _over(self) -> bool:
        """Whether what comes may be the rest of a request that was answered before it had come whole."""
        return self.cycle is not None and self.cycle.more_body

    def _late(self) -> None:
        self._timer = None
        if self._size and not self._over:
            self._refuse(408, "head-too-slow", "Request Timeout", f"no headers came within {self._head_time:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, kind: str, title: str, detail: str) -> None:
        if self._answered:
            return
        made = problem(status, kind, title, detail, headers=(("connection", "close"),))
        head = "".join(f"{name}: {value}\r\n" for name, value in made.headers)
        self.transport.write(f"HTTP/1.1 {made.status_line}\r\n{head}\r\n".encode() + made.body)
        self._answered = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)


class _Bounded(Http):
    """The same over httptools, which holds as long a head as it is sent; h11 has this bound itself."""

    _waiting = 0

    def data_received(self, data: bytes) -> None:
        """Take bytes, and no more than ``HEAD`` of which nothing becomes whole."""
        self._waiting += len(data)
        super().data_received(data)
        if self._waiting > HEAD and not self._answered:
            self.send_400_response("its head is too large")

    def on_headers_complete(self) -> None:
        """Begin to count anew."""
        self._waiting = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Begin to count anew; what a body may be is bounded elsewhere."""
        self._waiting = 0
        super().on_body(body)


SPOKEN: type[Http] = _Bounded if hasattr(peers.Http, "on_headers_complete") else Http
"""For the parser that is installed."""
