"""A WebSocket that notices when the other side falls silent; importing it needs the extra ``client``."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection

__all__ = ["PING", "Attentive"]

PING, SILENCE = 5.0, 10.0
"""Seconds between two pings, and those without a byte of the other side that end a connection."""


class Attentive(ClientConnection):
    """A connection that ends where the other side brings nothing for ``SILENCE`` seconds, though pings ask for it.

    Any byte is a sign of life. An answer to a ping waits behind a large frame on a slow link, and behind all that this
    side is too busy to read: neither is silence.
    """

    _heard = 0.0
    _next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._heard = self.loop.time()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Listen no longer."""
        if self._next is not None:
            self._next.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._next = self.loop.call_later(PING, self._look)

    def _look(self) -> None:
        if not self.transport.is_reading():
            self._heard = self.loop.time()
        if self.loop.time() - self._heard > SILENCE:
            self.transport.abort()
        else:
            self._wait()
