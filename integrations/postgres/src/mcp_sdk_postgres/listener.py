"""Wakes the watchers of one handle: a connection that listens, and says only that there is something to read.

What a notification says is never believed and a lost one loses nothing, for the log is the truth: after connecting
anew everybody looks, and between notifications everybody looks now and then.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import psycopg
from psycopg import sql

from mcp_sdk.tasks import ended
from mcp_sdk_postgres.connections import Connections

__all__ = ["Listener"]

CALM = 5.0
"""Seconds between looks while the listener hears; ``poll_interval`` while it does not."""
LONGEST = 5.0
"""Seconds between attempts to connect at most."""
_random = random.SystemRandom()


class Listener:
    """Begins with the first watcher and ends with the last."""

    def __init__(self, connections: Connections, poll_interval: float) -> None:
        self._connections = connections
        self._poll_interval = poll_interval
        self._watchers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._hears = False

    def join(self) -> asyncio.Event:
        """Give the event that is set whenever there may be something to read."""
        news = asyncio.Event()
        self._watchers.add(news)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return news

    async def leave(self, news: asyncio.Event) -> None:
        """Forget an event; the connection closes with the last."""
        self._watchers.discard(news)
        if not self._watchers:
            await self.close()

    async def wait(self, news: asyncio.Event) -> None:
        """Wait until there may be something to read."""
        interval = max(CALM, self._poll_interval) if self._hears else self._poll_interval
        # Not wait_for: before Python 3.12 it may swallow a cancellation that comes together with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await news.wait()
        news.clear()

    def tell(self) -> None:
        """Have every watcher look."""
        for news in self._watchers:
            news.set()

    async def close(self) -> None:
        """Close the connection, and have every watcher look once more."""
        self.tell()
        task, self._task = self._task, None
        if task is not None:
            await ended([task])

    async def _run(self) -> None:
        attempt = 0
        while True:
            with suppress(psycopg.Error, OSError):
                async with await self._connections.dedicated() as connection:
                    channel = sql.Identifier(self._connections.address.channel)
                    await connection.execute(sql.SQL("LISTEN {}").format(channel))
                    self._hears, attempt = True, 0
                    self.tell()
                    async for _ in connection.notifies():
                        self.tell()
            self._hears = False
            self.tell()
            attempt += 1
            await asyncio.sleep(_random.uniform(0, min(LONGEST, 0.1 * 2**attempt)))
