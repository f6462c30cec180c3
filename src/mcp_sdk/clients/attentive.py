"""A WebSocket that notices when the other side falls silent; importing it needs the extra ``client``."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection

__all__ = ["Attentive"]


class Attentive(ClientConnection):
    """A connection of which ``attend`` is to be run: it ends what brings nothing, though pings ask for it.

    Any byte is a sign of life. An answer to a ping waits behind a large frame on a slow link, and behind all that this
    side is too busy to read: neither is silence.
    """

    heard = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.heard = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.heard = self.loop.time()
        super().data_received(data)

    async def attend(self, interval: float, silence: float) -> None:
        """Look every ``interval`` seconds, and end the connection after ``silence`` seconds without a byte."""
        while True:
            await asyncio.sleep(interval)
            if not self.transport.is_reading():
                self.heard = self.loop.time()
            elif self.loop.time() - self.heard > silence:
                self.transport.abort()
                return
